"""The metrics of a classifier, and its predictions for every review of a split."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torchmetrics import AUROC, Accuracy, CalibrationError, CatMetric, F1Score, Metric, MetricCollection


class Predictions(NamedTuple):
    """Predictions for the reviews of a split.

    Attributes:
        rows: row number of each review in its source, int64 `(N,)`, ascending.
        probabilities: of the classes, float32 `(N, classes)`.
    """

    rows: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float32]


class ClassificationMetrics(nn.Module):
    """torchmetrics' metrics, by the tags that TensorBoard shows.

    With two classes, F1 is that of the second class and the expected calibration error (15 bins) that of its
    probability; with more, F1 is the mean over the classes, and calibration that of the most probable class.

    Args:
        num_classes: number of classes, at least 2.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.binary = num_classes == 2
        task: dict[str, Any] = {"task": "binary" if self.binary else "multiclass", "num_classes": num_classes}
        self.val = MetricCollection({"val/accuracy": Accuracy(**task, average="micro")})
        self.test = MetricCollection(
            {
                "test/accuracy": Accuracy(**task, average="micro"),
                "test/auroc": AUROC(**task),
                "test/f1": F1Score(**task, average="macro"),
                "test/ece": CalibrationError(**task, n_bins=15),
            },
            compute_groups=False,
        )
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
        self._rows.update(rows)
        self._probabilities.update(probabilities)

    def gather_predictions(self) -> Predictions:
        """The predictions since the last call, from all devices."""
        rows, probabilities = (_compute_and_reset(metric) for metric in (self._rows, self._probabilities))
        order = rows.argsort()
        return Predictions(rows[order].long().cpu().numpy(), probabilities[order].float().cpu().numpy())


def _compute_and_reset(metric: Metric) -> Tensor:
    value: Tensor = metric.compute()
    metric.reset()
    return value
