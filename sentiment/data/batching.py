"""Encoded reviews → padded batches.

A batch is cut, padded and limited to `max_features` when it is asked for, by index arithmetic over all its rows at
once; nothing is stored per `maxlen`.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from sentiment.data.encoding import Reviews
from sentiment.data.text import PADDING, UNKNOWN

BUCKET = 8  # lengths are rounded up to a multiple: many distinct lengths bloat the caches of oneDNN
POOL = 50  # batches among whose reviews those of like length are put together
EVALUATED_WORDS = 1 << 15  # words of an evaluation batch, which needs no gradients and so may be large

Rows = npt.NDArray[np.int64]


class Batch(NamedTuple):
    """A padded batch.

    Attributes:
        ids: word ids, int64 `(B, T)`.
        labels: classes, int64 `(B,)`.
        rows: row number of each review in its source, int64 `(B,)`.
    """

    ids: Tensor
    labels: Tensor
    rows: Tensor


class PaddedReviews(Dataset[Batch]):
    """Gives a padded `Batch` for an array of positions in `reviews`.

    Args:
        reviews: the split to take them from.
        max_features: ids from here on become unknown words.
        maxlen: words kept of a review.
        padding: `pre` pads in front, always to `maxlen`; `post` pads behind, to the batch's own length bucket.
        truncating: `pre` drops words in front and keeps the last, `post` keeps the first.
    """

    def __init__(self, reviews: Reviews, max_features: int, maxlen: int, padding: str, truncating: str) -> None:
        self.reviews = reviews
        self.max_features = max_features
        self.maxlen = maxlen
        self.padding = padding
        self.truncating = truncating

    def __len__(self) -> int:
        return len(self.reviews)

    def __getitem__(self, positions: Rows) -> Batch:
        rows = self.reviews.rows[positions]
        return Batch(
            torch.from_numpy(self.matrix(positions)),
            torch.from_numpy(self.reviews.labels[rows]),
            torch.from_numpy(rows),
        )

    @property
    def lengths(self) -> Rows:
        """Words of each review after the cut, int64 `(N,)`."""
        return np.minimum(self.reviews.lengths, self.maxlen)

    @property
    def bucketed(self) -> Rows | None:
        """The lengths by which reviews are put together; None where all are padded to one."""
        return self.lengths if self.padding == "post" else None

    def batches(self, rank: int = 0, devices: int = 1) -> "OrderedBatches":
        """Every position once, for a net that does not learn; the arguments are those of `ShuffledBatches`."""
        return OrderedBatches(len(self), max(1, EVALUATED_WORDS // self.maxlen), self.bucketed, rank, devices)

    def matrix(self, positions: Rows | None = None) -> npt.NDArray[np.int64]:
        """The padded ids, int64 `(B, T)`, of some reviews or of all of them."""
        rows = self.reviews.rows if positions is None else self.reviews.rows[positions]
        starts, ends = self.reviews.offsets[rows], self.reviews.offsets[rows + 1]
        lengths = np.minimum(ends - starts, self.maxlen)
        width = self.maxlen if self.padding == "pre" else min(self.maxlen, -(-int(lengths.max()) // BUCKET) * BUCKET)
        first = starts if self.truncating == "post" else ends - lengths
        column = np.arange(width) - (width - lengths if self.padding == "pre" else np.zeros_like(lengths))[:, None]
        inside = (column >= 0) & (column < lengths[:, None])  # (B, T)
        ids = self.reviews.ids[np.where(inside, first[:, None] + column, 0)].astype(np.int64)
        ids[ids >= self.max_features] = UNKNOWN
        ids[~inside] = PADDING
        return ids


class ShuffledBatches(Sampler[Rows]):
    """Every position once per epoch, in batches whose order depends on `(seed, epoch)` alone.

    With `lengths`, reviews of like length share a batch: each pool of 50 batches is sorted before it is cut up.

    Args:
        count: positions in all.
        batch_size: positions in a batch of one device.
        seed: draws the order.
        lengths: words of each position, int64 `(count,)`.
        rank: which of the devices this is.
        devices: how many share the batches.
    """

    def __init__(
        self, count: int, batch_size: int, seed: int, lengths: Rows | None = None, rank: int = 0, devices: int = 1
    ) -> None:
        self.edges = _edges(count, batch_size * devices, devices)
        self.seed = seed
        self.lengths = lengths
        self.rank = rank
        self.devices = devices
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this at the start of every epoch, in a resumed run only after it has called `iter`."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.edges) - 1

    def __iter__(self) -> Iterator[Rows]:
        random = np.random.default_rng([self.seed, self.epoch])  # when the first batch is asked for, see set_epoch
        order = random.permutation(self.edges[-1])
        turns = np.arange(len(self))
        if self.lengths is not None:
            for start, end in itertools.pairwise([*self.edges[:-1:POOL], self.edges[-1]]):
                pool = order[start:end]
                order[start:end] = pool[np.argsort(self.lengths[pool], kind="stable")]
            turns = random.permutation(turns)
        yield from _cut(order, self.edges, turns, self.rank, self.devices)


class OrderedBatches(Sampler[Rows]):
    """Every position once, in the same order each time: as it is, or in batches of like length.

    Those come in random order, so that a part of them (Lightning's `limit_val_batches`) is a fair sample. The
    arguments are those of `ShuffledBatches`.
    """

    def __init__(
        self, count: int, batch_size: int, lengths: Rows | None = None, rank: int = 0, devices: int = 1
    ) -> None:
        self.edges = _edges(count, batch_size * devices, devices)
        self.order = np.arange(count) if lengths is None else np.argsort(lengths, kind="stable")
        self.turns = np.arange(len(self))
        if lengths is not None:
            self.turns = np.random.default_rng(0).permutation(self.turns)
        self.rank = rank
        self.devices = devices

    def __len__(self) -> int:
        return len(self.edges) - 1

    def __iter__(self) -> Iterator[Rows]:
        return _cut(self.order, self.edges, self.turns, self.rank, self.devices)


def _edges(count: int, size: int, devices: int) -> Rows:
    """Where each batch starts in an order of all positions, and the last one's end.

    A rest too small to give each device a row, all of which take as many steps, joins the last batch.
    """
    return np.append(np.arange(0, max(1, count - devices + 1), size), count)


def _cut(order: Rows, edges: Rows, turns: Rows, rank: int, devices: int) -> Iterator[Rows]:
    """The batches of `order`, taken in `turns`: of each the positions of one device."""
    for i in turns:
        yield order[edges[i] : edges[i + 1]][rank::devices]
