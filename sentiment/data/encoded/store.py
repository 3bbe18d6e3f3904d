"""Encoded reviews on disk, written once and memory-mapped; the ids are the frequency ranks of all words."""

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sentiment.data import Integers
from sentiment.data.text.tokenizers import Tokenizer
from sentiment.data.text.vocabulary import SPECIALS, UNKNOWN, rank_words
from sentiment.runtime.errors import InputError

CHUNK_SIZE = 1 << 22  # tokens whose numbers are replaced at once
EMPTY = 0  # hash of reviews without a token, which do not count as duplicates of each other


@dataclass(eq=False)
class EncodedReviews:
    """One split of the encoded reviews: what is stored of all reviews of the data set, and the rows of the split.

    Labels are classes, int64, or their probabilities, float32 `(all reviews, classes)`.
    """

    ids: npt.NDArray[np.int32]  # of all words of all reviews, concatenated, without an upper limit
    offsets: Integers  # start of each review in `ids`, and the end of the last one
    labels: npt.NDArray[Any]  # of all reviews
    rows: Integers  # row numbers of the reviews of the split, `(N,)`

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> Integers:
        """Tokens of each review, int64 `(N,)`."""
        return self.offsets[self.rows + 1] - self.offsets[self.rows]

    def __iter__(self) -> Iterator[npt.NDArray[np.int32]]:
        """All ids of each review, int32 `(tokens,)`."""
        return (self.ids[self.offsets[row] : self.offsets[row + 1]] for row in self.rows)

    def flatten(self, vocabulary_size: int) -> tuple[npt.NDArray[np.int32], Integers]:
        """Ids of all tokens, from `vocabulary_size` on unknown words, and the position of each one's review."""
        ids = np.concatenate([*self])
        ids[ids >= vocabulary_size] = UNKNOWN
        return ids, np.repeat(np.arange(len(self), dtype=np.int32), self.lengths)


class StoredReviews(EncodedReviews):
    """One or more splits (`train`, `val`, `test`, `unlabelled`) in a folder, pickled as a reference to it."""

    def __init__(self, folder: Path, *splits: str) -> None:
        ids = np.memmap(folder / "ids.int32", dtype=np.int32, mode="r")
        arrays = [read_array(folder, name) for name in ("offsets", "labels", *splits)]
        # Indexing an array is faster than indexing a memmap.
        offsets, labels, *rows = map(np.asarray, arrays)
        all_rows = rows[0] if len(rows) == 1 else np.concatenate(rows)
        super().__init__(np.asarray(ids), offsets, labels, all_rows)
        self.folder = folder
        self.splits = splits

    def __reduce__(self) -> tuple[type["StoredReviews"], tuple[Any, ...]]:
        return StoredReviews, (self.folder, *self.splits)


def read_array(folder: Path, name: str) -> Integers:
    """`counts`, the frequency of each id in all splits, or `hashes`, the `hash_tokens` of every row; memory-mapped."""
    array: Integers = np.load(folder / f"{name}.npy", mmap_mode="r")
    return array


def read_vocabulary(folder: Path, max_features: int | None = None) -> list[str]:
    """The `max_features` most frequent words (all of them by default), in the order of ids."""
    words: list[str] = json.loads((folder / "vocabulary.json").read_text("utf-8", "surrogatepass"))
    return words[:max_features]


def read_metadata(folder: Path) -> dict[str, Any]:
    metadata: dict[str, Any] = json.loads((folder / "metadata.json").read_text())
    return metadata


def is_complete(folder: Path) -> bool:
    """Whether all files that were written exist and have their size."""
    try:
        sizes = read_metadata(folder)["sizes"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def write_encoded(
    texts: Callable[[str], Iterable[str]],
    labels: Integers,
    splits: dict[str, Integers],
    tokenizer: Tokenizer,
    max_features: int,
    folder: Path,
    metadata: dict[str, Any],
) -> None:
    """Tokenize all reviews and write them, encoded, to a new folder.

    A word that no training or unlabelled row contains is unknown. Unlabelled rows with the tokens of a validation or
    test row are left out before. A tokenizer that has to be trained is trained on the training rows alone, since such
    copies are known only when all rows are tokenized.

    Args:
        texts: returns the raw reviews in order; called with what they are read for.
        splits: row numbers of `train`, `val`, `test` and perhaps `unlabelled`.
        metadata: to which are added `tokenizer_state`; `duplicates`, how many reviews of `val` and of `test` have the
            tokens of a training row; and `unlabelled_copies`, see `_leave_out_copies`.
    """
    folder.mkdir()
    rows = np.arange(len(labels))
    is_train = np.isin(rows, splits["train"])
    is_counted = is_train | np.isin(rows, splits.get("unlabelled", []))
    if tokenizer.needs_training:
        reviews = itertools.compress(texts("Training the tokenizer"), is_train)
        tokenizer = tokenizer.fit(reviews, max_features)
    ids_file = folder / "ids.int32"
    raw = texts("Tokenizing reviews")
    words, counts, offsets, hashes = _write_numbers(ids_file, raw, tokenizer, is_counted)
    duplicates = {
        split: int(_is_copy(hashes, splits[split], splits["train"]).sum())
        for split in ("val", "test")
    }
    metadata = metadata | {"tokenizer_state": tokenizer.state, "duplicates": duplicates}
    if "unlabelled" in splits:
        kept, left_out, found = _leave_out_copies(hashes, splits)
        splits, metadata = splits | {"unlabelled": kept}, metadata | {"unlabelled_copies": found}
        numbers = np.memmap(ids_file, dtype=np.int32, mode="r")
        for row in left_out:
            counts.subtract(words[n] for n in numbers[offsets[row] : offsets[row + 1]])
    vocabulary = rank_words(+counts)
    frequencies = _replace_by_ranks(ids_file, words, vocabulary)
    arrays = {"counts": frequencies, "offsets": offsets, "labels": labels, "hashes": hashes}
    for name, array in {**arrays, **splits}.items():
        np.save(folder / f"{name}.npy", array)
    to_json = json.dumps(
        vocabulary, ensure_ascii=False
    )  # escaped surrogates would become one character
    (folder / "vocabulary.json").write_text(to_json, "utf-8", "surrogatepass")
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    (folder / "metadata.json").write_text(json.dumps(metadata | {"sizes": sizes}))


def _write_numbers(
    path: Path, texts: Iterable[str], tokenizer: Tokenizer, is_counted: npt.NDArray[np.bool_]
) -> tuple[list[str], Counter[str], Integers, Integers]:
    """Write the number of each token; return the words by number, their counts, offsets and hashes."""
    numbers: defaultdict[str, int] = defaultdict(itertools.count().__next__)
    counts: Counter[str] = Counter()
    offsets = np.zeros(len(is_counted) + 1, dtype=np.int64)
    hashes = np.full(len(is_counted), EMPTY)
    with path.open("wb") as file:
        for row, text in enumerate(texts):
            tokens = tokenizer(text)
            hashes[row] = hash_tokens(tokens)
            tokens = tokens or [SPECIALS[UNKNOWN]]
            if is_counted[row]:
                counts.update(tokens)
            file.write(np.array([numbers[token] for token in tokens], dtype=np.int32).tobytes())
            offsets[row + 1] = offsets[row] + len(tokens)
    return [*numbers], counts, offsets, hashes


def _replace_by_ranks(path: Path, words: Sequence[str], vocabulary: Sequence[str]) -> Integers:
    """Replace the numbers in the file, which may be larger than memory, by ranks; return the frequencies of these."""
    ranks_by_word = {word: rank for rank, word in enumerate(vocabulary) if word not in SPECIALS}
    rank_of = np.array([ranks_by_word.get(word, UNKNOWN) for word in words], dtype=np.int32)
    ids = np.memmap(path, dtype=np.int32, mode="r+")
    counts = np.zeros(len(vocabulary), dtype=np.int64)
    for start in range(0, len(ids), CHUNK_SIZE):
        ranks = rank_of[ids[start : start + CHUNK_SIZE]]
        ids[start : start + CHUNK_SIZE] = ranks
        counts += np.bincount(ranks, minlength=len(vocabulary))
    ids.flush()
    return counts


def hash_tokens(tokens: Sequence[str]) -> int:
    """A hash of the tokens of a review, which copies share; of 64 bits, the same in every process."""
    if not tokens:
        return EMPTY
    text = " ".join(tokens).encode("utf-8", errors="surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little", signed=True)


def _is_copy(hashes: Integers, rows: Integers, originals: Integers) -> npt.NDArray[np.bool_]:
    """Whether each of the rows has the tokens of one of the originals."""
    known = hashes[originals]
    return np.isin(hashes[rows], known[known != EMPTY])


def _leave_out_copies(
    hashes: Integers, splits: Mapping[str, Integers]
) -> tuple[Integers, Integers, dict[str, int]]:
    """Unlabelled rows without, and with, the tokens of a validation or test row; and how many were copies.

    That is, of a test row, of a validation row that is none, and how many others are copies of a training row.
    """
    rows = splits["unlabelled"]
    of_train, of_val, of_test = (
        _is_copy(hashes, rows, splits[split]) for split in ("train", "val", "test")
    )
    is_left_out = of_val | of_test
    if is_left_out.all():
        raise InputError(
            f"data.unlabelled: all {len(rows):,} texts are copies of validation or test reviews; name other files"
        )
    found = {"test": of_test, "val": of_val & ~of_test, "train": of_train & ~is_left_out}
    counts = {split: int(copies.sum()) for split, copies in found.items()}
    return rows[~is_left_out], rows[is_left_out], counts
