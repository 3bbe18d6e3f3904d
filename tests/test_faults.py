"""What goes wrong around a training: divergence, kills, Ctrl-C, disks that are full, folders that cannot be written."""

import io
import os
import random
import resource
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback

from sentiment.errors import DivergedError
from sentiment.train import train

from .conftest import Compose, background, command, figures, metrics_of, same, weights_of

QUICK = ["data=files", "trainer=cpu", "data.maxlen=16", "model.embedding_dim=8", "callbacks.inspection=null",
         "callbacks.progress=null", "callbacks.summary=null", "trainer.enable_progress_bar=false",
         "trainer.enable_model_summary=false"]  # fmt: skip
# A run with all that must come back after a kill.
ALL = [*QUICK, "data.padding=post", "model.num_layers=2", "model.bidirectional=true", "model.pooling=max_mean",
       "model.ngrams=3", "model.ngram_rows=30000", "model.units=16", "model.word_dropout=0.2", "adversarial=0.05",
       "scheduler=onecycle", "trainer.max_epochs=12", "callbacks.early_stopping.patience=5",
       "baseline=[logistic_regression,random_forest]",
       "+callbacks.average._target_=pytorch_lightning.callbacks.EMAWeightAveraging",
       "+callbacks.average.decay=0.9"]  # fmt: skip
KILLS = 20


@pytest.mark.parametrize("rate", ["1e6", "1e30", "inf"])
def test_a_diverging_training_stops_at_the_next_logging_step(composed: Compose, tmp_path: Path, rate: str) -> None:
    settings = ["optimizer=rmsprop", f"optimizer.lr={rate}"]
    fast = ["trainer.max_epochs=9", "trainer.log_every_n_steps=4"]
    with pytest.raises(DivergedError, match=r"step 4: training diverged, the loss is .*; lower optimizer\.lr="):
        train(composed(*settings, *fast))
    assert metrics_of(tmp_path)["status"] == "failed"
    with pytest.raises(DivergedError, match="step 9: "):  # the end of an epoch
        train(composed(*settings, "trainer.max_epochs=9"))
    assert not list(tmp_path.glob("checkpoints/*"))


class Kills(Callback):
    """Kills its own process, as `kill -9` does, at a moment of the third epoch or after it."""

    def __init__(self, moment: str) -> None:
        self.moment = moment

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 2 and self.moment == "checkpoint":
            torch.save = _half_saved

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.current_epoch == 2 and self.moment == "epoch" and trainer.global_step % 9 == 4:
            _kill()

    def on_validation_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.current_epoch == 2 and self.moment == "validation":
            _kill()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        if self.moment == "baseline":
            np.savez = _half_saved


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _half_saved(*arguments: Any, **_: Any) -> None:
    """Writes some bytes where `torch.save` or `np.savez` would have written all."""
    path = next(argument for argument in arguments if isinstance(argument, str | Path | io.IOBase))
    with path if isinstance(path, io.IOBase) else open(path, "wb") as file:
        file.write(b"PK\3\4" + bytes(1000))
        file.flush()
        _kill()


@pytest.fixture(scope="module")
def never_killed(small: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A run as every other should end, and the seconds that it took."""
    home = tmp_path_factory.mktemp("never_killed")
    started = time.monotonic()
    done = command(*ALL, f"data.path={small}", "hydra.run.dir=run", cwd=home, SENTIMENT_CACHE=str(home / "cache"))
    assert done.returncode == 0, done.stderr
    return home / "run", time.monotonic() - started


def _ends_alike(killed: Path, never_killed: Path, *overrides: str) -> None:
    cache = str(killed.parent / "cache")
    done = command(f"resume={killed}", *overrides, cwd=killed.parent, SENTIMENT_CACHE=cache)
    assert done.returncode == 0, done.stderr
    assert figures(metrics_of(killed)) == figures(metrics_of(never_killed))
    for name in ("best", "last"):
        assert same(weights_of(killed, name), weights_of(never_killed, name))
    assert (killed / "test_predictions.csv").read_bytes() == (never_killed / "test_predictions.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["epoch", "checkpoint", "validation", "baseline"])
def test_a_run_killed_at_the_worst_moments_ends_as_one_that_was_not(
    small: Path, tmp_path: Path, never_killed: tuple[Path, float], moment: str
) -> None:
    """Kills once in mid-epoch, with half a checkpoint written, in mid-validation, with half a baseline written."""
    bomb = ["+callbacks.kills._target_=tests.test_faults.Kills", f"+callbacks.kills.moment={moment}"]
    line = [*ALL, *bomb, f"data.path={small}", "hydra.run.dir=run"]
    killed = command(*line, cwd=tmp_path, SENTIMENT_CACHE=str(tmp_path / "cache"))
    assert killed.returncode == -signal.SIGKILL
    _ends_alike(tmp_path / "run", never_killed[0], "~callbacks.kills")


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_as_one_that_was_not(
    small: Path, tmp_path: Path, never_killed: tuple[Path, float]
) -> None:
    """Kills 20 runs from outside, each at its own moment between the start and the last thing written."""
    reference, seconds = never_killed
    moments = random.Random(0)

    def kill_one(number: int) -> str:
        home = tmp_path / str(number)
        home.mkdir()
        line = [*ALL, f"data.path={small}", "hydra.run.dir=run"]
        while True:
            run = background(*line, cwd=home, SENTIMENT_CACHE=str(home / "cache"))
            time.sleep(moments.uniform(0.3, 1.2) * seconds)
            run.kill()
            run.communicate()
            if run.returncode == -signal.SIGKILL and (home / "run" / ".hydra" / "config.yaml").exists():
                break
            shutil.rmtree(home / "run", ignore_errors=True)
        left = [path.name for path in home.glob("run/checkpoints/*")]
        _ends_alike(home / "run", reference)
        return f"{number}: {' '.join(left)}"

    with ThreadPoolExecutor(2) as pool:
        told = list(pool.map(kill_one, range(KILLS)))
    assert len(told) == KILLS


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_keeps_the_last_epoch_and_tells_how_to_go_on(small: Path, tmp_path: Path, sent: signal.Signals) -> None:
    """Interrupts 1 run in mid-training, as Ctrl-C and as clusters do."""
    line = [*QUICK, f"data.path={small}", "baseline=none", "trainer.max_epochs=1000", "callbacks.early_stopping=null"]
    run = background(*line, "hydra.run.dir=run", cwd=tmp_path)
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    while not last.exists():
        time.sleep(0.05)
    run.send_signal(sent)
    told, _ = run.communicate(timeout=60)
    assert run.returncode == 130
    assert told.splitlines()[-1] == f"interrupted; go on with: python -m sentiment.train resume={tmp_path / 'run'}"
    assert metrics_of(tmp_path / "run")["status"] == "interrupted"
    epochs = torch.load(last)["epoch"] + 1
    again = command(f"resume={tmp_path / 'run'}", f"trainer.max_epochs={epochs + 1}", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert metrics_of(tmp_path / "run")["epochs"] == epochs + 1


def _with_room_for(size: int) -> Any:
    """A process that may write no file larger than `size` bytes: what it hears is what a full disk says."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.slow
def test_a_full_disk_ends_a_run_in_one_line_and_leaves_whole_files(small: Path, tmp_path: Path) -> None:
    """Ends 3 runs: at the start, in the first checkpoint, and in the second epoch's."""
    line = [*QUICK, f"data.path={small}", "baseline=none", "trainer.max_epochs=1", "hydra.run.dir=run"]
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"

    def ends(line: list[str], room: int) -> None:
        told = command(*line, cwd=tmp_path, preexec_fn=_with_room_for(room))
        assert told.returncode == 2
        assert told.stderr.splitlines()[-1].startswith("error: ")
        assert "run: cannot be written (File too large); make room or choose another folder" in told.stderr
        assert "Traceback" not in told.stderr

    ends(line, room=10_000)
    assert not last.parents[1].exists()
    ends(line, room=100_000)
    assert not list(last.parent.glob("*"))
    assert command(*line, cwd=tmp_path).returncode == 0
    epoch = last.read_bytes()
    ends([f"resume={tmp_path / 'run'}", "trainer.max_epochs=2"], room=100_000)
    assert last.read_bytes() == epoch


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_refused_in_one_line(run: Path, small: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    line = [*QUICK, f"data.path={small}", "baseline=none", "trainer.max_epochs=1"]
    for module, arguments in (
        ("train", [*line, "hydra.run.dir=file/run"]),
        ("train", ["-m", *line, "seed=1,2", "hydra.sweep.dir=file/sweep"]),
        ("tune", [*line, "hydra.run.dir=file/study"]),
        ("evaluate", [f"checkpoint={run}", "hydra.run.dir=file/evaluation"]),
    ):
        told = command(*arguments, module=module, cwd=tmp_path)
        assert told.returncode == 2, told.stderr
        place = arguments[-1].partition("=")[2]
        assert (
            told.stderr == f"error: {place}: cannot be written (Not a directory); make room or choose another folder\n"
        )
    told = command(*line, cwd=tmp_path, SENTIMENT_CACHE="file/cache")
    assert told.returncode == 2
    assert told.stderr.startswith("error: file/cache")
    assert len(told.stderr.splitlines()) == 1


CACHED = ["reviews/*/ids.int32", "reviews/*/words.txt", "reviews/*/train.npy", "reviews/*/facts.json",
          "baselines/*.npz", "tables/*/*/*/*/*.arrow"]  # fmt: skip


@pytest.mark.parametrize("damage", ["removed", "cut", "emptied"])
@pytest.mark.parametrize("pattern", CACHED)
def test_a_damaged_cache_is_made_anew(
    composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, damage: str
) -> None:
    monkeypatch.setenv("SENTIMENT_CACHE", str(tmp_path / "cache"))
    line = ["trainer.max_epochs=1", "baseline=logistic_regression"]
    for name in ("first", "again"):
        (tmp_path / name).mkdir()
    train(composed(*line, folder=tmp_path / "first"))
    for file in (tmp_path / "cache").glob(pattern):
        if damage == "removed":
            file.unlink()
        else:
            os.truncate(file, file.stat().st_size // 2 if damage == "cut" else 0)
    if pattern.startswith("tables"):  # which the encoded reviews would spare
        shutil.rmtree(tmp_path / "cache" / "reviews")
    train(composed(*line, folder=tmp_path / "again"))
    assert figures(metrics_of(tmp_path / "again")) == figures(metrics_of(tmp_path / "first"))


@pytest.mark.slow
def test_processes_that_prepare_the_same_data_at_once_agree(small: Path, tmp_path: Path) -> None:
    """Starts 4 at once on an empty cache."""
    line = [*QUICK, f"data.path={small}", "baseline=logistic_regression", "trainer.max_epochs=1"]
    names = "abcd"
    runs = [
        background(*line, f"hydra.run.dir={name}", cwd=tmp_path, SENTIMENT_CACHE=str(tmp_path / "cache"))
        for name in names
    ]
    told = [run.communicate(timeout=120)[0] for run in runs]
    assert [run.returncode for run in runs] == [0] * 4, told
    assert len({str(figures(metrics_of(tmp_path / name))) for name in names}) == 1
    assert len([path for path in (tmp_path / "cache" / "reviews").iterdir() if path.is_dir()]) == 1
