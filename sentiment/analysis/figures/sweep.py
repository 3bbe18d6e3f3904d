"""The figure of a sweep: the objective against the settings that vary, or against the seeds."""

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from rich.cells import cell_len

from sentiment.analysis.figures.fonts import CHARACTER, GREY, Figure, escape_math, set_title, wrap
from sentiment.analysis.labels import describe_settings, label_values, shorten_keys
from sentiment.analysis.results import Result, baseline_tags
from sentiment.runtime.config import find_objective

DASHES = ("--", ":", "-.", (0, (1, 3)), (0, (5, 5)))
PANEL_WIDTH, PANEL_HEIGHT, PANELS_PER_ROW = 3.4, 3.6, 4  # inches


def plot_sweep(results: Sequence[Result], objective_tag: str) -> Figure:
    """Plot the objective against one setting, with a line per value of a second and a panel of a third.

    Numeric settings are chosen first, `maxlen` before the others. If more than three settings vary,
    a point is the best result over the rest; if none does, the x axis shows the seeds. Small points
    are single runs, error bars their standard deviation; dashed lines are baselines. The best
    result comes first.
    """
    best, objective = results[0], find_objective(objective_tag)
    scale = 100 if objective.is_accuracy else 1
    by_seed = not best.settings and len(best.runs) > 1
    points = results
    if by_seed:
        of_seeds = best.runs.items()
        points = [Result({"seed": s}, {s: run}, best.metrics.loc[[s]]) for s, run in of_seeds]
    baselines = baseline_tags(results, objective_tag)
    names, frame = _choose_dimensions(points)
    frame["mean"] = [scale * point.mean[objective_tag] for point in points]
    frame["sd"] = [scale * point.sd.get(objective_tag, np.nan) for point in points]
    frame["runs"] = [scale * point.metrics[objective_tag].to_numpy() for point in points]
    for tag in baselines:
        frame[tag] = [scale * point.mean.get(tag, np.nan) for point in points]
    lines = [f"{names['line']} {label}" for label in frame["line"].cat.categories]
    if not names["line"]:
        lines = ["run" if by_seed else "network"]
    frame["line"] = frame["line"].cat.rename_categories(lines)

    panels = frame["panel"].cat.categories
    figure, axes = _make_panels(len(panels), [*lines, *baselines.values()])
    for axis, panel in zip(axes, panels, strict=True):
        _plot_panel(axis, frame[frame["panel"] == panel], baselines, connect=not by_seed)
        axis.set_title(wrap(f"{names['panel']} {panel}", PANEL_WIDTH, 10), fontsize=10)
        axis.set_xlabel(names["x"])
        _label_ticks(axis, frame["x"].cat.categories)
    axes[0].set_ylabel(f"{objective_tag}, %" if objective.is_accuracy else objective_tag)
    if by_seed:
        mean, sd = (scale * statistic[objective_tag] for statistic in (best.mean, best.sd))
        axes[0].axhline(mean, color="C0", label="mean")
        axes[0].axhspan(mean - sd, mean + sd, color="C0", alpha=0.15, label="± sd")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    set_title(figure, _describe_best(results, objective_tag))
    return figure


def _choose_dimensions(points: Sequence[Result]) -> tuple[dict[str, str], pd.DataFrame]:
    """The settings that the x axis, the lines and the panels show, empty if too few vary.

    The values of each point are in the columns `x`, `line` and `panel`, ordered categories.
    """
    settings = pd.DataFrame([point.settings for point in points], dtype=object)
    names = shorten_keys(list(settings))
    numeric = [key for key in settings if all(map(_is_number, settings[key]))]
    numeric.sort(key=lambda key: (names[key] != "maxlen", -settings[key].nunique()))
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
        seeds = f", {len(best.runs)} seeds" if len(best.runs) > 1 else ""
        return f"{objective_tag} {value}{seeds}"
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


def _plot_panel(
    axis: Axes, frame: pd.DataFrame, baselines: Mapping[str, str], connect: bool
) -> None:
    """Plot a line per category: the best result of each `x`; `baselines` are names by column."""
    frame = frame.assign(x=frame["x"].cat.codes)
    lines = frame["line"].cat.categories
    colors = colormaps["viridis"](np.linspace(0, 0.85, len(lines)))
    for line, color in zip(lines, colors, strict=True):
        best = frame[frame["line"] == line].drop_duplicates("x").sort_values("x")
        sd = best["sd"] if best["sd"].any() else None
        style: Any = {"color": color, "marker": "o", "linestyle": "-" if connect else "none"}
        axis.errorbar(best["x"], best["mean"], sd, capsize=3, label=escape_math(line), **style)
        for x, runs in zip(best["x"], best["runs"], strict=True):
            if len(runs) > 1:
                axis.plot([x] * len(runs), runs, ".", color=color, alpha=0.5)
    for (column, name), dashes in zip(baselines.items(), cycle(DASHES), strict=False):
        mean = frame.groupby("x")[column].mean().dropna()
        if len(mean) == 1:
            axis.axhline(mean.iloc[0], color=GREY, linestyle=dashes, label=name)
        else:
            axis.plot(mean, color=GREY, linestyle=dashes, label=name)
    axis.grid(alpha=0.3)


def _label_ticks(axis: Axes, labels: Sequence[str]) -> None:
    crowded = sum(cell_len(label) + 2 for label in labels) * 10 * CHARACTER > PANEL_WIDTH
    slanted: Any = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if crowded else {}
    axis.set_xticks(range(len(labels)), [*map(escape_math, labels)], **slanted)
    axis.set_xlim(-0.3, max(len(labels), 1) - 0.7)
