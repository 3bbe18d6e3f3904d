"""The metrics of a classifier, and its predictions for every review of a split."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torchmetrics import (
    AUROC,
    Accuracy,
    CalibrationError,
    CatMetric,
    ConfusionMatrix,
    Metric,
    MetricCollection,
    SumMetric,
)

METRICS_BY_CLASS = ("test/precision/", "test/recall/")  # start of the tags; the name of the class follows


class Predictions(NamedTuple):
    """Predictions for the reviews of a split.

    Attributes:
        rows: row number of each review in its source, int64 `(N,)`, ascending.
        probabilities: of the classes, float32 `(N, classes)`.
    """

    rows: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float32]


class ClassificationMetrics(nn.Module):
    """torchmetrics' metrics of a split, from all devices; each is computed once and starts anew.

    F1 and the balanced accuracy, which is the mean recall, are means over the classes. The expected
    calibration error (15 bins) is that of the most probable class, with two classes that of the
    second one.

    Args:
        label_names: names of the classes, at least 2.
    """

    def __init__(self, label_names: Sequence[str]) -> None:
        super().__init__()
        self.label_names = list(label_names)
        self.binary = len(label_names) == 2
        task = {"task": "binary" if self.binary else "multiclass", "num_classes": len(label_names)}
        self._loss_sum = SumMetric(nan_strategy="disable")  # MeanMetric would drop the weights then
        self._accuracy = Accuracy(**task, average="micro")
        self._test = MetricCollection(
            {"auroc": AUROC(**task), "ece": CalibrationError(**task, n_bins=15)}, compute_groups=False
        )
        self._confusion = ConfusionMatrix(task="multiclass", num_classes=len(label_names))
        self._rows = CatMetric(nan_strategy="disable").set_dtype(torch.float64)  # exact for any row number
        self._probabilities = CatMetric(nan_strategy="disable")

    def update(self, split: str, loss: Tensor, probabilities: Tensor, labels: Tensor, rows: Tensor) -> None:
        """Add a batch.

        Args:
            split: `val` or `test`.
            loss: mean of the batch, a float scalar.
            probabilities: of the classes, float `(B, classes)`.
            labels: true classes, int64 `(B,)`.
            rows: row numbers, int64 `(B,)`.
        """
        scores = probabilities[:, 1] if self.binary else probabilities
        self._loss_sum.update(loss * len(labels))
        self._accuracy.update(scores, labels)
        self._confusion.update(probabilities.argmax(1), labels)
        self._rows.update(rows)
        self._probabilities.update(probabilities)
        if split == "test":
            self._test.update(scores, labels)

    def compute(self, split: str) -> dict[str, Tensor]:
        """The metrics of the split that was added, `val` or `test`.

        Those that are undefined are NaN: the recall of a class without reviews, its precision if it
        was never predicted either, and the AUROC unless there are reviews of every class. Means are
        over the other classes. The precision of a class with reviews that was never predicted is 0.

        Returns:
            Float32 scalars by their tags in `metrics.json`; those of a class end in its name.
        """
        precision, recall, f1, reviews = self._compute_by_class()
        values = {
            f"{split}/loss": _compute_and_reset(self._loss_sum) / reviews.sum(),
            f"{split}/accuracy": _compute_and_reset(self._accuracy),
            f"{split}/f1": f1.nanmean(),
            f"{split}/balanced_accuracy": recall.nanmean(),
        }
        if split == "test":
            nan = f1.new_tensor(torch.nan)
            auroc, ece = self._test["auroc"], self._test["ece"]
            values["test/auroc"] = auroc.compute() if reviews.all() else nan
            values["test/ece"] = ece.compute()
            self._test.reset()
            for tag, by_class in zip(METRICS_BY_CLASS, (precision, recall), strict=True):
                values |= {tag + name: value for name, value in zip(self.label_names, by_class, strict=True)}
        return values

    def _compute_by_class(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Precision, recall, F1 and number of reviews of each class, `(classes,)`."""
        confusion = _compute_and_reset(self._confusion)  # (classes, classes); rows are true classes
        reviews, predicted, correct = confusion.sum(1), confusion.sum(0), confusion.diag()
        precision = correct / torch.where(reviews > 0, predicted.clamp(min=1), predicted)
        return precision, correct / reviews, 2 * correct / (reviews + predicted), reviews

    def gather_predictions(self) -> Predictions:
        """The predictions since the last call, from all devices."""
        rows, probabilities = (_compute_and_reset(metric) for metric in (self._rows, self._probabilities))
        order = rows.argsort()
        return Predictions(rows[order].long().cpu().numpy(), probabilities[order].float().cpu().numpy())


def _compute_and_reset(metric: Metric) -> Tensor:
    value: Tensor = metric.compute()
    metric.reset()
    return value
