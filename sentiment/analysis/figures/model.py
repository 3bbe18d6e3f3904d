"""Figures of one model: its gates, its confusion matrix, its calibration."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.cells import cell_len
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix

from sentiment.analysis.figures.fonts import Figure
from sentiment.analysis.labels import shorten_label
from sentiment.model.gates import Gates
from sentiment.runtime.cli import escape_control_chars

# The ends of the colormap RdBu, which the colour-blind can distinguish.
FOR, AGAINST = "#2166ac", "#b2182b"
CALIBRATION_BINS = 15
MAX_CELLS_WITH_NUMBERS = 15  # in a row of a confusion matrix
MAX_TICK_LABELS = 60
MAX_HORIZONTAL_WIDTH = 9  # of a class name; a Chinese character is two wide

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


def plot_gates(
    words: Sequence[str],
    prefix_probabilities: Floats,
    gates: Gates,
    order: Labels,
    chance: float,
    title: str,
) -> Figure:
    """Plot gates and state of every unit over `T` tokens, below `prefix_probabilities`, `(T,)`.

    The gates are those of one layer and direction, each `(1, T, H)`; `order` has the units from
    top to bottom, `(H,)`. `chance` is the probability of a class if all are equally probable.
    """
    count = len(gates.activations)
    figure = Figure(figsize=(3 + 0.17 * max(len(words), 24), 3 + 2 * count), layout="constrained")
    heights = (3, *[4] * (count + 1))
    top, *middle, bottom = figure.subplots(count + 2, 1, sharex=True, height_ratios=heights)
    steps, p = np.arange(len(words)), prefix_probabilities
    top.plot(steps, p, color="black", marker="o", markersize=2.5, linewidth=1.2)
    for color, side in ((FOR, p >= chance), (AGAINST, p <= chance)):
        top.fill_between(steps, chance, p, side, color=color, alpha=0.3, interpolate=True)
    top.axhline(chance, color="0.6", linewidth=0.8)
    top.set(ylim=(-0.03, 1.03), ylabel="prefix\nprobability")

    of_map = {"aspect": "auto", "interpolation": "none"}
    for axis, (name, activation) in zip(middle, gates.activations.items(), strict=True):
        by_unit = np.asarray(activation[0]).T[order]  # (H, T)
        image = axis.imshow(by_unit, cmap="Blues", vmin=0, vmax=1, **of_map)
        axis.set_ylabel(f"{name} gate\nunits")
    figure.colorbar(image, ax=middle, label="0 closed, 1 open", pad=0.01, aspect=60)
    state = np.asarray(gates.state[0]).T[order]
    limit = float(np.abs(state).max())
    image = bottom.imshow(state, cmap="RdBu", vmin=-limit, vmax=limit, **of_map)
    bottom.set_ylabel(f"{gates.state_name}\nunits")
    figure.colorbar(image, ax=bottom, pad=0.01, aspect=20)
    for axis in (*middle, bottom):
        axis.set_yticks([])
    shown = list(map(escape_control_chars, words))
    bottom.set_xticks(steps, shown, rotation=90, fontsize=8, parse_math=False)
    bottom.set_xlim(-0.5, len(words) - 0.5)
    figure.suptitle(title, fontsize=11, parse_math=False)
    return figure


def plot_confusion_matrix(labels: Labels, predicted: Labels, label_names: Sequence[str]) -> Figure:
    """Plot how often each class was predicted for each true class, both `(N,)`."""
    counts = confusion_matrix(labels, predicted, labels=range(len(label_names)))
    fractions = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    names = [shorten_label(name) for name in label_names]
    longest = max(map(cell_len, names))
    with_numbers = len(names) <= MAX_CELLS_WITH_NUMBERS
    upright = with_numbers and longest <= MAX_HORIZONTAL_WIDTH
    size = 2.6 + (0.9 * len(names) if with_numbers else 0.16 * min(len(names), MAX_TICK_LABELS))
    size += 0 if upright else 0.08 * longest
    figure = Figure(figsize=(size + 0.8, size), layout="constrained")
    axis = figure.subplots()
    image = axis.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts) if with_numbers else ():
        fraction = fractions[row, column]
        color = "white" if fraction > 0.5 else "black"
        text = f"{count:,}\n{fraction:.1%}"
        axis.text(column, row, text, ha="center", va="center", color=color)
    ticks = range(0, len(names), math.ceil(len(names) / MAX_TICK_LABELS))
    shown = [names[i] for i in ticks]
    style: dict[str, Any] = {"fontsize": 10 if with_numbers else 7, "parse_math": False}
    axis.set_xticks(ticks, shown, rotation=0 if upright else 90, **style)
    axis.set_yticks(ticks, shown, rotation=90 if upright else 0, va="center", **style)
    axis.set(xlabel="predicted label", ylabel="true label")
    figure.colorbar(image, label="fraction of the true label", shrink=0.8)
    axis.set_title(f"accuracy {np.trace(counts) / counts.sum():.2%}, {counts.sum():,} reviews")
    return figure


def plot_reliability_diagram(
    labels: Labels, probabilities: Floats, label_names: Sequence[str], ece: float
) -> Figure:
    """Plot predicted probabilities against observed frequencies (DeGroot & Fienberg 1983) above their histogram.

    They are those of the second of two classes. Of more classes it is the most probable one, whose
    probability is the confidence and whose frequency is the accuracy. Labels are `(N,)`, probabilities
    `(N, classes)`.
    """
    if len(label_names) == 2:
        predicted, observed = probabilities[:, 1], labels == 1
        name = shorten_label(label_names[1])
        xlabel, ylabel = f"predicted probability of {name}", f"observed frequency of {name}"
    else:
        predicted, observed = probabilities.max(1), probabilities.argmax(1) == labels
        xlabel, ylabel = "confidence", "accuracy"
    frequencies, means = calibration_curve(observed, predicted, n_bins=CALIBRATION_BINS)
    figure = Figure(figsize=(5, 6.2), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    top.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="perfectly calibrated")
    top.plot(means, frequencies, color=FOR, marker="o", label="model")
    top.set(ylim=(-0.02, 1.02))
    top.set_ylabel(ylabel, parse_math=False)
    top.legend(frameon=False, loc="upper left")
    top.set_title(f"expected calibration error {ece:.3f}")
    bottom.hist(predicted, bins=np.linspace(0, 1, CALIBRATION_BINS + 1), color=FOR, alpha=0.6)
    bottom.set(ylabel="reviews", xlim=(-0.02, 1.02))
    bottom.set_xlabel(xlabel, parse_math=False)
    for axis in (top, bottom):
        axis.grid(alpha=0.3)
    return figure
