"""The metrics of a classifier, and its predictions for every review of a split."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torchmetrics import AUROC, Accuracy, CalibrationError, ConfusionMatrix, Metric
from torchmetrics.utilities import dim_zero_cat

# Start of the tags; the name of the class follows.
METRICS_BY_CLASS = ("test/precision/", "test/recall/")


class Predictions(NamedTuple):
    """Predictions for the reviews of a split."""

    rows: npt.NDArray[np.int64]  # in the source, ascending, `(N,)`
    probabilities: npt.NDArray[np.float32]  # of the classes, `(N, classes)`


class ClassificationMetrics(nn.Module):
    """torchmetrics' metrics of a split, from all devices; each is computed once and starts anew.

    F1 and the balanced accuracy, which is the mean recall, are means over the classes. The expected calibration error
    (15 bins) is that of the most probable class, with two classes that of the second one.
    """

    def __init__(self, label_names: Sequence[str]) -> None:
        super().__init__()
        self.label_names = list(label_names)
        self.binary = len(label_names) == 2
        classes = len(label_names)
        task: Any = {"task": "binary" if self.binary else "multiclass", "num_classes": classes}
        self._batches = _Batches()
        self._accuracy = Accuracy(**task, average="micro")
        self._auroc = AUROC(**task)
        self._ece = CalibrationError(**task, n_bins=15)
        self._confusion = ConfusionMatrix(task="multiclass", num_classes=classes)

    def update(
        self, split: str, loss: Tensor, probabilities: Tensor, labels: Tensor, rows: Tensor
    ) -> None:
        """Add a batch of `val` or `test`: its mean loss, `(B, classes)`, true classes `(B,)`, row numbers `(B,)`."""
        scores = probabilities[:, 1] if self.binary else probabilities
        self._batches.update(loss, rows, probabilities)
        self._accuracy.update(scores, labels)
        self._confusion.update(probabilities.argmax(1), labels)
        if split == "test":
            self._auroc.update(scores, labels)
            self._ece.update(scores, labels)

    def compute(self, split: str) -> tuple[dict[str, Tensor], Predictions]:
        """Metrics of the split that was added by their tags in `metrics.json`, float32 scalars, and its predictions.

        Those that are undefined are NaN: the recall of a class without reviews, its precision if it was never predicted
        either, and the AUROC unless there are reviews of every class. Means are over the other classes. The precision
        of a class with reviews that was never predicted is 0.
        """
        precision, recall, f1, reviews = self._compute_by_class()
        loss_sum, rows, probabilities = _compute_and_reset(self._batches)
        values = {
            f"{split}/loss": loss_sum / reviews.sum(),
            f"{split}/accuracy": _compute_and_reset(self._accuracy),
            f"{split}/f1": f1.nanmean(),
            f"{split}/balanced_accuracy": recall.nanmean(),
        }
        if split == "test":
            defined = reviews.all()
            values["test/auroc"] = self._auroc.compute() if defined else f1.new_tensor(torch.nan)
            values["test/ece"] = _compute_and_reset(self._ece)
            self._auroc.reset()
            for tag, by_class in zip(METRICS_BY_CLASS, (precision, recall), strict=True):
                for name, value in zip(self.label_names, by_class, strict=True):
                    values[tag + name] = value
        order = rows.argsort()
        predictions = Predictions(rows[order].cpu().numpy(), probabilities[order].cpu().numpy())
        return values, predictions

    def _compute_by_class(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Precision, recall, F1 and number of reviews of each class, `(classes,)`."""
        confusion = _compute_and_reset(self._confusion)  # (classes, classes); rows are true classes
        reviews, predicted, correct = confusion.sum(1), confusion.sum(0), confusion.diag()
        precision = correct / torch.where(reviews > 0, predicted.clamp(min=1), predicted)
        return precision, correct / reviews, 2 * correct / (reviews + predicted), reviews


class _Batches(Metric):
    """Sum of the losses, float32, rows, int64 `(N,)`, and probabilities, float32 `(N, classes)`, of all batches.

    torchmetrics' aggregators cast them to the precision of the network, or to float32 once they were moved to a device:
    2**24 + 1 would be row 2**24.
    """

    loss_sum: Tensor
    rows: list[Tensor]
    probabilities: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("loss_sum", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("rows", [], dist_reduce_fx="cat")
        self.add_state("probabilities", [], dist_reduce_fx="cat")

    def update(self, loss: Tensor, rows: Tensor, probabilities: Tensor) -> None:
        self.loss_sum = self.loss_sum + loss * len(rows)  # unlike +=, promotes the type
        self.rows.append(rows)
        self.probabilities.append(probabilities)

    def compute(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.loss_sum, dim_zero_cat(self.rows), dim_zero_cat(self.probabilities)


def _compute_and_reset(metric: Metric) -> Any:
    value = metric.compute()
    metric.reset()
    return value
