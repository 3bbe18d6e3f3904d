"""Figures of trainings: one run's losses and accuracies by epoch, the trials of a study."""

from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from sentiment.analysis.figures.fonts import GREY, Figure, set_title
from sentiment.analysis.labels import describe_settings
from sentiment.runtime.config import find_objective

if TYPE_CHECKING:
    import optuna


def plot_history(history: pd.DataFrame, checkpoint_epoch: int | None) -> Figure:
    """Plot losses and accuracies of `Run.history`, and a line at the selected checkpoint."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axis, name, scale in ((left, "loss", 1), (right, "accuracy", 100)):
        for split, color in (("train", "0.5"), ("val", "C0")):
            values = scale * history[f"{split}/{name}"].dropna()
            axis.plot(values.index, values, color=color, marker="o", markersize=3, label=split)
        if checkpoint_epoch is not None:
            style = {"color": "0.4", "linestyle": "--", "linewidth": 1}
            axis.axvline(checkpoint_epoch, label="checkpoint", **style)
        axis.set(xlabel="epoch", ylabel="accuracy, %" if name == "accuracy" else name)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
    right.legend(frameon=False)
    return figure


def plot_study(study: "optuna.Study") -> Figure:
    """Plot the trials, at least one finished, and the importance of each setting.

    The importance is functional ANOVA (Hutter, Hoos & Leyton-Brown 2014) over finished and pruned
    trials, the latter with the last value that they reported: without them, settings that lead to
    pruning would seem unimportant. Optuna's own figure leaves them out.
    """
    tag = study.user_attrs.get("objective", "objective")
    objective = find_objective(tag)
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _plot_trials(left, study, 100 if objective.is_accuracy else 1)
    left.set_ylabel(f"{tag}, %" if objective.is_accuracy else tag)
    _plot_importances(right, study)
    best, value = study.best_trial, objective.format(study.best_value)
    settings = describe_settings(best.params, [best.params])
    set_title(figure, f"best: trial {best.number}, {value} with {settings}")
    return figure


def _plot_trials(axis: Axes, study: "optuna.Study", scale: float) -> None:
    trials = pd.DataFrame(
        {"state": trial.state.name, "value": trial.value, "number": trial.number}
        for trial in study.trials
        if trial.value is not None
    )
    values = scale * trials.set_index(["state", "number"])["value"]
    finished = values["COMPLETE"]
    axis.plot(finished, "o", color="C0", label="finished")
    if "PRUNED" in values:
        axis.plot(values["PRUNED"], "x", color=GREY, label="pruned, at its last epoch")
    best = finished.cummin() if study.direction.name == "MINIMIZE" else finished.cummax()
    numbers = [*best.index, study.trials[-1].number]
    axis.step(numbers, [*best, best.iloc[-1]], where="post", color="C1", label="best so far")
    axis.set_xlabel("trial")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)


def _plot_importances(axis: Axes, study: "optuna.Study") -> None:
    import optuna  # takes seconds

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with_value = optuna.create_study(direction=study.direction)
    for trial in study.trials:
        if trial.state.is_finished() and trial.value is not None:
            space: Any = {"params": trial.params, "distributions": trial.distributions}
            with_value.add_trial(optuna.create_trial(value=trial.value, **space))
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    try:
        importances = optuna.importance.get_param_importances(with_value, evaluator=evaluator)
    except (RuntimeError, ValueError):  # of fewer than two trials, or equal ones
        importances = {}
    if importances:
        axis.barh([*importances], [*importances.values()], color="C0")
        axis.invert_yaxis()
        axis.set(xlim=(0, 1), xlabel="importance: share of the variance explained")
    else:
        axis.set_axis_off()
        axis.text(0.5, 0.5, "too few trials to estimate importances", ha="center")
