"""What is compared, how seeds are put together, and what is written."""

import csv
from pathlib import Path

import pytest
from matplotlib.image import imread
from omegaconf import OmegaConf

from sentiment import report, runs
from sentiment.errors import InputError
from sentiment.figures import comparison
from sentiment.results import write_metrics

from .conftest import Compose, command


def leave(composed: Compose, home: Path, name: str, overrides: list[str], **metrics: object) -> None:
    """Leaves a run's files without the training."""
    folder = home / name
    (folder / ".hydra").mkdir(parents=True)
    OmegaConf.save(composed(*overrides, folder=folder), folder / ".hydra" / "config.yaml")
    if metrics:
        write_metrics(folder, {tag.replace("__", "/"): value for tag, value in metrics.items()})


@pytest.fixture
def swept(composed: Compose, tmp_path: Path) -> Path:
    home = tmp_path / "swept"
    for optimizer in ("adam", "sgd"):
        for maxlen, units, seed, accuracy in (
            (80, 32, 1, 0.80), (80, 32, 2, 0.82), (80, 64, 1, 0.84), (200, 32, 1, 0.86), (200, 64, 1, 0.88),
        ):  # fmt: skip
            values = accuracy - (0.1 if optimizer == "sgd" else 0)
            overrides = [f"data.maxlen={maxlen}", f"model.units={units}", f"seed={seed}", f"optimizer={optimizer}"]
            leave(
                composed, home, f"{optimizer}-{maxlen}-{units}-{seed}", overrides, status="finished", error=None,
                val__accuracy=values, test__accuracy=values - 0.01, baseline__forest__val_accuracy=0.7,
                baseline__forest__test_accuracy=0.69,
            )  # fmt: skip
    leave(composed, home, "bad", ["model.units=0"], status="failed", error="InputError: model.units=0")
    leave(composed, home, "cut", ["model.units=64"])
    return home


def test_runs_are_sorted_by_the_objective_and_seeds_put_together(swept: Path) -> None:
    found = runs.read([swept])
    assert len(found) == 12
    groups = runs.grouped(found, "val/accuracy")
    assert len(groups) == 8
    assert groups[0].settings == {"data.maxlen": 200, "model.units": 64, "optimizer": "Adam"}
    two = next(group for group in groups if len(group.runs) == 2 and group.settings["optimizer"] == "Adam")
    assert two.mean("val/accuracy") == pytest.approx(0.81)
    assert [group.mean("val/accuracy") for group in groups] == sorted(
        (group.mean("val/accuracy") or 0 for group in groups), reverse=True
    )


def test_only_settings_that_differ_are_shown(composed: Compose, tmp_path: Path) -> None:
    for name, overrides in {
        "a": ["optimizer=adam", "seed=1", "baseline=nb_svm"],
        "b": ["optimizer=sgd", "seed=2"],  # brings lr, momentum and nesterov of its own kind along
        "c": ["optimizer=sgd", "optimizer.lr=0.5", "test=false"],
        "d": ["optimizer=adam", "callbacks.early_stopping=null"],
    }.items():
        leave(composed, tmp_path, name, overrides, status="finished", val__accuracy=0.5)
    found = runs.read([tmp_path])
    assert runs.differing(found) == ["optimizer", "optimizer.lr", "callbacks.early_stopping", "test"]
    assert runs.differing(found[:2]) == ["optimizer"]
    assert report.short(["optimizer", "optimizer.lr", "a.b", "c.b"]) == {
        "optimizer": "optimizer", "optimizer.lr": "lr", "a.b": "a.b", "c.b": "c.b",
    }  # fmt: skip


def test_table_csv_and_picture_are_written_and_say_what_failed(swept: Path) -> None:
    done = command(str(swept), cwd=swept, module="report")
    assert done.returncode == 0, done.stderr
    assert "12 runs: 10 finished, 1 failed, 1 unfinished" in done.stdout
    assert "bad: InputError: model.units=0" in done.stdout
    page = (swept / "report.md").read_text()
    first = next(line for line in page.splitlines() if "200" in line)
    assert [cell.strip() for cell in first.strip("|").split("|")][:6] == [
        "200",
        "64",
        "Adam",
        "88.00",
        "87.00",
        "69.00",
    ]
    assert "81.00\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}1.41" in page
    assert "- bad: InputError: model.units=0" in page
    with (swept / "report.csv").open(newline="") as file:
        rows = {row["folder"]: row for row in csv.DictReader(file)}
    assert len(rows) == 12
    assert (rows["sgd-80-32-2"]["optimizer"], rows["sgd-80-32-2"]["seed"]) == ("SGD", "2")
    assert float(rows["sgd-80-32-2"]["val/accuracy"]) == pytest.approx(0.72)
    assert (rows["bad"]["status"], rows["cut"]["status"], rows["cut"]["val/accuracy"]) == ("failed", "unfinished", "")
    height, width, _ = imread(swept / "report.png").shape
    assert width > height > 400


def test_a_loss_is_sorted_upwards(composed: Compose, tmp_path: Path) -> None:
    for units, loss in ((4, 0.5), (8, 0.3), (16, 0.4)):
        overrides = [f"model.units={units}", "objective=val/loss"]
        leave(composed, tmp_path, str(units), overrides, status="finished", val__loss=loss)
    report.write([tmp_path])
    groups = runs.grouped(runs.read([tmp_path]), "val/loss")
    assert [group.settings["model.units"] for group in groups] == [8, 16, 4]


def test_several_folders_are_compared_in_the_one_that_holds_them(composed: Compose, tmp_path: Path) -> None:
    for name in ("a", "b"):
        leave(composed, tmp_path, name, [f"seed={ord(name)}"], status="finished", val__accuracy=0.5)
    assert len(report.write([tmp_path / "a", tmp_path / "b"])) == 2
    assert (tmp_path / "report.md").exists()


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run"):
        report.write([tmp_path])


def points(**swept: list[object]) -> list[comparison.Point]:
    names = list(swept)
    combinations: list[dict[str, object]] = [{}]
    for name in names:
        combinations = [{**known, name: value} for known in combinations for value in swept[name]]
    return [comparison.Point(c, 0.5 + i / 100, 0.01, {"forest": 0.6}) for i, c in enumerate(combinations)]


@pytest.mark.parametrize(
    ("swept", "panels", "lines", "x"),
    [
        ({"units": [8, 16], "maxlen": [80, 200, 400], "optimizer": ["adam", "sgd"]}, 2, 2, "maxlen"),
        ({"units": [8, 16], "lr": [0.0001, 0.01]}, 1, 2, "units"),
        ({"optimizer": ["adam", "sgd", "rmsprop"]}, 1, 1, "optimizer"),
        ({"maxlen": [80, 200], "units": [8, 16], "pooling": ["max", "last"], "optimizer": ["a", "b"]}, 2, 2, "maxlen"),
        ({}, 1, 1, ""),
    ],
)
def test_the_picture_has_a_panel_and_a_line_per_value(
    swept: dict[str, list[object]], panels: int, lines: int, x: str
) -> None:
    figure = comparison.sweep(points(**swept), "val/accuracy")
    assert len(figure.axes) == panels
    for axis in figure.axes:
        assert len(axis.containers) == lines  # one with error bars per value
        assert axis.get_xlabel() == x
    figure.canvas.draw()
