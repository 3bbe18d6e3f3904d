"""The public API: trained models that classify texts.

from sentiment import load

load("outputs/runs/2026-01-31_12-00-00").predict(["A slow start, but what an ending!"])
"""

import itertools
import math
import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sentiment.data.encoded.batching import PaddedReviews
from sentiment.data.encoded.store import EncodedReviews
from sentiment.data.text.vocabulary import MAX_UNKNOWN, UNKNOWN, TextEncoder
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
    """

    def __init__(self, net: Network, encoder: TextEncoder, label_names: Sequence[str]) -> None:
        self.net = net.eval()
        self.encoder = encoder
        self.label_names = list(label_names)

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
        return self.make_reviews([self.encoder.encode(text) for text in texts])

    def make_reviews(self, ids: Sequence[Sequence[int]]) -> PaddedReviews:
        """Reviews of these word ids, to be padded in batches."""
        offsets = np.cumsum([0, *map(len, ids)])
        flat = np.fromiter(itertools.chain.from_iterable(ids), np.int32, offsets[-1])
        rows = np.arange(len(ids))
        return PaddedReviews(
            EncodedReviews(flat, offsets, labels=np.zeros_like(rows), rows=rows), self.encoder
        )

    @torch.inference_mode()
    def logits(self, reviews: PaddedReviews) -> Tensor:
        """Logits for encoded texts, float32 `(N, C)` on the CPU; `C` is 1 for two classes."""
        logits = torch.empty(len(reviews), count_outputs(self.label_names))
        for positions in reviews.eval_sampler() if len(reviews) else ():
            ids = torch.from_numpy(reviews.pad(positions))  # (B, T)
            logits[positions] = self.net(ids.to(self.device)).float().cpu()
        return logits

    def log_probabilities(self, reviews: PaddedReviews) -> Tensor:
        """Log-probabilities of the classes for encoded texts, float32 `(N, classes)`."""
        return log_probabilities(self.logits(reviews))

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Classify texts of any length, including empty ones."""
        return Ensemble([self]).predict(texts)

    def find_problems(self, texts: Sequence[str]) -> list[str]:
        """Why predictions for texts may mean nothing, one line each."""
        check = TextCheck(self.encoder)
        check.add(self.encode(texts))
        return check.find_problems()

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
                first, other = (
                    ", ".join(names) for names in (self.label_names, member.label_names)
                )
                raise InputError(
                    f"checkpoint: all members of an ensemble need the same classes, not {first} and {other}"
                )

    def log_probabilities(self, texts: Sequence[str], check: "TextCheck | None" = None) -> Tensor:
        """Log-probabilities of the classes by each member, float32 `(members, N, classes)`.

        Args:
            texts: `N` texts.
            check: gets the texts as the first member reads them.
        """
        encoded = [member.encode(texts) for member in self.members]
        if check:
            check.add(encoded[0])
        by_member = zip(self.members, encoded, strict=True)
        return torch.stack([member.log_probabilities(reviews) for member, reviews in by_member])

    def predict(self, texts: Sequence[str], check: "TextCheck | None" = None) -> list[Prediction]:
        """Classify texts of any length, including empty ones.

        Args:
            texts: `N` texts.
            check: see `log_probabilities`.

        Raises:
            TypeError: a single string instead of a list.
        """
        if isinstance(texts, str):
            raise TypeError("texts: expected a list of strings, not a single string")
        rows = average_probabilities(self.log_probabilities(texts, check)).exp().tolist()
        return [
            Prediction(
                self.label_names[row.index(max(row))], dict(zip(self.label_names, row, strict=True))
            )
            for row in rows
        ]


class TextCheck:
    """Finds out whether a model knows the words of the texts that it reads.

    Args:
        encoder: of the model.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        self._tokenizer = encoder.tokenizer
        self._texts = self._wordless = self._tokens = self._unknown = 0

    def add(self, reviews: PaddedReviews) -> None:
        """Count the words of further texts."""
        for ids in reviews.reviews:
            unknown = int((ids == UNKNOWN).sum())
            self._texts += 1
            self._wordless += unknown == len(ids)
            if len(ids) > 1:  # an empty text is a single unknown word
                self._tokens += len(ids)
                self._unknown += unknown

    def find_problems(self) -> list[str]:
        """Why predictions for the texts may mean nothing, one line each."""
        problems = []
        share = self._unknown / max(1, self._tokens)
        if share > MAX_UNKNOWN:
            problems.append(
                f"{share:.0%} of the tokens are not in the vocabulary of the model, whose tokenizer is "
                f"{self._tokenizer}; it has not learned to read such texts"
            )
        if self._wordless:
            problems.append(
                f"{self._wordless:,} of {self._texts:,} texts are empty or have no word that the model knows; "
                "the predictions for them mean nothing"
            )
        return problems


def average_probabilities(log_probabilities: Tensor) -> Tensor:
    """Logarithm of the members' mean probabilities: `(members, N, classes)` → `(N, classes)`."""
    return log_probabilities.logsumexp(0) - math.log(len(log_probabilities))


def load(path: str | os.PathLike[str], trust: Collection[str] = ()) -> Classifier:
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
