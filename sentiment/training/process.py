"""Settings of the process that trains: threads, memory allocator, warnings, log levels."""

import contextlib
import ctypes
import logging
import os
import time
import warnings
from collections.abc import Iterator
from typing import Any

import joblib
import psutil
import torch
from pytorch_lightning import Callback, Trainer

from sentiment.runtime.errors import check_at_least
from sentiment.runtime.files import is_first_process
from sentiment.runtime.run_folder import RUN_LOG
from sentiment.training.progress import disable_console_output

log = logging.getLogger(RUN_LOG)

INTERVAL = 10.0  # seconds between two looks for free cores
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of malloc.h
_HARMLESS_WARNINGS = (
    "The '.*_dataloader' does not have many workers",  # a batch is index arithmetic
    "The number of training batches .* is smaller than the logging interval",
    "Precision .* is not supported by the model summary",
    "Checkpoint directory .* exists and is not empty",  # when a run is resumed
    "Be aware that when using `ckpt_path`, callbacks",  # when it is resumed without one
    ".*isinstance.treespec, LeafSpec.. is deprecated",  # in Lightning's own code
    "The AccumulateGrad node's stream does not match",  # Lightning wraps for DDP on another one
)


def prepare_process(quiet: bool) -> None:
    """Disable malloc trimming, silence known warnings, all ranks but the first, and a console that is to be quiet."""
    disable_malloc_trim()
    logging.raiseExceptions = False  # a full disk is reported once, not for every line of train.log
    for message in _HARMLESS_WARNINGS:
        warnings.filterwarnings("ignore", message)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    if not is_first_process():
        logging.getLogger("sentiment").setLevel(logging.ERROR)
    if quiet:
        disable_console_output()


class FreeCores(Callback):
    """Sets PyTorch's threads to the cores that other programs leave, from 1 to `limit`, every 10 seconds.

    Threads wait for each other at every operation: beside a program that keeps a core busy, two
    threads on two cores are slower than one.
    """

    def __init__(self, limit: int, first: int | None = None) -> None:
        self.limit, self.first = limit, first
        self._clocks = _read_clocks()
        torch.set_num_threads(first or limit)

    def on_fit_start(self, trainer: Trainer, *_: Any) -> None:
        if self.first is None and trainer.world_size == 1:
            self.set_threads()

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if time.monotonic() - self._clocks[0] > INTERVAL and trainer.world_size == 1:
            self.set_threads()

    def set_threads(self) -> None:
        """By the cores that were idle, or used by this process, since the last time."""
        clocks = _read_clocks()
        seconds, free = (now - then for now, then in zip(clocks, self._clocks, strict=True))
        self._clocks = clocks
        count = max(1, min(self.limit, round(free / seconds)))
        if count != torch.get_num_threads():
            why = "other programs are busy" if count < self.limit else "the others are idle again"
            log.info("%d of %d threads: %s", count, self.limit, why)
            torch.set_num_threads(count)


def _read_clocks() -> tuple[float, float]:
    """Seconds that have passed, and seconds in which a core was idle or used by this process."""
    cores, own = psutil.cpu_times(), psutil.Process().cpu_times()
    idle = cores.idle + getattr(cores, "iowait", 0.0)
    return time.monotonic(), idle + own.user + own.system


@contextlib.contextmanager
def limit_threads(count: int | None, first: int | None = None) -> Iterator[list[Callback]]:
    """Limit PyTorch to `count` threads, or those of `OMP_NUM_THREADS` or an earlier `torch.set_num_threads(1)`.

    Without any, they are as many as there are free cores, `first` in the first epoch if it is known; yields the
    callback that sees to it.
    """
    before = torch.get_num_threads()
    if count is None and (before == 1 or "OMP_NUM_THREADS" in os.environ):
        count = first or before
    try:
        if count is None:
            quota = joblib.cpu_count()  # which torch ignores
            yield [FreeCores(min(before, quota), first)]
        else:
            check_at_least(1, num_threads=count)
            torch.set_num_threads(count)
            yield []
    finally:
        torch.set_num_threads(before)


def disable_malloc_trim() -> None:
    """Stop glibc from returning freed memory to the OS between steps.

    Without this, about half of all runs spend some 1,000 page faults per step, and those with
    tensors above 32 MB many more.
    """
    with contextlib.suppress(AttributeError, TypeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, 1 << 30)
        mallopt(_M_MMAP_MAX, 0)  # all of it from the heap
