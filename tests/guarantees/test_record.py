"""What a run records: the same figure in every place, one point per epoch in every curve."""

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytorch_lightning.callbacks import Checkpoint
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from sentiment.analysis.report.report import write_report
from sentiment.model.checkpoint import read_checkpoint
from sentiment.runtime.errors import InputError
from sentiment.runtime.run_folder import RunFolder
from sentiment.training.experiment import run_experiment
from sentiment.training.loggers import FINAL, TENSORBOARD_TAGS
from sentiment.training.progress import TAGS
from tests.helpers import Compose, evaluate_quick, read_metrics, train_quick, write_csv

CURVES = [*TAGS, "train/lr"]


class Fail(Checkpoint):
    """Raises an error in the third epoch.

    Args:
        moment: `batch` for the middle of the epoch, `validation` or `checkpoint` for the moment after it.
    """

    def __init__(self, moment: str) -> None:
        self.moment = moment

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self._fail_if(self.moment == "batch" and trainer.global_step % 9 == 4, trainer)

    def on_validation_end(self, trainer: Any, *_: Any) -> None:
        self._fail_if(self.moment == "validation", trainer)

    def on_train_epoch_end(self, trainer: Any, *_: Any) -> None:
        self._fail_if(self.moment == "checkpoint", trainer)

    def _fail_if(self, reached: bool, trainer: Any) -> None:
        if reached and trainer.current_epoch == 2:
            raise RuntimeError("killed")


def read_history(folder: Path) -> list[dict[str, str]]:
    with open(folder / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def without_seconds(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def assert_curves_are_those_of_the_history(folder: Path) -> None:
    events, history = EventAccumulator(str(folder)).Reload(), read_history(folder)
    assert [int(row["epoch"]) for row in history] == list(range(1, len(history) + 1))
    for tag in CURVES:
        points = [
            (event.step, event.value) for event in events.Scalars(TENSORBOARD_TAGS.get(tag, tag))
        ]
        column = "lr" if tag == "train/lr" else tag
        assert points == [
            (int(row["step"]), pytest.approx(float(row[column]), rel=1e-6)) for row in history
        ], tag
    assert {tag for tag in events.Tags()["scalars"] if not tag.startswith(FINAL)} == {
        TENSORBOARD_TAGS.get(tag, tag) for tag in CURVES
    }


def test_every_curve_has_one_point_per_epoch(run: Path) -> None:
    assert_curves_are_those_of_the_history(run)
    assert len(read_history(run)) == read_metrics(run)["epochs"]
    groups = dict.fromkeys(
        tag.split("/")[0] for tag in sorted(EventAccumulator(str(run)).Reload().Tags()["scalars"])
    )
    assert list(groups)[:2] == ["accuracy", "loss"]  # which TensorBoard opens
    layout = Layout.FromString(
        EventAccumulator(str(run))
        .Reload()
        .Tensors("custom_scalars__config__")[0]
        .tensor_proto.string_val[0]
    )
    charts = {chart.title: chart.margin.series[0] for chart in layout.category[0].chart}
    assert {name: (of.value, of.lower, of.upper) for name, of in charts.items()} == {
        name: (f"{name}/val", f"{name}/val", f"{name}/train") for name in ("accuracy", "loss")
    }


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["batch", "validation", "checkpoint"])
def test_resumed_run_has_the_record_of_one_without_interruption(
    composed: Compose, small: Path, tmp_path: Path, moment: str
) -> None:
    settings = ["trainer.max_epochs=4", "scheduler=onecycle", "optimizer.lr=0.02"]
    complete, failed = train_quick(tmp_path / "complete", small, *settings), tmp_path / "failed"
    bomb = [
        "+callbacks.bomb._target_=tests.guarantees.test_record.Fail",
        f"+callbacks.bomb.moment={moment}",
    ]
    with pytest.raises(RuntimeError, match="killed"):
        run_experiment(composed(*settings, *bomb, folder=failed))
    epochs = read_checkpoint(failed / "checkpoints" / "last.ckpt")["epoch"] + 1
    assert len(read_history(failed)) == epochs == (3 if moment == "checkpoint" else 2)
    with open(
        failed / "history.csv", "a"
    ) as file:  # as if killed between the record of an epoch and its checkpoint
        file.write(f"{epochs + 1},{9 * epochs + 8},9,0.1,9,0.1,1,1.00\n")
    for _ in range(2):  # the second time nothing is left to train
        run_experiment(composed(*settings, f"resume={failed}", folder=failed))
        assert_curves_are_those_of_the_history(failed)
        assert without_seconds(read_history(failed)) == without_seconds(read_history(complete))


@pytest.mark.slow
def test_run_in_the_folder_of_another_one_starts_a_new_record(
    composed: Compose, tmp_path: Path
) -> None:
    for _ in range(2):
        run_experiment(composed("trainer.max_epochs=1"))
    assert_curves_are_those_of_the_history(tmp_path)


def test_epochs_without_validation_have_no_validation_metrics(
    composed: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monitor = [
        "callbacks.best.monitor=train/loss",
        "callbacks.best.mode=min",
        "callbacks.early_stopping=null",
    ]
    run_experiment(composed("trainer.check_val_every_n_epoch=2", "trainer.max_epochs=4", *monitor))
    has_metrics = [bool(row["val/loss"] and row["val/accuracy"]) for row in read_history(tmp_path)]
    assert has_metrics == [False, True, False, True]
    lines = [line for line in caplog.messages if line.startswith("epoch ")]
    assert ["val " in line for line in lines] == has_metrics


@pytest.mark.slow
def test_damaged_history_is_reported_in_one_line(composed: Compose, tmp_path: Path) -> None:
    run_experiment(composed("trainer.max_epochs=1"))
    file = tmp_path / "history.csv"
    rows = file.read_bytes()
    superscript = rows.replace(b"\n1,", b"\n\xc2\xb2,")
    for damaged in (b"epoch;step\n1;8\n", rows + b"\xff", superscript, rows + b"x" * 200_000):
        file.write_bytes(damaged)
        with pytest.raises(
            InputError, match=f"^{file}: damaged; remove it to continue without the earlier epochs$"
        ):
            run_experiment(composed(f"resume={tmp_path}"))
    file.unlink()
    run_experiment(composed(f"resume={tmp_path}"))
    assert [row["epoch"] for row in read_history(tmp_path)] == ["2"]


def test_all_places_show_the_same_figures(
    composed: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    cfg = composed("trainer.max_epochs=4", "optimizer.lr=0.02", "baseline=logistic_regression")
    objective = run_experiment(cfg).objective
    RunFolder(tmp_path).write_config(cfg)
    log = caplog.text
    assert re.search(r"^majority class \((bad|good)\) +\d+\.\d\d ", log, re.MULTILINE)
    metrics = read_metrics(tmp_path)
    best = read_checkpoint(tmp_path / "checkpoints" / "best.ckpt")
    assert objective == metrics["val/accuracy"]
    assert best["metrics"] == {tag: metrics[tag] for tag in TAGS}

    row = read_history(tmp_path)[best["epoch"]]
    assert {tag: float(row[tag]) for tag in TAGS} == best["metrics"]
    assert (
        f"loss {metrics['train/loss']:.4f}, val {metrics['val/loss']:.4f}; "
        f"accuracy {100 * metrics['train/accuracy']:.2f} %, val {100 * metrics['val/accuracy']:.2f} %"
    ) in log

    events = EventAccumulator(str(tmp_path)).Reload()
    final = {tag: events.Scalars(tag) for tag in events.Tags()["scalars"] if tag.startswith(FINAL)}
    shown = {tag for tag, value in metrics.items() if isinstance(value, float | int)} - {
        "num_threads"
    }
    by_class = {tag for tag in shown if tag.startswith(("test/precision/", "test/recall/"))}
    assert {tag.removeprefix(FINAL) for tag in final} == shown - by_class
    for tag, (event,) in final.items():
        assert event.value == pytest.approx(metrics[tag.removeprefix(FINAL)], rel=1e-6), tag
    content = HParamsPluginData.FromString(
        events.SummaryMetadata("_hparams_/experiment").plugin_data.content
    )
    assert {info.name.tag for info in content.experiment.metric_infos} == final.keys()

    accuracies = {"LSTM": metrics["test/accuracy"]}
    accuracies["logistic_regression"] = metrics["baseline/logistic_regression/test_accuracy"]
    for name, accuracy in accuracies.items():
        assert re.search(rf"^{name} +{100 * accuracy:.2f} ", log, re.MULTILINE), name
    with open(tmp_path / "test_predictions.csv", newline="", encoding="utf-8") as file:
        predictions = list(csv.DictReader(file))
    labels, predicted = (
        np.array([row[name] for row in predictions]) for name in ("label", "predicted")
    )
    assert (labels == predicted).mean() == pytest.approx(metrics["test/accuracy"])
    for name in ("bad", "good"):
        precision, recall = metrics[f"test/precision/{name}"], metrics[f"test/recall/{name}"]
        assert precision == pytest.approx((labels == name)[predicted == name].mean())
        assert recall == pytest.approx((predicted == name)[labels == name].mean())
        count = (labels == name).sum()
        assert re.search(
            rf"^{name} +{count} +{100 * precision:.2f} +{100 * recall:.2f} ", log, re.MULTILINE
        )

    write_report([tmp_path])
    with open(tmp_path / "report.csv", newline="", encoding="utf-8") as file:
        (reported,) = csv.DictReader(file)
    for tag in [
        *TAGS,
        "test/accuracy",
        "test/loss",
        "test/f1",
        "baseline/logistic_regression/test_accuracy",
    ]:
        assert float(reported[tag]) == metrics[tag], tag
    report = (tmp_path / "report.md").read_text()
    assert all(f"{100 * accuracy:.2f}" in report for accuracy in (objective, *accuracies.values()))
    evaluated = evaluate_quick(tmp_path / "evaluation", f"checkpoint={tmp_path}")
    assert evaluated == pytest.approx({tag: metrics[tag] for tag in evaluated}, abs=1e-6)


def test_reviews_of_one_class_have_no_auroc(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    file = write_csv(tmp_path / "one.csv", [("a warm film", "good"), ("moving", "good")])
    evaluate_quick(tmp_path / "evaluation", f"checkpoint={run}", "data=files", f"data.path={file}")
    metrics = read_metrics(tmp_path / "evaluation")
    assert metrics["test/auroc"] is metrics["test/recall/bad"] is None
    assert (
        metrics["test/accuracy"] == metrics["test/balanced_accuracy"] == metrics["test/recall/good"]
    )
    assert "nan" not in caplog.text
