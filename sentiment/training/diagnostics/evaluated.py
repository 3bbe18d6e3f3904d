"""What was just evaluated, and where diagnostics write what they make of it."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from torch.utils.tensorboard import SummaryWriter

from sentiment.classifier import Classifier
from sentiment.data.datamodule import ReviewDataModule
from sentiment.data.encoded.batching import PaddedReviews
from sentiment.model.module import SentimentModule
from sentiment.model.network import Network
from sentiment.training.loggers import PLOTTING

MAX_CLASSES = 10  # that have a curve or a plot of their own


@dataclass(eq=False)
class EvaluatedSplit:
    """The predictions of the latest validation or test."""

    loggers: Sequence[Logger]  # those that take plots and texts
    step: int  # of the training
    datamodule: ReviewDataModule
    net: Network
    split: str  # `val` or `test`
    rows: npt.NDArray[np.int64]  # numbers of the evaluated reviews, (N,)
    probabilities: npt.NDArray[np.float32]  # (N, classes)

    @property
    def classifier(self) -> Classifier:
        """The network with what it needs to read texts."""
        return Classifier(self.net, self.datamodule.encoder, self.label_names)

    @property
    def label_names(self) -> list[str]:
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
    def predicted(self) -> npt.NDArray[np.int64]:
        """Predicted classes, int64 `(N,)`."""
        predicted: npt.NDArray[np.int64] = self.probabilities.argmax(1)
        return predicted

    @property
    def shown_classes(self) -> list[int]:
        """All classes, or the most frequent ones of more than `MAX_CLASSES`."""
        counts = np.bincount(self.labels, minlength=len(self.label_names))
        return sorted((-counts).argsort(kind="stable")[:MAX_CLASSES].tolist())

    @property
    def true_class_probability(self) -> npt.NDArray[np.float32]:
        """The predicted probability of each true class, float32 `(N,)`."""
        return self.probabilities[np.arange(len(self.rows)), self.labels]


def find_writer(loggers: Sequence[Logger]) -> SummaryWriter | None:
    """The writer of the first TensorBoard logger."""
    return next((o.experiment for o in loggers if isinstance(o, TensorBoardLogger)), None)


def describe_origin(review: Mapping[str, Any]) -> str:
    """Where a row of `ReviewDataModule.select_reviews` comes from."""
    id_ = f", id {review['id']}" if "id" in review else ""
    return f"{review['file']}, row {review['row']}{id_}"


class TestDiagnostic(Callback):
    """Writes something of the test set, if a logger takes plots and texts, on the first rank."""

    __test__ = False  # its name begins like that of a test

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.write_split(trainer, pl_module, "test")

    def write_split(self, trainer: Trainer, pl_module: LightningModule, split: str) -> None:
        """Call `write`, but not in Lightning's sanity check."""
        loggers = [logger for logger in trainer.loggers if isinstance(logger, PLOTTING)]
        if not loggers or trainer.sanity_checking or not trainer.is_global_zero:
            return
        datamodule: ReviewDataModule = trainer.datamodule  # type: ignore[attr-defined]  # set outside the Trainer's __init__
        module, step = cast(SentimentModule, pl_module), trainer.global_step
        rows, probabilities = module.predictions
        self.write(
            EvaluatedSplit(loggers, step, datamodule, module.net, split, rows, probabilities)
        )

    @abstractmethod
    def write(self, evaluated: EvaluatedSplit) -> None:
        """Write it."""
