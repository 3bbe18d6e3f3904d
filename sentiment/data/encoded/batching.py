"""From encoded reviews to batches, truncated and padded on request: one cache serves every length and vocabulary."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from sentiment.data import Integers
from sentiment.data.encoded.store import EncodedReviews
from sentiment.data.text.vocabulary import PADDING, UNKNOWN, TextEncoder
from sentiment.runtime.errors import InputError

PAD_TO_MULTIPLE_OF = 8  # many distinct lengths bloat the caches of oneDNN
POOL_SIZE = 50  # batches whose reviews are sorted by length together
EVAL_TOKENS_PER_BATCH = 1 << 15  # evaluation needs no gradients, so its batches may be large


class Batch(NamedTuple):
    """A padded batch."""

    ids: Tensor  # of words, int64 `(B, T)`
    labels: Tensor  # classes, int64 `(B,)`, or their probabilities, float32 `(B, classes)`
    rows: Tensor  # in the source, int64 `(B,)`


@dataclass(eq=False)
class PaddedReviews(Dataset[Batch]):
    """Returns a padded `Batch` for an array of positions in one split; the settings are those of its encoder."""

    reviews: EncodedReviews
    encoder: TextEncoder

    def __len__(self) -> int:
        return len(self.reviews)

    def __getitem__(self, positions: Integers) -> Batch:
        rows = self.reviews.rows[positions]
        return Batch(
            torch.from_numpy(self.pad(positions)),
            torch.from_numpy(self.reviews.labels[rows]),
            torch.from_numpy(rows),
        )

    @property
    def lengths(self) -> Integers:
        """Tokens of each review after truncation, int64 `(N,)`."""
        return np.minimum(self.reviews.lengths, self.encoder.maxlen)

    @property
    def width(self) -> int:
        """The largest `T` of a batch."""
        return self._width(self.lengths)

    def _width(self, lengths: Integers) -> int:
        """`maxlen` with padding at the start, else the longest length rounded up to a multiple of 8."""
        maxlen = self.encoder.maxlen
        rounded = math.ceil(lengths.max() / PAD_TO_MULTIPLE_OF) * PAD_TO_MULTIPLE_OF
        return min(maxlen, rounded) if self.encoder.masked else maxlen

    def pad(self, positions: Integers | None = None, width: int | None = None) -> Integers:
        """The padded ids, int64 `(B, T)`, of the reviews at `positions`, of all by default; `T` is the width."""
        maxlen, pre = self.encoder.maxlen, self.encoder.padding == "pre"
        rows = self.reviews.rows if positions is None else self.reviews.rows[positions]
        starts, ends = self.reviews.offsets[rows], self.reviews.offsets[rows + 1]
        lengths = np.minimum(ends - starts, maxlen)
        width = width or self._width(lengths)
        first = starts if self.encoder.truncating == "post" else ends - lengths
        padding = width - lengths if pre else np.zeros_like(lengths)  # at the start
        column = np.arange(width) - padding[:, None]  # of the review, not of the batch
        inside = (column >= 0) & (column < lengths[:, None])  # (B, T)
        ids = self.reviews.ids[np.where(inside, first[:, None] + column, 0)].astype(np.int64)
        ids[ids >= len(self.encoder.vocabulary)] = UNKNOWN
        ids[~inside] = PADDING
        return ids

    def sampler(self, batch_size: int | None = None, **options: Any) -> "BucketBatchSampler":
        """Shuffled batches of `batch_size` reviews per device; without it large ones, the same every time."""
        # Without masking, all reviews are padded to the same length anyway.
        lengths = self.lengths if self.encoder.masked else None
        size = batch_size or max(1, EVAL_TOKENS_PER_BATCH // self.encoder.maxlen)
        return BucketBatchSampler(len(self), size, lengths, batch_size is not None, **options)


@dataclass(eq=False)
class BucketBatchSampler(Sampler[Integers]):
    """Yields every position once per pass, in batches; with `lengths`, reviews of similar length share a batch.

    With `shuffle` the order depends on `(seed, epoch)` and the pass within the epoch alone, and each pool of 50 batches
    is sorted by length. Without it all positions are sorted by length, but the batches come in random order, the same
    every time, so that the first of them (Lightning's `limit_val_batches`) are an unbiased sample.
    """

    count: int  # of positions
    batch_size: int  # per device
    lengths: Integers | None = None  # tokens of each position, `(count,)`
    shuffle: bool = True
    seed: int = 0
    rank: int = 0  # of this device
    num_replicas: int = 1  # devices that share the batches
    reshuffle: bool = True  # an order of its own for each epoch

    def __post_init__(self) -> None:
        if 0 < self.count < self.num_replicas:
            problem = f"{self.num_replicas} devices cannot share {self.count} rows"
            raise InputError(f"trainer.devices: {problem}; use fewer devices")
        self.epoch = self.passes = 0
        # A remainder too small to give each device a position joins the last batch: all devices take as many steps.
        last_start = max(1, self.count - self.num_replicas + 1)
        starts = np.arange(0, last_start, self.batch_size * self.num_replicas)
        self.bounds = np.append(starts, self.count)

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning at the start of every epoch; when resuming, it calls `iter` first."""
        if self.reshuffle:
            self.epoch, self.passes = epoch, 0

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def __iter__(self) -> Iterator[Integers]:
        # A generator: this runs when the first batch is requested, after `set_epoch`.
        key = [self.seed, self.epoch, self.passes] if self.passes else [self.seed, self.epoch]
        random = np.random.default_rng(key if self.shuffle else 0)
        self.passes += self.reshuffle
        order = random.permutation(self.count) if self.shuffle else np.arange(self.count)
        batch_order = np.arange(len(self))
        if self.lengths is not None:
            starts = self.bounds[:-1:POOL_SIZE] if self.shuffle else [0]
            pools = [*starts, self.count]
            for start, end in itertools.pairwise(pools):
                pool = order[start:end]
                order[start:end] = pool[np.argsort(self.lengths[pool], kind="stable")]
            batch_order = random.permutation(batch_order)
        for i in batch_order:
            yield order[self.bounds[i] : self.bounds[i + 1]][self.rank :: self.num_replicas]
