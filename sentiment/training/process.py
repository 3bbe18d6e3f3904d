"""Settings of the process that trains: threads, memory allocator, warnings, log levels."""

import contextlib
import ctypes
import logging
import os
import warnings
from collections.abc import Iterator

import joblib
import psutil
import torch

from sentiment.runtime.errors import check_at_least
from sentiment.runtime.files import is_first_process
from sentiment.runtime.run_folder import RUN_LOG

log = logging.getLogger(RUN_LOG)

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


def prepare_process() -> None:
    """Disable malloc trimming, silence known warnings, and all ranks but the first."""
    disable_malloc_trim()
    logging.raiseExceptions = False  # a full disk is reported once, not for every line of train.log
    for message in _HARMLESS_WARNINGS:
        warnings.filterwarnings("ignore", message)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    if not is_first_process():
        logging.getLogger("sentiment").setLevel(logging.ERROR)


@contextlib.contextmanager
def limit_threads(count: int | None) -> Iterator[None]:
    """Limit PyTorch to `count` threads; by default, to the cores that no other program uses now.

    Threads wait for each other at every operation: beside a program that keeps a core busy, two
    threads on two cores are slower than one. `OMP_NUM_THREADS` in the environment, or an earlier
    `torch.set_num_threads(1)`, is kept.
    """
    before = torch.get_num_threads()
    if count is None:
        is_chosen = before == 1 or "OMP_NUM_THREADS" in os.environ
        count = before if is_chosen else _count_free_cores(before)
    check_at_least(1, num_threads=count)
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _count_free_cores(limit: int) -> int:
    """Number of cores, from 1 to `limit`, that other programs leave idle while this process sleeps."""
    usable = min(limit, joblib.cpu_count())  # also within the CPU quota, which torch ignores
    # Counted, not matched: in a container, psutil's numbers of cores are not those of the kernel.
    idle = sum(1 - percent / 100 for percent in psutil.cpu_percent(0.2, percpu=True))
    count: int = max(1, min(usable, round(idle)))
    if count < usable:
        message = "%d of %d threads: other programs are busy; num_threads=%d takes all"
        log.info(message, count, usable, usable)
    return count


def disable_malloc_trim() -> None:
    """Stop glibc from returning freed memory to the OS between steps.

    Without this, about half of all runs spend some 1,000 page faults per step, and those with
    tensors above 32 MB many more.
    """
    with contextlib.suppress(AttributeError, TypeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, 1 << 30)
        mallopt(_M_MMAP_MAX, 0)  # all of it from the heap
