"""The metrics of a classifier, and its predictions for every review of a split."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torchmetrics import AUROC, Accuracy, CalibrationError, CatMetric, ConfusionMatrix, Metric, MetricCollection

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
    """torchmetrics' metrics, by their tags in `metrics.json`.

    F1 and the balanced accuracy, which is the mean recall, are means over the classes. The expected calibration error
    (15 bins) is that of the most probable class, with two classes that of the second one.

    Args:
        label_names: names of the classes, at least 2.
    """

    def __init__(self, label_names: Sequence[str]) -> None:
        super().__init__()
        self.label_names = list(label_names)
        self.binary = len(label_names) == 2
        task: dict[str, Any] = {"task": "binary" if self.binary else "multiclass", "num_classes": len(label_names)}
        self.val = MetricCollection({"val/accuracy": Accuracy(**task, average="micro")})
        self.test = MetricCollection(
            {
                "test/accuracy": Accuracy(**task, average="micro"),
                "test/auroc": AUROC(**task),
                "test/ece": CalibrationError(**task, n_bins=15),
            },
            compute_groups=False,
        )
        self._confusion = ConfusionMatrix(task="multiclass", num_classes=len(label_names))
        self._rows = CatMetric(nan_strategy="disable").set_dtype(torch.float64)  # exact for any row number
        self._probabilities = CatMetric(nan_strategy="disable")

    def update(self, split: str, probabilities: Tensor, labels: Tensor, rows: Tensor) -> None:
        """Add a batch.

        Args:
            split: `val` or `test`.
            probabilities: of the classes, float `(B, classes)`.
            labels: true classes, int64 `(B,)`.
            rows: row numbers, int64 `(B,)`.
        """
        getattr(self, split).update(probabilities[:, 1] if self.binary else probabilities, labels)
        self._confusion.update(probabilities.argmax(1), labels)
        self._rows.update(rows)
        self._probabilities.update(probabilities)

    def compute_val(self) -> dict[str, Tensor]:
        """F1 and balanced accuracy of the validation set since the last call, from all devices; float32 scalars."""
        _, recall, f1, _ = self._compute_by_class()
        return {"val/f1": f1.nanmean(), "val/balanced_accuracy": recall.nanmean()}

    def compute_test(self) -> dict[str, Tensor]:
        """The metrics of the test set since the last call, from all devices.

        Those that are undefined are NaN: the recall of a class without reviews, its precision if it was never predicted
        either, and the AUROC unless there are reviews of every class. Means are over the other classes. The precision
        of a class with reviews that was never predicted is 0.

        Returns:
            Float32 scalars by tag; those of a class end in its name.
        """
        precision, recall, f1, reviews = self._compute_by_class()
        values = {"test/f1": f1.nanmean(), "test/balanced_accuracy": recall.nanmean()}
        for tag, metric in self.test.items():
            values[tag] = metric.compute() if tag != "test/auroc" or reviews.all() else f1.new_tensor(torch.nan)
        self.test.reset()
        for tag, by_class in zip(METRICS_BY_CLASS, (precision, recall), strict=True):
            values |= {f"{tag}{name}": value for name, value in zip(self.label_names, by_class, strict=True)}
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
