"""What grows with epochs or jobs would end a long sweep: memory, open files and threads stay flat."""

import os
import sys
import threading
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pytorch_lightning import Callback

from sentiment.train import train

from .conftest import Compose

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc"),
]
SLACK = 16  # MB of memory that may come and go


class Held(NamedTuple):
    """What this process holds: megabytes, open files, threads."""

    memory: float
    files: int
    threads: int


def held() -> Held:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    memory = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    return Held(memory, len(os.listdir("/proc/self/fd")), threading.active_count())


def flat(early: Held, late: Held) -> None:
    assert late.files <= early.files
    assert late.threads <= early.threads
    assert late.memory < early.memory + SLACK


class Watches(Callback):
    """Notes what is held after every epoch."""

    seen: list[Held]

    def on_train_start(self, *_: Any) -> None:
        type(self).seen = []

    def on_train_epoch_end(self, *_: Any) -> None:
        self.seen.append(held())


def test_200_epochs_hold_what_20_do(composed: Compose) -> None:
    """On the built-in corpus, with the default's inspection, checkpoints and event files."""
    watched = ["+callbacks.watches._target_=tests.test_leaks.Watches", "callbacks.early_stopping=null"]
    demo = ["data=demo", "data.path=null", "trainer.max_epochs=200", "trainer.limit_train_batches=20"]
    train(composed(*demo, *watched))
    assert len(Watches.seen) == 200
    flat(Watches.seen[20], Watches.seen[-1])


def test_a_sweep_of_50_jobs_holds_what_5_do(composed: Compose, tmp_path: Path) -> None:
    seen = []
    for seed in range(50):
        folder = tmp_path / str(seed)
        folder.mkdir()
        train(composed(f"seed={seed}", "baseline=logistic_regression", "trainer.max_epochs=1", folder=folder))
        seen.append(held())
    flat(seen[5], seen[-1])
