"""Whether a batch fits into memory: the kernel would end the process to find out, without a word."""

import logging
from pathlib import Path

import psutil
from torch import nn

from sentiment.runtime.errors import InputError

PADDING_BYTES = 28  # for each id of a batch, while it is padded
# Copies of what the layers read and compute for a token, at least, as measured on CPUs.
EVALUATION, TRAINING = 0.4, 2.4
LARGE = 0.25  # of the available memory
CGROUPS = Path("/sys/fs/cgroup")
_CGROUP_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")  # versions 2 and 1

log = logging.getLogger("sentiment.training.experiment")  # a study silences its trials by this name


def batch_bytes(net: nn.Module, tokens: int, copies: float) -> int:
    """Memory that a batch takes at least, padding included.

    Args:
        net: a network; of layers other than embeddings and recurrent ones nothing is known.
        tokens: of the batch, `B · T`.
        copies: `EVALUATION` or `TRAINING`.
    """
    floats = 0
    for layer in net.modules():
        if isinstance(layer, nn.Embedding):
            floats += layer.embedding_dim
        elif isinstance(layer, nn.RNNBase):
            floats += sum(layer.all_weights[0][0].shape)  # gates and inputs
    return tokens * (PADDING_BYTES + int(copies * 4 * floats))


def check_fits(what: str, size: int, advice: str) -> None:
    """Raise `InputError` if more bytes are needed than are available; warn if it is a large part of them.

    Args:
        what: the key of the configuration or the file, and what needs the memory.
        size: bytes that it takes at least.
        advice: what to do.
    """
    available = available_memory()
    sizes = f"{size / 1e9:,.1f} GB of memory or more, and {available / 1e9:,.1f} GB are available"
    if size > available:
        raise InputError(f"{what} takes {sizes}; {advice}")
    if size > LARGE * available:
        log.warning("%s takes %s; if that is too much, %s", what, sizes, advice)


def available_memory() -> int:
    """Bytes that this process can allocate: what is free, or what its container may use."""
    used = psutil.Process().memory_info().rss
    limits = [CGROUPS / name for name in _CGROUP_LIMITS]
    found = [path.read_text().strip() for path in limits if path.is_file()]
    available: int = min(
        [
            psutil.virtual_memory().available,
            *(int(limit) - used for limit in found if limit.isdecimal()),
        ]
    )
    return available
