"""Settings of the process that trains: memory allocator, warnings, log levels."""

import contextlib
import ctypes
import logging
import warnings

from pytorch_lightning.utilities import rank_zero_only

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of malloc.h
_HARMLESS_WARNINGS = (
    "The '.*_dataloader' does not have many workers",  # a batch is index arithmetic; workers would slow it down
    "The number of training batches .* is smaller than the logging interval",  # curves are logged per epoch
    "Precision .* is not supported by the model summary",
    "Checkpoint directory .* exists and is not empty",  # when a run is resumed
    "Be aware that when using `ckpt_path`, callbacks",  # when it is resumed without one
    ".*isinstance.treespec, LeafSpec.. is deprecated",  # in Lightning's own code
)


def prepare_process() -> None:
    """Prepare a process for training: disable malloc trimming, silence known warnings and all ranks but the first."""
    disable_malloc_trim()
    logging.raiseExceptions = False  # a full disk is reported once, not for every line of train.log
    for message in _HARMLESS_WARNINGS:
        warnings.filterwarnings("ignore", message)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    if not is_first_process():
        logging.getLogger("sentiment").setLevel(logging.ERROR)


def is_first_process() -> bool:
    """Whether this is the rank that prints and writes."""
    return getattr(rank_zero_only, "rank", 0) == 0


def disable_malloc_trim() -> None:
    """Stop glibc from returning freed memory to the OS between steps.

    Without this, about half of all runs spend some 1,000 page faults per step (Linux with glibc only), and those with
    tensors above 32 MB many more.
    """
    with contextlib.suppress(AttributeError, TypeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, 1 << 30)
        mallopt(_M_MMAP_MAX, 0)  # all of it from the heap
