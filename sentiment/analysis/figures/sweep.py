"""The figure of a sweep: the objective against the settings that vary."""

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from rich.cells import cell_len
from scipy.stats import t

from sentiment.analysis.figures.fonts import CHARACTER, GREY, Figure, escape_math, set_title, wrap
from sentiment.analysis.labels import describe_settings, label_values, shorten_keys
from sentiment.analysis.results import Result, baseline_tags
from sentiment.runtime.config import find_objective

DASHES = ("--", ":", "-.", (0, (1, 3)), (0, (5, 5)))
PANEL_WIDTH, PANEL_HEIGHT, PANELS_PER_ROW = 4.0, 3.6, 4  # inches
MIN_HEIGHT = 10  # of the axis of an accuracy, in points of per cent
TEST_OFFSET = 0.12  # of its marks from those of the objective; the next value is at 1

Interval = tuple[float, float]  # of 95 %, as fractions


def plot_sweep(
    results: Sequence[Result], objective_tag: str, test_intervals: Sequence[Interval | None]
) -> Figure:
    """Plot the objective against one setting, with a line per value of a second and a panel of a third.

    Numeric settings are chosen first: `train_rows`, on a logarithmic axis, or `maxlen` before the others. If more than
    three settings vary, a point is the best result over the rest. Small points are single runs, hollow marks the test,
    dashed lines baselines; error bars are 95 % intervals, of the objective over the seeds, of the test accuracy
    `test_intervals`. The best result comes first.
    """
    objective = find_objective(objective_tag)
    scale = 100 if objective.is_accuracy else 1
    test_tag, baselines = (
        objective_tag.replace("val/", "test/"),
        baseline_tags(results, objective_tag),
    )
    has_test = test_tag != objective_tag and any(test_tag in result.mean for result in results)
    names, frame = _choose_dimensions(results)
    runs = [scale * result.metrics[objective_tag].dropna().to_numpy() for result in results]
    frame["runs"], frame["mean"] = runs, [of_result.mean() for of_result in runs]
    frame["margin"] = [_margin(of_result) for of_result in runs]
    for tag in [test_tag] * has_test + [*baselines]:
        frame[tag] = [scale * result.mean.get(tag, np.nan) for result in results]
    if has_test:
        frame = frame.rename(columns={test_tag: "test"})
        is_known = [ends if test_tag == "test/accuracy" else None for ends in test_intervals]
        ends = scale * np.array([ends or (np.nan, np.nan) for ends in is_known])
        frame["test low"], frame["test high"] = ends.T
    lines = [f"{names['line']} {label}" for label in frame["line"].cat.categories]
    frame["line"] = frame["line"].cat.rename_categories(lines if names["line"] else ["network"])

    panels, lines = frame["panel"].cat.categories, frame["line"].cat.categories
    labels, ticks = frame["x"].cat.categories, _place_ticks(results, names["x"], frame["x"])
    frame["x"] = ticks[frame["x"].cat.codes]
    figure, axes = _make_panels(len(panels), [*lines, *baselines.values()])
    for axis, panel in zip(axes, panels, strict=True):
        _plot_panel(axis, frame[frame["panel"] == panel], baselines)
        axis.set_title(wrap(f"{names['panel']} {panel}", PANEL_WIDTH, 10), fontsize=10)
        axis.set_xlabel(names["x"])
        _label_ticks(axis, ticks, labels)
    axes[0].set_ylabel(f"{objective_tag}, %" if objective.is_accuracy else objective_tag)
    if objective.is_accuracy:
        bottom, top = axes[0].get_ylim()
        missing = max(MIN_HEIGHT - (top - bottom), 0) / 2
        axes[0].set_ylim(max(bottom - missing, -1), min(top + missing, 101))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    title = f"{_describe_best(results, objective_tag)}\n{_describe_marks(results, has_test)}"
    set_title(figure, title, min(len(panels), PANELS_PER_ROW) * PANEL_WIDTH)
    return figure


def _margin(values: npt.NDArray[np.float64]) -> float:
    """Half of the 95 % interval of a mean over seeds by the t distribution; NaN of a single one."""
    n = len(values)
    return float(t.isf(0.025, n - 1) * values.std(ddof=1) / n**0.5) if n > 1 else math.nan


def _describe_marks(results: Sequence[Result], has_test: bool) -> str:
    fewest, most = (function(len(result.runs) for result in results) for function in (min, max))
    seeds = f"{fewest} – {most} seeds" if fewest < most else f"{most} seed{'s' * (most > 1)}"
    hollow = "hollow: test; " if has_test else ""
    bars = "bars: 95 % intervals" if most > 1 or has_test else "no interval"
    return f"{seeds} per point; {hollow}{bars}"


def _choose_dimensions(points: Sequence[Result]) -> tuple[dict[str, str], pd.DataFrame]:
    """The settings that the x axis, the lines and the panels show, empty if too few vary.

    The values of each point are in the columns `x`, `line` and `panel`, ordered categories.
    """
    settings = pd.DataFrame([point.settings for point in points], dtype=object)
    names = shorten_keys(list(settings))
    numeric = [key for key in settings if all(map(_is_number, settings[key]))]
    first = ("train_rows", "maxlen")
    numeric.sort(key=lambda key: (names[key] not in first, -settings[key].nunique()))
    order = numeric + [key for key in settings if key not in numeric]
    chosen = [order[:1], order[1:2], order[2:][-1:]]
    frame, shown = pd.DataFrame(index=range(len(points))), {}
    for dimension, keys in zip(("x", "line", "panel"), chosen, strict=True):
        values = list(settings[keys[0]]) if keys else [""] * len(points)
        shown[dimension] = names[keys[0]] if keys else ""
        labels = label_values(values) if keys else values
        in_order = sorted(
            zip(values, labels, strict=True),
            key=lambda pair: (0, pair[0]) if _is_number(pair[0]) else (1, repr(pair[0])),
        )
        categories = dict.fromkeys(label for _, label in in_order)
        frame[dimension] = pd.Categorical(labels, [*categories], ordered=True)
    return shown, frame


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _describe_best(results: Sequence[Result], objective_tag: str) -> str:
    best, objective = results[0], find_objective(objective_tag)
    value = objective.format(best.mean[objective_tag])
    if objective_tag in best.sd:
        value = f"{value.removesuffix(' %')} ± {objective.format(best.sd[objective_tag])}"
    if not best.settings:
        return f"{objective_tag} {value}"
    settings = describe_settings(best.settings, [result.settings for result in results])
    rest = "; points are the best over the other settings" if len(best.settings) > 3 else ""
    return f"best: {value} with {settings}{rest}"


def _make_panels(count: int, legend: Sequence[str]) -> tuple[Figure, list[Axes]]:
    columns = min(count, PANELS_PER_ROW)
    rows = math.ceil(count / columns)
    width = PANEL_WIDTH * columns + 10 * CHARACTER * max(map(cell_len, legend)) + 1.2
    height = max(PANEL_HEIGHT * rows, 0.25 * len(legend)) + 0.8
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = list(figure.subplots(rows, columns, sharey=True, squeeze=False).flat)
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def _plot_panel(axis: Axes, frame: pd.DataFrame, baselines: Mapping[str, str]) -> None:
    """Plot a line per category: the best result of each `x`; `baselines` are names by column."""
    lines = frame["line"].cat.categories
    colors = colormaps["plasma"](np.linspace(0, 0.6, len(lines)))  # on white at least 3:1
    for line, color in zip(lines, colors, strict=True):
        best = frame[frame["line"] == line].drop_duplicates("x").sort_values("x")
        margin = best["margin"] if best["margin"].any() else None
        style: Any = {"color": color, "marker": "o", "capsize": 3}
        axis.errorbar(best["x"], best["mean"], margin, label=escape_math(line), **style)
        for x, runs in zip(best["x"], best["runs"], strict=True):
            if len(runs) > 1:
                axis.plot([x] * len(runs), runs, ".", color=color, alpha=0.5)
        if "test" in best:
            x = best["x"] + TEST_OFFSET
            axis.vlines(x, best["test low"], best["test high"], color=color, linewidth=1)
            axis.plot(x, best["test"], "o", color=color, markerfacecolor="white")
    for (column, name), dashes in zip(baselines.items(), cycle(DASHES), strict=False):
        mean = frame.groupby("x")[column].mean().dropna()
        if len(mean) == 1:
            axis.axhline(mean.iloc[0], color=GREY, linestyle=dashes, label=name)
        else:
            axis.plot(mean, color=GREY, linestyle=dashes, label=name)
    axis.grid(alpha=0.3)


def _place_ticks(
    results: Sequence[Result], name: str, values: "pd.Series[str]"
) -> npt.NDArray[np.float64]:
    """Where the categories of the x axis are: `train_rows` a unit per doubling, others one beside the other."""
    places = np.arange(len(values.cat.categories), dtype=float)
    rows: list[Any] = [result.settings.get("data.train_rows") for result in results]
    if name == "train_rows" and all(map(_is_number, rows)):
        places[values.cat.codes] = np.log2(np.array(rows, dtype=float) / min(rows))
    return places


def _label_ticks(axis: Axes, ticks: npt.NDArray[np.float64], labels: Sequence[str]) -> None:
    crowded = sum(cell_len(label) + 2 for label in labels) * 10 * CHARACTER > PANEL_WIDTH
    slanted: Any = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if crowded else {}
    axis.set_xticks(ticks, [*map(escape_math, labels)], **slanted)
    axis.set_xlim(-0.3, ticks.max() + 0.3)
