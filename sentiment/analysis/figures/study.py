"""The figure of a study: its trials, and how important each setting is."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from sentiment.analysis.figures.fonts import Figure
from sentiment.analysis.figures.sweep import GREY, axis_label, set_title
from sentiment.analysis.report.labels import label_values, shorten_keys
from sentiment.runtime.config import find_objective

if TYPE_CHECKING:
    import optuna


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
    left.set_ylabel(axis_label(tag, objective))
    _plot_importances(right, study)
    best = study.best_trial
    names = shorten_keys(list(best.params))
    settings = ", ".join(
        f"{names[key]} {label_values([value])[0]}" for key, value in best.params.items()
    )
    set_title(
        figure, f"best: trial {best.number}, {objective.format(study.best_value)} with {settings}"
    )
    return figure


def _plot_trials(axis: Axes, study: "optuna.Study", scale: float) -> None:
    finished = {
        trial.number: scale * (trial.value or 0.0)
        for trial in study.trials
        if trial.state.name == "COMPLETE"
    }
    pruned = {
        trial.number: scale * trial.intermediate_values[max(trial.intermediate_values)]
        for trial in study.trials
        if trial.state.name == "PRUNED" and trial.intermediate_values
    }
    axis.plot(list(finished), list(finished.values()), "o", color="C0", label="finished")
    if pruned:
        axis.plot(
            list(pruned), list(pruned.values()), "x", color=GREY, label="pruned, at its last epoch"
        )
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
        optuna.create_trial(
            params=trial.params, distributions=trial.distributions, value=trial.value
        )
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
