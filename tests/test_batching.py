from pathlib import Path

import numpy as np
import pytest

from sentiment.data.batching import OrderedBatches, PaddedReviews, ShuffledBatches
from sentiment.data.encoding import StoredReviews, encode, read_counts, read_words

TEXTS = ["a a a a b b b c", "c b a", "a <pad> new", "", "unseen words only"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    splits = {"train": np.array([0, 1]), "val": np.array([2]), "test": np.array([3, 4])}
    encode([TEXTS[:3], TEXTS[3:]], np.array([0, 1, 0, 1, 0]), splits, "basic_english", tmp_path / "encoded", {})
    return tmp_path / "encoded"


def padded(folder: Path, split: str = "train", **settings: object) -> PaddedReviews:
    chosen = {"max_features": 100, "maxlen": 5, "padding": "pre", "truncating": "pre"} | settings
    return PaddedReviews(StoredReviews(folder, split), **chosen)  # type: ignore[arg-type]


def test_words_are_ranked_by_the_training_rows_alone(folder: Path) -> None:
    assert read_words(folder) == ["<pad>", "<unk>", "a", "b", "c"]
    assert read_words(folder, 3) == ["<pad>", "<unk>", "a"]
    assert [ids.tolist() for ids in StoredReviews(folder, "val")] == [[2, 1, 1]]
    assert [ids.tolist() for ids in StoredReviews(folder, "test")] == [[1], [1, 1, 1]]


def test_words_are_counted_over_all_rows(folder: Path) -> None:
    assert read_counts(folder).tolist() == [0, 6, 6, 4, 2]


def test_reviews_stay_on_disk(folder: Path) -> None:
    reviews = StoredReviews(folder, "train")
    for array in (reviews.ids, reviews.offsets, reviews.labels, reviews.rows):
        assert isinstance(array.base, np.memmap)


@pytest.mark.parametrize(
    ("padding", "truncating", "expected"),
    [
        ("pre", "pre", [[2, 3, 3, 3, 4], [0, 0, 4, 3, 2]]),
        ("pre", "post", [[2, 2, 2, 2, 3], [0, 0, 4, 3, 2]]),
        ("post", "pre", [[2, 3, 3, 3, 4], [4, 3, 2, 0, 0]]),
        ("post", "post", [[2, 2, 2, 2, 3], [4, 3, 2, 0, 0]]),
    ],
)
def test_reviews_are_cut_and_padded(folder: Path, padding: str, truncating: str, expected: list[list[int]]) -> None:
    split = padded(folder, padding=padding, truncating=truncating)
    assert split.matrix().tolist() == expected
    assert split[np.array([1, 0])].ids.tolist() == expected[::-1]
    assert split[np.array([1])].rows.tolist() == [1]
    assert split[np.array([1])].labels.tolist() == [1]


def test_a_smaller_vocabulary_makes_rare_words_unknown(folder: Path) -> None:
    assert padded(folder, max_features=4).matrix()[1].tolist() == [0, 0, 1, 3, 2]


def test_behind_padding_goes_to_the_length_bucket_and_no_further(folder: Path) -> None:
    assert padded(folder, padding="post", maxlen=50)[np.array([1])].ids.shape == (1, 8)


def test_a_shuffled_epoch_has_every_row_once_and_depends_on_seed_and_epoch_alone() -> None:
    for lengths in (None, np.arange(100) % 7):
        batches = ShuffledBatches(100, 8, seed=1, lengths=lengths)
        first = np.concatenate(list(batches))
        assert sorted(first) == list(range(100))
        assert len(list(batches)) == len(batches) == 13
        batches.set_epoch(1)
        second = np.concatenate(list(batches))
        assert not np.array_equal(first, second)
        batches.set_epoch(0)
        assert np.array_equal(first, np.concatenate(list(batches)))
        assert not np.array_equal(first, np.concatenate(list(ShuffledBatches(100, 8, seed=2, lengths=lengths))))


def test_bucketed_batches_hold_reviews_of_like_length() -> None:
    lengths = np.random.default_rng(0).integers(1, 400, 2000)
    spread = [np.ptp(lengths[batch]) for batch in ShuffledBatches(2000, 20, seed=0, lengths=lengths)]
    assert np.mean(spread) < 20


def test_evaluation_reads_every_row_once() -> None:
    assert np.concatenate(list(OrderedBatches(10, 4))).tolist() == list(range(10))
    lengths = np.array([3, 1, 2])
    assert sorted(batch.tolist() for batch in OrderedBatches(3, 2, lengths)) == [[0], [1, 2]]


@pytest.mark.parametrize("devices", [2, 3])
@pytest.mark.parametrize("count", [6, 31, 37, 60, 61])
@pytest.mark.parametrize("by_length", [False, True])
def test_devices_share_every_position_in_as_many_steps(devices: int, count: int, by_length: bool) -> None:
    lengths = np.random.default_rng(0).integers(1, 99, count) if by_length else None
    ranks = range(devices)
    for samplers in (
        [ShuffledBatches(count, 5, 0, lengths, rank, devices) for rank in ranks],
        [OrderedBatches(count, 5, lengths, rank, devices) for rank in ranks],
    ):
        batches = [list(sampler) for sampler in samplers]
        assert len({len(sampler) for sampler in samplers} | {len(own) for own in batches}) == 1
        assert all(len(batch) for own in batches for batch in own)
        assert sorted(np.concatenate([batch for own in batches for batch in own])) == list(range(count))
