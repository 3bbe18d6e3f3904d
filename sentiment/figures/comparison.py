"""Figures that compare runs: a sweep, a study."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from textwrap import fill
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sentiment.settings import shown

if TYPE_CHECKING:
    import optuna

GREY = "0.45"


class Point(NamedTuple):
    """A result in a sweep.

    Attributes:
        settings: what was swept, by the name to show.
        value: the objective, mean over the seeds.
        sd: its standard deviation over the seeds; 0 where there is one.
        baselines: by name, the same figure of each baseline on the same rows.
    """

    settings: Mapping[str, Any]
    value: float
    sd: float
    baselines: Mapping[str, float]


def sweep(points: Sequence[Point], objective: str) -> Figure:
    """The objective against one setting, a line per value of a second, a panel per value of a third.

    Numbers come before names, and among numbers `maxlen` first. With more settings than three the best over the rest
    is drawn. Baselines are dashed lines.
    """
    names = list(points[0].settings)
    numeric = [name for name in names if all(_is_number(point.settings[name]) for point in points)]
    numeric.sort(key=lambda name: (name != "maxlen", -len(_values(points, name))))
    order = numeric + [name for name in names if name not in numeric]
    x = order[0] if order else None
    panel = order[-1] if len(order) > 2 else None
    line = order[1] if len(order) > 1 else None
    percent = 100 if objective.endswith("accuracy") else 1
    best = _best(points, objective)

    panels, lines, places = (_values(points, name) for name in (panel, line, x))
    figure = Figure(figsize=(2.6 + 3.2 * len(panels), 4.2), layout="constrained")
    axes: Sequence[Axes] = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    colors = colormaps["viridis"](np.linspace(0, 0.85, len(lines)))
    baselines = sorted({name for point in points for name in point.baselines})
    for axis, where in zip(axes, panels, strict=True):
        here = [point for point in points if _at(point, panel) == where]
        for color, which in zip(colors, lines, strict=True):
            drawn = [point for point in here if _at(point, line) == which]
            at_places = [[point for point in drawn if _at(point, x) == place] for place in places]
            kept = [(i, _best(found, objective)) for i, found in enumerate(at_places) if found]
            axis.errorbar(
                [i for i, _ in kept],
                [percent * point.value for _, point in kept],
                [percent * point.sd for _, point in kept] if any(point.sd for _, point in kept) else None,
                color=color, marker="o", capsize=3, label=f"{line} {shown(which)}" if line else "LSTM",
            )  # fmt: skip
        for style, name in zip(cycle(("--", ":", "-.", (0, (1, 3)), (0, (5, 5)))), baselines, strict=False):
            found = [[p.baselines[name] for p in here if _at(p, x) == at and name in p.baselines] for at in places]
            heights = [(i, percent * float(np.mean(values))) for i, values in enumerate(found) if values]
            if len(heights) == 1:
                axis.axhline(heights[0][1], color=GREY, linestyle=style, label=name)
            else:
                axis.plot(*zip(*heights, strict=True), color=GREY, linestyle=style, label=name)
        axis.set_xlabel(x or "")
        axis.set_xticks(range(len(places)), [shown(place) if x else "" for place in places])
        axis.tick_params("x", rotation=45 if len(places) > 5 else 0)
        axis.set_xlim(-0.3, len(places) - 0.7)
        if panel:
            axis.set_title(f"{panel} {shown(where)}")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(f"{objective}, %" if percent == 100 else objective)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False)
    settings = ", ".join(f"{name} {shown(value)}" for name, value in best.settings.items())
    rest = "; best over the other settings" if len(order) > 3 else ""
    title = f"best: {_value(best.value, objective)}" + (f" with {settings}{rest}" if settings else "")
    figure.suptitle(fill(title, 90))
    return figure


def study(study: "optuna.Study") -> Figure:
    """Left the trials in their order with the best so far, right how much each setting explains of the objective.

    The importance is functional ANOVA (Hutter, Hoos & Leyton-Brown 2014), over finished trials and pruned ones with
    what they had reached: without these, what made them hopeless would seem to matter little.
    """
    import optuna

    done = [(trial.number, trial.value or 0.0) for trial in study.trials if trial.state.name == "COMPLETE"]
    pruned = [trial for trial in study.trials if trial.state.name == "PRUNED" and trial.intermediate_values]
    objective = study.user_attrs.get("objective", "objective")
    percent = 100 if objective.endswith("accuracy") else 1
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    numbers, values = [number for number, _ in done], [percent * value for _, value in done]
    left.plot(numbers, values, "o", color="C0", label="finished")
    cut = [percent * trial.intermediate_values[max(trial.intermediate_values)] for trial in pruned]
    if pruned:
        left.plot([t.number for t in pruned], cut, "x", color=GREY, label="pruned, at its last epoch")
    better = np.minimum if study.direction.name == "MINIMIZE" else np.maximum
    so_far = better.accumulate(values)
    left.step([*numbers, study.trials[-1].number], [*so_far, so_far[-1]], where="post", color="C1", label="best so far")
    left.set_xlabel("trial")
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.set_ylabel(f"{objective}, %" if percent == 100 else objective)
    left.grid(alpha=0.3)
    left.legend(frameon=False)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    valued = optuna.create_study(direction=study.direction)
    valued.add_trials(
        optuna.create_trial(params=trial.params, distributions=trial.distributions, value=trial.value)
        for trial in study.trials
        if trial.state.is_finished() and trial.value is not None
    )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    try:
        importance = optuna.importance.get_param_importances(valued, evaluator=evaluator)
    except (RuntimeError, ValueError):  # fewer than two trials, or all alike
        importance = {}
    if importance:
        names = list(importance)[::-1]
        right.barh(names, [importance[name] for name in names], color="C0")
        right.set_xlim(0, 1)
        right.set_xlabel("importance: share of the variance explained")
    else:
        right.set_axis_off()
        right.text(0.5, 0.5, "too few trials to tell what matters", ha="center")
    best = study.best_trial
    settings = ", ".join(f"{name.rpartition('.')[2]} {shown(value)}" for name, value in best.params.items())
    figure.suptitle(fill(f"best: trial {best.number}, {_value(study.best_value, objective)} with {settings}", 110))
    return figure


def _values(points: Sequence[Point], name: str | None) -> list[Any]:
    values = {_at(point, name) for point in points}
    return sorted(values, key=lambda value: (not _is_number(value), value if _is_number(value) else str(value)))


def _at(point: Point, name: str | None) -> Any:
    value = point.settings[name] if name else None
    return tuple(value) if isinstance(value, list) else value


def _best(points: Sequence[Point], objective: str) -> Point:
    return (min if objective.endswith("loss") else max)(points, key=lambda point: point.value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _value(value: float, objective: str) -> str:
    return f"{100 * value:.2f} %" if objective.endswith("accuracy") else f"{value:.4f}"
