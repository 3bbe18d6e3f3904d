"""Figures that look into one model: its gates, its errors, its calibration."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix

from sentiment.errors import printable
from sentiment.model.gates import Gates

FOR, AGAINST = "#2166ac", "#b2182b"  # the ends of RdBu, which colour-blind readers can tell apart

Floats = npt.NDArray[np.float32]


def gates(words: Sequence[str], running: Floats, gates: Gates, order: npt.NDArray[np.int64], title: str) -> Figure:
    """The three gates and the cell state of every unit over the words, under the running probability.

    Args:
        words: that were read, `T` of them.
        running: probability of a class if the text ended at each word, `(T,)`.
        gates: of one layer and direction, each `(1, T, H)`.
        order: units from top to bottom, `(H,)`.
        title: of the figure; its second line names the class.
    """
    figure = Figure(figsize=(3 + 0.17 * max(len(words), 24), 9), layout="constrained")
    axes = figure.subplots(5, 1, sharex=True, height_ratios=(3, 4, 4, 4, 4))
    steps = np.arange(len(words))
    axes[0].plot(steps, running, color="black", marker="o", markersize=2.5, linewidth=1.2)
    axes[0].fill_between(steps, 0.5, running, where=running >= 0.5, color=FOR, alpha=0.3, interpolate=True)
    axes[0].fill_between(steps, 0.5, running, where=running <= 0.5, color=AGAINST, alpha=0.3, interpolate=True)
    axes[0].axhline(0.5, color="0.6", linewidth=0.8)
    axes[0].set(ylim=(-0.03, 1.03), ylabel="probability\nso far")
    for axis, name in zip(axes[1:4], ("input", "forget", "output"), strict=True):
        opened = np.asarray(getattr(gates, name)[0]).T[order]
        image = axis.imshow(opened, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="none")
        axis.set_ylabel(f"{name} gate\nunits")
    figure.colorbar(image, ax=axes[1:4], label="0 closed, 1 open", pad=0.01, aspect=60)
    cell = np.asarray(gates.cell[0]).T[order]
    most = float(np.abs(cell).max())
    image = axes[4].imshow(cell, cmap="RdBu", vmin=-most, vmax=most, aspect="auto", interpolation="none")
    axes[4].set_ylabel("cell state\nunits")
    figure.colorbar(image, ax=axes[4], pad=0.01, aspect=20)
    for axis in axes[1:]:
        axis.set_yticks([])
    axes[4].set_xticks(steps, list(map(printable, words)), rotation=90, fontsize=8, parse_math=False)
    axes[4].set_xlim(-0.5, len(words) - 0.5)
    figure.suptitle(printable(title), fontsize=11, parse_math=False)
    return figure


def confusion(labels: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64], names: Sequence[str]) -> Figure:
    """How many rows of each class were taken for which, and what share of that class they are."""
    counts = confusion_matrix(labels, predicted, labels=range(len(names)))
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = 2.6 + 0.9 * len(names)
    figure = Figure(figsize=(size + 0.8, size), layout="constrained")
    axis = figure.subplots()
    image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        share = shares[row, column]
        text = f"{count:,}\n{share:.1%}"
        axis.text(column, row, text, ha="center", va="center", color="white" if share > 0.5 else "black")
    axis.set_xticks(range(len(names)), names, parse_math=False)
    axis.set_yticks(range(len(names)), names, rotation=90, va="center", parse_math=False)
    axis.set(xlabel="predicted", ylabel="true")
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    axis.set_title(f"{np.trace(counts) / counts.sum():.2%} of {counts.sum():,} right")
    return figure


def reliability(probabilities: Floats, happened: npt.NDArray[np.bool_], ece: float, of: str) -> Figure:
    """Whether what is said with 80 % happens in 80 % of the cases (DeGroot & Fienberg 1983), in 15 bins.

    Args:
        probabilities: that were said, `(N,)`.
        happened: whether it was so, `(N,)`.
        ece: the expected calibration error, for the title.
        of: what they were said to be.
    """
    share, said = calibration_curve(happened, probabilities, n_bins=15)
    figure = Figure(figsize=(5, 6.2), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    top.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="perfect")
    top.plot(said, share, color=FOR, marker="o", label="model")
    top.set(ylabel=f"share of reviews that are {of}", ylim=(-0.02, 1.02))
    top.legend(frameon=False, loc="upper left")
    top.set_title(f"expected calibration error {ece:.3f}")
    bottom.hist(probabilities, bins=np.linspace(0, 1, 16), color=FOR, alpha=0.6)
    bottom.set(xlabel=f"probability of {of}", ylabel="reviews", xlim=(-0.02, 1.02))
    for axis in (top, bottom):
        axis.grid(alpha=0.3)
    return figure
