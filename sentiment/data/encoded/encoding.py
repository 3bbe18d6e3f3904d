"""Encoded reviews on disk, as `preprocessing.encode` writes them: word ids of every review.

The ids are the frequency ranks of *all* words of the training rows. `maxlen`, `max_features` and `batch_size` are
applied to batches, so changing them needs no second pass over the text.
"""

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]

EMPTY = 0  # hash of reviews without a token, which do not count as duplicates of each other


def hash_tokens(tokens: Sequence[str]) -> int:
    """A hash of the tokens of a review, which copies share; of 64 bits, the same in every process."""
    if not tokens:
        return EMPTY
    text = " ".join(tokens).encode("utf-8", errors="surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little", signed=True)


def read_hashes(folder: Path) -> Integers:
    """`hash_tokens` of every review, in the order of the rows."""
    hashes: Integers = np.load(folder / "hashes.npy", mmap_mode="r")
    return hashes


@dataclass(eq=False)
class EncodedReviews:
    """One split of the encoded reviews.

    Attributes:
        ids: word ids of all reviews of the data set, concatenated, int32 `(all tokens,)`, without an upper limit.
        offsets: start of each review in `ids`, and the end of the last one, int64 `(all reviews + 1,)`.
        labels: class of every review, int64 `(all reviews,)`, or their probabilities, float32 `(all reviews, classes)`.
        rows: row numbers of the reviews of the split, int64 `(N,)`.
    """

    ids: npt.NDArray[np.int32]
    offsets: Integers
    labels: npt.NDArray[Any]
    rows: Integers

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> Integers:
        """Tokens of each review, int64 `(N,)`."""
        return self.offsets[self.rows + 1] - self.offsets[self.rows]

    def __iter__(self) -> Iterator[npt.NDArray[np.int32]]:
        """All ids of each review, int32 `(tokens,)`."""
        return (self.ids[self.offsets[row] : self.offsets[row + 1]] for row in self.rows)


class StoredReviews(EncodedReviews):
    """One or more splits of what `encode` wrote, memory-mapped, pickled as a reference to its folder.

    Args:
        folder: where `encode` wrote.
        splits: `train`, `val`, `test` or `unlabelled`.
    """

    def __init__(self, folder: Path, *splits: str) -> None:
        ids = np.memmap(folder / "ids.int32", dtype=np.int32, mode="r")
        others = (
            np.load(folder / f"{name}.npy", mmap_mode="r")
            for name in ("offsets", "labels", *splits)
        )
        # Indexing an array is faster than indexing a memmap.
        offsets, labels, *rows = map(np.asarray, others)
        super().__init__(
            np.asarray(ids), offsets, labels, rows[0] if len(rows) == 1 else np.concatenate(rows)
        )
        self.folder = folder
        self.splits = splits

    def __reduce__(self) -> tuple[type["StoredReviews"], tuple[Any, ...]]:
        return StoredReviews, (self.folder, *self.splits)


def read_vocabulary(folder: Path, max_features: int | None = None) -> list[str]:
    """The `max_features` most frequent words (all of them by default), in the order of ids."""
    with open(
        folder / "vocabulary.txt", encoding="utf-8", errors="surrogatepass", newline="\n"
    ) as file:
        words: list[str] = json.loads(f"[{','.join(itertools.islice(file, max_features))}]")
    return words


def read_tokenizer_state(folder: Path) -> dict[str, Any] | None:
    """The state of the tokenizer; None of one that is not trained."""
    state: dict[str, Any] | None = json.loads((folder / "tokenizer.json").read_text())
    return state


def read_counts(folder: Path) -> Integers:
    """Frequency of each id in the reviews of all splits."""
    counts: Integers = np.load(folder / "counts.npy", mmap_mode="r")
    return counts


def is_complete(folder: Path) -> bool:
    """Whether all files that `encode` wrote exist and have their size."""
    try:
        sizes = json.loads((folder / "metadata.json").read_text())["sizes"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False
