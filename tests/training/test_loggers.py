"""What the loggers record, and what the HParams tab of TensorBoard shows."""

import csv
import json
import math
import re
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from hydra.core.hydra_config import HydraConfig
from matplotlib.figure import Figure
from omegaconf import OmegaConf
from pytorch_lightning.loggers import MLFlowLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from sentiment.runtime.config import CONF_DIR
from sentiment.runtime.errors import InputError
from sentiment.training.experiment import run_experiment
from sentiment.training.loggers import FINAL, CurvesLogger, log_final_figures, log_plot
from sentiment.training.progress import TAGS
from sentiment.training.sweeps import run_sweep_job
from tests.helpers import (
    Compose,
    compose_hydra_config,
    load_weights,
    read_metrics,
    weights_equal,
    without_times,
    write_csv,
)

PLOTS = {"test/reliability", "test/confusion", "test/most_wrong", "test_gates/confidently"}
CLASSES = ["<b>[/]", "../好", "a name " * 20]
DIAGNOSTICS: Any = OmegaConf.load(CONF_DIR / "callbacks" / "default.yaml").diagnostics


def read_hparams(folder: Path) -> tuple[Any, Any]:
    """What the HParams tab reads."""
    events = EventAccumulator(str(folder)).Reload()
    experiment, session = (
        HParamsPluginData.FromString(
            events.SummaryMetadata(f"_hparams_/{name}").plugin_data.content
        )
        for name in ("experiment", "session_start_info")
    )
    return experiment.experiment, session.session_start_info.hparams


def test_hparams_tab_shows_whole_numbers(tmp_path: Path) -> None:
    logger = CurvesLogger(str(tmp_path), None, "", default_hp_metric=False)
    trainer = Mock(loggers=[logger], global_step=1)
    logged = {"data.maxlen": 32, "model.bidirectional": False, "optimizer.lr": 0.5}
    log_final_figures(trainer, logged, {"epochs": 2}, "val/accuracy")
    logger.finalize("")
    experiment, settings = read_hparams(tmp_path)
    assert settings["data.maxlen"].string_value == "32"
    assert settings["model.bidirectional"].string_value == "False"
    assert settings["optimizer.lr"].number_value == 0.5
    assert [info.name.tag for info in experiment.metric_infos] == [f"{FINAL}epochs"]
    names = {info.name for info in experiment.hparam_infos}
    assert names == {"data.maxlen", "model.bidirectional", "optimizer.lr"}


def test_hparams_tab_of_a_sweep_shows_only_what_is_swept(composed: Compose, tmp_path: Path) -> None:
    cfg = composed("trainer.max_epochs=1", "test_ckpt=null")
    run_experiment(cfg, varied=["data.maxlen"], shown=["data.maxlen", "absent"])
    experiment, settings = read_hparams(tmp_path)
    assert [info.name for info in experiment.hparam_infos] == [*settings] == ["data.maxlen"]


@pytest.fixture(scope="module")
def unusual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reviews of three classes, whose names no file may have; the test set lacks one, so that it has no AUROC."""
    folder = tmp_path_factory.mktemp("unusual")
    for name, count in (("train", 3), ("test", 2)):
        rows: list[tuple[str, object]] = [
            (f"film {i % count}", CLASSES[i % count]) for i in range(90)
        ]
        write_csv(folder / f"{name}.csv", rows)
    return folder


def plots_of(tags: Iterable[str]) -> set[str]:
    """The names of plots and texts without those of classes."""
    return {
        tag.split(" ")[0] for tag in tags if tag.startswith(("test/", "test_gates/confidently"))
    }


@pytest.mark.slow
def test_loggers_compose_and_change_no_result(composed: Compose, tmp_path: Path) -> None:
    folder, without = tmp_path / "both", tmp_path / "none"
    run_experiment(
        composed("logger=[tensorboard,csv]", "trainer.max_epochs=1", folder=folder),
        varied=["objective"],
    )
    run_experiment(composed("logger=none", "trainer.max_epochs=1", folder=without))
    assert without_times(read_metrics(folder)) == without_times(read_metrics(without))
    assert weights_equal(load_weights(folder), load_weights(without))
    assert {path.name for path in without.iterdir()} - {"train.log"} == {
        *(".hydra", "checkpoints", "history.csv", "metrics.json", "test_predictions.csv")
    }

    tables = folder / "csv"
    before = assert_table_holds_the_record(
        tables / "version_0" / "metrics.csv", folder, epochs=["1"]
    )
    settings: Any = OmegaConf.load(tables / "version_0" / "hparams.yaml")
    assert (settings["data.maxlen"], settings["optimizer"]) == (32, "torch.optim.Adam")
    assert settings["objective"] == "val/accuracy"
    run_experiment(composed("logger=[tensorboard,csv]", f"resume={folder}", folder=folder))
    assert_table_holds_the_record(tables / "version_1" / "metrics.csv", folder, epochs=["2"])
    assert (tables / "version_0" / "metrics.csv").read_text() == before
    assert len(EventAccumulator(str(folder)).Reload().Scalars("accuracy/val")) == 2


def read_table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def assert_table_holds_the_record(table: Path, run: Path, epochs: list[str]) -> str:
    """Compare the table of the CSV logger with `history.csv` and `metrics.json`; return its text."""
    rows = read_table(table)
    history = [row for row in read_table(run / "history.csv") if row["epoch"] in epochs]
    for tag in TAGS:
        curve: list[Any] = [(row["step"], float(row[tag])) for row in rows if row[tag]]
        assert curve == [(row["step"], pytest.approx(float(row[tag]))) for row in history], tag
    assert [str(int(row["epoch"]) + 1) for row in rows if row["train/loss"]] == epochs
    final, metrics = rows[-1], read_metrics(run)
    for tag in ("test/accuracy", "test/loss", "val/accuracy", "epochs", "train/reviews_per_second"):
        assert float(final[f"result/{tag}"]) == pytest.approx(metrics[tag])
    assert not [column for column in final if column.startswith("test/")]
    return table.read_text()


def test_missing_package_is_reported_before_the_data_is_read(
    composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTIMENT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("sentiment.training.loggers.find_spec", lambda name: None)
    with pytest.raises(InputError) as error:
        run_experiment(composed("logger=[csv,wandb]"))
    assert (
        str(error.value) == "logger=wandb: needs the package wandb; install it: pip install wandb"
    )
    assert not (tmp_path / "cache").exists()


def test_names_of_classes_in_file_names_are_safe_and_distinct() -> None:
    logger = Mock(spec=MLFlowLogger)
    names = ["a/b", "a-b", "../a", "<b>[/]", "好", "x" * 300, "x" * 301]
    for name in names:
        log_plot([logger], f"test_gates/confidently {name}", Figure(), 1)
    files = [call.args[2] for call in logger.experiment.log_figure.call_args_list]
    assert len(set(files)) == len(names)
    assert "test_gates/confidently 好.png" in files
    assert all(
        re.fullmatch(r"test_gates/[\w ,.-]{1,80}\.png", file) and "/.." not in file
        for file in files
    )


def read_wandb_runs(
    folder: Path, record: Any
) -> list[tuple[str, dict[str, Any], dict[str, list[Any]]]]:
    """The name, the configuration and the history of every finished offline run, in the order of their start."""
    runs = []
    for path in sorted(folder.rglob("*.wandb"), key=lambda path: path.stat().st_ctime_ns):
        config: dict[str, Any] = {}
        history: dict[str, list[Any]] = {}
        records = [record.FromString(content) for content in read_log(path.read_bytes())]
        for item in (
            item for entry in records for item in entry.run.config.update or entry.config.update
        ):
            config[item.key] = json.loads(item.value_json)
        for entry in (entry for entry in records if entry.HasField("history")):
            values = {
                ".".join(item.nested_key): json.loads(item.value_json)
                for item in entry.history.item
            }
            for tag, value in values.items():
                history.setdefault(tag, []).append((values.get("trainer/global_step"), value))
        assert [entry.exit.exit_code for entry in records if entry.HasField("exit")] == [0]
        runs.append(
            (
                next(entry.run.display_name for entry in records if entry.HasField("run")),
                config,
                history,
            )
        )
    return runs


def read_log(content: bytes) -> Iterator[bytes]:
    """The records of a log in LevelDB's format after a header of 7 bytes: in blocks, each record in parts."""
    at, parts = 7, b""
    while at < len(content):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        length, kind = struct.unpack_from("<HB", content, at + 4)
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or its last part
            yield parts
            parts = b""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_wandb_has_a_run_for_each_job_and_for_what_is_resumed(
    composed: Compose,
    unusual: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    record = pytest.importorskip("wandb.proto.wandb_internal_pb2").Record
    monkeypatch.setattr(HydraConfig.instance(), "cfg", compose_hydra_config())
    settings = [
        f"data.path={unusual}",
        "optimizer.lr=0.05",
        "logger=[csv,wandb]",
        "logger.wandb.offline=true",
    ]
    for seed in (0, 1):
        cfg = composed(*settings, f"seed={seed}", folder=tmp_path / f"seed-{seed}")
        cfg.callbacks.diagnostics = DIAGNOSTICS
        (tmp_path / f"seed-{seed}").mkdir()
        run_sweep_job(cfg, ["seed"])
    resumed = [f"resume={tmp_path / 'seed-1'}", "seed=1", "trainer.max_epochs=3"]
    run_experiment(composed(*settings, *resumed, folder=tmp_path / "seed-1"))
    assert "wandb: " not in capfd.readouterr().err

    runs = read_wandb_runs(tmp_path, record)
    assert [(name, config["seed"]) for name, config, _ in runs] == [
        ("seed-0", 0),
        ("seed-1", 1),
        ("seed-1", 1),
    ]
    for run, history, epochs in zip(
        (0, 1, 1), (history for *_, history in runs), ("12", "12", "3"), strict=True
    ):
        expected = [
            row
            for row in read_table(tmp_path / f"seed-{run}" / "history.csv")
            if row["epoch"] in epochs
        ]
        for tag in TAGS:
            assert history[tag] == [
                (int(row["step"]), pytest.approx(float(row[tag]))) for row in expected
            ], tag
    metrics, (*_, history) = read_metrics(tmp_path / "seed-1"), runs[2]
    for tag in ("test/accuracy", "val/accuracy", "epochs"):
        assert [value for _, value in history[f"result/{tag}"]] == [pytest.approx(metrics[tag])]
    assert metrics["test/auroc"] is None
    assert not [
        tag for tag in history if tag.startswith("test/")
    ]  # final figures have tags of their own

    *_, first = runs[0]
    assert plots_of(tag.removesuffix("._type") for tag in first if tag.endswith("._type")) == PLOTS
    (files,) = tmp_path.glob("seed-0/wandb/offline-run-*/files")
    assert "classified wrongly" in (files / first["test/most_wrong.path"][0][1]).read_text()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_mlflow_has_a_run_with_curves_final_figures_plots_and_texts(
    composed: Compose, unusual: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    mlflow = pytest.importorskip("mlflow")
    folder, store = tmp_path / "run", f"sqlite:///{tmp_path}/mlflow.db"
    settings = [
        f"data.path={unusual}",
        "optimizer.lr=0.05",
        "logger=mlflow",
        f"logger.mlflow.tracking_uri={store}",
    ]
    settings += [f"logger.mlflow.artifact_location={tmp_path}/artifacts"]
    cfg = composed(*settings, folder=folder)
    cfg.callbacks.diagnostics = DIAGNOSTICS
    run_experiment(cfg)
    run_experiment(composed(*settings, f"resume={folder}", "trainer.max_epochs=3", folder=folder))
    with pytest.raises(InputError, match="absent"):
        run_experiment(
            composed(
                *settings, "callbacks.early_stopping.monitor=absent", folder=tmp_path / "broken"
            )
        )
    assert " mlflow." not in capfd.readouterr().err

    client = mlflow.MlflowClient(store)
    experiment = client.get_experiment_by_name("sentiment").experiment_id
    runs = client.search_runs([experiment], order_by=["attributes.start_time"])
    names = [(run.info.run_name, run.info.status) for run in runs]
    assert names == [("run", "FINISHED"), ("run", "FINISHED"), ("broken", "FAILED")]
    history = read_table(folder / "history.csv")
    for run, rows in zip(runs[:2], (history[:2], history[2:]), strict=True):
        assert (run.data.params["data.maxlen"], run.data.params["optimizer"]) == (
            "32",
            "torch.optim.Adam",
        )
        for tag in TAGS:
            points = [
                (point.step, point.value)
                for point in client.get_metric_history(run.info.run_id, tag)
            ]
            assert points == [(int(row["step"]), pytest.approx(float(row[tag]))) for row in rows], (
                tag
            )
    metrics, logged = read_metrics(folder), runs[1].data.metrics
    for tag in ("test/accuracy", "val/accuracy", "epochs"):
        assert logged[f"result/{tag}"] == pytest.approx(metrics[tag])
    assert math.isnan(logged["result/test/auroc"])

    files = [
        file.path
        for kind in ("test", "test_gates")
        for file in client.list_artifacts(runs[0].info.run_id, kind)
    ]
    assert plots_of(file.rpartition(".")[0] for file in files) == PLOTS
    assert "classified wrongly" in mlflow.artifacts.load_text(
        f"{runs[0].info.artifact_uri}/test/most_wrong.html"
    )
