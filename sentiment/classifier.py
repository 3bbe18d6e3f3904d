"""The public API: trained models that classify texts.

from sentiment import load

load("outputs/runs/2026-01-31_12-00-00").predict(["A slow start, but what an ending!"])
"""

import itertools
import math
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sentiment.data.batching import PaddedReviews
from sentiment.data.encoding import EncodedReviews
from sentiment.data.text import MAX_UNKNOWN, UNKNOWN, TextEncoder
from sentiment.model.checkpoint import read_checkpoint, restore_model
from sentiment.model.network import Network, count_outputs, log_probabilities
from sentiment.runtime.errors import InputError
from sentiment.runtime.run_folder import RunFolder


class Prediction(NamedTuple):
    """A prediction for one text.

    Attributes:
        label: name of the most probable class.
        probabilities: by the name of the class.
    """

    label: str
    probabilities: dict[str, float]


class Classifier:
    """A trained model; it encodes texts as in training.

    Args:
        net: a trained network.
        encoder: how a text becomes word ids.
        label_names: names of the classes.

    Attributes:
        net: in evaluation mode.
        encoder: as given.
        label_names: as given.
        token_count: tokens that were read so far.
        unknown_count: those of them that are not in the vocabulary.
    """

    def __init__(self, net: Network, encoder: TextEncoder, label_names: Sequence[str]) -> None:
        self.net = net.eval()
        self.encoder = encoder
        self.label_names = list(label_names)
        self.token_count = self.unknown_count = 0

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.net.parameters()).device

    @property
    def output_names(self) -> list[str]:
        """The class that each logit stands for: the second of two classes, or all of them."""
        return self.label_names[-count_outputs(self.label_names) :]

    def encode(self, texts: Iterable[str]) -> PaddedReviews:
        """Encode texts, to be padded in batches."""
        ids = [self.encoder.encode(text) for text in texts]
        self.token_count += sum(map(len, ids))
        self.unknown_count += sum(row.count(UNKNOWN) for row in ids)
        return self.make_reviews(ids)

    def make_reviews(self, ids: Sequence[Sequence[int]]) -> PaddedReviews:
        """Reviews of these word ids, to be padded in batches."""
        offsets = np.cumsum([0, *map(len, ids)])
        flat = np.fromiter(itertools.chain.from_iterable(ids), np.int32, offsets[-1])
        rows = np.arange(len(ids))
        return PaddedReviews(EncodedReviews(flat, offsets, labels=np.zeros_like(rows), rows=rows), self.encoder)

    @torch.inference_mode()
    def logits(self, reviews: PaddedReviews) -> Tensor:
        """Logits for encoded texts, float32 `(N, C)` on the CPU; `C` is 1 for two classes."""
        logits = torch.empty(len(reviews), count_outputs(self.label_names))
        for positions in reviews.eval_sampler() if len(reviews) else ():
            ids = torch.from_numpy(reviews.pad(positions))  # (B, T)
            logits[positions] = self.net(ids.to(self.device)).float().cpu()
        return logits

    def log_probabilities(self, texts: Sequence[str]) -> Tensor:
        """Log-probabilities of the classes, float32 `(N, classes)`."""
        return log_probabilities(self.logits(self.encode(texts)))

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Classify texts of any length, including empty ones."""
        return Ensemble([self]).predict(texts)

    def polarity(self, ids: Sequence[int]) -> Tensor:
        """How far each word alone moves the logits from those of an unknown word alone, float32 `(N, C)`."""
        logits = self.logits(self.make_reviews([[UNKNOWN], *([id_] for id_ in ids)]))
        return logits[1:] - logits[0]


class Ensemble:
    """Averages the probabilities of several classifiers.

    Args:
        members: at least one.

    Raises:
        InputError: they have different classes.
    """

    def __init__(self, members: Sequence[Classifier]) -> None:
        self.members = members
        self.label_names = members[0].label_names
        for member in members:
            if member.label_names != self.label_names:
                first, other = (", ".join(names) for names in (self.label_names, member.label_names))
                raise InputError(
                    f"checkpoint: all members of an ensemble need the same classes, not {first} and {other}"
                )

    def log_probabilities(self, texts: Sequence[str]) -> Tensor:
        """Log-probabilities of the classes by each member, float32 `(members, N, classes)`."""
        return torch.stack([member.log_probabilities(texts) for member in self.members])

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Classify texts of any length, including empty ones.

        Raises:
            TypeError: a single string instead of a list.
        """
        if isinstance(texts, str):
            raise TypeError("texts: expected a list of strings, not a single string")
        rows = average_probabilities(self.log_probabilities(texts)).exp().tolist()
        return [
            Prediction(self.label_names[row.index(max(row))], dict(zip(self.label_names, row, strict=True)))
            for row in rows
        ]

    def find_problems(self) -> list[str]:
        """What may be wrong with the texts that were read so far, one line each."""
        first = self.members[0]
        unknown = first.unknown_count / max(1, first.token_count)
        if unknown <= MAX_UNKNOWN:
            return []
        return [
            f"{unknown:.0%} of the tokens are not in the vocabulary of the model, whose tokenizer is "
            f"{first.encoder.tokenize}; it has not learned to read such texts"
        ]


def average_probabilities(log_probabilities: Tensor) -> Tensor:
    """Logarithm of the members' mean probabilities: `(members, N, classes)` → `(N, classes)`."""
    return log_probabilities.logsumexp(0) - math.log(len(log_probabilities))


def load(path: str | Path, trust: Collection[str] = ()) -> Classifier:
    """Load a trained model, onto a CUDA device if there is one.

    Args:
        path: a run directory, of which the tested checkpoint is taken, or a checkpoint.
        trust: modules outside this package whose networks and tokenizers may be imported, which runs their code.

    Raises:
        InputError: there is no checkpoint, or it is damaged, of another program, or holds more than plain values.
    """
    file = Path(path).expanduser()
    if file.is_dir():
        run = RunFolder(file)
        cfg = run.read_config()
        file = run.selected_checkpoint(cfg.get("test_ckpt") if cfg else None)
        run.check_contains(file)
    net, encoder, label_names = restore_model(file, read_checkpoint(file), trust)
    return Classifier(net.to("cuda" if torch.cuda.is_available() else "cpu"), encoder, label_names)
