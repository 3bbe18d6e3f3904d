"""Encoded reviews on disk: every review is tokenized and mapped to word ids once.

The ids are the frequency ranks of *all* words of the training rows. `maxlen`, `max_features` and `batch_size` are
applied to batches, so changing them needs no second pass over the text.
"""

import itertools
import json
import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from sentiment.data.text import SPECIALS, TOKENIZERS, UNKNOWN, rank_words

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
        labels: class of every review, int64 `(all reviews,)`.
        rows: row numbers of the reviews of the split, int64 `(N,)`.
    """

    ids: npt.NDArray[np.int32]
    offsets: Integers
    labels: Integers
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
    """One split of what `encode` wrote, memory-mapped, pickled as a reference to its folder.

    Args:
        folder: where `encode` wrote.
        split: `train`, `val` or `test`.
    """

    def __init__(self, folder: Path, split: str) -> None:
        ids = np.memmap(folder / "ids.int32", dtype=np.int32, mode="r")
        others = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("offsets", "labels", split))
        super().__init__(*map(np.asarray, (ids, *others)))  # indexing an array is faster than indexing a memmap
        self.folder = folder
        self.split = split

    def __reduce__(self) -> tuple[type["StoredReviews"], tuple[Path, str]]:
        return StoredReviews, (self.folder, self.split)


def read_vocabulary(folder: Path, max_features: int | None = None) -> list[str]:
    """The `max_features` most frequent words of the training rows (all of them by default), in the order of ids."""
    with open(folder / "vocabulary.txt", encoding="utf-8", errors="surrogatepass", newline="\n") as file:
        return [line.rstrip("\n") for line in itertools.islice(file, max_features)]


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


def encode(
    texts: Iterable[Sequence[str]],
    labels: Integers,
    splits: dict[str, Integers],
    tokenizer: str,
    folder: Path,
    metadata: dict[str, Any],
) -> None:
    """Tokenize all reviews and write them, encoded, to `folder`, unless they are there already.

    Words are ranked by torchtext's `Vocab`: by frequency in the training rows, then alphabetically. A word that no
    training row contains is unknown. One process writes at a time, and the folder appears only when it is complete.

    Args:
        texts: chunks of raw reviews, all rows of the data set in order.
        labels: class of each row, int64 `(rows,)`.
        splits: row numbers of `train`, `val` and `test`.
        tokenizer: a name in `TOKENIZERS`.
        folder: where to write.
        metadata: further values for `metadata.json`. `duplicates` is added to them: how many reviews of `val` and of
            `test` have the same tokens as a training row.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if is_complete(folder):
            return
        shutil.rmtree(folder, ignore_errors=True)
        unfinished = folder.with_name(folder.name + ".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        indices, counts, offsets, hashes = _tokenize(
            texts, splits["train"], len(labels), tokenizer, unfinished / "ids.int32"
        )
        known = hashes[splits["train"]]
        known = known[known != EMPTY]
        duplicates = {split: int(np.isin(hashes[splits[split]], known).sum()) for split in ("val", "test")}
        ranked = rank_words({word: int(counts[index]) for word, index in indices.items() if counts[index]})
        np.save(unfinished / "counts.npy", _map_to_ranks(unfinished / "ids.int32", indices, ranked))
        np.save(unfinished / "offsets.npy", offsets)
        np.save(unfinished / "labels.npy", labels)
        np.save(unfinished / "hashes.npy", hashes)
        for split, rows in splits.items():
            np.save(unfinished / f"{split}.npy", rows)
        with open(unfinished / "vocabulary.txt", "w", encoding="utf-8", errors="surrogatepass", newline="\n") as file:
            file.writelines(f"{word}\n" for word in ranked)
        sizes = {path.name: path.stat().st_size for path in unfinished.iterdir()}
        (unfinished / "metadata.json").write_text(json.dumps(metadata | {"duplicates": duplicates, "sizes": sizes}))
        os.replace(unfinished, folder)


def _tokenize(
    texts: Iterable[Sequence[str]], train: Integers, rows: int, tokenizer: str, path: Path
) -> tuple[dict[str, int], Integers, Integers, Integers]:
    """Write the index of each token: words are numbered in order of first appearance.

    Returns:
        The index of each word, its frequency in the training rows, the offsets, and a hash of the tokens of each row.
    """
    split = TOKENIZERS[tokenizer]
    indices: defaultdict[str, int] = defaultdict(itertools.count().__next__)
    empty = indices[SPECIALS[UNKNOWN]]
    is_train = np.isin(np.arange(rows), train)
    counts = np.zeros(0, dtype=np.int64)
    offsets = np.zeros(rows + 1, dtype=np.int64)
    hashes = np.full(rows, EMPTY)
    row = 0
    with open(path, "wb") as file:
        for chunk in texts:
            tokens = [split(text) for text in chunk]
            encoded = [list(map(indices.__getitem__, words)) or [empty] for words in tokens]
            sizes = np.fromiter(map(len, encoded), np.int64, len(encoded))
            flat = np.fromiter(itertools.chain.from_iterable(encoded), np.int32, sizes.sum())
            flat.tofile(file)
            if len(indices) > len(counts):
                counts = np.pad(counts, (0, len(indices)))  # doubles at least, so that it happens rarely
            np.add.at(counts, flat[np.repeat(is_train[row : row + len(chunk)], sizes)], 1)
            hashes[row : row + len(chunk)] = [hash_tokens(words) for words in tokens]
            offsets[row + 1 : row + len(chunk) + 1] = offsets[row] + np.cumsum(sizes)
            row += len(chunk)
    return indices, counts, offsets, hashes


def _map_to_ranks(path: Path, indices: dict[str, int], ranked: list[str]) -> Integers:
    """Replace the indices in the file by ranks, in chunks, since the file may be larger than memory.

    Returns:
        Frequency of each rank.
    """
    rank_of = np.full(len(indices), UNKNOWN, dtype=np.int32)
    for rank, word in enumerate(ranked[len(SPECIALS) :], len(SPECIALS)):
        rank_of[indices[word]] = rank
    ids = np.memmap(path, dtype=np.int32, mode="r+")
    counts = np.zeros(len(ranked), dtype=np.int64)
    chunk = 1 << 22
    for start in range(0, len(ids), chunk):
        ranks = rank_of[ids[start : start + chunk]]
        ids[start : start + chunk] = ranks
        counts += np.bincount(ranks, minlength=len(ranked))
    ids.flush()
    return counts
