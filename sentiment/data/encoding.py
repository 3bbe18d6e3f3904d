"""Encoded reviews on disk: every review is split into words and numbered once.

What is stored are the frequency ranks of *all* words of the training rows, so `maxlen`, `max_features` and
`batch_size` are applied to batches later and never cost another pass over the text.
"""

import itertools
import json
import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from sentiment.data.text import SPECIALS, TOKENIZERS, UNKNOWN, rank_words

EMPTY = 0  # key of reviews without a word, which are no copies of each other


@dataclass(eq=False)
class Reviews:
    """Encoded reviews.

    Attributes:
        ids: every review of the data set one after another, int32 `(all words,)`, ranks without an upper limit.
        offsets: where each review starts, and the last one's end, int64 `(all reviews + 1,)`.
        labels: class of every review, int64 `(all reviews,)`.
        rows: which of them are meant, int64 `(N,)`.
    """

    ids: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Words of each review, int64 `(N,)`."""
        return self.offsets[self.rows + 1] - self.offsets[self.rows]

    def __iter__(self) -> Iterator[npt.NDArray[np.int32]]:
        """All ids of each review, int32 `(words,)`."""
        return (self.ids[self.offsets[row] : self.offsets[row + 1]] for row in self.rows)


class StoredReviews(Reviews):
    """One split of what `encode` wrote, memory-mapped; pickled as a reference to its folder.

    Args:
        folder: where `encode` wrote.
        split: `train`, `val` or `test`.
    """

    def __init__(self, folder: Path, split: str) -> None:
        ids = np.memmap(folder / "ids.int32", dtype=np.int32, mode="r")
        others = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("offsets", "labels", split))
        super().__init__(*map(np.asarray, (ids, *others)))  # whose parts are quicker to take than those of a memmap
        self.folder = folder
        self.split = split

    def __reduce__(self) -> tuple[type["StoredReviews"], tuple[Path, str]]:
        return StoredReviews, (self.folder, self.split)


def read_words(folder: Path, max_features: int | None = None) -> list[str]:
    """The `max_features` most frequent words of the training rows (all of them by default), in the order of ids."""
    with open(folder / "words.txt", encoding="utf-8", errors="surrogatepass", newline="\n") as file:
        return [line.rstrip("\n") for line in itertools.islice(file, max_features)]


def read_counts(folder: Path) -> npt.NDArray[np.int64]:
    """How often each id stands in the reviews, those of every split."""
    counts: npt.NDArray[np.int64] = np.load(folder / "counts.npy", mmap_mode="r")
    return counts


def is_whole(folder: Path) -> bool:
    """Whether all that `encode` wrote there is still as long as it was."""
    try:
        sizes = json.loads((folder / "facts.json").read_text())["sizes"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def encode(
    texts: Iterable[Sequence[str]],
    labels: npt.NDArray[np.int64],
    splits: dict[str, npt.NDArray[np.int64]],
    tokenizer: str,
    folder: Path,
    facts: dict[str, Any],
) -> None:
    """Tokenizes all reviews and writes them, encoded, to `folder`; does nothing where that is done already.

    Words are ranked by torchtext's `Vocab`: by frequency in the training rows, then by alphabet. A word that no
    training row has is unknown. One process writes at a time, and the folder appears only when it is whole.

    Args:
        texts: chunks of raw reviews, all rows of the data set in order.
        labels: class of each row, int64 `(rows,)`.
        splits: row numbers of `train`, `val` and `test`.
        tokenizer: a name in `TOKENIZERS`.
        folder: where to write.
        facts: what else to keep with the reviews, written as `facts.json`, to which `repeated` is added: how many
            reviews of `val` and of `test` have the very words of a training row.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if is_whole(folder):
            return
        shutil.rmtree(folder, ignore_errors=True)
        unfinished = folder.with_name(folder.name + ".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        numbers, counts, offsets, keys = _tokenize(
            texts, splits["train"], len(labels), tokenizer, unfinished / "ids.int32"
        )
        known = keys[splits["train"]]
        repeated = {split: int(np.isin(keys[splits[split]], known[known != EMPTY]).sum()) for split in ("val", "test")}
        ranked = rank_words({word: int(counts[number]) for word, number in numbers.items() if counts[number]})
        np.save(unfinished / "counts.npy", _renumber(unfinished / "ids.int32", numbers, ranked))
        np.save(unfinished / "offsets.npy", offsets)
        np.save(unfinished / "labels.npy", labels)
        for split, rows in splits.items():
            np.save(unfinished / f"{split}.npy", rows)
        with open(unfinished / "words.txt", "w", encoding="utf-8", errors="surrogatepass", newline="\n") as file:
            file.writelines(f"{word}\n" for word in ranked)
        sizes = {path.name: path.stat().st_size for path in unfinished.iterdir()}
        (unfinished / "facts.json").write_text(json.dumps(facts | {"repeated": repeated, "sizes": sizes}))
        os.replace(unfinished, folder)


def _tokenize(
    texts: Iterable[Sequence[str]], train: npt.NDArray[np.int64], rows: int, tokenizer: str, path: Path
) -> tuple[dict[str, int], npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Writes each word's number, in order of first appearance.

    Returns:
        The numbers, how often the training rows have each, the offsets, and a key of each row that rows of the same
        words share.
    """
    split = TOKENIZERS[tokenizer]
    numbers: defaultdict[str, int] = defaultdict(itertools.count().__next__)
    empty = numbers[SPECIALS[UNKNOWN]]
    is_train = np.isin(np.arange(rows), train)
    counts = np.zeros(0, dtype=np.int64)
    offsets = np.zeros(rows + 1, dtype=np.int64)
    keys = np.full(rows, EMPTY)
    row = 0
    with open(path, "wb") as file:
        for chunk in texts:
            encoded = [list(map(numbers.__getitem__, split(text))) or [empty] for text in chunk]
            sizes = np.fromiter(map(len, encoded), np.int64, len(encoded))
            flat = np.fromiter(itertools.chain.from_iterable(encoded), np.int32, sizes.sum())
            flat.tofile(file)
            if len(numbers) > len(counts):
                counts = np.pad(counts, (0, len(numbers)))  # at least twice as many, so that it happens rarely
            np.add.at(counts, flat[np.repeat(is_train[row : row + len(chunk)], sizes)], 1)
            keys[row : row + len(chunk)] = [EMPTY if ids == [empty] else hash(tuple(ids)) for ids in encoded]
            offsets[row + 1 : row + len(chunk) + 1] = offsets[row] + np.cumsum(sizes)
            row += len(chunk)
    return numbers, counts, offsets, keys


def _renumber(path: Path, numbers: dict[str, int], ranked: list[str]) -> npt.NDArray[np.int64]:
    """Replaces the numbers in the file by ranks, a stretch at a time: the file may be larger than memory.

    Returns:
        How often each rank stands there.
    """
    rank_of = np.full(len(numbers), UNKNOWN, dtype=np.int32)
    for rank, word in enumerate(ranked[len(SPECIALS) :], len(SPECIALS)):
        rank_of[numbers[word]] = rank
    ids = np.memmap(path, dtype=np.int32, mode="r+")
    counts = np.zeros(len(ranked), dtype=np.int64)
    stretch = 1 << 22
    for start in range(0, len(ids), stretch):
        ranks = rank_of[ids[start : start + stretch]]
        ids[start : start + stretch] = ranks
        counts += np.bincount(ranks, minlength=len(ranked))
    ids.flush()
    return counts
