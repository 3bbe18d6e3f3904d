"""Figures of one model: its gates, its confusion matrix, its calibration."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from rich.cells import cell_len
from sklearn.metrics import confusion_matrix

from sentiment.analysis.evaluation_tables import wilson_interval
from sentiment.analysis.figures.fonts import Figure
from sentiment.analysis.labels import shorten_label
from sentiment.runtime.cli import escape_control_chars

if TYPE_CHECKING:
    from sentiment.analysis.explain.explanation import LayerTrace, Trace

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
    trace: "Trace",
    layer: "LayerTrace",
    label_names: Sequence[str],
    title: str = "",
) -> Figure:
    """Plot gates and state of every unit of a layer and direction over `T` tokens, below P(target) after each token."""
    gates, count = layer.gates, len(layer.gates.activations)
    figure = Figure(figsize=(3 + 0.17 * max(len(words), 24), 3 + 2 * count), layout="constrained")
    heights = (3, *[4] * (count + 1))
    top, *middle, bottom = figure.subplots(count + 2, 1, sharex=True, height_ratios=heights)
    steps, p, chance = np.arange(len(words)), trace.prefix_probabilities, 1 / len(label_names)
    target = shorten_label(label_names[trace.target])
    top.plot(steps, p, color="black", marker="o", markersize=2.5, linewidth=1.2)
    for color, side, name in ((FOR, p >= chance, "above"), (AGAINST, p <= chance, "below")):
        label = f"{name} chance ({chance:.2g})"
        style: Any = {"color": color, "alpha": 0.3, "interpolate": True, "label": label}
        top.fill_between(steps, chance, p, side, **style)
    top.axhline(chance, color="0.6", linewidth=0.8)
    top.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize=8)
    top.set(ylim=(-0.03, 1.03))
    top.set_ylabel(f"p({target})\nso far", parse_math=False)

    maps = {f"{name} gate": part for name, part in gates.activations.items()}
    maps[gates.state_name] = gates.state
    for axis, (name, part) in zip((*middle, bottom), maps.items(), strict=True):
        by_unit = np.asarray(part[0]).T[layer.order]  # (H, T)
        limit = float(np.abs(by_unit).max())
        low, high = (-limit, limit) if axis is bottom else (by_unit.min(), by_unit.max())
        style = {"cmap": "RdBu" if axis is bottom else "viridis", "vmin": low, "vmax": high}
        image = axis.imshow(by_unit, aspect="auto", interpolation="none", **style)
        figure.colorbar(image, ax=axis, pad=0.01, aspect=20)
        axis.set_ylabel(f"{name}\nunits")
        axis.set_yticks([])
    shown = list(map(escape_control_chars, words))
    bottom.set_xticks(steps, shown, rotation=90, fontsize=8, parse_math=False)
    bottom.set_xlim(-0.5, len(words) - 0.5)
    is_last = layer.name.split(",")[0] == trace.layers[-1].name.split(",")[0]
    order = f"weight for {target}" if is_last else "mean state"
    note = f"units: the greatest {order} at the top; gates: 0 closed, 1 open"
    bottom.set_xlabel(note, fontsize=9, parse_math=False)
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
        text = f"{count:,}\n{100 * fraction:.1f} %"
        axis.text(column, row, text, ha="center", va="center", color=color)
    ticks = range(0, len(names), math.ceil(len(names) / MAX_TICK_LABELS))
    shown = [names[i] for i in ticks]
    style: dict[str, Any] = {"fontsize": 10 if with_numbers else 7, "parse_math": False}
    axis.set_xticks(ticks, shown, rotation=0 if upright else 90, **style)
    axis.set_yticks(ticks, shown, rotation=90 if upright else 0, va="center", **style)
    axis.set(xlabel="predicted label", ylabel="true label")
    figure.colorbar(image, label="fraction of the true label", shrink=0.8)
    accuracy = 100 * np.trace(counts) / counts.sum()
    axis.set_title(f"accuracy {accuracy:.2f} %, {counts.sum():,} reviews")
    return figure


def plot_reliability_diagram(
    labels: Labels, probabilities: Floats, label_names: Sequence[str], ece: float
) -> Figure:
    """Plot predicted probabilities against observed frequencies (DeGroot & Fienberg 1983) above their histogram.

    They are those of the second of two classes, of more classes those of the most probable one. Labels are `(N,)`,
    probabilities `(N, classes)`; the 95 % intervals are Wilson's.
    """
    if len(label_names) == 2:
        predicted, observed = probabilities[:, 1], labels == 1
        name = shorten_label(label_names[1])
    else:
        predicted, observed = probabilities.max(1), probabilities.argmax(1) == labels
        name = "the most probable class"
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    bins = np.searchsorted(edges[1:-1], predicted)
    counts = np.bincount(bins, minlength=CALIBRATION_BINS)
    in_bins = [bins == i for i in np.unique(bins)]
    means = [predicted[rows].mean() for rows in in_bins]
    frequencies = [observed[rows].mean() for rows in in_bins]
    intervals = [wilson_interval(observed[rows]) for rows in in_bins]
    figure = Figure(figsize=(5, 6.2), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    top.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="perfectly calibrated")
    top.vlines(means, *zip(*intervals, strict=True), color=FOR, label="95 % interval")
    top.plot(means, frequencies, "o", color=FOR, label="model")
    top.set(ylim=(-0.02, 1.02))
    top.set_ylabel(f"observed frequency of {name}", parse_math=False)
    top.legend(frameon=False, loc="upper left")
    top.set_title(f"expected calibration error {ece:.3f}, {len(labels):,} reviews")
    bars = bottom.bar(edges[:-1], counts, 1 / CALIBRATION_BINS, align="edge", color=FOR, alpha=0.6)
    bottom.bar_label(bars, [f"{count:,}" if count else "" for count in counts], fontsize=6)
    bottom.margins(y=0.15)
    bottom.set(ylabel="reviews", xlim=(-0.02, 1.02))
    bottom.set_xlabel(f"predicted probability of {name}", parse_math=False)
    for axis in (top, bottom):
        axis.grid(alpha=0.3)
    return figure
