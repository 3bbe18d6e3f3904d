"""The report on runs: what it reads and writes."""

import csv
import shutil
from pathlib import Path

import pytest
from matplotlib.image import imread
from omegaconf import OmegaConf

from sentiment.analysis.report.report import write_report
from sentiment.analysis.results import read_runs, summarize
from sentiment.runtime.errors import InputError
from sentiment.runtime.run_folder import RunFolder
from tests.helpers import Compose, command
from tests.report_helpers import write_predictions, write_run, write_study, write_sweep

FILES = {"report.md", "report.csv", "report_mean.csv", "report.png"}
NBSP = "\N{NO-BREAK SPACE}"


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_markdown(folder: Path) -> str:
    """`report.md` without its first line, which says what the report replaces."""
    return (folder / "report.md").read_text().partition(" -->\n")[2]


@pytest.mark.slow
def test_report_writes_tables_csv_and_figure_and_lists_failures(
    composed: Compose, tmp_path: Path
) -> None:
    sweep = write_sweep(composed, tmp_path / "sweep")
    finished = command(str(sweep), cwd=sweep, module="report")
    assert finished.returncode == 0, finished.stderr
    assert "12 runs: 10 finished, 1 failed, 1 unfinished" in finished.stdout
    assert "bad: =InputError: model.units=0" in finished.stdout
    assert "Baselines, test accuracy: forest 69.00\n" in finished.stdout
    assert "Not compared with the best: 7 of 7, no test predictions" in finished.stdout
    markdown = (sweep / "report.md").read_text()
    first = next(line for line in markdown.splitlines() if "200" in line)
    assert [cell.strip() for cell in first.strip("|").split("|")] == [
        "200", "64", "Adam", "adam-200-64-1", "88.00", "87.00", "1",
    ]  # fmt: skip
    assert "adam-80-32-{1,2}" in markdown
    assert f"81.00{NBSP}±{NBSP}1.41" in markdown
    assert "- bad: =InputError: model.units=0" in markdown
    rows = {row["folder"]: row for row in read_csv(sweep / "report.csv")}
    assert len(rows) == 12
    row = rows["sgd-80-32-2"]
    assert (row["optimizer"], row["seed"], row["epochs"]) == ("torch.optim.SGD", "2", "3")
    assert float(row["val/accuracy"]) == pytest.approx(0.72)
    assert (rows["bad"]["status"], rows["bad"]["error"]) == (
        "failed",
        "'=InputError: model.units=0",
    )
    assert (rows["killed"]["status"], rows["killed"]["val/accuracy"]) == ("unfinished", "")
    means = read_csv(sweep / "report_mean.csv")
    assert len(means) == 8
    assert (means[0]["data.maxlen"], means[0]["val/accuracy n"], means[0]["val/accuracy sd"]) == (
        "200",
        "1",
        "",
    )
    averaged = next(
        row
        for row in means
        if row["val/accuracy n"] == "2" and row["optimizer"] == "torch.optim.Adam"
    )
    assert averaged["folders"] == "adam-80-32-1, adam-80-32-2"
    assert float(averaged["test/accuracy mean"]) == pytest.approx(0.80)
    assert float(averaged["test/accuracy sd"]) == pytest.approx(0.02 / 2**0.5)
    height, width, _ = imread(sweep / "report.png").shape
    assert width > height > 400


def test_figures_are_the_same_in_all_formats(
    composed: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for maxlen, correct in ((80, 75), (200, 90)):
        for seed in (1, 2, 3):
            accuracy = (correct + seed * maxlen / 80) / 100
            overrides = [f"data.maxlen={maxlen}", f"seed={seed}"]
            run = write_run(
                composed, tmp_path / f"{maxlen}-{seed}", overrides, status="finished",
                val__accuracy=accuracy, test__accuracy=accuracy,
            )  # fmt: skip
            write_predictions(run, [i < round(100 * accuracy) for i in range(100)])
    write_report([tmp_path])
    printed, markdown = (
        " ".join(text.replace("|", " ").split())
        for text in (capsys.readouterr().out, (tmp_path / "report.md").read_text())
    )
    best, other = read_csv(tmp_path / "report_mean.csv")
    assert (best["data.maxlen"], best["vs best p"], other["vs best seeds"]) == ("200", "", "3")
    difference, low, high = (
        100 * float(other[f"vs best {name}"]) for name in ("difference", "low", "high")
    )
    assert difference == pytest.approx(-18)
    assert float(other["vs best p"]) == float(other["vs best p_holm"])
    p = f"{float(other['vs best p']):.3f}".replace("0.000", "< 0.001")
    mean, sd = (100 * float(best[f"val/accuracy {name}"]) for name in ("mean", "sd"))
    for text in (printed, markdown):
        assert f"200 200-{{1,2,3}} {mean:.2f} ± {sd:.2f} {mean:.2f} ± {sd:.2f} 3" in text
        assert f"80 {difference:+.2f} {low:+.2f} to {high:+.2f} {p} 3" in text


def test_equal_seeds_have_a_deviation_of_0_and_a_single_run_has_none(
    composed: Compose, tmp_path: Path
) -> None:
    for units, seed in ((4, 1), (4, 2), (8, 1)):
        write_run(
            composed, tmp_path / f"{units}-{seed}", [f"model.units={units}", f"seed={seed}"], status="finished",
            val__accuracy=0.5, baseline__x__val_accuracy=units / 10,
        )  # fmt: skip
    write_report([tmp_path])
    markdown = (tmp_path / "report.md").read_text().replace(NBSP, " ")
    assert (
        "| 4 | 4-{1,2} | 50.00 ± 0.00 | 40.00 | 2 |" in markdown
    )  # one fit of the baseline for both seeds
    assert "| 8 | 8-1 | 50.00 | 80.00 | 1 |" in markdown


def test_data_sets_have_sections_of_their_own(
    composed: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path, accuracies in (("a.csv", (0.9, 0.8)), ("b.csv", (0.7, 0.6))):
        for maxlen, accuracy in zip((80, 200), accuracies, strict=True):
            overrides = [f"data.path={path}", f"data.maxlen={maxlen}"]
            run = write_run(
                composed,
                tmp_path / f"{path}-{maxlen}",
                overrides,
                status="finished",
                val__accuracy=accuracy,
            )
            write_predictions(run, [True] * 10)
    mine = tmp_path / "report_2026.png"
    mine.touch()
    write_report([tmp_path])
    title, first, second = read_markdown(tmp_path).split("\n## ")
    assert title == f"# {tmp_path.name}\n\n4 runs: 4 finished\n"
    assert first.startswith("data=files data.path=a.csv\n")
    assert [line for line in first.splitlines() if "0.00 |" in line][:2] == [
        "| 80 | a.csv-80 | 90.00 |", "| 200 | a.csv-200 | 80.00 |",
    ]  # fmt: skip
    assert "![comparison](report_2.png)" in second
    assert "90.00" not in second
    pictures = ["report_1.png", "report_2.png"]
    assert sorted(path.name for path in tmp_path.glob("*.png")) == [*pictures, mine.name]
    assert [row["data.path"] for row in read_csv(tmp_path / "report_mean.csv")] == ["a.csv"] * 2 + [
        "b.csv"
    ] * 2
    printed = capsys.readouterr().out
    shutil.rmtree(tmp_path / "b.csv-80")
    shutil.rmtree(tmp_path / "b.csv-200")
    write_report([tmp_path])  # replaces the earlier pictures
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["report.png", mine.name]
    assert (
        printed.index("data.path=a.csv\n")
        < printed.index("90.00")
        < printed.index("data.path=b.csv\n")
    )


def test_two_single_runs_are_compared(
    composed: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for units, correct in ((4, 60), (8, 80)):
        run = write_run(
            composed, tmp_path / str(units), [f"model.units={units}"], status="finished", val__accuracy=units / 10,
            test__accuracy=correct / 100,
        )  # fmt: skip
        write_predictions(run, [i < correct for i in range(100)])
    write_report([tmp_path / "4", tmp_path / "8"])
    printed = " ".join(capsys.readouterr().out.split())
    assert (
        "on the same 100 reviews, 95 % interval, p-value; McNemar's exact test of single runs"
        in printed
    )
    assert "4 -20.00 -27.55 to -11.67 < 0.001 1" in printed
    assert {path.name for path in tmp_path.iterdir()} == {"4", "8"} | FILES


def test_the_best_setting_by_the_test_set_is_called_optimistic(
    composed: Compose, tmp_path: Path
) -> None:
    for units in (4, 8):
        overrides = [f"model.units={units}", "data.validate_on=test"]
        run = write_run(
            composed, tmp_path / str(units), overrides, status="finished", val__accuracy=units / 10
        )
        write_predictions(run, [True] * 10)
    write_report([tmp_path])
    assert (
        "was chosen on the test set, so its lead is optimistic"
        in (tmp_path / "report.md").read_text()
    )


def test_a_glob_with_other_files_and_folders_is_accepted(
    composed: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for units in (4, 8):
        write_run(
            composed,
            tmp_path / f"run{units}",
            [f"model.units={units}"],
            status="finished",
            val__accuracy=0.5,
        )
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    for _ in range(2):
        assert len(write_report(sorted(tmp_path.glob("*")))) == 2
        skipped = [line for line in capsys.readouterr().out.splitlines() if "skipped" in line]
        assert skipped == [
            f"skipped {tmp_path / name}: contains no run" for name in ("empty", "notes.txt")
        ]
    assert {path.name for path in tmp_path.iterdir()} == {
        "run4",
        "run8",
        "empty",
        "notes.txt",
    } | FILES


def test_report_rejects_folders_without_runs(composed: Compose, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"contains no run \(no .hydra/config.yaml\); pass a run"):
        write_report([tmp_path])
    (tmp_path / "report.csv").touch()
    with pytest.raises(InputError, match=r"report.csv: contains no run \(no"):
        write_report([tmp_path / "report.csv", tmp_path])
    write_run(composed, tmp_path / "run", status="finished", val__accuracy=0.5)
    with pytest.raises(InputError, match="missing: no such folder"):
        write_report([tmp_path / "run", tmp_path / "missing"])


def test_report_without_finished_runs_has_neither_table_nor_figure(
    composed: Compose, tmp_path: Path
) -> None:
    write_run(composed, tmp_path / "killed")
    write_report([tmp_path])
    assert read_markdown(tmp_path) == f"# {tmp_path.name}\n\n1 run: 1 unfinished\n"
    assert {path.name for path in tmp_path.iterdir()} == {"killed", "report.md", "report.csv"}


def test_report_accepts_runs_of_other_versions(composed: Compose, tmp_path: Path) -> None:
    write_run(composed, tmp_path / "new", ["objective=f1"], status="finished", f1=0.5)
    old = RunFolder(tmp_path / "old")
    old.write_config(OmegaConf.create({"data": {"maxlen": 80}, "chunk": None}))
    old.write_metrics({"status": "finished", "data": "0123", "f1": 0.75, "val/accuracy": 0.25})
    RunFolder(tmp_path / "evaluation").write_config(OmegaConf.create({"checkpoint": "x"}))
    assert len(write_report([tmp_path])) == 2
    assert [result.mean["f1"] for result in summarize(read_runs(tmp_path)[0], "f1")] == [0.75, 0.5]
    assert "0.5000" in (tmp_path / "report.md").read_text()
    assert (
        "25.00" in (tmp_path / "report.md").read_text()
    )  # on another data set, of which there is no objective


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_file_that_no_report_wrote_is_kept(composed: Compose, tmp_path: Path, name: str) -> None:
    write_run(composed, tmp_path / "run", status="finished", val__accuracy=0.5)
    mine = tmp_path / name
    mine.write_text("folder,status\n")
    for _ in range(2):
        with pytest.raises(InputError, match=rf"{name}: is not of an earlier report; move it"):
            write_report([tmp_path])
    assert {path.name for path in tmp_path.iterdir()} == {"run", name}
    assert mine.read_text() == "folder,status\n"
    for _ in range(2):
        write_report([tmp_path], tmp_path / "new" / "output")
    assert {path.name for path in (tmp_path / "new" / "output").iterdir()} == FILES


def test_a_report_removes_nothing_but_reports(composed: Compose, tmp_path: Path) -> None:
    write_run(composed, tmp_path / "run", status="finished", val__accuracy=0.5)
    write_report([tmp_path / "run"])
    markdown = tmp_path / "run" / "report.md"
    (tmp_path / "run" / "report_7.png").touch()
    names = "report_7.png ../mine.txt mine.txt metrics.json"
    markdown.write_text(markdown.read_text().replace("report.md", f"report.md {names}", 1))
    (tmp_path / "mine.txt").touch()
    (tmp_path / "run" / "mine.txt").touch()
    write_report([tmp_path / "run"])
    assert (tmp_path / "mine.txt").exists()
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        ".hydra", "mine.txt", "metrics.json", *FILES,
    }  # fmt: skip


def test_rows_name_the_folders_of_runs_in_several_places(
    composed: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, units in (("a", 4), ("b", 8)):
        metrics = {"val__accuracy": units / 10}
        overrides = [f"model.units={units}"]
        write_run(composed, tmp_path / folder / "run", overrides, status="finished", **metrics)
    paths = [tmp_path / "a" / "run", tmp_path / "b" / "run", tmp_path / "a", tmp_path / "a" / "run"]
    write_report(paths)
    assert [row["folder"] for row in read_csv(tmp_path / "report.csv")] == ["a/run", "b/run"]
    assert [row["folders"] for row in read_csv(tmp_path / "report_mean.csv")] == ["b/run", "a/run"]
    assert "| 8 | b/run | 80.00 |" in (tmp_path / "report.md").read_text()
    assert "b/run" in capsys.readouterr().out
    write_report([tmp_path / "a" / "run"])
    (row,) = read_csv(tmp_path / "a" / "run" / "report.csv")
    assert row["folder"] == "run"


def test_runs_that_do_not_count_are_named(
    composed: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, accuracy in (("a", 0.0), ("b", 0.5), ("c", None)):
        write_run(composed, tmp_path / name, status="finished", val__accuracy=accuracy)
    write_run(composed, tmp_path / "d", status="finished", val__accuracy=0.5)
    (tmp_path / "d" / "metrics.json").write_text("{")
    write_report([tmp_path])
    markdown = read_markdown(tmp_path)
    printed = capsys.readouterr().out
    for text in (printed, markdown):
        assert "Of runs with the same settings and seed, b count, not a" in text
        assert "c: finished without val/accuracy" in text
        assert f"skipped {tmp_path}/d/metrics.json: cannot be read (" in text
    assert [row["val/accuracy"] for row in read_csv(tmp_path / "report.csv")] == ["0.0", "0.5", ""]


@pytest.mark.slow
def test_report_on_a_study_shows_its_trials(
    composed: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(composed, tmp_path / "study")
    write_report([study])
    assert "5 runs: 2 finished, 1 pruned, 1 failed, 1 interrupted" in capsys.readouterr().out
    assert {path.name for path in study.glob("report*")} == FILES
    (study / "study.db").unlink()
    with pytest.raises(InputError, match="the study cannot be read"):
        write_report([study])


def test_a_report_writes_through_no_file_of_the_user(composed: Compose, tmp_path: Path) -> None:
    write_run(composed, tmp_path / "run", status="finished", val__accuracy=0.5)
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    (tmp_path / "report.md.unfinished").symlink_to(mine)
    (tmp_path / "report.csv.unfinished").write_text("mine")
    write_report([tmp_path])
    assert mine.read_text() == (tmp_path / "report.csv.unfinished").read_text() == "mine"
    assert (tmp_path / "report.md.unfinished").is_symlink()
    assert not (tmp_path / "report.md").is_symlink()
