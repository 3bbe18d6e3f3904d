import csv
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from sentiment.errors import InputError
from sentiment.evaluate import evaluate
from sentiment.settings import CONF

from .conftest import command, metrics_of, trained, write_csv


def evaluated(folder: Path, *overrides: str) -> dict[str, float]:
    """As the command line does, where every start has a new folder."""
    folder.mkdir(exist_ok=True)
    (folder / "metrics.json").unlink(missing_ok=True)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg: DictConfig = compose("evaluate", [f"output_dir={folder}", *overrides])
    return evaluate(cfg, [override.partition("=")[0] for override in overrides])


def test_a_run_gets_the_figures_again_that_it_got_at_its_end(
    run: Path, masked_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for name, folder in (("plain", run), ("masked", masked_run)):
        metrics = evaluated(tmp_path / name, f"checkpoint={folder}")
        recorded = {tag: value for tag, value in metrics_of(folder).items() if tag.startswith("test/")}
        assert metrics == pytest.approx(recorded, abs=1e-6)
        assert metrics_of(tmp_path / name)["test/accuracy"] == metrics["test/accuracy"]
        assert (tmp_path / name / "test_predictions.csv").read_text() == (folder / "test_predictions.csv").read_text()
    assert "Test half, 100 reviews" in caplog.text
    assert "logistic_regression" in caplog.text


def test_an_ensemble_stands_beside_its_members(
    run: Path, masked_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    metrics = evaluated(tmp_path, f"checkpoint=[{run},{masked_run}/checkpoints/best.ckpt]")
    assert "vs ensemble of 2" in caplog.text
    assert "LSTM 2" in caplog.text
    tables = []
    for folder in (run, masked_run, tmp_path):
        with open(folder / "test_predictions.csv", newline="") as file:
            tables.append([float(row["p(good)"]) for row in csv.DictReader(file)])
    for first, second, both in zip(*tables, strict=True):
        assert both == pytest.approx((first + second) / 2, abs=2e-6)
    assert metrics["test/loss"] > 0


def test_all_of_another_file_is_read(run: Path, small: Path, tmp_path: Path) -> None:
    with open(small / "test.csv", newline="") as file:
        rows: list[tuple[str, object]] = [(row["text"], row["label"]) for row in csv.DictReader(file)]
    other = write_csv(tmp_path / "other.csv", rows, columns=("review", "verdict"))
    columns = ["data.text_column=review", "data.label_column=verdict"]
    metrics = evaluated(tmp_path, f"checkpoint={run}", "data=files", f"data.path={other}", *columns)
    assert metrics_of(tmp_path)["reviews"] == 100
    assert metrics["test/loss"] == pytest.approx(metrics_of(run)["test/loss"], abs=1e-6)
    alone = tmp_path / "alone.ckpt"
    alone.write_bytes((run / "checkpoints" / "best.ckpt").read_bytes())
    with pytest.raises(InputError, match=r"checkpoint: its run's \.hydra folder is not beside it"):
        evaluated(tmp_path, f"checkpoint={alone}")
    again = evaluated(tmp_path, f"checkpoint={alone}", "data=files", f"data.path={other}", *columns)
    assert again == metrics


def test_a_run_whose_data_is_gone_can_be_tested_on_other_reviews(small: Path, tmp_path: Path) -> None:
    data = tmp_path / "reviews.csv"
    data.write_bytes((small / "train.csv").read_bytes())
    (tmp_path / "run").mkdir()
    folder = trained(tmp_path / "run", data, "trainer.max_epochs=1")
    data.unlink()
    evaluated(tmp_path / "results", f"checkpoint={folder}", "data=files", f"data.path={small}/test.csv")
    assert metrics_of(tmp_path / "results")["reviews"] == 100


def test_rows_that_were_trained_on_are_never_tested(small: Path, tmp_path: Path) -> None:
    data = tmp_path / "reviews.csv"
    data.write_bytes((small / "train.csv").read_bytes())
    (tmp_path / "run").mkdir()
    folder = trained(tmp_path / "run", data, "trainer.max_epochs=1")
    metrics = evaluated(tmp_path, f"checkpoint={folder}")
    assert metrics_of(tmp_path)["reviews"] == 60
    assert metrics["test/accuracy"] == metrics_of(folder)["test/accuracy"]
    assert evaluated(tmp_path, f"checkpoint={folder}", "data=files", f"data.path={data}") == metrics
    with pytest.raises(InputError, match=r"data\.maxlen: a checkpoint reads as it was trained"):
        evaluated(tmp_path, f"checkpoint={folder}", "data.maxlen=7")
    for change in ("data.split_seed=1", "data.test_fraction=0.5"):
        with pytest.raises(InputError, match="a checkpoint was trained on rows of it"):
            evaluated(tmp_path, f"checkpoint={folder}", change)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (("bad", "great"), r"data: class 'great' is none of the checkpoint's \(bad, good\)"),
        (("bad", "bad"), "every label is bad"),
    ],
)
def test_classes_that_the_checkpoint_does_not_know_are_refused(
    run: Path, tmp_path: Path, labels: tuple[str, str], message: str
) -> None:
    data = write_csv(tmp_path / "other.csv", [("a film", labels[i % 2]) for i in range(10)])
    with pytest.raises(InputError, match=message):
        evaluated(tmp_path, f"checkpoint={run}", "data=files", f"data.path={data}")


def test_a_wrong_command_gets_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="checkpoint: not set; name a run's folder"):
        evaluated(tmp_path)
    done = command("checkpoint=absent", cwd=tmp_path, module="evaluate")
    assert done.returncode == 2
    assert done.stderr == "error: absent: no such checkpoint; name a run's checkpoints/best.ckpt or last.ckpt\n"
    assert not list(tmp_path.glob("outputs/evaluations/*"))


def test_a_refused_start_takes_nothing_with_it(run: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    done = command("checkpoint=3", f"hydra.run.dir={mine}", cwd=tmp_path, module="evaluate")
    assert (done.returncode, done.stderr.splitlines()) == (2, [done.stderr.rstrip("\n")])
    assert (mine / "thesis.txt").read_text() == "years of work"
    metrics = (run / "metrics.json").read_bytes()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("evaluate", [f"output_dir={run}", f"checkpoint={run}"])
    with pytest.raises(InputError, match="holds the results of something else"):
        evaluate(cfg)
    assert (run / "metrics.json").read_bytes() == metrics


def test_a_table_of_a_folder_that_was_trained_on_is_refused(run: Path, small: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a checkpoint was trained on rows of it; name no data"):
        evaluated(tmp_path, f"checkpoint={run}", "data=files", f"data.path={small}/train.csv")
    metrics = evaluated(tmp_path, f"checkpoint={run}", "data=files", f"data.path={small}/test.csv")
    assert metrics["test/accuracy"] == metrics_of(run)["test/accuracy"]
    evaluated(tmp_path, f"checkpoint={run}", "data=files", f"data.path={small}/test.csv", "data.test_fraction=0.5")
    assert metrics_of(tmp_path)["reviews"] == 50
