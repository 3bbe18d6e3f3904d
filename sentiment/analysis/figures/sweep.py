"""The figure of a sweep: the objective against the settings that vary, or against the seeds."""

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from sentiment.analysis.figures.fonts import Figure
from sentiment.analysis.report.labels import label_values, shorten_keys
from sentiment.analysis.results import Result, baseline_tags
from sentiment.runtime.config import Objective, find_objective, format_setting

GREY = "0.45"
DASHES = ("--", ":", "-.", (0, (1, 3)), (0, (5, 5)))
PANEL_WIDTH, PANEL_HEIGHT, PANELS_PER_ROW = 3.4, 3.6, 4  # inches
CHARACTER = (
    0.65 / 72
)  # inches for each point of the font: the width of an average character, with some room


def plot_sweep(results: Sequence[Result], objective_tag: str) -> Figure:
    """Plot the objective against one setting, with a line per value of a second and a panel per value of a third.

    Numeric settings are chosen first, `maxlen` before the others. If more than three settings vary, a point is the best
    result over the rest; if none does, the x axis shows the seeds. Small points are single runs, error bars their
    standard deviation; dashed lines are baselines.

    Args:
        results: at least one, the best first.
        objective_tag: of `metrics.json`.
    """
    best, objective = results[0], find_objective(objective_tag)
    scale = 100 if objective.is_accuracy else 1
    by_seed = not best.settings and len(best.runs) > 1
    points = _split_by_seed(best) if by_seed else results
    x, line, panel = _choose_dimensions(points)
    baselines = baseline_tags(results, objective_tag)
    columns: dict[str, list[Any]] = {
        "x": x.positions,
        "line": line.positions,
        "panel": panel.positions,
        "mean": [scale * point.mean[objective_tag] for point in points],
        "sd": [scale * point.sd.get(objective_tag, np.nan) for point in points],
        "runs": [scale * point.metrics[objective_tag].to_numpy() for point in points],
    }
    for tag in baselines:
        columns[tag] = [scale * point.mean.get(tag, np.nan) for point in points]
    frame = pd.DataFrame(columns)

    lines = [f"{line.name} {label}" for label in line.labels]
    if not line.name:
        lines = ["run" if by_seed else _name_network(results)]
    figure, axes = _make_panels(len(panel.labels), [*lines, *baselines.values()])
    for i, (axis, label) in enumerate(zip(axes, panel.labels, strict=True)):
        _plot_panel(axis, frame[frame["panel"] == i], lines, baselines, connect=not by_seed)
        axis.set_title(_wrap(f"{panel.name} {label}", PANEL_WIDTH, 10), fontsize=10)
        axis.set_xlabel(x.name)
        _label_ticks(axis, x.labels)
    axes[0].set_ylabel(axis_label(objective_tag, objective))
    if by_seed:
        mean, sd = (scale * statistic[objective_tag] for statistic in (best.mean, best.sd))
        axes[0].axhline(mean, color="C0", label="mean")
        axes[0].axhspan(mean - sd, mean + sd, color="C0", alpha=0.15, label="± sd")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    set_title(figure, _describe_best(results, objective_tag))
    return figure


class _Dimension(NamedTuple):
    """A setting that the x axis, the lines or the panels show.

    Attributes:
        name: empty if too few settings vary.
        labels: of its values, in their order.
        positions: of the value of each result among them.
    """

    name: str
    labels: list[str]
    positions: list[int]


def _choose_dimensions(results: Sequence[Result]) -> tuple[_Dimension, _Dimension, _Dimension]:
    """Return what the x axis, the lines and the panels show."""
    names = shorten_keys(list(results[0].settings))
    values = {key: _sorted_values(results, key) for key in names}
    numeric = [key for key in names if all(map(_is_number, values[key]))]
    numeric.sort(key=lambda key: (names[key] != "maxlen", -len(values[key])))
    order = numeric + [key for key in names if key not in numeric]
    dimensions = []
    for key in order:
        place = {repr(value): i for i, value in enumerate(values[key])}
        positions = [place[repr(result.settings[key])] for result in results]
        dimensions.append(_Dimension(names[key], label_values(values[key]), positions))
    none = _Dimension("", [""], [0] * len(results))
    x, line = [*dimensions, none, none][:2]
    return x, line, dimensions[-1] if len(dimensions) > 2 else none


def _sorted_values(results: Sequence[Result], key: str) -> list[Any]:
    """Return the different values of a setting, numbers first."""
    values = {repr(result.settings[key]): result.settings[key] for result in results}
    numbers = sorted(filter(_is_number, values.values()))
    return numbers + [values[text] for text in sorted(values) if not _is_number(values[text])]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _name_network(results: Sequence[Result]) -> str:
    runs = [run for result in results for run in result.runs.values()]
    names = {format_setting(run.settings.get("model", "network")) for run in runs}
    return names.pop().removesuffix("Classifier") if len(names) == 1 else "network"


def _split_by_seed(result: Result) -> list[Result]:
    return [
        Result({"seed": seed}, {seed: run}, result.metrics.loc[[seed]])
        for seed, run in result.runs.items()
    ]


def _describe_best(results: Sequence[Result], objective_tag: str) -> str:
    (best, *_), objective = results, find_objective(objective_tag)
    value = objective.format(best.mean[objective_tag])
    if objective_tag in best.sd:
        value = f"{value.removesuffix(' %')} ± {objective.format(best.sd[objective_tag])}"
    if not best.settings:
        return f"{objective_tag} {value}" + (
            f", {len(best.runs)} seeds" if len(best.runs) > 1 else ""
        )
    labels = {
        key: label_values([result.settings[key] for result in results])[0] for key in best.settings
    }
    settings = ", ".join(
        f"{name} {labels[key]}" for key, name in shorten_keys(list(labels)).items()
    )
    return f"best: {value} with {settings}" + (
        "; points are the best over the other settings" if len(labels) > 3 else ""
    )


def _make_panels(count: int, legend: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """Make a figure with panels in rows, and with room for its legend."""
    columns = min(count, PANELS_PER_ROW)
    rows = math.ceil(count / columns)
    width = PANEL_WIDTH * columns + 10 * CHARACTER * max(map(cell_len, legend)) + 1.2
    figure = Figure(
        figsize=(width, max(PANEL_HEIGHT * rows, 0.25 * len(legend)) + 0.8), layout="constrained"
    )
    axes = list(figure.subplots(rows, columns, sharey=True, squeeze=False).flat)
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def _label_ticks(axis: Axes, labels: Sequence[str]) -> None:
    crowded = sum(cell_len(label) + 2 for label in labels) * 10 * CHARACTER > PANEL_WIDTH
    slanted: dict[str, Any] = (
        {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if crowded else {}
    )
    axis.set_xticks(range(len(labels)), [_escape_math(label) for label in labels], **slanted)
    axis.set_xlim(-0.3, max(len(labels), 1) - 0.7)


def _plot_panel(
    axis: Axes,
    frame: pd.DataFrame,
    line_labels: Sequence[str],
    baselines: Mapping[str, str],
    connect: bool,
) -> None:
    """Plot the lines and the baselines of a panel.

    Args:
        axis: of the panel.
        frame: its results, the best first: columns `x` and `line` (indices), `mean`, `sd`, `runs` (values of single
            runs), and a column per baseline.
        line_labels: by index.
        baselines: names by column.
        connect: whether the points of a line are connected.
    """
    for i, color in enumerate(colormaps["viridis"](np.linspace(0, 0.85, len(line_labels)))):
        best = frame[frame["line"] == i].drop_duplicates("x").sort_values("x")
        sd = best["sd"] if best["sd"].any() else None
        style: Any = {"color": color, "marker": "o", "linestyle": "-" if connect else "none"}
        axis.errorbar(
            best["x"], best["mean"], sd, capsize=3, label=_escape_math(line_labels[i]), **style
        )
        for x, runs in zip(best["x"], best["runs"], strict=True):
            if len(runs) > 1:
                axis.plot([x] * len(runs), runs, ".", color=color, alpha=0.5)
    for (column, name), dashes in zip(baselines.items(), cycle(DASHES), strict=False):
        mean = frame.groupby("x")[column].mean().dropna()
        if len(mean) == 1:
            axis.axhline(mean.iloc[0], color=GREY, linestyle=dashes, label=name)
        else:
            axis.plot(mean.index, mean, color=GREY, linestyle=dashes, label=name)
    axis.grid(alpha=0.3)


def axis_label(tag: str, objective: Objective) -> str:
    return f"{tag}, %" if objective.is_accuracy else tag


def set_title(figure: Figure, text: str) -> None:
    """Set the title in lines that are no longer than the figure, which grows by their height."""
    width, height = figure.get_size_inches()
    title = _wrap(text, width, 11)
    figure.set_size_inches(width, height + 0.2 * title.count("\n"))
    figure.suptitle(title, fontsize=11)


def _wrap(text: str, width: float, fontsize: float) -> str:
    """Wrap a text to lines of at most `width` inches."""
    lines = Text(text).wrap(Console(), int(width / (fontsize * CHARACTER)))
    return _escape_math("\n".join(line.plain.rstrip() for line in lines))


def _escape_math(text: str) -> str:
    return text.replace("$", r"\$")
