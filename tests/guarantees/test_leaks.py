"""Memory, open files and threads must not grow with the number of epochs or runs, or a long sweep would fail."""

import os
import sys
import threading
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pytorch_lightning import Callback

from sentiment.training.experiment import run_experiment
from tests.helpers import Compose

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc"),
]
TOLERANCE = 16  # MB


class Resources(NamedTuple):
    """What this process uses: megabytes, open files, threads."""

    memory: float
    files: int
    threads: int


def measure_resources() -> Resources:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    memory = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    return Resources(memory, len(os.listdir("/proc/self/fd")), threading.active_count())


def assert_no_growth(early: Resources, late: Resources) -> None:
    assert late.files <= early.files
    assert late.threads <= early.threads
    assert late.memory < early.memory + TOLERANCE


class RecordResources(Callback):
    """Measures the resources after every epoch."""

    measured: list[Resources]

    def on_train_start(self, *_: Any) -> None:
        type(self).measured = []

    def on_train_epoch_end(self, *_: Any) -> None:
        self.measured.append(measure_resources())


def test_200_epochs_need_no_more_than_20(composed: Compose) -> None:
    """On the built-in corpus, with checkpoints and event files."""
    recorder = [
        "+callbacks.recorder._target_=tests.guarantees.test_leaks.RecordResources",
        "callbacks.early_stopping=null",
    ]
    demo = [
        "data=demo",
        "data.path=null",
        "trainer.max_epochs=200",
        "trainer.limit_train_batches=20",
    ]
    run_experiment(composed(*demo, *recorder))
    assert len(RecordResources.measured) == 200
    assert_no_growth(RecordResources.measured[20], RecordResources.measured[-1])


def test_50_runs_in_one_process_need_no_more_than_5(composed: Compose, tmp_path: Path) -> None:
    measured = []
    for seed in range(50):
        settings = [f"seed={seed}", "baseline=logistic_regression", "trainer.max_epochs=1"]
        run_experiment(composed(*settings, folder=tmp_path / str(seed)))
        measured.append(measure_resources())
    assert_no_growth(measured[5], measured[-1])
