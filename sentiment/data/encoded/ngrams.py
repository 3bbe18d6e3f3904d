"""N-grams of word ids: how they are hashed, and which of them are frequent."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sentiment.data import Integers
from sentiment.data.encoded.store import EncodedReviews

PRIME = 2**31 - 1  # a product of two hashes fits int64
PIECE = 1000  # reviews that are hashed at once


def hash_ngrams(ids: Tensor, max_ngram: int) -> Tensor:
    """Hash the pairs, triples, … that end at each id; those at the start of a row begin with padding.

    int64 `(…, T)` → hashes below 2³¹ - 1, int64 `(…, T, max_ngram - 1)`, those of pairs first.
    """
    hashes = [ids]
    for shift in range(1, max_ngram):
        mixed = (F.pad(ids, (shift, 0))[..., : ids.shape[-1]] * 1_000_003 + hashes[-1]) % PRIME
        hashes.append(mixed * mixed % PRIME)  # decorrelates n-grams of similar ids
    return torch.stack(hashes[1:], -1)


def frequent_ngrams(
    reviews: EncodedReviews, vocabulary_size: int, max_ngram: int, min_count: int
) -> Integers:
    """Hashes of the pairs, triples, … that occur at least `min_count` times within reviews, which are not truncated.

    Different values of `hash_ngrams`, ascending, int64 `(n-grams,)`.
    """
    pieces = hash_reviews(reviews, vocabulary_size, max_ngram)
    hashes = np.concatenate([hashes.astype(np.int32) for hashes, _ in pieces])
    hashes.sort()
    last = hashes[min_count - 1 :]
    frequent: Integers = np.unique(last[last == hashes[: len(last)]]).astype(np.int64)
    return frequent


def hash_reviews(
    reviews: EncodedReviews, vocabulary_size: int, max_ngram: int
) -> Iterator[tuple[Integers, Integers]]:
    """The hash of every n-gram within a review, and the position of the review, int64 `(n-grams,)`, in pieces."""
    for start in range(0, len(reviews), PIECE):
        rows = reviews.rows[start : start + PIECE]
        piece = EncodedReviews(reviews.ids, reviews.offsets, reviews.labels, rows)
        ids, review = piece.flatten(vocabulary_size)
        starts = np.cumsum(piece.lengths) - piece.lengths
        position = np.arange(len(ids)) - starts[review]  # in its review
        is_within = position[:, None] >= np.arange(1, max_ngram)
        yield (
            hash_ngrams(torch.from_numpy(ids.astype(np.int64)), max_ngram).numpy()[is_within],
            np.broadcast_to(start + review[:, None], is_within.shape)[is_within],
        )
