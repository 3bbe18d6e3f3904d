"""What goes wrong around a training: divergence, kills, Ctrl-C, disks that are full, folders that cannot be written."""

import io
import os
import random
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
    print("\n".join(told))
    assert len(told) == KILLS
