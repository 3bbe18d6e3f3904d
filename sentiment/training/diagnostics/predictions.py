"""Diagnostics of predictions for the loggers; `analysis/figures/model.py` draws the figures."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from torch.utils.tensorboard import SummaryWriter

from sentiment.analysis.figures.model import plot_confusion_matrix, plot_reliability_diagram
from sentiment.data.datamodule import ReviewDataModule
from sentiment.data.encoded.batching import PaddedReviews
from sentiment.data.text.vocabulary import TextEncoder
from sentiment.model.module import SentimentModule
from sentiment.runtime.cli import escape_control_chars
from sentiment.runtime.errors import check_at_least
from sentiment.training.loggers import PLOTTING, log_markdown, log_plot

MAX_CLASSES = 10  # that have a curve or a plot of their own
MAX_CHARS = 5000  # that are shown of a review


@dataclass(eq=False)
class EvaluatedSplit:
    """The predictions of the latest validation or test, and where to write what is made of them.

    Attributes:
        loggers: those that take plots and texts.
        step: of the training.
        datamodule: where the reviews come from.
        split: `val` or `test`.
        rows: row numbers of the evaluated reviews, int64 `(N,)`.
        probabilities: of the classes, float32 `(N, classes)`.
    """

    loggers: Sequence[Logger]
    step: int
    datamodule: ReviewDataModule
    split: str
    rows: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float32]

    @property
    def label_names(self) -> list[str]:
        """Names of the classes."""
        return self.datamodule.label_names

    @property
    def reviews(self) -> PaddedReviews:
        """All reviews of the split."""
        return self.datamodule.splits[self.split]

    @property
    def positions(self) -> npt.NDArray[np.int64]:
        """Positions of the evaluated reviews in `reviews`, int64 `(N,)`."""
        return np.searchsorted(self.reviews.reviews.rows, self.rows)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """True classes, int64 `(N,)`."""
        return self.reviews.reviews.labels[self.rows]

    @property
    def shown_classes(self) -> list[int]:
        """All classes, or the most frequent ones of more than `MAX_CLASSES`."""
        counts = np.bincount(self.labels, minlength=len(self.label_names))
        return sorted((-counts).argsort(kind="stable")[:MAX_CLASSES].tolist())

    @property
    def true_class_probability(self) -> npt.NDArray[np.float32]:
        """The predicted probability of each true class, float32 `(N,)`."""
        return self.probabilities[np.arange(len(self.rows)), self.labels]


def find_tensorboard_writer(trainer: Trainer) -> SummaryWriter | None:
    """Return the writer of the first TensorBoard logger; None if there is none, and on all ranks but the first."""
    loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    return loggers[0].experiment if loggers and trainer.is_global_zero else None


def get_evaluated_split(
    trainer: Trainer, module: LightningModule, split: str
) -> EvaluatedSplit | None:
    """Return what was just evaluated.

    None if no logger takes plots and texts, in Lightning's sanity check, and on all ranks but the first.
    """
    loggers = [logger for logger in trainer.loggers if isinstance(logger, PLOTTING)]
    if not loggers or trainer.sanity_checking or not trainer.is_global_zero:
        return None
    datamodule: ReviewDataModule = trainer.datamodule  # type: ignore[attr-defined]  # set outside the Trainer's __init__
    return EvaluatedSplit(
        loggers, trainer.global_step, datamodule, split, *cast(SentimentModule, module).predictions
    )


class PRCurves(Callback):
    """Precision-recall curves after every validation and the test, in TensorBoard.

    They are of the second of two classes, else of each class, and of the most frequent ones of more than `MAX_CLASSES`.
    """

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer, pl_module, "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer, pl_module, "test")

    def _write(self, trainer: Trainer, module: LightningModule, split: str) -> None:
        writer, evaluated = (
            find_tensorboard_writer(trainer),
            get_evaluated_split(trainer, module, split),
        )
        if writer and evaluated:
            names = evaluated.label_names
            for label in [1] if len(names) == 2 else evaluated.shown_classes:
                is_label, probabilities = (
                    evaluated.labels == label,
                    evaluated.probabilities[:, label],
                )
                writer.add_pr_curve(
                    f"{split}/{names[label]}", is_label, probabilities, evaluated.step
                )


class ReliabilityDiagram(Callback):
    """A reliability diagram (calibration) of the test set."""

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if evaluated := get_evaluated_split(trainer, pl_module, "test"):
            ece = float(trainer.callback_metrics["test/ece"])
            figure = plot_reliability_diagram(
                evaluated.labels, evaluated.probabilities, evaluated.label_names, ece
            )
            log_plot(evaluated.loggers, "test/reliability", figure, evaluated.step)


class ConfusionMatrix(Callback):
    """The confusion matrix of the test set."""

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if evaluated := get_evaluated_split(trainer, pl_module, "test"):
            predicted = evaluated.probabilities.argmax(1)
            figure = plot_confusion_matrix(evaluated.labels, predicted, evaluated.label_names)
            log_plot(evaluated.loggers, "test/confusion", figure, evaluated.step)


class MostWrongReviews(Callback):
    """The wrongly classified test reviews with the lowest predicted probability of their true class, as text.

    Args:
        count: maximum number of reviews.
    """

    def __init__(self, count: int = 10) -> None:
        check_at_least(1, count=count)
        self.count = count

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if evaluated := get_evaluated_split(trainer, pl_module, "test"):
            text = list_most_wrong(evaluated, self.count)
            log_markdown(evaluated.loggers, "test/most_wrong", text, evaluated.step)


def list_most_wrong(evaluated: EvaluatedSplit, count: int) -> str:
    """List the wrongly classified reviews with the lowest probability of their true class, in Markdown."""
    names = [escape_markdown(name) for name in evaluated.label_names]
    predicted = evaluated.probabilities.argmax(1)
    wrong = np.flatnonzero(predicted != evaluated.labels)
    chosen = wrong[evaluated.true_class_probability[wrong].argsort(kind="stable")][:count]
    if not len(wrong):
        return f"None of the {len(evaluated.rows):,} test reviews is classified wrongly."
    encoder = evaluated.datamodule.encoder
    end = "last" if encoder.truncating == "pre" else "first"
    lines = [
        f"{len(wrong):,} of {len(evaluated.rows):,} test reviews are classified wrongly. Listed: {len(chosen):,}, the "
        f"lowest probability of the true class first. The model reads the {end} {encoder.maxlen:,} tokens of a "
        "review, which are shown.\n"
    ]
    for i, review in zip(
        chosen, evaluated.datamodule.select_reviews(evaluated.rows[chosen]), strict=True
    ):
        label, prediction = (
            f"{names[k]}, p = {evaluated.probabilities[i, k]:.4f}"
            for k in (evaluated.labels[i], predicted[i])
        )
        origin, text = (
            escape_markdown(describe_origin(review)),
            format_review(encoder, review["text"]),
        )
        lines.append(f"1. **true label: {label}; predicted: {prediction}** ({origin}): {text}")
    return "\n".join(lines)


def describe_origin(review: Mapping[str, Any]) -> str:
    """Return where a row of `ReviewDataModule.select_reviews` comes from."""
    return f"{review['file']}, row {review['row']}" + (
        f", id {review['id']}" if "id" in review else ""
    )


def format_review(encoder: TextEncoder, text: str) -> str:
    """Return what the model reads of a review, in Markdown on one line.

    It is the text or, of a review longer than `maxlen`, the tokens that are kept; at most `MAX_CHARS` characters.
    """
    tokens, kept = encoder.split(text)
    is_cut = len(tokens) > encoder.maxlen
    read = " ".join(tokens[kept] if is_cut else text.split())
    if encoder.truncating == "pre":
        return ("… " if is_cut else "") + escape_markdown(read[-MAX_CHARS:])
    return escape_markdown(read[:MAX_CHARS]) + (" …" if is_cut else "")


def escape_markdown(text: str) -> str:
    """Escape control characters, and replace those with a meaning in Markdown or HTML by HTML entities."""
    return re.sub(
        r"[\\`*_{}\[\]<>()#+.!|&$~-]",
        lambda found: f"&#{ord(found[0])};",
        escape_control_chars(text),
    )
