import os
from pathlib import Path

import numpy as np
import pytest

from sentiment.data.encoding import (
    EMPTY,
    StoredReviews,
    encode,
    hash_tokens,
    is_complete,
    read_counts,
    read_hashes,
    read_vocabulary,
)

TEXTS = ["a a a a b b b c", "c b a", "a <pad> new", "C b, a", "", "unseen words only"]
SPLITS = {"train": np.array([0, 1]), "val": np.array([2]), "test": np.array([3, 4, 5])}
LABELS = np.array([0, 1, 0, 1, 0, 1])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Encoded reviews, read in two chunks."""
    encode([TEXTS[:3], TEXTS[3:]], LABELS, SPLITS, "words", tmp_path / "encoded", {"language": "en"})
    return tmp_path / "encoded"


def test_vocabulary_is_that_of_the_training_rows(folder: Path) -> None:
    assert read_vocabulary(folder) == ["<pad>", "<unk>", "a", "b", "c"]
    assert read_vocabulary(folder, 3) == ["<pad>", "<unk>", "a"]


def test_ids_are_ranks_and_other_words_are_unknown(folder: Path) -> None:
    assert [ids.tolist() for ids in StoredReviews(folder, "train")] == [[2, 2, 2, 2, 3, 3, 3, 4], [4, 3, 2]]
    assert [ids.tolist() for ids in StoredReviews(folder, "val")] == [[2, 1, 1]]
    assert [ids.tolist() for ids in StoredReviews(folder, "test")] == [[4, 3, 2], [1], [1, 1, 1]]
    assert StoredReviews(folder, "test").lengths.tolist() == [3, 1, 3]
    assert StoredReviews(folder, "test").labels.tolist() == LABELS.tolist()


def test_counts_cover_all_splits(folder: Path) -> None:
    assert read_counts(folder).tolist() == [0, 6, 7, 5, 3]


def test_metadata_counts_duplicates_of_training_rows(folder: Path) -> None:
    assert '"language": "en"' in (folder / "metadata.json").read_text()
    assert '"duplicates": {"val": 0, "test": 1}' in (folder / "metadata.json").read_text()


def test_hashes_of_copies_are_equal_in_every_process(folder: Path) -> None:
    hashes = read_hashes(folder)
    assert hashes[1] == hashes[3] == hash_tokens(["c", "b", "a"]) == 4379254717260235852
    assert hashes[4] == EMPTY
    assert len(set(hashes.tolist())) == 5


def test_reviews_are_memory_mapped(folder: Path) -> None:
    reviews = StoredReviews(folder, "train")
    for array in (reviews.ids, reviews.offsets, reviews.labels, reviews.rows):
        assert isinstance(array.base, np.memmap)


@pytest.mark.parametrize("name", ["ids.int32", "vocabulary.txt", "train.npy", "metadata.json"])
def test_encoding_is_repeated_only_if_a_file_is_missing_or_truncated(folder: Path, name: str) -> None:
    written = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert is_complete(folder)
    encode([], LABELS, SPLITS, "words", folder, {})  # there is nothing to do, so no text is read
    os.truncate(folder / name, (folder / name).stat().st_size // 2)
    assert not is_complete(folder)
    (folder / name).unlink()
    assert not is_complete(folder)
    encode([TEXTS], LABELS, SPLITS, "words", folder, {"language": "en"})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == written
