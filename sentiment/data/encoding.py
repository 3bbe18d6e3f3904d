"""Encoded reviews on disk: every review is tokenized and mapped to word ids once.

The ids are the frequency ranks of *all* words of the training rows. `maxlen`, `max_features` and `batch_size` are
applied to batches, so changing them needs no second pass over the text.
"""

import itertools
import json
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from sentiment.data.text import SPECIALS, UNKNOWN, rank_words
from sentiment.data.tokenizers import Tokenizer
from sentiment.runtime.errors import InputError

Integers = npt.NDArray[np.int64]
Texts = Callable[[str], Iterable[Sequence[str]]]

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


class RowError(InputError):
    """A tokenizer fails.

    Args:
        row: number of the review.
        error: what the tokenizer raised.
    """

    def __init__(self, row: int, error: InputError) -> None:
        super().__init__(str(error))
        self.row = row


def encode(
    texts: Texts,
    labels: Integers,
    splits: dict[str, Integers],
    tokenizer: Tokenizer,
    max_features: int,
    folder: Path,
    metadata: dict[str, Any],
) -> None:
    """Tokenize all reviews and write them, encoded, to `folder`, unless they are there already.

    A tokenizer that has to be trained is trained on the training rows before. Words are ranked by
    torchtext's `Vocab`: by frequency in the training rows, then alphabetically. A word that no training row contains is
    unknown. One process writes at a time, and the folder appears only when it is complete.

    Args:
        texts: returns chunks of raw reviews, all rows of the data set in order; called with what they are read for.
        labels: class of each row, int64 `(rows,)`.
        splits: row numbers of `train`, `val` and `test`.
        tokenizer: its state is ignored.
        max_features: for the training of the tokenizer.
        folder: where to write.
        metadata: further values for `metadata.json`. `duplicates` is added to them: how many reviews of `val` and of
            `test` have the same tokens as a training row.

    Raises:
        RowError: the tokenizer fails on a review.
        InputError: the tokenizer cannot be trained.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if is_complete(folder):
            return
        shutil.rmtree(folder, ignore_errors=True)
        unfinished = folder.with_name(folder.name + ".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        is_train = np.isin(np.arange(len(labels)), splits["train"])
        if tokenizer.needs_training:
            reviews = itertools.chain.from_iterable(texts("Training the tokenizer"))
            tokenizer = tokenizer.fit(itertools.compress(reviews, is_train), max_features)
        (unfinished / "tokenizer.json").write_text(json.dumps(tokenizer.state))
        chunks = texts("Tokenizing reviews")
        indices, counts, offsets, hashes = _tokenize(chunks, is_train, tokenizer, unfinished / "ids.int32")
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
            file.writelines(
                f"{json.dumps(word, ensure_ascii=False)}\n" for word in ranked
            )  # which may have line breaks
        sizes = {path.name: path.stat().st_size for path in unfinished.iterdir()}
        (unfinished / "metadata.json").write_text(json.dumps(metadata | {"duplicates": duplicates, "sizes": sizes}))
        os.replace(unfinished, folder)


def _tokenize(
    texts: Iterable[Sequence[str]], is_train: npt.NDArray[np.bool_], tokenizer: Tokenizer, path: Path
) -> tuple[dict[str, int], Integers, Integers, Integers]:
    """Write the index of each token: words are numbered in order of first appearance.

    Returns:
        The index of each word, its frequency in the training rows, the offsets, and a hash of the tokens of each row.
    """
    rows = len(is_train)
    indices: defaultdict[str, int] = defaultdict(itertools.count().__next__)
    empty = indices[SPECIALS[UNKNOWN]]
    counts = np.zeros(0, dtype=np.int64)
    offsets = np.zeros(rows + 1, dtype=np.int64)
    hashes = np.full(rows, EMPTY)
    row = 0
    with open(path, "wb") as file:
        for chunk in texts:
            tokens: list[list[str]] = []
            try:
                tokens.extend(map(tokenizer, chunk))
            except InputError as error:
                raise RowError(row + len(tokens), error) from error
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
