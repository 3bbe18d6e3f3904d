"""Figures of trainings: one run's losses and accuracies by epoch, the trials of a study."""

from typing import TYPE_CHECKING

import pandas as pd
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
    """Plot the trials, at least one finished, and the best value so far."""
    tag = study.user_attrs.get("objective", "objective")
    objective = find_objective(tag)
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axis = figure.subplots()
    trials = pd.DataFrame(
        {"state": trial.state.name, "value": trial.value, "number": trial.number}
        for trial in study.trials
        if trial.value is not None
    )
    values = trials.set_index(["state", "number"])["value"] * (100 if objective.is_accuracy else 1)
    finished = values["COMPLETE"]
    axis.plot(finished, "o", color="C0", label="finished")
    if "PRUNED" in values:
        axis.plot(values["PRUNED"], "x", color=GREY, label="pruned, at its last epoch")
    best = finished.cummin() if study.direction.name == "MINIMIZE" else finished.cummax()
    numbers = [*best.index, study.trials[-1].number]
    axis.step(numbers, [*best, best.iloc[-1]], where="post", color="C1", label="best so far")
    axis.set(xlabel="trial", ylabel=f"{tag}, %" if objective.is_accuracy else tag)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    value, params = objective.format(study.best_value), study.best_trial.params
    settings = describe_settings(params, [params])
    set_title(figure, f"best: trial {study.best_trial.number}, {value} with {settings}")
    return figure
