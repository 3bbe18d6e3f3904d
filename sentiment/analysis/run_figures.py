"""Figures that compare runs: those of a sweep, and the trials of a study."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sentiment.analysis.runs import Result, baseline_tags, find_objective, shorten_keys
from sentiment.runtime.config import Objective, format_setting

if TYPE_CHECKING:
    import optuna

GREY = "0.45"
DASHES = ("--", ":", "-.", (0, (1, 3)), (0, (5, 5)))


def plot_sweep(results: Sequence[Result], objective_tag: str) -> Figure:
    """Plot the objective against one setting, with a line per value of a second and a panel per value of a third.

    Numeric settings are chosen first, `maxlen` before the others. If more than three settings vary, a point is the best
    result over the rest. Dashed lines are baselines.

    Args:
        results: at least one, the best first.
        objective_tag: of `metrics.json`.
    """
    labels = shorten_keys(list(results[0].settings))
    objective = find_objective(objective_tag)
    scale = 100 if objective.is_accuracy else 1
    x, line, panel = _choose_axes(results, labels)
    x_values, line_values, panel_values = (_sorted_values(results, key) for key in (x, line, panel))
    baselines = baseline_tags(results, objective_tag)
    frame = pd.DataFrame(
        {
            "x": [x_values.index(_value(result, x)) for result in results],
            "line": [line_values.index(_value(result, line)) for result in results],
            "panel": [panel_values.index(_value(result, panel)) for result in results],
            "mean": [scale * result.mean[objective_tag] for result in results],
            "sd": [scale * result.sd[objective_tag] for result in results],
        }
        | {tag: [scale * result.mean.get(tag, np.nan) for result in results] for tag in baselines}
    )
    figure = Figure(figsize=(2.6 + 3.2 * len(panel_values), 4.2), layout="constrained")
    axes: Sequence[Axes] = figure.subplots(1, len(panel_values), sharey=True, squeeze=False)[0]
    line_labels = [f"{labels[line]} {format_setting(value)}" if line else "LSTM" for value in line_values]
    for i, axis in enumerate(axes):
        _plot_panel(axis, frame[frame["panel"] == i], line_labels, baselines)
        axis.set_xlabel(labels[x] if x else "")
        axis.set_xticks(range(len(x_values)), [format_setting(value) if x else "" for value in x_values])
        axis.tick_params("x", rotation=45 if len(x_values) > 5 else 0)
        axis.set_xlim(-0.3, len(x_values) - 0.7)
        if panel:
            axis.set_title(f"{labels[panel]} {format_setting(panel_values[i])}")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(_axis_label(objective_tag, objective))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    settings = ", ".join(f"{labels[key]} {format_setting(value)}" for key, value in results[0].settings.items())
    rest = "; best over the other settings" if len(labels) > 3 else ""
    best_value = objective.format(results[0].mean[objective_tag])
    title = f"best: {best_value} with {settings}{rest}" if settings else f"best: {best_value}"
    figure.suptitle(fill(title, 90))
    return figure


def _plot_panel(axis: Axes, frame: pd.DataFrame, line_labels: Sequence[str], baselines: Mapping[str, str]) -> None:
    """Plot the lines and the baselines of a panel.

    Args:
        axis: of the panel.
        frame: its results, the best first: columns `x` and `line` (indices), `mean`, `sd`, and a column per baseline.
        line_labels: by index.
        baselines: names by column.
    """
    for i, color in enumerate(colormaps["viridis"](np.linspace(0, 0.85, len(line_labels)))):
        best = frame[frame["line"] == i].drop_duplicates("x").sort_values("x")
        sd = best["sd"] if best["sd"].any() else None
        axis.errorbar(best["x"], best["mean"], sd, color=color, marker="o", capsize=3, label=line_labels[i])
    for (column, name), dashes in zip(baselines.items(), cycle(DASHES), strict=False):
        mean = frame.groupby("x")[column].mean().dropna()
        if len(mean) == 1:
            axis.axhline(mean.iloc[0], color=GREY, linestyle=dashes, label=name)
        else:
            axis.plot(mean.index, mean, color=GREY, linestyle=dashes, label=name)


def _choose_axes(results: Sequence[Result], labels: dict[str, str]) -> tuple[str | None, str | None, str | None]:
    """Return the keys of the settings for the x axis, the lines and the panels; None if too few settings vary."""
    numeric = [key for key in labels if all(_is_number(result.settings[key]) for result in results)]
    numeric.sort(key=lambda key: (labels[key] != "maxlen", -len(_sorted_values(results, key))))
    order = numeric + [key for key in labels if key not in numeric]
    x, line = [*order, None, None][:2]
    return x, line, order[-1] if len(order) > 2 else None


def _sorted_values(results: Sequence[Result], key: str | None) -> list[Any]:
    """Return the different values of a setting, numbers first."""
    values = {_value(result, key) for result in results}
    return sorted(values, key=lambda value: (not _is_number(value), value if _is_number(value) else str(value)))


def _value(result: Result, key: str | None) -> Any:
    value = result.settings[key] if key else None
    return tuple(value) if isinstance(value, list) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _axis_label(tag: str, objective: Objective) -> str:
    return f"{tag}, %" if objective.is_accuracy else tag


def plot_study(study: "optuna.Study") -> Figure:
    """Plot the trials in their order with the best value so far, and the importance of each setting.

    The importance is functional ANOVA (Hutter, Hoos & Leyton-Brown 2014) over finished and pruned trials, the latter
    with the last value that they reported: without them, settings that lead to pruning would seem unimportant.

    Args:
        study: with at least one finished trial.
    """
    tag = study.user_attrs.get("objective", "objective")
    objective = find_objective(tag)
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _plot_trials(left, study, 100 if objective.is_accuracy else 1)
    left.set_ylabel(_axis_label(tag, objective))
    _plot_importances(right, study)
    best = study.best_trial
    labels = shorten_keys(list(best.params))
    settings = ", ".join(f"{labels[key]} {format_setting(value)}" for key, value in best.params.items())
    figure.suptitle(fill(f"best: trial {best.number}, {objective.format(study.best_value)} with {settings}", 110))
    return figure


def _plot_trials(axis: Axes, study: "optuna.Study", scale: float) -> None:
    finished = {trial.number: scale * (trial.value or 0.0) for trial in study.trials if trial.state.name == "COMPLETE"}
    pruned = {
        trial.number: scale * trial.intermediate_values[max(trial.intermediate_values)]
        for trial in study.trials
        if trial.state.name == "PRUNED" and trial.intermediate_values
    }
    axis.plot(list(finished), list(finished.values()), "o", color="C0", label="finished")
    if pruned:
        axis.plot(list(pruned), list(pruned.values()), "x", color=GREY, label="pruned, at its last epoch")
    better = np.minimum if study.direction.name == "MINIMIZE" else np.maximum
    best = better.accumulate(list(finished.values()))
    numbers = [*finished, study.trials[-1].number]
    axis.step(numbers, [*best, best[-1]], where="post", color="C1", label="best so far")
    axis.set_xlabel("trial")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)


def _plot_importances(axis: Axes, study: "optuna.Study") -> None:
    import optuna  # takes seconds

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with_value = optuna.create_study(direction=study.direction)
    with_value.add_trials(
        optuna.create_trial(params=trial.params, distributions=trial.distributions, value=trial.value)
        for trial in study.trials
        if trial.state.is_finished() and trial.value is not None
    )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    try:
        importances = optuna.importance.get_param_importances(with_value, evaluator=evaluator)
    except (RuntimeError, ValueError):  # of fewer than two trials, or equal ones
        importances = {}
    if importances:
        names = list(importances)[::-1]
        axis.barh(names, [importances[name] for name in names], color="C0")
        axis.set_xlim(0, 1)
        axis.set_xlabel("importance: share of the variance explained")
    else:
        axis.set_axis_off()
        axis.text(0.5, 0.5, "too few trials to estimate importances", ha="center")
