"""A trained model that reads text.

from sentiment.classifier import load

load("outputs/runs/2026-01-31_12-00-00").predict(["A slow start, but what an ending!"])
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from sentiment.data.batching import PaddedReviews
from sentiment.data.encoding import Reviews
from sentiment.data.text import PADDING, TOKENIZERS, UNKNOWN, Vocabulary
from sentiment.errors import InputError
from sentiment.model.checkpoint import read_checkpoint, read_network
from sentiment.model.gates import Gates
from sentiment.model.lstm import LSTMClassifier, log_probabilities


class Prediction(NamedTuple):
    """What a model says of a text.

    Attributes:
        label: name of the likeliest class.
        probabilities: of every class, by its name.
    """

    label: str
    probabilities: dict[str, float]


class Layer(NamedTuple):
    """One layer of a net in one direction, while it reads a text.

    Attributes:
        name: which one, for people.
        gates: over the words, without padding; each part `(1, T, H)`.
        order: its units `(H,)`: in the last layer from those whose output speaks most for the class to those that speak
            most against it, in others by their mean cell state.
    """

    name: str
    gates: Gates
    order: npt.NDArray[np.int64]


class Reading(NamedTuple):
    """What a net does with a text, word by word.

    Attributes:
        toward: number of the class that is followed: the second of two, else the likeliest.
        running: its probability if the text ended at each word, float32 `(T,)`.
        layers: from the words up.
    """

    toward: int
    running: npt.NDArray[np.float32]
    layers: list[Layer]


class Classifier:
    """A net with its words and classes; it reads texts as the training did.

    Args:
        net: a trained one.
        text: how a text becomes ids, and what the classes are called, see `SentimentModule`.

    Attributes:
        net: in evaluation mode.
        text: as given.
        label_names: what the classes are called.
        vocabulary: the words that the net knows.
    """

    def __init__(self, net: LSTMClassifier, text: Mapping[str, Any]) -> None:
        self.net = net.eval()
        self.text = text
        self.label_names: list[str] = text["label_names"]
        self.vocabulary = Vocabulary(text["words"])

    def split(self, text: str) -> tuple[list[str], slice]:
        """The words of a text, and which of them the net reads."""
        words = TOKENIZERS[self.text["tokenizer"]](text)
        left_out = max(0, len(words) - self.text["maxlen"])
        return words, slice(left_out, None) if self.text["truncating"] == "pre" else slice(len(words) - left_out)

    def encode(self, texts: Iterable[str]) -> PaddedReviews:
        """The texts as the net reads them, to be padded by batch."""
        return self._padded([self.vocabulary.encode(words[part]) for words, part in map(self.split, texts)])

    def _padded(self, ids: Sequence[Sequence[int]]) -> PaddedReviews:
        offsets = np.cumsum([0, *map(len, ids)])
        flat = np.fromiter(itertools.chain.from_iterable(ids), np.int32, offsets[-1])
        rows = np.arange(len(ids))
        cut = (self.text[key] for key in ("maxlen", "padding", "truncating"))
        return PaddedReviews(Reviews(flat, offsets, np.zeros_like(rows), rows), len(self.vocabulary), *cut)

    @torch.inference_mode()
    def logits(self, reviews: PaddedReviews) -> Tensor:
        """What the net gives for encoded texts, float32 `(N, C)`, `C` 1 for two classes."""
        device = self.net.linear.weight.device
        logits = torch.empty(len(reviews), self.net.linear.out_features)
        for positions in reviews.batches() if len(reviews) else ():
            ids = torch.from_numpy(reviews.matrix(positions))
            logits[positions] = self.net(ids.to(device)).float().cpu()
        return logits

    def log_probabilities(self, texts: Sequence[str]) -> Tensor:
        """Of the classes, float32 `(N, classes)`."""
        return log_probabilities(self.logits(self.encode(texts)))

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Classifies texts, of any length, empty ones too."""
        return Ensemble([self]).predict(texts)

    def polarity(self, ids: Sequence[int]) -> Tensor:
        """How far each word alone moves the logits from those of an unknown word alone, float32 `(N, C)`.

        Two classes have one logit, the second's.
        """
        logits = self.logits(self._padded([[UNKNOWN], *([id_] for id_ in ids)]))
        return logits[1:] - logits[0]

    @torch.inference_mode()
    def follow(self, ids: Tensor) -> Reading:
        """Watches the net read one padded text, int64 `(1, padded length)`."""
        stands = (ids[0] != PADDING).nonzero()[:, 0]  # (T,)
        ids = ids.to(self.net.linear.weight.device)
        logits = self.net.running(ids[0, : stands[-1] + 1]).float()
        running = log_probabilities(logits).exp().cpu()[stands]  # (T, classes)
        toward = 1 if len(self.label_names) == 2 else int(running[-1].argmax())
        speaks = self.net.linear.weight[0 if len(self.label_names) == 2 else toward]
        speaks = speaks.reshape(-1, self.net.directions, self.net.units).sum(0)  # over what is pooled
        layers = []
        for depth, directions in enumerate(self.net.gates(ids), 1):
            for way, gates, weights in zip(("forwards", "backwards"), directions, speaks, strict=False):
                of_words = Gates(*(part[:, stands].float().cpu() for part in gates))
                last = depth == len(self.net.forwards)
                order = (weights.float().cpu() if last else of_words.cell[0].mean(0)).argsort(descending=True).numpy()
                layers.append(Layer(f"layer {depth}, {way}", of_words, order))
        return Reading(toward, running[:, toward].numpy(), layers)


class Ensemble:
    """Several classifiers, whose probabilities are averaged; one alone is itself.

    Args:
        members: at least one.

    Raises:
        InputError: they have other classes than the first.
    """

    def __init__(self, members: Sequence[Classifier]) -> None:
        self.members = members
        self.label_names = members[0].label_names
        for member in members:
            if member.label_names != self.label_names:
                names = (", ".join(names) for names in (self.label_names, member.label_names))
                raise InputError("checkpoint: classes differ, {} and {}; take checkpoints of one task".format(*names))

    def log_probabilities(self, texts: Sequence[str]) -> Tensor:
        """Of the classes, by each member, float32 `(members, N, classes)`."""
        return torch.stack([member.log_probabilities(texts) for member in self.members])

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Classifies texts, of any length, empty ones too."""
        if isinstance(texts, str):
            raise TypeError("texts: give a list of texts, not a single one")
        rows = averaged(self.log_probabilities(texts)).exp().tolist()
        return [
            Prediction(self.label_names[row.index(max(row))], dict(zip(self.label_names, row, strict=True)))
            for row in rows
        ]


def averaged(log_probabilities: Tensor) -> Tensor:
    """The logarithm of the members' mean probabilities: `(members, N, classes)` → `(N, classes)`."""
    return log_probabilities.logsumexp(0) - math.log(len(log_probabilities))


def load(path: str | Path) -> Classifier:
    """Opens a trained model, on a CUDA device if there is one.

    Args:
        path: a checkpoint, or a run's folder, whose tested weights are taken.

    Raises:
        InputError: there is no checkpoint, or it is damaged, of another program, or holds more than plain values.
    """
    file = _checkpoint(Path(path).expanduser())
    checkpoint = read_checkpoint(file)
    net = read_network(file, checkpoint)
    return Classifier(net.to("cuda" if torch.cuda.is_available() else "cpu"), checkpoint["hyper_parameters"]["text"])


def configuration(checkpoint: Path) -> DictConfig | None:
    """What the run was configured with that wrote a checkpoint, or whose folder is given; None where it is not there.

    Raises:
        InputError: it cannot be read.
    """
    folder = checkpoint if checkpoint.is_dir() else checkpoint.resolve().parents[1]
    settings = folder / ".hydra" / "config.yaml"
    if not settings.exists():
        return None
    try:
        cfg = OmegaConf.load(settings)
        assert isinstance(cfg, DictConfig)
        return cfg if {"data", "test"} <= cfg.keys() else None
    except Exception as error:  # of YAML's and OmegaConf's many
        raise InputError(f"{settings}: cannot be read ({type(error).__name__}); repair or remove it") from error


def _checkpoint(path: Path) -> Path:
    """The one that the test half saw, where `path` is a run's folder."""
    if not path.is_dir():
        return path
    run = configuration(path)
    checkpoint = path / "checkpoints" / ("last.ckpt" if run and run.test == "last" else "best.ckpt")
    if not checkpoint.exists():
        raise InputError(f"{path}: no run's folder, it has no checkpoints/{checkpoint.name}; name one in outputs/runs")
    return checkpoint
