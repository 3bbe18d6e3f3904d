"""Sweeps, and runs on several devices, as the command line starts them."""

import csv
import math
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from pytorch_lightning import Callback, Trainer

from sentiment.model.module import SentimentModule
from sentiment.runtime.config import _job_folder_name, config_fingerprint, flatten
from sentiment.runtime.run_folder import RunFolder
from sentiment.training.experiment import run_experiment
from sentiment.training.resuming import is_finished
from sentiment.training.sweeps import run_sweep_job
from tests.helpers import (
    QUICK,
    Compose,
    command,
    compose_hydra_config,
    prepare_datamodule,
    read_metrics,
    snapshot,
)

DDP = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]


class RecordRows(Callback):
    """Writes the epoch and row number of all reviews on which a device trains to a file of its own.

    Args:
        folder: of the files.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_batch_end(
        self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        with (self.folder / f"rank_{trainer.global_rank}").open("a") as file:
            file.writelines(f"{trainer.current_epoch} {row}\n" for row in batch.rows.tolist())


@pytest.mark.slow
def test_sweep_continues_after_a_failed_job_and_skips_finished_jobs(
    small: Path, tmp_path: Path
) -> None:
    settings = [*QUICK, f"data.path={small}", "trainer.max_epochs=1"]
    line = ["-m", *settings, "model.units=choice(0,4)", "hydra.sweep.dir=swept"]
    first = command(*line, cwd=tmp_path)
    assert first.returncode == 1, first.stderr
    failed, finished = (tmp_path / "swept" / f"model.units-{units}" for units in (0, 4))
    assert read_metrics(failed)["status"] == "failed"
    assert read_metrics(failed)["error"] == "InputError: model.units=0: must be an integer >= 1"
    assert read_metrics(finished)["status"] == "finished"
    lines = first.stdout.splitlines()
    error = lines.index("model.units-0: model.units=0: must be an integer >= 1")
    assert any(line.startswith("model.units-4: val/accuracy ") for line in lines[error:])
    assert "Traceback" not in first.stdout + first.stderr
    assert "2 runs: 1 failed, 1 finished" in first.stdout
    assert {"report.md", "report.csv", "report.png"} <= {
        path.name for path in (tmp_path / "swept").iterdir()
    }

    before = (finished / "metrics.json").stat().st_mtime_ns
    again = command(*line, cwd=tmp_path)
    assert again.returncode == 1
    assert "model.units-4: finished earlier, skipped" in again.stdout
    assert "model.units-0: finished earlier" not in again.stdout
    assert (finished / "metrics.json").stat().st_mtime_ns == before
    assert len(list(finished.glob("checkpoints/*.ckpt"))) == 2


@pytest.mark.slow
def test_sweep_on_several_devices_is_rejected_in_one_line(small: Path, tmp_path: Path) -> None:
    done = command("-m", *QUICK, f"data.path={small}", *DDP, "seed=1,2,3", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "error: trainer: a sweep (-m), a study or self-training trains each run on one device; use trainer=default or "
        "gpu\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_parallel_jobs_encode_the_data_and_fit_a_baseline_once(
    small: Path, tmp_path: Path, launcher: str
) -> None:
    pytest.importorskip(
        f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher",
        reason="extra of that launcher",
    )
    done = command(
        "-m", *QUICK, f"data.path={small}", f"hydra/launcher={launcher}", "baseline=random_forest_counts",
        "model.units=range(4,7)", "hydra.sweep.dir=swept", cwd=tmp_path, SENTIMENT_CACHE=str(tmp_path / "cache"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    jobs = [read_metrics(tmp_path / "swept" / f"model.units-{units}") for units in (4, 5, 6)]
    assert [job["status"] for job in jobs] == ["finished"] * 3
    assert len({job["baseline/random_forest_counts/fit_seconds"] for job in jobs}) == 1
    for kind, suffix in (("reviews", ""), ("baselines", ".npz")):
        cached = [path for path in (tmp_path / "cache" / kind).iterdir() if path.suffix == suffix]
        assert len(cached) == 1, cached
    assert "3 runs: 3 finished" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("padding", ["pre", "post"])
def test_two_devices_share_the_rows_and_report_the_same_metrics(
    small: Path, tmp_path: Path, padding: str
) -> None:
    done = command(
        *QUICK, f"data.path={small}", *DDP, "data.batch_size=7", f"data.padding={padding}",
        "baseline=random_forest_tfidf", "+callbacks.rows._target_=tests.training.test_sweeps.RecordRows",
        f"+callbacks.rows.folder={tmp_path}", "hydra.run.dir=run", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ranks = [(tmp_path / f"rank_{rank}").read_text().splitlines() for rank in (0, 1)]
    assert (
        abs(len(ranks[0]) - len(ranks[1])) <= 2 * 2
    )  # as many steps; the rows of an epoch differ by one each
    for epoch in "01":
        rows = [int(line.split()[1]) for rank in ranks for line in rank if line.startswith(epoch)]
        assert len(rows) == len(set(rows)) == 270

    metrics = read_metrics(tmp_path / "run")
    assert [path.name for path in tmp_path.rglob("metrics.json")] == ["metrics.json"]
    assert (
        len({path.name.split(".")[-2] for path in tmp_path.rglob("events.out.tfevents.*")}) == 1
    )  # process
    assert "baseline/random_forest_tfidf/test_accuracy" in metrics
    assert done.stdout.count("Test set, 100 reviews") == 1
    with (tmp_path / "run" / "test_predictions.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [int(row["row"]) for row in table] == list(range(1, 101))

    datamodule = prepare_datamodule(
        source="files", path=str(small), maxlen=32, padding=padding, batch_size=7
    )
    module = SentimentModule.load_from_checkpoint(
        tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True
    )
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    trainer.test(module, datamodule, verbose=False)
    on_one_device = {tag: float(value) for tag, value in trainer.callback_metrics.items()}
    assert len(on_one_device) > 5
    assert on_one_device == pytest.approx({tag: metrics[tag] for tag in on_one_device}, abs=1e-6)


def test_config_fingerprint_covers_the_settings_that_affect_results(
    composed: Compose, tmp_path: Path
) -> None:
    cfg = composed()
    same = composed(
        "+callbacks.progress.refresh_rate=1", "logger=csv", folder=tmp_path / "elsewhere"
    )
    assert config_fingerprint(cfg) == config_fingerprint(same)
    assert config_fingerprint(cfg) != config_fingerprint(composed("seed=1"))
    assert config_fingerprint(cfg) != config_fingerprint(composed("callbacks.early_stopping=null"))


def test_flattened_settings_name_the_classes_of_objects(composed: Compose) -> None:
    settings = flatten(composed())
    assert (settings["optimizer"], settings["optimizer.lr"], settings["data.maxlen"]) == (
        "torch.optim.Adam",
        0.001,
        32,
    )
    assert settings["scheduler"] is None


@pytest.mark.slow
def test_job_is_finished_only_with_the_same_settings_and_data(
    composed: Compose, small: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(small, data)
    settings = [f"data.path={data}", "trainer.max_epochs=1"]
    cfg = composed(*settings, folder=tmp_path / "run")
    run_experiment(cfg)
    metrics = read_metrics(tmp_path / "run")
    assert is_finished(cfg, metrics)
    assert not is_finished(composed(*settings, "model.units=7"), metrics)
    assert not is_finished(cfg, metrics | {"status": "failed"})
    os.utime(data / "train.csv", (0, 0))
    assert not is_finished(cfg, metrics)
    shutil.rmtree(data)
    assert not is_finished(cfg, metrics)


@pytest.mark.skipif(torch.cuda.is_available(), reason="requests a device that must be absent")
def test_job_whose_trainer_cannot_be_built_has_failed(
    composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HydraConfig.instance(), "cfg", compose_hydra_config())
    assert math.isnan(run_sweep_job(composed("trainer.accelerator=cuda")))
    assert read_metrics(tmp_path)["status"] == "failed"


def test_job_folder_name_is_valid_and_distinct() -> None:
    assert _job_folder_name("data.maxlen-80_optimizer-adam") == "data.maxlen-80_optimizer-adam"
    assert _job_folder_name("data.path-/a b/c=d,e_+x-1").startswith("data.path--a-b-c-d-e_+x-1-")
    assert _job_folder_name("data.path-a/b.csv") != _job_folder_name("data.path-a-b.csv")
    assert _job_folder_name("") == "run"
    first, second = (_job_folder_name("x" * 300 + end) for end in "ab")
    assert len(first) == 200
    assert first != second


def test_job_keeps_a_finished_run_with_other_settings(
    composed: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = RunFolder(tmp_path)
    run.write_config(composed("model.units=16"))
    run.write_metrics({"status": "finished", "config_fingerprint": "other", "val/accuracy": 0.5})
    before = snapshot(run.path)
    assert math.isnan(run_sweep_job(composed()))
    assert (
        "holds a finished run with other settings or data; remove it or choose another"
        in caplog.text
    )
    assert snapshot(run.path) == before
    line = (run.path.parent / "jobs.log").read_text()
    assert f"{run.path.name}: failed: holds a finished run with other settings" in line


def test_metrics_of_another_program_are_not_those_of_a_finished_job(composed: Compose) -> None:
    cfg = composed()
    assert not is_finished(cfg, {"status": "finished"})
    assert not is_finished(
        cfg, {"status": "finished", "config_fingerprint": config_fingerprint(cfg)}
    )
