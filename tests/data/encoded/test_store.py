import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sentiment.data.encoded.store import (
    EMPTY,
    StoredReviews,
    hash_tokens,
    is_complete,
    read_array,
    read_metadata,
    read_vocabulary,
    write_encoded,
)
from sentiment.data.text.tokenizers import Tokenizer
from sentiment.runtime.errors import InputError

TEXTS = ["a a a a b b b c", "c b a", "a <pad> new", "C b, a", "", "unseen words only"]
SPLITS = {"train": np.array([0, 1]), "val": np.array([2]), "test": np.array([3, 4, 5])}
LABELS = np.array([0, 1, 0, 1, 0, 1])
WORDS = Tokenizer("words")


def all_texts(purpose: str) -> Iterator[str]:
    return iter(TEXTS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Encoded reviews."""
    write_encoded(all_texts, LABELS, SPLITS, WORDS, 100, tmp_path / "encoded", {"language": "en"})
    return tmp_path / "encoded"


def test_vocabulary_is_that_of_the_training_rows(folder: Path) -> None:
    assert read_vocabulary(folder) == ["<pad>", "<unk>", "a", "b", "c"]
    assert read_vocabulary(folder, 3) == ["<pad>", "<unk>", "a"]


def test_ids_are_ranks_and_other_words_are_unknown(folder: Path) -> None:
    assert [ids.tolist() for ids in StoredReviews(folder, "train")] == [
        [2, 2, 2, 2, 3, 3, 3, 4],
        [4, 3, 2],
    ]
    assert [ids.tolist() for ids in StoredReviews(folder, "val")] == [[2, 1, 1]]
    assert [ids.tolist() for ids in StoredReviews(folder, "test")] == [[4, 3, 2], [1], [1, 1, 1]]
    assert StoredReviews(folder, "test").lengths.tolist() == [3, 1, 3]
    assert StoredReviews(folder, "test").labels.tolist() == LABELS.tolist()


def test_counts_cover_all_splits(folder: Path) -> None:
    assert read_array(folder, "counts").tolist() == [0, 6, 7, 5, 3]


def test_metadata_counts_duplicates_of_training_rows(folder: Path) -> None:
    assert '"language": "en"' in (folder / "metadata.json").read_text()
    assert '"duplicates": {"val": 0, "test": 1}' in (folder / "metadata.json").read_text()


def test_reviews_are_memory_mapped(folder: Path) -> None:
    reviews = StoredReviews(folder, "train")
    for array in (reviews.ids, reviews.offsets, reviews.labels, reviews.rows):
        assert isinstance(array.base, np.memmap)


@pytest.mark.parametrize("name", ["ids.int32", "vocabulary.json", "train.npy", "metadata.json"])
def test_folder_is_complete_unless_a_file_is_missing_or_truncated(folder: Path, name: str) -> None:
    assert is_complete(folder)
    os.truncate(folder / name, (folder / name).stat().st_size // 2)
    assert not is_complete(folder)
    (folder / name).unlink()
    assert not is_complete(folder)


class Lines:
    """Splits at commas, keeps the rest of a text as it is, and refuses some."""

    def __call__(self, text: str) -> list[str]:
        if "b, a" in text:
            raise ValueError("no such text")
        return text.split(",")


def test_tokens_may_contain_anything(tmp_path: Path) -> None:
    odd = ["a\nb", "c\r", "\u2028\x85", '"\\n"', "\ud83d\ude00", "\ud800", "  ", "\x00", "电"]
    split = Tokenizer({"_target_": "tests.data.encoded.test_store.Lines"}, trust=["tests"])
    write_encoded(
        lambda _: [",".join(odd)] * 2,
        LABELS[:2],
        dict.fromkeys(SPLITS, np.array([0, 1])),
        split,
        9,
        tmp_path / "odd",
        {},
    )
    assert read_vocabulary(tmp_path / "odd") == ["<pad>", "<unk>", *sorted(odd)]
    assert read_vocabulary(tmp_path / "odd", 4) == ["<pad>", "<unk>", *sorted(odd)[:2]]
    assert read_metadata(tmp_path / "odd")["tokenizer_state"] is None


def test_tokenizer_is_trained_on_the_training_rows_alone(tmp_path: Path) -> None:
    write_encoded(all_texts, LABELS, SPLITS, Tokenizer("bpe"), 20, tmp_path / "bpe", {})
    state = read_metadata(tmp_path / "bpe")["tokenizer_state"]
    assert state
    assert {*"".join(state["model"]["vocab"])} == {*"<unk>▁abc"}
    ids = [ids.tolist() for ids in StoredReviews(tmp_path / "bpe", "val")]
    words = read_vocabulary(tmp_path / "bpe")
    assert [[words[id_] for id_ in row] for row in ids] == [[words[id_] for id_ in ids[0]]]
    assert ids[0][0] == words.index("▁a")


def test_copies_share_a_hash(folder: Path) -> None:
    hashes = read_array(folder, "hashes")
    assert hashes[1] == hashes[3] == hash_tokens(["c", "b", "a"]) == 4379254717260235852
    assert hashes[4] == EMPTY
    assert len(set(hashes.tolist())) == 5


def test_text_on_which_a_tokenizer_fails_is_named(tmp_path: Path) -> None:
    split = Tokenizer({"_target_": "tests.data.encoded.test_store.Lines"}, trust=["tests"])
    message = r"Lines fails on 'C b, a', ValueError: no such text \(test_store\.py, line \d+\)$"
    with pytest.raises(InputError, match=message):
        write_encoded(all_texts, LABELS, SPLITS, split, 9, tmp_path / "encoded", {})
    assert not is_complete(tmp_path / "encoded")
