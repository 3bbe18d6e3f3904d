"""Accuracy of the answers that are sure enough, over the share of the texts that get one."""

import numpy as np
import numpy.typing as npt

from sentiment.analysis.evaluation_tables import format_columns
from sentiment.analysis.figures.fonts import GREY, Figure

THRESHOLDS = (0.0, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


class Coverage:
    """Of predictions with probabilities `(N, classes)` for texts of classes `(N,)`."""

    def __init__(self, probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]):
        self.sureness = probabilities.max(1)  # (N,)
        self.is_correct = probabilities.argmax(1) == labels

    def at(self, threshold: float) -> tuple[float, float]:
        """The share of the texts whose most probable class is at least so probable, and their accuracy or NaN."""
        covered = self.is_correct[self.sureness >= threshold]
        accuracy = float(covered.mean()) if len(covered) else float("nan")
        return len(covered) / len(self.is_correct), accuracy

    def format_table(self, threshold: float | None) -> str:
        """A line per threshold: its coverage, and the accuracy of the texts that are covered."""
        thresholds = sorted({*THRESHOLDS, *([] if threshold is None else [threshold])})
        shares = [self.at(one) for one in thresholds]
        columns = {
            "min_probability": [f"{one:g}" for one in thresholds],
            "coverage": [f"{100 * covered:.2f}" for covered, _ in shares],
            "accuracy": ["–" if np.isnan(one) else f"{100 * one:.2f}" for _, one in shares],
        }
        return format_columns("Answers that are sure, in per cent", columns)

    def draw(self, threshold: float | None) -> Figure:
        """Accuracy over coverage, the most sure texts first, and where the threshold is."""
        order = np.argsort(-self.sureness, kind="stable")
        counts = np.arange(1, len(order) + 1)
        accuracy = self.is_correct[order].cumsum() / counts
        figure = Figure(figsize=(6, 3.6), layout="constrained")
        axis = figure.subplots()
        first = len(order) // 100  # of fewer the accuracy says little
        axis.plot(100 * counts[first:] / len(order), 100 * accuracy[first:], color="C0")
        if threshold is not None:
            covered, accuracy_there = self.at(threshold)
            label = f"min_probability={threshold:g}"
            axis.plot(100 * covered, 100 * accuracy_there, "o", color="C1", label=label)
            axis.legend(frameon=False)
        axis.axhline(100 * self.is_correct.mean(), color=GREY, linestyle="--")
        axis.set(xlabel="texts with an answer, %", ylabel="accuracy of these, %", xlim=(0, 101))
        axis.grid(alpha=0.3)
        return figure
