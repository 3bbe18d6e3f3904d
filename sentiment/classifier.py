"""The public API: trained models that classify texts.

from sentiment import load

load("outputs/runs/2026-01-31_12-00-00").predict(["A slow start, but what an ending!"])
"""

import itertools
import math
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
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

UNSURE = "unsure"  # label of a text whose most probable class is less probable than required


class Prediction(NamedTuple):
    """The most probable class of a text, or `UNSURE`, and the probability of each class by its name."""

    label: str
    probabilities: dict[str, float]


class Classifier:
    """A trained model; it encodes texts as in training. Its network is in evaluation mode."""

    def __init__(self, net: Network, encoder: TextEncoder, label_names: Sequence[str]) -> None:
        self.net = net.eval()
        self.encoder = encoder
        self.label_names = list(label_names)

    @property
    def device(self) -> torch.device:
        return next(self.net.parameters()).device

    @property
    def output_names(self) -> list[str]:
        """The class that each logit stands for: the second of two classes, or all of them."""
        return self.label_names[-count_outputs(self.label_names) :]

    def predict(self, texts: Sequence[str], min_probability: float = 0.0) -> list[Prediction]:
        """Classify texts of any length, including empty ones; those of a lower probability are "unsure"."""
        if isinstance(texts, str):
            raise TypeError("texts: expected a list of strings, not a single string")
        return self.classify(self.encode(texts), min_probability)

    def classify(self, reviews: PaddedReviews, min_probability: float = 0.0) -> list[Prediction]:
        return _to_predictions(self.log_probabilities(reviews), self.label_names, min_probability)

    def encode(self, texts: Iterable[str]) -> PaddedReviews:
        return self.make_reviews([self.encoder.encode(text) for text in texts])

    def make_reviews(self, ids: Sequence[Sequence[int]]) -> PaddedReviews:
        """Reviews of these word ids, to be padded in batches."""
        offsets = np.cumsum([0, *map(len, ids)])
        flat = np.fromiter(itertools.chain.from_iterable(ids), np.int32, offsets[-1])
        rows = np.arange(len(ids))
        reviews = EncodedReviews(flat, offsets, labels=np.zeros_like(rows), rows=rows)
        return PaddedReviews(reviews, self.encoder)

    @torch.inference_mode()
    def logits(self, reviews: PaddedReviews) -> Tensor:
        """Logits for encoded texts, float32 `(N, C)` on the CPU; `C` is 1 for two classes."""
        logits = torch.empty(len(reviews), count_outputs(self.label_names))
        for positions in reviews.sampler() if len(reviews) else ():
            ids = torch.from_numpy(reviews.pad(positions))  # (B, T)
            logits[positions] = self.net(ids.to(self.device)).float().cpu()
        return logits

    def log_probabilities(self, reviews: PaddedReviews) -> Tensor:
        """Log-probabilities of the classes for encoded texts, float32 `(N, classes)`."""
        return log_probabilities(self.logits(reviews))

    def polarity(self, ids: Sequence[int]) -> Tensor:
        """How far each word alone moves the logits from those of an unknown word, float32 `(N, C)`."""
        logits = self.logits(self.make_reviews([[UNKNOWN], *([id_] for id_ in ids)]))
        return logits[1:] - logits[0]


class Ensemble:
    """Averages the probabilities of several classifiers, which have the same classes."""

    def __init__(self, members: Sequence[Classifier]) -> None:
        self.members = members
        self.label_names = members[0].label_names
        different = dict.fromkeys(tuple(member.label_names) for member in members)
        if len(different) > 1:
            listed = " and ".join(", ".join(names) for names in different)
            need = "all members of an ensemble need the same classes"
            raise InputError(f"checkpoint: {need}, not {listed}")

    def encode(self, texts: Sequence[str]) -> list[PaddedReviews]:
        """The texts as each member reads them."""
        return [member.encode(texts) for member in self.members]

    def classify(
        self, reviews: Sequence[PaddedReviews], min_probability: float = 0.0
    ) -> list[Prediction]:
        """Classify what `encode` returns."""
        average = average_probabilities(self.log_probabilities(reviews))
        return _to_predictions(average, self.label_names, min_probability)

    def log_probabilities(self, reviews: Sequence[PaddedReviews]) -> Tensor:
        """Log-probabilities by each member of what `encode` returns, float32 `(members, N, classes)`."""
        by_member = zip(self.members, reviews, strict=True)
        return torch.stack([member.log_probabilities(encoded) for member, encoded in by_member])


def average_probabilities(log_probabilities: Tensor) -> Tensor:
    """Logarithm of the members' mean probabilities: `(members, N, classes)` → `(N, classes)`."""
    return log_probabilities.logsumexp(0) - math.log(len(log_probabilities))


def _to_predictions(
    log_probabilities: Tensor, label_names: Sequence[str], min_probability: float
) -> list[Prediction]:
    predictions = []
    for row in log_probabilities.exp().tolist():
        label = label_names[row.index(max(row))] if max(row) >= min_probability else UNSURE
        predictions.append(Prediction(label, dict(zip(label_names, row, strict=True))))
    return predictions


def count_words(reviews: PaddedReviews) -> Counter[str]:
    """What `find_problems` needs to know about encoded texts; the counts of several add up."""
    counts: Counter[str] = Counter(texts=len(reviews))
    for ids in reviews.reviews:
        unknown = int((ids == UNKNOWN).sum())
        counts["wordless"] += unknown == len(ids)
        if len(ids) > 1:  # an empty text is a single unknown word
            counts.update(tokens=len(ids), unknown=unknown)
    return counts


def find_problems(counts: Mapping[str, int], encoder: TextEncoder) -> list[str]:
    """Why predictions for the texts that `count_words` counted may mean nothing, one line each."""
    problems = []
    share = counts["unknown"] / max(1, counts["tokens"])
    if share > MAX_UNKNOWN:
        unknown = f"{100 * share:.0f} % of the tokens are not in the vocabulary of the model"
        advice = "it has not learned to read such texts"
        problems.append(f"{unknown}, whose tokenizer is {encoder.tokenizer}; {advice}")
    if counts["wordless"]:
        empty = f"{counts['wordless']:,} of {counts['texts']:,} texts are empty or have no word"
        problems.append(f"{empty} that the model knows; the predictions for them mean nothing")
    return problems


def load(path: str | os.PathLike[str], trust: Collection[str] = ()) -> Classifier:
    """Load a trained model, onto a CUDA device if there is one.

    The path is that of a run, of which the tested checkpoint is taken, or of a checkpoint. `trust`
    names modules outside this package whose networks and tokenizers may be imported, which runs
    their code.
    """
    file = Path(path).expanduser()
    if file.is_dir():
        run = RunFolder(file)
        file = run.tested_checkpoint
        run.check_contains(file)
    net, encoder, label_names = restore_model(file, read_checkpoint(file), trust)
    return Classifier(net.to("cuda" if torch.cuda.is_available() else "cpu"), encoder, label_names)
