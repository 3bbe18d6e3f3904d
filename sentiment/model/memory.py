"""Whether a batch fits into memory: the kernel would end the process to find out, without a word."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from torch import nn

from sentiment.runtime.errors import InputError
from sentiment.runtime.run_folder import RUN_LOG

if TYPE_CHECKING:
    from sentiment.data.datamodule import ReviewDataModule

PADDING_BYTES = 28  # for each id of a batch, while it is padded
# Copies of what the layers read and compute for a token, at least, as measured on CPUs.
EVALUATION, TRAINING = 0.4, 2.4
LARGE = 0.25  # of the available memory
CGROUPS = Path("/sys/fs/cgroup")
_CGROUP_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")  # versions 2 and 1

log = logging.getLogger(RUN_LOG)


def check_memory(
    datamodule: "ReviewDataModule", net: nn.Module, on_cpu: bool, padded: Sequence[str]
) -> None:
    """Raise `InputError` if a batch, or the matrix of a baseline on padded ids, cannot fit into memory."""
    train, encoder = datamodule.training_set, datamodule.encoder
    key = f"data.maxlen={encoder.maxlen}"
    longest = max(int(split.reviews.lengths.max()) for split in datamodule.splits.values())
    advice = "lower it, or data.batch_size"
    if longest < encoder.maxlen and not encoder.masked:
        advice = f"set data.maxlen={longest}, the length of the longest text, or data.padding=post"
    if on_cpu:
        tokens = min(datamodule.batch_size, len(train)) * train.width
        check_fits(f"{key}: a batch", batch_bytes(net, tokens, TRAINING), advice)
    size = PADDING_BYTES * len(datamodule.splits["train"]) * train.width
    for name in padded:
        check_fits(f"{key}: baseline.{name}", size, f"{advice}, or baseline=none")


def batch_bytes(net: nn.Module, tokens: int, copies: float) -> int:
    """Memory that a batch of `B · T` tokens takes at least, padding included, with `EVALUATION` or `TRAINING` copies.

    Of layers other than embeddings and recurrent ones nothing is known.
    """
    floats = 0
    for layer in net.modules():
        if isinstance(layer, nn.Embedding):
            floats += layer.embedding_dim
        elif isinstance(layer, nn.RNNBase):
            floats += sum(layer.all_weights[0][0].shape)  # gates and inputs
    return tokens * (PADDING_BYTES + int(copies * 4 * floats))


def check_fits(what: str, size: int, advice: str) -> None:
    """Raise `InputError` if `size` bytes are not available; warn if they are a large part of the memory."""
    available = available_memory()
    sizes = f"{size / 1e9:,.1f} GB of memory or more, and {available / 1e9:,.1f} GB are available"
    if size > available:
        raise InputError(f"{what} takes {sizes}; {advice}")
    if size > LARGE * available:
        log.warning("%s takes %s; if that is too much, %s", what, sizes, advice)


def available_memory() -> int:
    """Bytes that this process can allocate: what is free, or what its container may use."""
    free: list[int] = [psutil.virtual_memory().available]
    used = psutil.Process().memory_info().rss
    for name in _CGROUP_LIMITS:
        file = CGROUPS / name
        if file.is_file() and (limit := file.read_text().strip()).isdecimal():
            free.append(int(limit) - used)
    return min(free)
