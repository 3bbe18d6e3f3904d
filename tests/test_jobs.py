"""Sweeps and runs on several devices, as the command line starts them."""

import csv
import math
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, Trainer

from sentiment.data.datamodule import ReviewDataModule
from sentiment.jobs import _is_finished, _one_of_a_sweep
from sentiment.model.module import SentimentModule
from sentiment.settings import _folder_name, flat, identity
from sentiment.train import train

from .conftest import Compose, command, metrics_of

QUICK = ["data=files", "trainer=cpu", "trainer.max_epochs=1", "model.embedding_dim=8", "callbacks.inspection=null",
         "baseline=none"]  # fmt: skip


def test_a_sweep_goes_on_past_a_failing_job_and_started_again_skips_what_finished(small: Path, tmp_path: Path) -> None:
    line = ["-m", *QUICK, f"data.path={small}", "model.units=0,4", "seed=1", "hydra.sweep.dir=swept"]
    first = command(*line, cwd=tmp_path)
    assert first.returncode == 1, first.stderr
    failed, finished = (tmp_path / "swept" / f"model.units-{units}" for units in (0, 4))
    assert metrics_of(failed)["status"] == "failed"
    assert metrics_of(failed)["error"] == "InputError: model.units=0: must be a whole number, at least 1"
    assert metrics_of(finished)["status"] == "finished"
    said = first.stdout.splitlines()
    assert said.index("model.units-0: model.units=0: must be a whole number, at least 1") < next(
        i for i, text in enumerate(said) if text.startswith("model.units-4: val/accuracy")
    )
    assert "Traceback" not in first.stdout + first.stderr
    assert "2 runs: 1 failed, 1 finished" in first.stdout
    assert {"report.md", "report.csv", "report.png"} <= {path.name for path in (tmp_path / "swept").iterdir()}

    before = (finished / "metrics.json").stat().st_mtime_ns
    again = command(*line, cwd=tmp_path)
    assert again.returncode == 1
    assert "model.units-4: finished earlier, skipped" in again.stdout
    assert "model.units-0: finished earlier" not in again.stdout
    assert (finished / "metrics.json").stat().st_mtime_ns == before
    assert len(list(finished.glob("checkpoints/*"))) == 2


def test_a_sweep_on_several_devices_is_refused_in_one_line(small: Path, tmp_path: Path) -> None:
    ddp = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    done = command("-m", *QUICK[2:], "data=files", f"data.path={small}", *ddp, "seed=1,2,3", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: trainer: a sweep (-m) or study trains each run on one device; take trainer=default or gpu"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_parallel_jobs_encode_the_data_and_fit_a_baseline_once(small: Path, tmp_path: Path, launcher: str) -> None:
    pytest.importorskip(f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher", reason="extra of that launcher")
    done = command(
        "-m", *QUICK[:-1], f"data.path={small}", f"hydra/launcher={launcher}", "baseline=random_forest_counts",
        "model.units=4,5,6", "hydra.sweep.dir=swept", cwd=tmp_path, SENTIMENT_CACHE=str(tmp_path / "cache"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    jobs = [metrics_of(tmp_path / "swept" / f"model.units-{units}") for units in (4, 5, 6)]
    assert [job["status"] for job in jobs] == ["finished"] * 3
    assert len({job["baseline/random_forest_counts/fit_seconds"] for job in jobs}) == 1
    for kind, ending in (("reviews", ""), ("baselines", ".npz")):
        cached = [path for path in (tmp_path / "cache" / kind).iterdir() if path.suffix == ending]
        assert len(cached) == 1, cached
    assert "3 runs: 3 finished" in done.stdout


class Seen(Callback):
    """Writes down which rows each device trains on, by epoch."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        with (self.folder / f"rank_{trainer.global_rank}").open("a") as file:
            file.writelines(f"{trainer.current_epoch} {row}\n" for row in batch.rows.tolist())


@pytest.mark.slow
@pytest.mark.parametrize("padding", ["pre", "post"])
def test_two_processes_share_the_rows_and_test_as_one_would(small: Path, tmp_path: Path, padding: str) -> None:
    done = command(
        "data=files", f"data.path={small}", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2",
        "trainer.max_epochs=2", "data.batch_size=7", f"data.padding={padding}", "model.embedding_dim=8",
        "baseline=random_forest_tfidf", "hydra.run.dir=run", "+callbacks.seen._target_=tests.test_jobs.Seen",
        f"+callbacks.seen.folder={tmp_path}", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ranks = [(tmp_path / f"rank_{rank}").read_text().splitlines() for rank in (0, 1)]
    assert abs(len(ranks[0]) - len(ranks[1])) <= 2 * 2  # an epoch's steps are the same, its rows differ by one each
    for epoch in "01":
        rows = [int(line.split()[1]) for rank in ranks for line in rank if line.startswith(epoch)]
        assert len(rows) == len(set(rows)) == 270

    metrics = metrics_of(tmp_path / "run")
    assert [path.name for path in tmp_path.rglob("metrics.json")] == ["metrics.json"]
    assert len({path.name.split(".")[-2] for path in tmp_path.rglob("events.out.tfevents.*")}) == 1  # process
    assert "baseline/random_forest_tfidf/test_accuracy" in metrics
    assert done.stdout.count("Test half, 100 reviews") == 1

    datamodule = ReviewDataModule("files", str(small), padding=padding, batch_size=7)
    module = SentimentModule.load_from_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    (alone,) = trainer.test(module, datamodule, verbose=False)
    assert alone == pytest.approx({tag: metrics[tag] for tag in alone}, abs=1e-6)
    with (tmp_path / "run" / "test_predictions.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [int(row["row"]) for row in table] == list(range(300, 400))


def test_runs_are_told_apart_by_settings_that_change_figures_alone(composed: Compose, tmp_path: Path) -> None:
    cfg = composed()
    assert identity(cfg) == identity(composed("callbacks.progress=null", folder=tmp_path / "elsewhere"))
    assert identity(cfg) != identity(composed("seed=1"))
    assert identity(cfg) != identity(composed("callbacks.early_stopping=null"))
    settings = flat(cfg)
    assert (settings["optimizer"], settings["optimizer.lr"], settings["data.maxlen"]) == ("Adam", 0.001, 32)
    assert settings["scheduler"] is None


def test_a_finished_job_is_skipped_only_with_the_same_settings_and_data(
    composed: Compose, small: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(small, data)
    (tmp_path / "run").mkdir()
    quick = [f"data.path={data}", "trainer.max_epochs=1"]
    cfg = composed(*quick, folder=tmp_path / "run")
    train(cfg)
    metrics = metrics_of(tmp_path / "run")
    assert _is_finished(cfg, metrics)
    assert not _is_finished(composed(*quick, "model.units=7"), metrics)
    assert not _is_finished(cfg, metrics | {"status": "failed"})
    os.utime(data / "train.csv", (0, 0))
    assert not _is_finished(cfg, metrics)
    shutil.rmtree(data)
    assert not _is_finished(cfg, metrics)


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a device that must be absent")
def test_a_job_whose_trainer_cannot_be_built_counts_as_failed(composed: Compose, tmp_path: Path) -> None:
    assert math.isnan(_one_of_a_sweep(composed("trainer.accelerator=cuda"), tmp_path, parallel=False))
    assert metrics_of(tmp_path)["status"] == "failed"


def test_a_jobs_folder_has_a_name_that_file_systems_and_hydra_take() -> None:
    assert _folder_name("data.maxlen-80_optimizer-adam") == "data.maxlen-80_optimizer-adam"
    assert _folder_name("data.path-/a b/c=d,e_+x-1").startswith("data.path--a-b-c-d-e_+x-1-")
    assert _folder_name("data.path-a/b.csv") != _folder_name("data.path-a-b.csv")
    assert _folder_name("") == "run"
    long = [_folder_name("x" * 300 + end) for end in "ab"]
    assert len(long[0]) == 200
    assert long[0] != long[1]
