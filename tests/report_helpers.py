"""Helpers of the tests of reports: runs without training, results without runs."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sentiment.analysis.results import Result
from sentiment.analysis.run import Run
from sentiment.analysis.study_storage import connect
from sentiment.runtime.run_folder import RunFolder, trial_path
from tests.helpers import Compose, compose_config

PATH = "/somewhere/else/$a$_long_folder/glove.840B.300d.txt"  # as a setting in figures
PRUNED, FAIL = optuna.trial.TrialState.PRUNED, optuna.trial.TrialState.FAIL


def write_run(
    composed: Compose, path: Path, overrides: Sequence[str] = (), **metrics: object
) -> RunFolder:
    """Write the files of a run without training; `val__accuracy` stands for `val/accuracy`."""
    run = RunFolder(path)
    groups = [
        override for override in overrides if override.split("=")[0] in ("optimizer", "baseline")
    ]
    cfg = composed(*groups, folder=path)
    cfg.merge_with_dotlist(
        [override for override in overrides if override not in groups]
    )  # quicker than composing
    run.write_config(cfg)
    if metrics:
        run.write_metrics({tag.replace("__", "/"): value for tag, value in metrics.items()})
    return run


def write_predictions(run: RunFolder, correct: Sequence[bool], **columns: Sequence[object]) -> None:
    """Write `test_predictions.csv` of reviews labelled a; `columns` are put first, `row` is 0, 1, … by default."""
    columns = {"row": range(len(correct))} | columns
    with run.predictions_file.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "text", "label", "predicted", "p(a)"])
        for i, is_correct in enumerate(correct):
            writer.writerow(
                [
                    *(values[i] for values in columns.values()),
                    'so, "so"',
                    "a",
                    "ba"[is_correct],
                    0.5,
                ]
            )


def make_result(settings: dict[str, object], values: Sequence[float], **others: float) -> Result:
    """A result with a run per value of `val/accuracy`, of seeds 0, 1, …; `x__y` in `others` stands for `x/y`."""
    metrics = {"val/accuracy": values} | {
        tag.replace("__", "/"): [value] * len(values) for tag, value in others.items()
    }
    runs = {
        seed: Run(RunFolder(f"run_{seed}"), {**settings, "seed": seed}, {})
        for seed in range(len(values))
    }
    return Result(settings, runs, pd.DataFrame(metrics))


def grid(seeds: int = 1, **values: list[object]) -> list[Result]:
    """Results of all combinations of settings, the best first; `model__units` stands for `model.units`."""
    combinations: list[dict[str, object]] = [{}]
    for name, options in values.items():
        combinations = [
            {**settings, name.replace("__", "."): value}
            for settings in combinations
            for value in options
        ]
    return [
        make_result(
            settings,
            [0.9 - i / 100 + seed / 1000 for seed in range(seeds)],
            baseline__forest__val_accuracy=0.6,
        )
        for i, settings in enumerate(combinations)
    ]


def write_sweep(composed: Compose, folder: Path) -> Path:
    """Write a sweep of ten finished runs, one that failed, and one that was killed."""
    for optimizer in ("adam", "sgd"):
        for maxlen, units, seed, accuracy in (
            (80, 32, 1, 0.80), (80, 32, 2, 0.82), (80, 64, 1, 0.84), (200, 32, 1, 0.86), (200, 64, 1, 0.88),
        ):  # fmt: skip
            value = accuracy - (0.1 if optimizer == "sgd" else 0)
            overrides = [
                f"data.maxlen={maxlen}",
                f"model.units={units}",
                f"seed={seed}",
                f"optimizer={optimizer}",
            ]
            write_run(
                composed, folder / f"{optimizer}-{maxlen}-{units}-{seed}", overrides, status="finished", error=None,
                val__accuracy=value, test__accuracy=value - 0.01, baseline__forest__val_accuracy=0.7,
                baseline__forest__test_accuracy=0.69, epochs=3,
            )  # fmt: skip
    write_run(
        composed,
        folder / "bad",
        ["model.units=0"],
        status="failed",
        error="=InputError: model.units=0",
    )
    write_run(composed, folder / "killed", ["model.units=64"])
    return folder


def write_study(composed: Compose, folder: Path) -> Path:
    """Write a study: a finished trial, one that another machine ran, a pruned one, a diverged one and a killed one."""
    cfg = compose_config("data=files", "data.path=x", f"output_dir={folder}", name="tune")
    RunFolder(folder).write_config(cfg)
    space: dict[str, Any] = {"model.units": optuna.distributions.IntDistribution(1, 100)}
    trials = [
        optuna.create_trial(params={"model.units": 10}, distributions=space, value=0.8),
        optuna.create_trial(params={"model.units": 20}, distributions=space, value=0.9),
        optuna.create_trial(
            params={"model.units": 30},
            distributions=space,
            intermediate_values={1: 0.6},
            value=0.6,
            state=PRUNED,
        ),
        optuna.create_trial(params={"model.units": 40}, distributions=space, state=FAIL),
        optuna.create_trial(params={"model.units": 50}, distributions=space, state=FAIL),
    ]
    study = optuna.create_study(
        study_name=cfg.tune.name,
        storage=connect(f"sqlite:///{folder}/study.db"),
        direction="maximize",
    )
    study.set_user_attr("objective", "val/accuracy")
    study.add_trials(trials)
    study.enqueue_trial({"model.units": 60})
    for number in (0, 2, 3):
        overrides = [f"model.units={10 * number + 10}", "optimizer.lr=0.5"]
        write_run(
            composed, trial_path(folder, number), overrides, status="finished", val__accuracy=None
        )
    return folder


def check_texts(figure: Figure) -> None:
    """Draw a figure, and check that nothing is cut off and the title is above the panels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    renderer = canvas.get_renderer()  # type: ignore[no-untyped-call]
    drawn, (width, height) = figure.get_tightbbox(renderer), figure.get_size_inches()
    assert 0 <= drawn.x0 <= drawn.x1 <= width
    assert 0 <= drawn.y0 <= drawn.y1 <= height
    assert figure._suptitle is not None  # type: ignore[attr-defined]
    title = figure._suptitle.get_window_extent(renderer)  # type: ignore[attr-defined]
    for axis in figure.axes:
        panel = axis.get_tightbbox(renderer)
        assert panel is not None
        assert panel.y1 <= title.y0
        assert axis.bbox.width > 100
