"""Diagnostics of predictions in TensorBoard; `analysis/model_figures.py` draws the figures."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from torch.utils.tensorboard import SummaryWriter

from sentiment.analysis.model_figures import plot_confusion_matrix, plot_reliability_diagram
from sentiment.data.batching import PaddedReviews
from sentiment.data.datamodule import ReviewDataModule
from sentiment.data.encoding import read_vocabulary
from sentiment.model.module import SentimentModule
from sentiment.runtime.errors import check_at_least

MAX_CUT_TOKENS = 500  # tokens beyond maxlen that are shown of a review


@dataclass(eq=False)
class EvaluatedSplit:
    """The predictions of the latest validation or test, and where to write what is made of them.

    Attributes:
        writer: of TensorBoard.
        step: of the training.
        datamodule: where the reviews come from.
        split: `val` or `test`.
        rows: row numbers of the evaluated reviews, int64 `(N,)`.
        probabilities: of the classes, float32 `(N, classes)`.
    """

    writer: SummaryWriter
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
    def true_class_probability(self) -> npt.NDArray[np.float32]:
        """The predicted probability of each true class, float32 `(N,)`."""
        return self.probabilities[np.arange(len(self.rows)), self.labels]


def find_tensorboard_writer(trainer: Trainer) -> SummaryWriter | None:
    """Return the writer of the first TensorBoard logger; None if there is none, and on all ranks but the first."""
    loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    return loggers[0].experiment if loggers and trainer.is_global_zero else None


def get_evaluated_split(trainer: Trainer, module: LightningModule, split: str) -> EvaluatedSplit | None:
    """Return what was just evaluated; None without a TensorBoard writer and in Lightning's sanity check."""
    writer = find_tensorboard_writer(trainer)
    if writer is None or trainer.sanity_checking:
        return None
    datamodule: ReviewDataModule = trainer.datamodule  # type: ignore[attr-defined]  # set outside the Trainer's __init__
    return EvaluatedSplit(writer, trainer.global_step, datamodule, split, *cast(SentimentModule, module).predictions)


class PRCurves(Callback):
    """Precision-recall curves after every validation and the test: of the second of two classes, else of each class."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(get_evaluated_split(trainer, pl_module, "val"))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(get_evaluated_split(trainer, pl_module, "test"))

    def _write(self, evaluated: EvaluatedSplit | None) -> None:
        if evaluated:
            names = evaluated.label_names
            for label in range(1 if len(names) == 2 else 0, len(names)):
                tag = f"{evaluated.split}/{names[label]}"
                is_label, probabilities = evaluated.labels == label, evaluated.probabilities[:, label]
                evaluated.writer.add_pr_curve(tag, is_label, probabilities, evaluated.step)


class ReliabilityDiagram(Callback):
    """A reliability diagram (calibration) of the test set."""

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if evaluated := get_evaluated_split(trainer, pl_module, "test"):
            ece = float(trainer.callback_metrics["test/ece"])
            figure = plot_reliability_diagram(evaluated.labels, evaluated.probabilities, evaluated.label_names, ece)
            evaluated.writer.add_figure("test/reliability", figure, evaluated.step)


class ConfusionMatrix(Callback):
    """The confusion matrix of the test set."""

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if evaluated := get_evaluated_split(trainer, pl_module, "test"):
            predicted = evaluated.probabilities.argmax(1)
            figure = plot_confusion_matrix(evaluated.labels, predicted, evaluated.label_names)
            evaluated.writer.add_figure("test/confusion", figure, evaluated.step)


class MostWrongReviews(Callback):
    """The test reviews with the lowest predicted probability of their true class, as text.

    Args:
        count: number of reviews.
    """

    def __init__(self, count: int = 10) -> None:
        check_at_least(1, count=count)
        self.count = count

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if evaluated := get_evaluated_split(trainer, pl_module, "test"):
            words = read_vocabulary(evaluated.datamodule.folder)
            lines = ["In italics: cut off by maxlen.\n"]
            for i in evaluated.true_class_probability.argsort()[: self.count]:
                row, label = evaluated.rows[i], escape_markdown(evaluated.label_names[evaluated.labels[i]])
                probability = f"predicted p({label}) = {evaluated.true_class_probability[i]:.4f}"
                text = format_as_markdown(evaluated.reviews, row, words)
                lines.append(f"1. **true label: {label}, {probability}** (row {row}): {text}")
            evaluated.writer.add_text("test/most_wrong", "\n".join(lines), evaluated.step)


def format_as_markdown(reviews: PaddedReviews, row: int, words: Sequence[str]) -> str:
    """Return the tokens of a review; those that `maxlen` cuts off are in italics, and only the nearest 500 of them.

    Args:
        reviews: its split.
        row: its row number.
        words: all words of the data set in the order of their ids.
    """
    encoder = reviews.encoder
    ids = reviews.reviews.ids[reviews.reviews.offsets[row] : reviews.reviews.offsets[row + 1]]
    max_tokens = encoder.maxlen + MAX_CUT_TOKENS
    ids = ids[-max_tokens:] if encoder.truncating == "pre" else ids[:max_tokens]
    tokens = [escape_markdown(words[id_]) for id_ in ids]
    if len(tokens) > encoder.maxlen:
        cut = slice(-encoder.maxlen) if encoder.truncating == "pre" else slice(encoder.maxlen, None)
        tokens[cut] = [f"*{' '.join(tokens[cut])}*"]
    return " ".join(tokens)


def escape_markdown(text: str) -> str:
    """Replace the characters with a meaning in Markdown or HTML by HTML entities."""
    return re.sub(r"[\\`*_{}\[\]<>()#+.!|&$~-]", lambda found: f"&#{ord(found[0])};", text)
