"""Faults around a training: divergence, kills, Ctrl-C, full disks, unwritable folders, damaged caches."""

import io
import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback

from sentiment.model.checkpoint import read_checkpoint
from sentiment.runtime.errors import DivergedError
from sentiment.training.experiment import run_experiment
from tests.helpers import (
    QUICK,
    Compose,
    background,
    command,
    load_weights,
    read_metrics,
    train_quick,
    weights_equal,
    without_times,
)

# A run with all that must be restored after a kill.
COMPLEX = [*QUICK, "data.padding=post", "model.num_layers=2", "model.bidirectional=true", "model.pooling=max_mean",
           "model.max_ngram=3", "model.min_ngram_count=3", "model.units=16", "model.word_dropout=0.2",
           "adversarial_epsilon=0.05", "scheduler=onecycle", "trainer.max_epochs=12",
           "callbacks.early_stopping.patience=5", "baseline=[logistic_regression,random_forest]",
           "+callbacks.average._target_=pytorch_lightning.callbacks.EMAWeightAveraging",
           "+callbacks.average.decay=0.9"]  # fmt: skip
KILLS = 8


@pytest.mark.parametrize("lr", ["1e6", "1e30", "inf"])
def test_diverging_training_stops_within_the_epoch_whatever_is_logged(
    composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lr: str
) -> None:
    settings = ["optimizer=rmsprop", f"optimizer.lr={lr}", "trainer.max_epochs=9"]
    with pytest.raises(DivergedError, match="step 9: "):  # the end of an epoch
        run_experiment(composed(*settings))
    assert read_metrics(tmp_path)["status"] == "failed"
    monkeypatch.setattr("sentiment.model.module.DIVERGENCE_INTERVAL", 4)
    with pytest.raises(
        DivergedError,
        match=r"step 4: training diverged, the loss is .*; lower optimizer\.lr=",
    ):
        run_experiment(composed(*settings, "trainer.log_every_n_steps=0"))
    assert not list(tmp_path.glob("checkpoints/*.ckpt"))


class KillSelf(Callback):
    """Kills its own process, as `kill -9` does, in the third epoch or while the baseline is written.

    Args:
        moment: `epoch`, `checkpoint` (half of it is written), `validation` or `baseline` (half of it is written).
    """

    def __init__(self, moment: str) -> None:
        self.moment = moment

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 2 and self.moment == "checkpoint":
            torch.save = _save_partially_and_kill

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.current_epoch == 2 and self.moment == "epoch" and trainer.global_step % 9 == 4:
            _kill_self()

    def on_validation_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.current_epoch == 2 and self.moment == "validation":
            _kill_self()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        if self.moment == "baseline":
            np.savez = _save_partially_and_kill


def _kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _save_partially_and_kill(*arguments: Any, **_: Any) -> None:
    """Stand-in for `torch.save` and `np.savez`."""
    path = next(argument for argument in arguments if isinstance(argument, str | Path | io.IOBase))
    with path if isinstance(path, io.IOBase) else open(path, "wb") as file:
        file.write(b"PK\3\4" + bytes(1000))
        file.flush()
        _kill_self()


@pytest.fixture(scope="module")
def uninterrupted(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that the killed ones must reproduce."""
    home = tmp_path_factory.mktemp("uninterrupted")
    done = command(
        *COMPLEX,
        f"data.path={small}",
        "hydra.run.dir=run",
        cwd=home,
        SENTIMENT_CACHE=str(home / "cache"),
    )
    assert done.returncode == 0, done.stderr
    return home / "run"


def assert_resume_is_bit_identical(killed: Path, uninterrupted: Path, *overrides: str) -> None:
    cache = str(killed.parent / "cache")
    done = command(f"resume={killed}", *overrides, cwd=killed.parent, SENTIMENT_CACHE=cache)
    assert done.returncode == 0, done.stderr
    assert without_times(read_metrics(killed)) == without_times(read_metrics(uninterrupted))
    for name in ("best", "last"):
        assert weights_equal(load_weights(killed, name), load_weights(uninterrupted, name))
    assert (killed / "test_predictions.csv").read_bytes() == (
        uninterrupted / "test_predictions.csv"
    ).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["epoch", "checkpoint", "validation", "baseline"])
def test_resume_after_kill_at_a_chosen_moment_is_bit_identical(
    small: Path, tmp_path: Path, uninterrupted: Path, moment: str
) -> None:
    bomb = [
        "+callbacks.kill._target_=tests.guarantees.test_faults.KillSelf",
        f"+callbacks.kill.moment={moment}",
    ]
    line = [*COMPLEX, *bomb, f"data.path={small}", "hydra.run.dir=run"]
    killed = command(*line, cwd=tmp_path, SENTIMENT_CACHE=str(tmp_path / "cache"))
    assert killed.returncode == -signal.SIGKILL
    assert_resume_is_bit_identical(
        tmp_path / "run", uninterrupted, "~callbacks.kill", "trust=tests"
    )


def _count_epochs(run: Path) -> int:
    """Epochs of a run that have finished, -1 before it has written its configuration."""
    if not (run / ".hydra" / "config.yaml").exists():
        return -1
    history = run / "history.csv"
    return len(history.read_text().splitlines()) - 1 if history.exists() else 0


@pytest.mark.slow
def test_resume_after_kill_is_bit_identical(
    small: Path, tmp_path: Path, uninterrupted: Path
) -> None:
    """Kills runs from outside, each at a random moment of a random epoch."""
    moments = random.Random(0)

    def kill_and_resume(number: int) -> int | None:
        home = tmp_path / str(number)
        home.mkdir()
        line = [*COMPLEX, f"data.path={small}", "hydra.run.dir=run"]
        while True:
            run = background(*line, cwd=home, SENTIMENT_CACHE=str(home / "cache"))
            finished = moments.randrange(12)
            while run.poll() is None and _count_epochs(home / "run") < finished:
                time.sleep(0.05)
            time.sleep(moments.uniform(0, 2))
            run.kill()
            run.communicate()
            if (
                run.returncode == -signal.SIGKILL
                and (home / "run" / ".hydra" / "config.yaml").exists()
            ):
                break
            shutil.rmtree(home / "run", ignore_errors=True)
        last = home / "run" / "checkpoints" / "last.ckpt"
        epoch = read_checkpoint(last)["epoch"] if last.exists() else None
        assert_resume_is_bit_identical(home / "run", uninterrupted)
        return epoch

    with ThreadPoolExecutor(2) as pool:
        epochs = list(pool.map(kill_and_resume, range(KILLS)))
    assert len({epoch for epoch in epochs if epoch is not None}) >= 2, (
        epochs
    )  # resumed in different epochs


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_keeps_its_last_epoch_and_can_be_continued(
    small: Path, tmp_path: Path, sent: signal.Signals
) -> None:
    """Sends the signals of Ctrl-C and of clusters in the middle of a training."""
    line = [
        *QUICK,
        f"data.path={small}",
        "trainer.max_epochs=1000",
        "callbacks.early_stopping=null",
    ]
    run = background(*line, "hydra.run.dir=run", cwd=tmp_path)
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    while not last.exists():
        assert run.poll() is None
        time.sleep(0.05)
    run.send_signal(sent)
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 130
    assert output.splitlines()[-1] == (
        f"interrupted; continue with: python -m sentiment.train resume={tmp_path / 'run'}"
    )
    assert read_metrics(tmp_path / "run")["status"] == "interrupted"
    epochs = read_checkpoint(last)["epoch"] + 1
    resumed = command(
        f"resume={tmp_path / 'run'}", f"trainer.max_epochs={epochs + 1}", cwd=tmp_path
    )
    assert resumed.returncode == 0, resumed.stderr
    assert read_metrics(tmp_path / "run")["epochs"] == epochs + 1


def limit_file_size(size: int) -> Callable[[], None]:
    """Has a process fail to write files larger than `size` bytes, with the error of a full disk but for its name."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.slow
def test_full_disk_is_reported_in_one_line_and_leaves_complete_files(
    small: Path, tmp_path: Path
) -> None:
    """The disk is full at the start, at the first checkpoint, and at a checkpoint of the second epoch."""
    settings = [
        "trainer.max_epochs=1",
        "model.embedding_dim=64",
    ]  # checkpoints are larger than all other files
    complete = train_quick(tmp_path / "complete", small, *settings)
    too_small = (complete / "checkpoints" / "best.ckpt").stat().st_size - 1
    line = [*QUICK, f"data.path={small}", *settings, "hydra.run.dir=run"]
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"

    def fail(line: list[str], size: int) -> None:
        done = command(*line, cwd=tmp_path, preexec_fn=limit_file_size(size))
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1].startswith("error: ")
        assert (
            "run: cannot be written (File too large); free some space or choose another folder"
            in done.stderr
        )
        assert "Traceback" not in done.stderr

    fail(line, size=10_000)
    assert not last.parents[1].exists()
    fail(line, size=too_small)
    assert not list(last.parent.glob("*.ckpt*"))
    assert command(f"resume={tmp_path / 'run'}", cwd=tmp_path).returncode == 0
    first_epoch = last.read_bytes()
    fail([f"resume={tmp_path / 'run'}", "trainer.max_epochs=2"], size=too_small)
    assert last.read_bytes() == first_epoch


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "arguments", "folder"),
    [
        ("train", ["hydra.run.dir=file/run"], "file/run"),
        ("train", ["-m", "seed=1,2", "hydra.sweep.dir=file/sweep"], "file/sweep"),
        ("tune", ["hydra.run.dir=file/study"], "file/study"),
        ("evaluate", ["hydra.run.dir=file/evaluation"], "file/evaluation"),
    ],
)
def test_unwritable_output_folder_is_reported_in_one_line(
    run: Path, small: Path, tmp_path: Path, module: str, arguments: list[str], folder: str
) -> None:
    (tmp_path / "file").touch()
    settings = [f"checkpoint={run}"] if module == "evaluate" else [*QUICK, f"data.path={small}"]
    done = command(*arguments, *settings, module=module, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr == (
        f"error: {folder}: cannot be written (Not a directory); free some space or choose another folder\n"
    )


@pytest.mark.slow
def test_training_goes_on_without_a_cache_that_cannot_be_written(
    small: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "tmp").mkdir()
    line = [
        *QUICK,
        f"data.path={small}",
        "baseline=logistic_regression",
        "model.embedding_init=ppmi",
    ]
    done = command(
        *line,
        "hydra.run.dir=run",
        cwd=tmp_path,
        SENTIMENT_CACHE="file/cache",
        TMPDIR=str(tmp_path / "tmp"),
    )
    assert done.returncode == 0, done.stderr
    warning = (
        "SENTIMENT_CACHE=file/cache: the cache cannot be written (Not a directory); nothing is kept"
    )
    assert done.stdout.count("SENTIMENT_CACHE") == 2  # in one line
    assert warning in done.stdout
    assert not [*(tmp_path / "tmp").iterdir()]
    assert read_metrics(tmp_path / "run")["status"] == "finished"


@pytest.mark.slow
def test_no_cache_and_no_temporary_folder_are_reported_in_one_line(
    small: Path, tmp_path: Path
) -> None:
    """Fewer bytes fit into a file than the table of the reviews needs, in the cache as in the temporary folder."""
    done = command(
        *QUICK, f"data.path={small}", "hydra.run.dir=run", cwd=tmp_path, preexec_fn=limit_file_size(70_000),
        SENTIMENT_CACHE="cache",
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: SENTIMENT_CACHE=")
    assert line.endswith("free some space or set SENTIMENT_CACHE to another folder")
    assert "tables/" in line
    assert "File too large" in line


@pytest.fixture(scope="module")
def cached_run(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, `run`, and all that it cached, `cache`."""
    folder = tmp_path_factory.mktemp("cached_run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENTIMENT_CACHE", str(folder / "cache"))
        train_quick(folder / "run", small, "trainer.max_epochs=1", "baseline=logistic_regression")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["removed", "truncated", "emptied"])
@pytest.mark.parametrize(
    "pattern",
    ["reviews/*/ids.int32", "reviews/*/vocabulary.json", "reviews/*/train.npy", "reviews/*/metadata.json",
     "baselines/*.npz", "tables/*.arrow"],
)  # fmt: skip
def test_damaged_cache_is_rebuilt(
    composed: Compose,
    cached_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pattern: str,
    damage: str,
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("SENTIMENT_CACHE", str(cache))
    shutil.copytree(cached_run / "cache", cache)
    files = list(cache.glob(pattern))
    assert files
    for file in files:
        if damage == "removed":
            file.unlink()
        else:
            os.truncate(file, file.stat().st_size // 2 if damage == "truncated" else 0)
    if pattern.startswith("tables"):  # which are not read if the encoded reviews are complete
        shutil.rmtree(cache / "reviews")
    run_experiment(
        composed("trainer.max_epochs=1", "baseline=logistic_regression", folder=tmp_path / "run")
    )
    assert without_times(read_metrics(tmp_path / "run")) == without_times(
        read_metrics(cached_run / "run")
    )


@pytest.mark.slow
def test_concurrent_processes_share_one_cache(small: Path, tmp_path: Path) -> None:
    """Starts four processes at once on an empty cache."""
    line = [*QUICK, f"data.path={small}", "baseline=logistic_regression", "trainer.max_epochs=1"]
    names = "abcd"
    runs = [
        background(
            *line, f"hydra.run.dir={name}", cwd=tmp_path, SENTIMENT_CACHE=str(tmp_path / "cache")
        )
        for name in names
    ]
    outputs = [run.communicate(timeout=300)[0] for run in runs]
    assert [run.returncode for run in runs] == [0] * 4, outputs
    assert len({str(without_times(read_metrics(tmp_path / name))) for name in names}) == 1
    assert len([path for path in (tmp_path / "cache" / "reviews").iterdir() if path.is_dir()]) == 1
