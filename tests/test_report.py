import csv
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from matplotlib.image import imread
from omegaconf import OmegaConf

from sentiment.analysis.report import write_report
from sentiment.analysis.run_figures import plot_study, plot_sweep
from sentiment.analysis.runs import Result, read_runs, shorten_keys, summarize, varying_keys
from sentiment.runtime.errors import InputError
from sentiment.runtime.run_folder import RunFolder, trial_path
from tests.helpers import Compose, command, compose_config

PRUNED, FAIL = optuna.trial.TrialState.PRUNED, optuna.trial.TrialState.FAIL


def write_run(composed: Compose, path: Path, overrides: list[str], **metrics: object) -> None:
    """Write the files of a run without training; `val__accuracy` stands for `val/accuracy`."""
    run = RunFolder(path)
    run.write_config(composed(*overrides, folder=path))
    if metrics:
        run.write_metrics({tag.replace("__", "/"): value for tag, value in metrics.items()})


@pytest.fixture
def sweep(composed: Compose, tmp_path: Path) -> Path:
    """A sweep of ten finished runs, one that failed, and one that was killed."""
    folder = tmp_path / "sweep"
    for optimizer in ("adam", "sgd"):
        for maxlen, units, seed, accuracy in (
            (80, 32, 1, 0.80), (80, 32, 2, 0.82), (80, 64, 1, 0.84), (200, 32, 1, 0.86), (200, 64, 1, 0.88),
        ):  # fmt: skip
            value = accuracy - (0.1 if optimizer == "sgd" else 0)
            overrides = [f"data.maxlen={maxlen}", f"model.units={units}", f"seed={seed}", f"optimizer={optimizer}"]
            write_run(
                composed, folder / f"{optimizer}-{maxlen}-{units}-{seed}", overrides, status="finished", error=None,
                val__accuracy=value, test__accuracy=value - 0.01, baseline__forest__val_accuracy=0.7,
                baseline__forest__test_accuracy=0.69, epochs=3,
            )  # fmt: skip
    write_run(composed, folder / "bad", ["model.units=0"], status="failed", error="=InputError: model.units=0")
    write_run(composed, folder / "killed", ["model.units=64"])
    return folder


def test_results_are_sorted_by_the_objective_and_averaged_over_seeds(sweep: Path) -> None:
    runs = read_runs([sweep])
    assert len(runs) == 12
    results = summarize(runs, "val/accuracy")
    assert len(results) == 8
    assert results[0].settings == {"data.maxlen": 200, "model.units": 64, "optimizer": "Adam"}
    accuracies = [result.mean["val/accuracy"] for result in results]
    assert accuracies == sorted(accuracies, reverse=True)
    averaged = next(result for result in results if result.seeds == 2 and result.settings["optimizer"] == "Adam")
    assert averaged.mean["val/accuracy"] == pytest.approx(0.81)
    assert averaged.sd["val/accuracy"] == pytest.approx(0.02 / 2**0.5)
    assert averaged.sd["baseline/forest/val_accuracy"] == 0


def test_results_of_a_loss_are_sorted_in_ascending_order(composed: Compose, tmp_path: Path) -> None:
    for units, loss in ((4, 0.5), (8, 0.3), (16, 0.4)):
        overrides = [f"model.units={units}", "objective=val/loss"]
        write_run(composed, tmp_path / str(units), overrides, status="finished", val__loss=loss)
    results = summarize(write_report([tmp_path]), "val/loss")
    assert [result.settings["model.units"] for result in results] == [8, 16, 4]
    assert "0.3000" in (tmp_path / "report.md").read_text()


def test_only_settings_that_vary_are_compared(composed: Compose, tmp_path: Path) -> None:
    for name, overrides in {
        "a": ["optimizer=adam", "seed=1", "baseline=nb_svm"],
        "b": ["optimizer=sgd", "seed=2"],  # lr, momentum and nesterov belong to its class
        "c": ["optimizer=sgd", "optimizer.lr=0.5", "test_ckpt=null"],
        "d": ["optimizer=adam", "callbacks.early_stopping=null"],
    }.items():
        write_run(composed, tmp_path / name, overrides, status="finished", val__accuracy=0.5)
    runs = read_runs([tmp_path])
    assert varying_keys(runs) == ["optimizer", "optimizer.lr", "callbacks.early_stopping", "test_ckpt"]
    assert varying_keys(runs[:2]) == ["optimizer"]


def test_keys_are_shortened_unless_ambiguous() -> None:
    assert shorten_keys(["optimizer", "optimizer.lr", "a.b", "c.b"]) == {
        "optimizer": "optimizer", "optimizer.lr": "lr", "a.b": "a.b", "c.b": "c.b",
    }  # fmt: skip


@pytest.mark.slow
def test_report_writes_table_csv_and_figure_and_lists_failures(sweep: Path) -> None:
    finished = command(str(sweep), cwd=sweep, module="report")
    assert finished.returncode == 0, finished.stderr
    assert "12 runs: 10 finished, 1 failed, 1 unfinished" in finished.stdout
    assert "bad: =InputError: model.units=0" in finished.stdout
    markdown = (sweep / "report.md").read_text()
    first = next(line for line in markdown.splitlines() if "200" in line)
    cells = [cell.strip() for cell in first.strip("|").split("|")]
    assert cells == ["200", "64", "Adam", "88.00", "87.00", "69.00", "1"]
    assert "81.00\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}1.41" in markdown
    assert "- bad: =InputError: model.units=0" in markdown
    with (sweep / "report.csv").open(newline="") as file:
        rows = {row["folder"]: row for row in csv.DictReader(file)}
    assert len(rows) == 12
    row = rows["sgd-80-32-2"]
    assert (row["optimizer"], row["seed"], row["epochs"]) == ("SGD", "2", "3")
    assert float(row["val/accuracy"]) == pytest.approx(0.72)
    assert (rows["bad"]["status"], rows["bad"]["error"]) == ("failed", "'=InputError: model.units=0")
    assert (rows["killed"]["status"], rows["killed"]["val/accuracy"]) == ("unfinished", "")
    height, width, _ = imread(sweep / "report.png").shape
    assert width > height > 400


def test_report_on_several_folders_is_written_to_their_parent(composed: Compose, tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        write_run(composed, tmp_path / name, [f"seed={seed}"], status="finished", val__accuracy=0.5)
    assert len(write_report([tmp_path / "a", tmp_path / "b"])) == 2
    assert (tmp_path / "report.png").exists()


def test_report_without_finished_runs_has_neither_table_nor_figure(composed: Compose, tmp_path: Path) -> None:
    write_run(composed, tmp_path / "killed", [])
    write_report([tmp_path])
    assert (tmp_path / "report.md").read_text() == f"# {tmp_path.name}\n\n1 runs: 1 unfinished\n"
    assert not (tmp_path / "report.png").exists()


def test_report_rejects_a_folder_without_runs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="contains no run"):
        write_report([tmp_path])


def test_report_accepts_runs_of_other_versions(composed: Compose, tmp_path: Path) -> None:
    write_run(composed, tmp_path / "new", ["objective=f1"], status="finished", f1=0.5)
    old = RunFolder(tmp_path / "old")
    old.write_config(OmegaConf.create({"data": {"maxlen": 80}, "chunk": None}))
    old.write_metrics({"status": "finished", "data": "0123", "f1": 0.75})
    RunFolder(tmp_path / "evaluation").write_config(OmegaConf.create({"checkpoint": "x"}))
    assert len(write_report([tmp_path])) == 2
    results = summarize(read_runs([tmp_path]), "f1")
    assert [result.mean["f1"] for result in results] == [0.75, 0.5]
    assert "0.7500" in (tmp_path / "report.md").read_text()


@pytest.fixture
def study(composed: Compose, tmp_path: Path) -> Path:
    """A study with a finished trial, one that another machine ran, a pruned one, a diverged one and a killed one."""
    folder = tmp_path / "study"
    cfg = compose_config("data=files", "data.path=x", f"output_dir={folder}", name="tune")
    RunFolder(folder).write_config(cfg)
    space: dict[str, Any] = {"model.units": optuna.distributions.IntDistribution(1, 100)}
    trials = [
        optuna.create_trial(params={"model.units": 10}, distributions=space, value=0.8),
        optuna.create_trial(params={"model.units": 20}, distributions=space, value=0.9),
        optuna.create_trial(
            params={"model.units": 30}, distributions=space, intermediate_values={1: 0.6}, value=0.6, state=PRUNED
        ),
        optuna.create_trial(params={"model.units": 40}, distributions=space, state=FAIL),
        optuna.create_trial(params={"model.units": 50}, distributions=space, state=FAIL),
    ]
    optuna_study = optuna.create_study(
        study_name=cfg.tune.name, storage=f"sqlite:///{folder}/study.db", direction="maximize"
    )
    optuna_study.set_user_attr("objective", "val/accuracy")
    optuna_study.add_trials(trials)
    optuna_study.enqueue_trial({"model.units": 60})
    for number in (0, 2, 3):
        overrides = [f"model.units={10 * number + 10}", "optimizer.lr=0.5"]
        write_run(composed, trial_path(folder, number), overrides, status="finished", val__accuracy=None)
    return folder


def test_trials_of_a_study_come_from_its_storage(study: Path) -> None:
    runs = read_runs([study])
    assert [run.status for run in runs] == ["finished", "finished", "pruned", "failed", "interrupted"]
    assert [run.settings["model.units"] for run in runs] == [10, 20, 30, 40, 50]
    assert [run.metrics["val/accuracy"] for run in runs] == [0.8, 0.9, 0.6, None, None]
    assert runs[3].metrics["error"] == "val/accuracy is not a number"
    assert all(run.sampled == {"model.units"} for run in runs)
    assert varying_keys(runs[:1]) == ["model.units"]  # sampled, though it does not vary


@pytest.mark.slow
def test_report_on_a_study_shows_its_trials(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_report([study])
    assert "5 runs: 2 finished, 1 pruned, 1 failed, 1 interrupted" in capsys.readouterr().out
    assert (study / "report.png").exists()
    (study / "study.db").unlink()
    with pytest.raises(InputError, match="the study cannot be read"):
        write_report([study])


@pytest.mark.parametrize(("direction", "best"), [("maximize", [80, 90, 90, 90]), ("minimize", [80, 80, 70, 70])])
def test_study_figure_shows_the_best_value_so_far(direction: Any, best: list[float]) -> None:
    space: dict[str, Any] = {"model.units": optuna.distributions.IntDistribution(1, 100)}
    study = optuna.create_study(direction=direction)
    study.set_user_attr("objective", "val/accuracy")
    for units, value in ((8, 0.8), (16, 0.9), (32, 0.7)):
        study.add_trial(optuna.create_trial(params={"model.units": units}, distributions=space, value=value))
    left, right = plot_study(study).axes
    assert np.asarray(left.lines[-1].get_ydata()) == pytest.approx(best)
    assert [label.get_text() for label in right.get_yticklabels()] == ["model.units"]


def grid(**values: list[object]) -> list[Result]:
    """Results of all combinations of settings, the best first; `model__units` stands for `model.units`."""
    combinations: list[dict[str, object]] = [{}]
    for name, options in values.items():
        combinations = [{**settings, name.replace("__", "."): value} for settings in combinations for value in options]
    baseline = {"baseline/forest/val_accuracy": 0.6}
    return [
        Result(settings, 1, {"val/accuracy": 0.9 - i / 100, **baseline}, {"val/accuracy": 0.01})
        for i, settings in enumerate(combinations)
    ]


@pytest.mark.parametrize(
    ("values", "panels", "lines", "x"),
    [
        ({"model__units": [8, 16], "data__maxlen": [80, 200, 400], "optimizer": ["Adam", "SGD"]}, 2, 2, "maxlen"),
        ({"model__units": [8, 16], "optimizer__lr": [0.0001, 0.01]}, 1, 2, "units"),
        ({"optimizer": ["Adam", "SGD", "RMSprop"]}, 1, 1, "optimizer"),
        (
            {"data__maxlen": [80, 200], "model__units": [8, 16], "pooling": ["max", "last"], "optimizer": ["a", "b"]},
            2,
            2,
            "maxlen",
        ),
        ({"optimizer__betas": [[0.9, 0.99], [0.8, 0.99]]}, 1, 1, "betas"),
        ({}, 1, 1, ""),
    ],
)
def test_sweep_figure_has_a_panel_and_a_line_per_value(
    values: dict[str, list[object]], panels: int, lines: int, x: str
) -> None:
    figure = plot_sweep(grid(**values), "val/accuracy")
    assert len(figure.axes) == panels
    for axis in figure.axes:
        assert len(axis.containers) == lines  # an errorbar per value
        assert axis.get_xlabel() == x
    figure.canvas.draw()


def test_sweep_figure_shows_the_best_result_over_the_other_settings() -> None:
    results = grid(pooling=["max", "last"], data__maxlen=[80, 200], model__units=[8], optimizer=["Adam"])
    (axis,) = plot_sweep(results, "val/accuracy").axes
    (errorbar,) = axis.containers
    assert list(errorbar[0].get_ydata()) == pytest.approx([90, 89])  # of pooling=max
