import csv
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationResolutionError

from sentiment.runtime.errors import InputError
from tests.helpers import command, evaluate_quick, read_metrics, train_quick, write_csv


@pytest.fixture
def file_run(small: Path, tmp_path: Path) -> Path:
    """A run on a single file, `tmp_path/reviews.csv`, of which 60 of 300 rows are held out for the test."""
    data = tmp_path / "reviews.csv"
    data.write_bytes((small / "train.csv").read_bytes())
    return train_quick(tmp_path / "run", data, "trainer.max_epochs=1")


@pytest.mark.parametrize("name", ["run", "masked_run"])
def test_evaluation_reproduces_the_test_metrics_of_a_run(
    request: pytest.FixtureRequest, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    caplog.set_level("INFO")
    folder = request.getfixturevalue(name)
    metrics = evaluate_quick(tmp_path, f"checkpoint={folder}")
    recorded = {
        tag: value for tag, value in read_metrics(folder).items() if tag.startswith("test/")
    }
    assert metrics == pytest.approx(recorded, abs=1e-6)
    assert read_metrics(tmp_path)["test/accuracy"] == metrics["test/accuracy"]
    assert (tmp_path / "test_predictions.csv").read_text() == (
        folder / "test_predictions.csv"
    ).read_text()
    assert "Test set, 100 reviews" in caplog.text


def test_ensemble_is_compared_with_its_members(
    run: Path, masked_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    metrics = evaluate_quick(tmp_path, f"checkpoint=[{run},{masked_run}/checkpoints/best.ckpt]")
    assert "vs ensemble of 2" in caplog.text
    assert "LSTM 2" in caplog.text
    columns = []
    for folder in (run, masked_run, tmp_path):
        with open(folder / "test_predictions.csv", newline="") as file:
            columns.append([float(row["p(good)"]) for row in csv.DictReader(file)])
    for first, second, average in zip(*columns, strict=True):
        assert average == pytest.approx((first + second) / 2, abs=2e-6)
    assert metrics["test/loss"] > 0


def test_all_rows_of_another_file_are_evaluated(run: Path, small: Path, tmp_path: Path) -> None:
    with open(small / "test.csv", newline="") as file:
        rows: list[tuple[str, object]] = [
            (row["text"], row["label"]) for row in csv.DictReader(file)
        ]
    other = write_csv(tmp_path / "other.csv", rows, columns=("review", "verdict"))
    data = [
        "data=files",
        f"data.path={other}",
        "data.text_column=review",
        "data.label_column=verdict",
    ]
    metrics = evaluate_quick(tmp_path, f"checkpoint={run}", *data)
    assert read_metrics(tmp_path)["reviews"] == 100
    assert metrics["test/loss"] == pytest.approx(read_metrics(run)["test/loss"], abs=1e-6)

    single = tmp_path / "single.ckpt"
    single.write_bytes((run / "checkpoints" / "best.ckpt").read_bytes())
    with pytest.raises(
        InputError, match=r"checkpoint: the \.hydra folder of its run is missing; set the data"
    ):
        evaluate_quick(tmp_path, f"checkpoint={single}")
    assert evaluate_quick(tmp_path, f"checkpoint={single}", *data) == metrics


def test_run_whose_data_is_gone_is_evaluated_on_other_reviews(
    file_run: Path, small: Path, tmp_path: Path
) -> None:
    (tmp_path / "reviews.csv").unlink()
    evaluate_quick(tmp_path, f"checkpoint={file_run}", "data=files", f"data.path={small}/test.csv")
    assert read_metrics(tmp_path)["reviews"] == 100


def test_rows_of_the_training_file_are_never_tested(file_run: Path, tmp_path: Path) -> None:
    metrics = evaluate_quick(tmp_path, f"checkpoint={file_run}")
    assert read_metrics(tmp_path)["reviews"] == 60
    assert metrics["test/accuracy"] == read_metrics(file_run)["test/accuracy"]
    same_file = ["data=files", f"data.path={tmp_path}/reviews.csv"]
    assert evaluate_quick(tmp_path, f"checkpoint={file_run}", *same_file) == metrics
    for change in ("data.split_seed=1", "data.test_fraction=0.5"):
        with pytest.raises(InputError, match="a checkpoint was trained on rows of it"):
            evaluate_quick(tmp_path, f"checkpoint={file_run}", change)


def test_rows_of_the_training_folder_are_never_tested(
    run: Path, small: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        InputError, match=r"a checkpoint was trained on rows of it; omit data=\.\.\. to evaluate"
    ):
        evaluate_quick(tmp_path, f"checkpoint={run}", "data=files", f"data.path={small}/train.csv")
    test_file = ["data=files", f"data.path={small}/test.csv"]
    metrics = evaluate_quick(tmp_path, f"checkpoint={run}", *test_file)
    assert metrics["test/accuracy"] == read_metrics(run)["test/accuracy"]
    evaluate_quick(tmp_path, f"checkpoint={run}", *test_file, "data.test_fraction=0.5")
    assert read_metrics(tmp_path)["reviews"] == 50


def test_preprocessing_is_part_of_the_checkpoint(run: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"data\.maxlen: part of the checkpoint, cannot be changed; remove it"
    ):
        evaluate_quick(tmp_path, f"checkpoint={run}", "data.maxlen=7")


@pytest.mark.parametrize(
    ("labels", "unknown", "mapping"),
    [
        (("bad", "great"), "great", '["great:good"]'),
        (("0", "1"), "0", '["0:bad","1:good"]'),
        (("Good", "BAD"), "BAD", '["BAD:bad","Good:good"]'),
        (("Good", "awful"), "Good", '["Good:good","awful:bad"]'),
        (("a", "b", "c"), "a", '["a:bad","b:good","c:null"]'),
        (("bad", "good", "odd"), "odd", '["odd:null"]'),
    ],
)
def test_unknown_classes_are_rejected(
    run: Path, tmp_path: Path, labels: tuple[str, ...], unknown: str, mapping: str
) -> None:
    advice = rf"map labels, for example 'data.labels={re.escape(mapping)}'"
    message = rf"unknown class '{unknown}'; .* \(bad, good\); {advice}"
    rows: list[tuple[str, object]] = [("a film", labels[i % len(labels)]) for i in range(12)]
    data = write_csv(tmp_path / "other.csv", rows)
    with pytest.raises(InputError, match=message):
        evaluate_quick(tmp_path, f"checkpoint={run}", "data=files", f"data.path={data}")


@pytest.mark.parametrize("labels", ["{0:bad,1:good}", '["0:bad","1:good"]'])
def test_labels_are_mapped_to_those_of_the_model(run: Path, tmp_path: Path, labels: str) -> None:
    data = write_csv(tmp_path / "other.csv", [(f"film {i}", i % 2) for i in range(10)])
    arguments = ["data=files", f"data.path={data}", f"data.labels={labels}"]
    evaluate_quick(tmp_path, f"checkpoint={run}", *arguments)
    with open(tmp_path / "test_predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == ["bad", "good"] * 5
    assert [(row["file"], row["row"], row["text"]) for row in rows] == [
        ("other.csv", str(i + 1), f"film {i}") for i in range(10)
    ]


def test_file_of_one_class_is_evaluated(run: Path, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "other.csv", [(f"film {i}", "good") for i in range(10)])
    evaluate_quick(tmp_path, f"checkpoint={run}", "data=files", f"data.path={data}")
    metrics = read_metrics(tmp_path)
    assert metrics["test/auroc"] is None
    assert 0 <= metrics["test/accuracy"] <= 1


def test_copies_of_training_reviews_are_counted(
    run: Path, small: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = (small / "train.csv").read_text().splitlines()
    other = tmp_path / "other.csv"
    other.write_text("\n".join(lines) + "\nquite another film,good\n")
    evaluate_quick(tmp_path, f"checkpoint={run}", "data=files", f"data.path={other}")
    copies = read_metrics(tmp_path)["copies"]
    assert 250 < copies <= 300  # all but some validation rows
    assert (
        f"{copies} of 301 reviews are copies of reviews that a checkpoint was trained on"
        in caplog.text
    )


def test_evaluation_without_a_checkpoint_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="checkpoint: not set; pass a run directory or a checkpoint"
    ):
        evaluate_quick(tmp_path)


def test_a_copied_checkpoint_is_of_no_run(
    run: Path, masked_run: Path, small: Path, tmp_path: Path
) -> None:
    """Though it lies where a run could have written it."""
    folder = tmp_path / "other"
    shutil.copytree(masked_run / ".hydra", folder / ".hydra")
    shutil.copytree(masked_run / "checkpoints", folder / "checkpoints")
    copy = folder / "saved" / "best.ckpt"
    copy.parent.mkdir()
    shutil.copy(run / "checkpoints" / "best.ckpt", copy)
    with pytest.raises(InputError, match="of its run is missing; set the data"):
        evaluate_quick(tmp_path, f"checkpoint={copy}")
    evaluate_quick(tmp_path, f"checkpoint={copy}", "data=files", f"data.path={small}/test.csv")
    assert read_metrics(tmp_path)["copies"] is None
    link = tmp_path / "link.ckpt"
    link.symlink_to(run / "checkpoints" / "best.ckpt")
    assert evaluate_quick(tmp_path, f"checkpoint={link}")["test/loss"] > 0


@pytest.mark.parametrize("count", [None, 10**9, 10**15])
def test_a_damaged_list_of_training_reviews_is_named(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, count: int | None
) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    file = copy / "checkpoints" / "train_hashes.npy"
    if count is None:
        file.write_bytes(file.read_bytes()[:200])
    else:  # says that it is larger than it is
        header = {"descr": "<i8", "fortran_order": False, "shape": (count,)}
        with file.open("wb") as stream:
            np.lib.format.write_array_header_1_0(stream, header)
    caplog.set_level("INFO")
    with pytest.raises(InputError, match=rf"^{file}: cannot be read \(.*\); remove it"):
        evaluate_quick(tmp_path, f"checkpoint={copy}")
    assert "reviews" not in caplog.text  # nothing is logged, which would leave evaluate.log


def test_labels_replace_those_of_the_run(file_run: Path, tmp_path: Path) -> None:
    cfg = OmegaConf.load(file_run / ".hydra" / "config.yaml")
    cfg.data.labels = {"0": "good", "1": "good"}
    OmegaConf.save(cfg, file_run / ".hydra" / "config.yaml")
    data = write_csv(tmp_path / "other.csv", [(f"film {i}", i % 2) for i in range(10)])
    settings = [f"data.path={data}", "data.labels={0:bad}"]
    with pytest.raises(InputError, match="unknown class '1'"):
        evaluate_quick(tmp_path, f"checkpoint={file_run}", *settings)


def test_held_out_rows_are_evaluated_on_corrected_labels(file_run: Path, tmp_path: Path) -> None:
    before = evaluate_quick(tmp_path / "before", f"checkpoint={file_run}")
    rows = pd.read_csv(tmp_path / "before" / "test_predictions.csv", dtype=str)
    wrong = rows[rows.label != rows.predicted].assign(accept="yes", suggested=rows.predicted)
    wrong.to_csv(tmp_path / "audit.csv", index=False)
    corrected = f"data.labels_from={tmp_path / 'audit.csv'}"
    after = evaluate_quick(tmp_path / "after", f"checkpoint={file_run}", corrected)
    assert before["test/accuracy"] < 1
    assert after["test/accuracy"] == 1


def test_settings_of_a_run_that_cannot_be_resolved_are_named(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, copy := tmp_path / "copy")
    cfg = OmegaConf.load(copy / ".hydra" / "config.yaml")
    cfg.data.path = "${oc.env:NOT_SET}"
    OmegaConf.save(cfg, copy / ".hydra" / "config.yaml")
    with pytest.raises(InterpolationResolutionError, match="NOT_SET") as error:
        evaluate_quick(tmp_path, f"checkpoint={copy}")
    assert error.value.full_key == "data.path"


@pytest.mark.slow
def test_aborted_evaluation_keeps_files_that_it_did_not_write(tmp_path: Path) -> None:
    output = tmp_path / "mine"
    output.mkdir()
    (output / "thesis.txt").write_text("years of work")
    advice = "pass a run directory or its checkpoints/best.ckpt"
    for arguments, message in (
        ([f"hydra.run.dir={output}"], f"{output}: is not empty; choose a new folder"),
        ([], f"absent: no such checkpoint; {advice}"),
    ):
        done = command("checkpoint=absent", *arguments, cwd=tmp_path, module="evaluate")
        assert (done.returncode, done.stderr) == (2, f"error: {message}\n")
    assert (output / "thesis.txt").read_text() == "years of work"
    assert not list(tmp_path.glob("outputs/evaluations/*"))
