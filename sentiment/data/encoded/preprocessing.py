"""One pass over the texts: every review is tokenized once, words are ranked, and word ids are written to disk."""

import itertools
import json
import multiprocessing
import os
import signal
import sys
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
from joblib import cpu_count

from sentiment.data.encoded.encoding import EMPTY, Integers, hash_tokens
from sentiment.data.text.tokenizers import Tokenizer
from sentiment.data.text.vocabulary import SPECIALS, UNKNOWN, rank_words
from sentiment.runtime.errors import InputError

Texts = Callable[[str], Iterable[Sequence[str]]]

MIN_PARALLEL = 20_000  # reviews; fewer are tokenized sooner than processes start
MAX_PROCESSES = 8  # as many as one process can write for


class RowError(InputError):
    """A tokenizer fails.

    Args:
        row: number of the review.
        message: of the tokenizer.
    """

    def __init__(self, row: int, message: str) -> None:
        super().__init__(message)
        self.row = row

    def __reduce__(self) -> tuple[type["RowError"], tuple[int, str]]:
        return RowError, (self.row, str(self))


def encode(
    texts: Texts,
    labels: Integers,
    splits: dict[str, Integers],
    tokenizer: Tokenizer,
    max_features: int,
    folder: Path,
    metadata: dict[str, Any],
) -> None:
    """Tokenize all reviews and write them, encoded, to a new folder.

    Words are ranked by torchtext's `Vocab`: by frequency in the training and unlabelled rows, then alphabetically. A
    word that none of them contains is unknown. Unlabelled rows with the tokens of a validation or test row are left
    out before. A tokenizer that has to be trained is trained on the training rows alone, since such copies are known
    only when all rows are tokenized.

    Args:
        texts: returns chunks of raw reviews, all rows of the data set in order; called with what they are read for.
        labels: class of each row, int64 `(rows,)`.
        splits: row numbers of `train`, `val`, `test` and perhaps `unlabelled`.
        tokenizer: its state is ignored.
        max_features: for the training of the tokenizer.
        folder: where to write.
        metadata: further values for `metadata.json`. `duplicates` is added to them: how many reviews of `val` and of
            `test` have the same tokens as a training row. With unlabelled rows, also `unlabelled_copies`: how many of
            them were left out as copies of a `test` row and of a `val` row that is none, and how many others are copies
            of a `train` row.

    Raises:
        RowError: the tokenizer fails on a review.
        InputError: the tokenizer cannot be trained; or no unlabelled row is left.
    """
    folder.mkdir()
    rows = np.arange(len(labels))
    is_train, is_unlabelled = (
        np.isin(rows, splits.get(split, [])) for split in ("train", "unlabelled")
    )
    if tokenizer.needs_training:
        reviews = itertools.chain.from_iterable(texts("Training the tokenizer"))
        tokenizer = tokenizer.fit(itertools.compress(reviews, is_train), max_features)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer.state))
    chunks = texts("Tokenizing reviews")
    file = folder / "ids.int32"
    indices, counts, offsets, hashes = _tokenize(chunks, is_train | is_unlabelled, tokenizer, file)
    found = {
        split: int(_is_copy(hashes, splits[split], splits["train"]).sum())
        for split in ("val", "test")
    }
    metadata = metadata | {"duplicates": found}
    if "unlabelled" in splits:
        kept, left_out, copies = _leave_out_copies(hashes, splits)
        splits, metadata = splits | {"unlabelled": kept}, metadata | {"unlabelled_copies": copies}
        ids = np.memmap(file, dtype=np.int32, mode="r")
        for row in left_out:
            np.subtract.at(counts, ids[offsets[row] : offsets[row + 1]], 1)
    ranked = rank_words(
        {word: int(counts[index]) for word, index in indices.items() if counts[index]}
    )
    np.save(folder / "counts.npy", _map_to_ranks(file, indices, ranked))
    np.save(folder / "offsets.npy", offsets)
    np.save(folder / "labels.npy", labels)
    np.save(folder / "hashes.npy", hashes)
    for split, rows in splits.items():
        np.save(folder / f"{split}.npy", rows)
    encode_word = json.JSONEncoder(ensure_ascii=False).encode  # words may have line breaks
    lines = (f"{encode_word(word)}\n" for word in ranked)
    with open(
        folder / "vocabulary.txt", "w", encoding="utf-8", errors="surrogatepass", newline="\n"
    ) as words:
        words.writelines(lines)
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    (folder / "metadata.json").write_text(json.dumps(metadata | {"sizes": sizes}))


def _is_copy(hashes: Integers, rows: Integers, originals: Integers) -> npt.NDArray[np.bool_]:
    """Whether each of the rows has the tokens of one of the originals."""
    known = hashes[originals]
    return np.isin(hashes[rows], known[known != EMPTY])


def _leave_out_copies(
    hashes: Integers, splits: Mapping[str, Integers]
) -> tuple[Integers, Integers, dict[str, int]]:
    """Unlabelled rows without, and with, the tokens of a validation or test row; and `unlabelled_copies`."""
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
    return (
        rows[~is_left_out],
        rows[is_left_out],
        {split: int(copies.sum()) for split, copies in found.items()},
    )


class _Tokens(NamedTuple):
    """The tokens of some reviews.

    Attributes:
        words: the distinct words.
        indices: of the tokens in `words`, int32 `(tokens,)`.
        sizes: tokens of each review, int64 `(N,)`.
        hashes: `hash_tokens` of each review.
    """

    words: list[str]
    indices: npt.NDArray[np.int32]
    sizes: Integers
    hashes: list[int]


def _tokenize_chunk(tokenizer: Tokenizer, texts: Sequence[str], first: int) -> _Tokens:
    """Tokenize reviews, of which the first has the row number `first`; one without a token is an unknown word."""
    tokens: list[list[str]] = []
    try:
        tokens.extend(map(tokenizer, texts))
    except InputError as error:
        raise RowError(first + len(tokens), str(error)) from error
    numbers: defaultdict[str, int] = defaultdict(itertools.count().__next__)
    numbered = [list(map(numbers.__getitem__, words or [SPECIALS[UNKNOWN]])) for words in tokens]
    sizes = np.fromiter(map(len, numbered), np.int64, len(numbered))
    indices = np.fromiter(itertools.chain.from_iterable(numbered), np.int32, sizes.sum())
    return _Tokens([*numbers], indices, sizes, [hash_tokens(words) for words in tokens])


def _tokenize_chunks(
    texts: Iterable[Sequence[str]], tokenizer: Tokenizer, rows: int
) -> Generator[_Tokens, None, None]:
    """The tokens of each chunk, in their order; of many rows, by several processes."""
    processes = min(MAX_PROCESSES, cpu_count())
    is_worker = (
        multiprocessing.current_process().name != "MainProcess"
    )  # which may be unable to start others
    if rows < MIN_PARALLEL or processes == 1 or is_worker:
        for first, chunk in _number_rows(texts):
            yield _tokenize_chunk(tokenizer, chunk, first)
        return
    pool = ProcessPoolExecutor(processes, _ImportNothing(), _prepare_process, (tokenizer,))
    pending: deque[Future[_Tokens]] = deque()
    try:
        for first, chunk in _number_rows(texts):
            pending.append(pool.submit(_tokenize_in_process, chunk, first))
            if len(pending) > 2 * processes:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _number_rows(chunks: Iterable[Sequence[str]]) -> Iterator[tuple[int, Sequence[str]]]:
    """Each chunk, and the row number of its first review."""
    first = 0
    for chunk in chunks:
        yield first, chunk
        first += len(chunk)


_tokenizer: Tokenizer  # of a process of the pool


class _Process(SpawnProcess):
    def start(self) -> None:
        """Start a process that does not import the script: without an `if __name__ == "__main__"`, it would train."""
        with patch.dict(sys.modules, {"__main__": ModuleType("__main__")}):
            super().start()


class _ImportNothing(SpawnContext):
    Process = _Process


def _prepare_process(tokenizer: Tokenizer) -> None:
    """Ignore Ctrl-C, which is for the process that waits, and end with that process, even if it is killed."""
    global _tokenizer
    _tokenizer = tokenizer  # sent once
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)


def _tokenize_in_process(texts: Sequence[str], first: int) -> _Tokens:
    return _tokenize_chunk(_tokenizer, texts, first)


def _tokenize(
    texts: Iterable[Sequence[str]],
    is_counted: npt.NDArray[np.bool_],
    tokenizer: Tokenizer,
    path: Path,
) -> tuple[dict[str, int], Integers, Integers, Integers]:
    """Write the index of each token: words are numbered in order of first appearance.

    Returns:
        The index of each word, its frequency in the counted rows, the offsets, and a hash of the tokens of each row.
    """
    rows = len(is_counted)
    numbers: defaultdict[str, int] = defaultdict(itertools.count().__next__)
    counts = np.zeros(0, dtype=np.int64)
    offsets = np.zeros(rows + 1, dtype=np.int64)
    hashes = np.full(rows, EMPTY)
    row = 0
    with open(path, "wb") as file, closing(_tokenize_chunks(texts, tokenizer, rows)) as chunks:
        for words, indices, sizes, chunk_hashes in chunks:
            chunk = slice(row, row + len(sizes))
            flat = np.fromiter(map(numbers.__getitem__, words), np.int32, len(words))[indices]
            flat.tofile(file)
            if len(numbers) > len(counts):
                counts = np.pad(
                    counts, (0, len(numbers))
                )  # doubles at least, so that it happens rarely
            np.add.at(counts, flat[np.repeat(is_counted[chunk], sizes)], 1)
            hashes[chunk] = chunk_hashes
            offsets[row + 1 : chunk.stop + 1] = offsets[row] + np.cumsum(sizes)
            row = chunk.stop
    return numbers, counts, offsets, hashes


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
