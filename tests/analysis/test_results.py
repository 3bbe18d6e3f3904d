"""Runs as their folders describe them, grouped by data set and averaged over seeds."""

import os
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from sentiment.analysis.labels import label_values
from sentiment.analysis.results import (
    data_has_changed,
    group_by_data,
    has_result,
    read_runs,
    summarize,
    varying_keys,
)
from sentiment.analysis.run import Run
from sentiment.runtime.config import config_fingerprint, find_objective, flatten
from sentiment.runtime.errors import InputError
from sentiment.runtime.run_folder import RunFolder, trial_path
from sentiment.training.resuming import check_changes
from tests.helpers import Compose
from tests.report_helpers import write_run, write_study, write_sweep

HISTORY = "epoch,step,train/loss,val/loss,train/accuracy,val/accuracy"
PREDICTIONS = "row,label,predicted,p(a)"


def test_results_are_sorted_by_the_objective_and_averaged_over_seeds(
    composed: Compose, tmp_path: Path
) -> None:
    runs = read_runs(write_sweep(composed, tmp_path))[0]
    assert len(runs) == 12
    results = summarize(runs, "val/accuracy")
    assert len(results) == 8
    assert results[0].settings == {
        "data.maxlen": 200,
        "model.units": 64,
        "optimizer": "torch.optim.Adam",
    }
    accuracies = [result.mean["val/accuracy"] for result in results]
    assert accuracies == sorted(accuracies, reverse=True)
    averaged = next(
        result
        for result in results
        if len(result.runs) == 2 and result.settings["optimizer"] == "torch.optim.Adam"
    )
    assert averaged.mean["val/accuracy"] == pytest.approx(0.81)
    assert averaged.sd["val/accuracy"] == pytest.approx(0.02 / 2**0.5)
    assert averaged.sd["epochs"] == 0
    assert not results[0].sd  # of one run


def test_results_of_a_loss_are_sorted_in_ascending_order(composed: Compose, tmp_path: Path) -> None:
    for units, loss in ((4, 0.5), (8, 0.3), (16, 0.4)):
        write_run(
            composed,
            tmp_path / str(units),
            [f"model.units={units}"],
            status="finished",
            val__loss=loss,
        )
    results = summarize(read_runs(tmp_path)[0], "val/loss")
    assert [result.settings["model.units"] for result in results] == [8, 16, 4]


def test_of_repeated_runs_the_last_figure_counts(composed: Compose, tmp_path: Path) -> None:
    """Else the same seed would be taken for two, which differ by 0."""
    write_run(
        composed,
        tmp_path / "a",
        ["seed=1"],
        status="finished",
        val__accuracy=0.5,
        baseline__x__val_accuracy=0.4,
    )
    write_run(composed, tmp_path / "b", ["seed=1"], status="finished", val__accuracy=0.6)
    write_run(composed, tmp_path / "c", ["seed=2"], status="finished", val__accuracy=0.8)
    (result,) = summarize(read_runs(tmp_path)[0], "val/accuracy")
    assert list(result.metrics["val/accuracy"]) == [0.6, 0.8]
    assert result.runs[1].folder.path.name == "b"
    assert [run.path.name for run in result.repeated] == ["a"]
    assert result.mean["baseline/x/val_accuracy"] == 0.4
    assert "baseline/x/val_accuracy" not in result.sd


def test_only_settings_that_vary_are_compared(composed: Compose, tmp_path: Path) -> None:
    for name, overrides in {
        "a": ["optimizer=adam", "seed=1", "baseline=nb_svm"],
        "b": ["optimizer=sgd", "seed=2"],  # lr, momentum and nesterov belong to its class
        "c": ["optimizer=sgd", "optimizer.lr=0.5", "test_ckpt=null"],
        "d": ["optimizer=adam", "callbacks.early_stopping=null"],
    }.items():
        write_run(composed, tmp_path / name, overrides, status="finished", val__accuracy=0.5)
    runs = read_runs(tmp_path)[0]
    assert varying_keys(runs) == [
        "optimizer",
        "optimizer.lr",
        "callbacks.early_stopping",
        "test_ckpt",
    ]
    assert varying_keys(runs[:2]) == ["optimizer"]


def test_classes_of_one_name_are_different_settings(composed: Compose, tmp_path: Path) -> None:
    names = ("one.CNN", "two.CNN")
    for name in names:
        overrides = [f"model._target_={name}"]
        write_run(composed, tmp_path / name, overrides, status="finished", val__accuracy=0.5)
    results = summarize(read_runs(tmp_path)[0], "val/accuracy")
    assert sorted(result.settings["model"] for result in results) == ["one.CNN", "two.CNN"]
    one, two = (RunFolder(tmp_path / name).read_config() for name in names)
    assert one is not None
    assert two is not None
    assert config_fingerprint(one) != config_fingerprint(two)
    with pytest.raises(
        InputError, match=r"^model=two\.CNN: cannot change when a run .* it is one\.CNN"
    ):
        check_changes(one, two)


def test_positional_arguments_are_settings(composed: Compose) -> None:
    cfg = composed("+model._args_=[1]")
    assert flatten(cfg)["model._args_"] == [1]
    assert config_fingerprint(cfg) != config_fingerprint(composed())


def test_runs_of_two_objectives_are_two_settings(composed: Compose, tmp_path: Path) -> None:
    for name in ("accuracy", "loss"):
        overrides = [f"objective=val/{name}"]
        metrics = {"val__accuracy": 0.5, "val__loss": 0.5}
        write_run(composed, tmp_path / name, overrides, status="finished", **metrics)
    results = summarize(read_runs(tmp_path)[0], "val/accuracy")
    assert [result.settings for result in results] == [
        {"objective": "val/accuracy"}, {"objective": "val/loss"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("tag", "direction"),
    [
        ("val/loss", "minimize"),
        ("val/f1", "maximize"),
        ("train/loss", "minimize"),
        ("x", "maximize"),
    ],
)
def test_direction_of_a_metric(tag: str, direction: str) -> None:
    assert find_objective(tag).direction == direction
    mode = OmegaConf.create({"mode": f"${{objective_mode:{tag}}}"}).mode
    assert mode == direction[:3]


@pytest.mark.parametrize("values", [(None, "None"), (1, "1"), (True, "True"), (1, 1.0)])
def test_values_of_different_types_are_different_settings(
    composed: Compose, tmp_path: Path, values: tuple[object, object]
) -> None:
    runs = [
        Run(RunFolder(str(i)), {"data.label_column": value}, {"status": "finished", "x": 0.5})
        for i, value in enumerate(values)
    ]
    assert len(summarize(runs, "x")) == 2
    assert len({*label_values(values)}) == 2


def test_teachers_and_other_programs_have_no_runs(composed: Compose, tmp_path: Path) -> None:
    write_run(composed, tmp_path / "run", status="finished", val__accuracy=0.5)
    write_run(composed, tmp_path / "run" / "teachers" / "1", status="finished", val__accuracy=0.9)
    write_run(composed, tmp_path / "teachers" / "2", status="finished", val__accuracy=0.6)
    for name, text in {"a": "data: imagenet", "b": "[]", "c": "lr: 1", "d": ""}.items():
        (tmp_path / name / ".hydra").mkdir(parents=True)
        (tmp_path / name / ".hydra" / "config.yaml").write_text(text)
    (tmp_path / "run" / "loop").symlink_to(tmp_path)
    runs, problems = read_runs(tmp_path)
    assert [run.path for run in runs] == [tmp_path / "run", tmp_path / "teachers" / "2"]
    assert problems == []
    assert [run.path.name for run in read_runs(tmp_path / "run" / "teachers")[0]] == ["1"]


def test_damaged_runs_are_told(composed: Compose, tmp_path: Path) -> None:
    for name in "abcde":
        write_run(composed, tmp_path / name, status="finished", val__accuracy=0.5)
    (tmp_path / "b" / "metrics.json").write_text('{"status": "fin')
    (tmp_path / "c" / ".hydra" / "config.yaml").write_text("data: [")
    (tmp_path / "d" / ".hydra" / "config.yaml").write_text("")
    (tmp_path / "e" / ".hydra" / "config.yaml").unlink()
    runs, problems = read_runs(tmp_path)
    assert [run.path.name for run in runs] == ["a"]
    places = [
        problem.removeprefix(f"{tmp_path}/").partition(":")[0] for problem in sorted(problems)
    ]
    assert places == ["b/metrics.json", *(f"{name}/.hydra/config.yaml" for name in "cde")]


def test_folders_that_cannot_be_listed_are_told(
    composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        write_run(composed, tmp_path / name, status="finished", val__accuracy=0.5)
    scandir = os.scandir

    def refuse(path: str) -> Any:
        if Path(path).name == "a":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    runs, problems = read_runs(tmp_path)
    assert [run.path.name for run in runs] == ["b"]
    assert problems == [f"[Errno 13] Permission denied: '{tmp_path / 'a'}'"]


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("history.csv", "", "No columns to parse from file"),
        ("history.csv", "epoch;step\n1;8\n", "could not convert string to float: '1;8'"),
        ("history.csv", "epoch,step\n1,8\n", ".*train/loss.* are in the"),
        ("history.csv", 'epoch,step\n1,"2', "Error tokenizing data"),
        ("history.csv", f"{HISTORY}\n1,8,x,.5,.5,.5\n", "could not convert string to float: 'x'"),
        ("history.csv", f"{HISTORY}\n1,", "Cannot convert non-finite values"),
        ("test_predictions.csv", "a,b\n", "'label'"),
        ("test_predictions.csv", f"{PREDICTIONS},text\n1,a,a,x,t\n", "could not convert string to"),
        ("test_predictions.csv", f"{PREDICTIONS},text\n1,b,a,1,t\n", r".*'p\(b\)'\] not in index"),
        ("test_predictions.csv", f"{PREDICTIONS}\n1,a,a,1\n", r".*'text'\] not in index"),
    ],
)
def test_damaged_tables_of_a_run_are_named(
    tmp_path: Path, name: str, content: str, why: str
) -> None:
    (tmp_path / name).write_text(content)
    run = Run(RunFolder(tmp_path), {}, {})
    message = rf"^{tmp_path / name}: cannot be read \({why}.*\); remove it or repeat the run$"
    with pytest.raises(InputError, match=message):
        _ = run.history if name == "history.csv" else run.predictions
    with pytest.raises(InputError, match=message):
        _ = run.figures


def make_run(settings: dict[str, object], **metrics: object) -> Run:
    """A run whose settings start with `data.`."""
    return Run(RunFolder("x"), {f"data.{key}": value for key, value in settings.items()}, metrics)


@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        ({"source": "imdb"}, {"source": "demo"}, ["data=imdb", "data=demo"]),
        ({"source": "imdb"}, {"source": "imdb", "split_seed": 1, "val_split": "tail", "tokenizer": "x"}, ["data=imdb"]),
        ({"source": "imdb", "path": "x"}, {"source": "imdb", "path": "x/"}, ["data=imdb data.path=x"]),
        ({"source": "demo", "path": None}, {"source": "demo", "path": "x", "test_fraction": 0.5}, ["data=demo"]),
        ({"source": "files", "path": "x"}, {"source": "files", "path": "y"},
         ["data=files data.path=x", "data=files data.path=y"]),
        ({"source": "files", "path": "x"}, {"source": "files", "path": "x", "test_fraction": 0.5},
         ["data=files data.path=x test_fraction=0.2", "data=files data.path=x test_fraction=0.5"]),
        ({"source": "files", "path": "x"}, {"source": "files", "path": "x", "label_column": "stars"},
         ["data=files data.path=x label_column=label", "data=files data.path=x label_column=stars"]),
        ({"source": "files", "path": "x", "maxlen": 80, "val_fraction": 0.1},
         {"source": "files", "path": "x", "maxlen": 9, "val_fraction": 0.2, "split_seed": 0},
         ["data=files data.path=x"]),
        ({"source": "files", "path": ["x", "y"]}, {"source": "files", "path": ["x", "y"], "labels": "{1: 'a'}"},
         ["data=files data.path=['x', 'y'] labels=null", "data=files data.path=['x', 'y'] labels={1: 'a'}"]),
    ],
)  # fmt: skip
def test_runs_are_grouped_by_the_settings_that_determine_the_test_set(
    first: dict[str, object], second: dict[str, object], names: list[str]
) -> None:
    groups = group_by_data([make_run(first), make_run(second)])
    assert list(groups) == [
        name.replace(" test_", " data.test_").replace(" label", " data.label") for name in names
    ]
    assert sum(map(len, groups.values())) == 2


def test_changed_data_is_noticed_but_not_another_preparation() -> None:
    first = make_run({"path": "x", "tokenizer": "words", "maxlen": 80}, data_fingerprint="1")
    prepared = make_run(
        {"path": "x", "tokenizer": "basic_english", "maxlen": 80}, data_fingerprint="2"
    )
    changed = make_run({"path": "x", "tokenizer": "words", "maxlen": 200}, data_fingerprint="3")
    assert not data_has_changed([first, prepared, make_run({"path": "x", "tokenizer": "words"})])
    assert data_has_changed([first, prepared, changed])


def test_trials_of_a_study_come_from_its_storage(composed: Compose, tmp_path: Path) -> None:
    runs = read_runs(write_study(composed, tmp_path))[0]
    assert [run.status for run in runs] == [
        "finished",
        "finished",
        "pruned",
        "failed",
        "interrupted",
    ]
    assert [run.settings["model.units"] for run in runs] == [10, 20, 30, 40, 50]
    assert [run.metrics["val/accuracy"] for run in runs] == [0.8, 0.9, 0.6, None, None]
    assert runs[3].metrics["error"] == "val/accuracy is not a number"
    assert read_runs(tmp_path)[0][0].settings["data.path"] == "x"
    assert all(run.sampled == {"model.units"} for run in runs)
    assert varying_keys(runs[:1]) == ["model.units"]  # sampled, though it does not vary
    assert len(group_by_data(runs)) == 1  # though another machine has the data in another folder


def test_a_trial_that_its_study_lost_is_described_as_it_is(
    composed: Compose, tmp_path: Path
) -> None:
    run = RunFolder(
        trial_path(write_study(composed, tmp_path), 3)
    )  # failed, as its storage was away
    run.write_metrics({"status": "finished", "val/accuracy": 0.0})
    lost = read_runs(tmp_path)[0][3]
    assert (lost.status, lost.metrics["val/accuracy"]) == ("failed", 0.0)
    assert lost.metrics["error"] == (
        "trained to the end, val/accuracy 0.0, but the study did not record it"
    )
    run.metrics_file.write_text("{")
    runs, (problem,) = read_runs(tmp_path)
    assert runs[3].status == "interrupted"
    assert problem.startswith(f"{run.metrics_file}: cannot be read")


def test_a_truth_value_is_no_result() -> None:
    metrics = {"status": "finished", "val/accuracy": True}
    assert not has_result(Run(RunFolder("x"), {}, metrics), "val/accuracy")
    assert has_result(Run(RunFolder("x"), {}, metrics | {"val/accuracy": 1.0}), "val/accuracy")


def test_a_missing_study_is_not_made(composed: Compose, tmp_path: Path) -> None:
    file = write_study(composed, tmp_path) / "study.db"
    file.unlink()
    assert read_runs(tmp_path)[1] == [
        f"{tmp_path}: the study cannot be read ([Errno 2] No such file or directory: "
        f"'{file}'); check tune.storage"
    ]
    assert not file.exists()
