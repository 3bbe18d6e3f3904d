from itertools import pairwise

import numpy as np
import pytest

from sentiment.data.encoded.batching import EVAL_TOKENS_PER_BATCH, BucketBatchSampler, PaddedReviews
from sentiment.data.encoded.store import EncodedReviews
from sentiment.data.text.tokenizers import Tokenizer
from sentiment.data.text.vocabulary import TextEncoder, Vocabulary
from sentiment.runtime.errors import InputError

REVIEWS = EncodedReviews(
    ids=np.array([2, 2, 2, 2, 3, 3, 3, 4, 4, 3, 2], np.int32),
    offsets=np.array([0, 8, 11]),
    labels=np.array([0, 1]),
    rows=np.array([0, 1]),
)


def padded(
    words: int = 5,
    maxlen: int = 5,
    padding: str = "pre",
    truncating: str = "pre",
    reviews: EncodedReviews = REVIEWS,
) -> PaddedReviews:
    vocabulary = Vocabulary(["<pad>", "<unk>", "a", "b", "c"][:words])
    return PaddedReviews(
        reviews, TextEncoder(vocabulary, Tokenizer("words"), maxlen, padding, truncating)
    )


@pytest.mark.parametrize(
    ("padding", "truncating", "expected"),
    [
        ("pre", "pre", [[2, 3, 3, 3, 4], [0, 0, 4, 3, 2]]),
        ("pre", "post", [[2, 2, 2, 2, 3], [0, 0, 4, 3, 2]]),
        ("post", "pre", [[2, 3, 3, 3, 4], [4, 3, 2, 0, 0]]),
        ("post", "post", [[2, 2, 2, 2, 3], [4, 3, 2, 0, 0]]),
    ],
)
def test_reviews_are_truncated_and_padded(
    padding: str, truncating: str, expected: list[list[int]]
) -> None:
    reviews = padded(padding=padding, truncating=truncating)
    assert reviews.pad().tolist() == expected
    assert reviews.lengths.tolist() == [5, 3]
    assert reviews[np.array([1, 0])].ids.tolist() == expected[::-1]
    assert reviews[np.array([1])].rows.tolist() == [1]
    assert reviews[np.array([1])].labels.tolist() == [1]


def test_words_outside_a_smaller_vocabulary_become_unknown() -> None:
    assert padded(words=4).pad()[1].tolist() == [0, 0, 1, 3, 2]


def test_padding_at_the_end_reaches_the_next_multiple_of_8() -> None:
    assert padded(padding="post", maxlen=50)[np.array([1])].ids.shape == (1, 8)
    assert padded(padding="pre", maxlen=50)[np.array([1])].ids.shape == (1, 50)


def test_width_of_all_reviews_can_be_chosen() -> None:
    assert padded(padding="post", maxlen=50).width == padded(padding="post", maxlen=8).width == 8
    assert padded(padding="pre", maxlen=50).width == 50
    assert padded(padding="post", maxlen=50).pad(np.array([1]), width=4).tolist() == [[4, 3, 2, 0]]
    assert padded(padding="pre", maxlen=10**12).pad(np.array([1]), width=4).tolist() == [
        [0, 4, 3, 2]
    ]


@pytest.mark.parametrize("padding", ["pre", "post"])
def test_samplers_of_a_split_yield_every_position_once(padding: str) -> None:
    count = 1000
    lengths = np.random.default_rng(0).integers(1, 100, count)
    offsets = np.append(0, lengths.cumsum())
    reviews = EncodedReviews(
        np.full(offsets[-1], 2, np.int32), offsets, np.zeros(count, np.int64), np.arange(count)
    )
    split = padded(maxlen=80, padding=padding, reviews=reviews)
    train, evaluation = split.sampler(32, seed=1), split.sampler()
    for sampler in (train, evaluation):
        batches = list(sampler)
        assert len(batches) == len(sampler)
        assert sorted(np.concatenate(batches)) == list(range(count))
    assert max(map(len, train)) == 32
    assert max(map(len, evaluation)) == EVAL_TOKENS_PER_BATCH // 80
    assert np.array_equal(np.concatenate(list(evaluation)), np.concatenate(list(evaluation)))


@pytest.mark.parametrize("lengths", [None, np.arange(100) % 7])
def test_shuffled_order_depends_on_seed_and_epoch_alone(lengths: np.ndarray | None) -> None:
    sampler = BucketBatchSampler(100, 8, lengths, seed=1)
    first = np.concatenate(list(sampler))
    assert sorted(first) == list(range(100))
    assert len(list(sampler)) == len(sampler) == 13
    sampler.set_epoch(1)
    assert not np.array_equal(first, np.concatenate(list(sampler)))
    sampler.set_epoch(0)
    assert np.array_equal(first, np.concatenate(list(sampler)))
    assert not np.array_equal(
        first, np.concatenate(list(BucketBatchSampler(100, 8, lengths, seed=2)))
    )


def test_bucketed_batches_hold_reviews_of_similar_length() -> None:
    lengths = np.random.default_rng(0).integers(1, 400, 2000)
    ranges = [np.ptp(lengths[batch]) for batch in BucketBatchSampler(2000, 20, lengths)]
    assert np.mean(ranges) < 20


def test_unshuffled_batches_are_in_order_or_sorted_by_length() -> None:
    assert np.concatenate(list(BucketBatchSampler(10, 4, shuffle=False))).tolist() == list(
        range(10)
    )
    lengths = np.random.default_rng(0).integers(1, 400, 200)
    batches = list(BucketBatchSampler(200, 20, lengths, shuffle=False))
    by_length = sorted(batches, key=lambda batch: lengths[batch[0]])
    assert all(lengths[a].max() <= lengths[b].min() for a, b in pairwise(by_length))
    assert not all(
        lengths[a].max() <= lengths[b].min() for a, b in pairwise(batches)
    )  # the first are a fair sample


@pytest.mark.parametrize("num_replicas", [2, 3])
@pytest.mark.parametrize("count", [6, 31, 37, 60, 61])
@pytest.mark.parametrize("bucketed", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_replicas_share_every_position_in_equally_many_steps(
    num_replicas: int, count: int, bucketed: bool, shuffle: bool
) -> None:
    lengths = np.random.default_rng(0).integers(1, 99, count) if bucketed else None
    samplers = [
        BucketBatchSampler(count, 5, lengths, shuffle, 0, rank, num_replicas)
        for rank in range(num_replicas)
    ]
    batches = [list(sampler) for sampler in samplers]
    assert len({len(sampler) for sampler in samplers} | {len(own) for own in batches}) == 1
    assert all(len(batch) for own in batches for batch in own)
    assert sorted(np.concatenate([batch for own in batches for batch in own])) == list(range(count))


def test_fewer_rows_than_devices_are_refused_in_one_line() -> None:
    with pytest.raises(InputError, match=r"^trainer\.devices: 3 devices cannot share 2 rows; use"):
        BucketBatchSampler(2, 5, num_replicas=3)
    BucketBatchSampler(3, 5, num_replicas=3)
