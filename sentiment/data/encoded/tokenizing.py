"""From the texts of a data set to their tokens, by several processes if there are many."""

import itertools
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from hashlib import blake2b
from types import ModuleType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from joblib import cpu_count

from sentiment.data import Integers
from sentiment.data.text.tokenizers import Tokenizer
from sentiment.data.text.vocabulary import SPECIALS, UNKNOWN
from sentiment.runtime.errors import InputError

MIN_PARALLEL = 20_000  # reviews; fewer are tokenized sooner than processes start
MAX_PROCESSES = 8  # as many as one process can write for
EMPTY = 0  # hash of reviews without a token, which do not count as duplicates of each other


class RowError(InputError):
    """A tokenizer fails on the review with the number `row`."""

    row: int


class WordNumbers(dict[str, int]):
    """The numbers of words, which looking them up gives in the order of first appearance."""

    def __missing__(self, word: str) -> int:
        self[word] = number = len(self)
        return number


class Tokens(NamedTuple):
    """The tokens of some reviews."""

    words: list[str]  # the distinct ones
    word_indices: npt.NDArray[np.int32]  # of each token in `words`, `(tokens,)`
    sizes: Integers  # tokens of each review, `(N,)`
    hashes: list[int]  # of each review


def hash_tokens(tokens: Sequence[str]) -> int:
    """A hash of the tokens of a review, which copies share; of 64 bits, the same in every process."""
    if not tokens:
        return EMPTY
    text = " ".join(tokens).encode("utf-8", errors="surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little", signed=True)


def tokenize_all(
    texts: Iterable[Sequence[str]], tokenizer: Tokenizer, rows: int
) -> Generator[Tokens, None, None]:
    """The tokens of each chunk of texts, of `rows` in all, in their order; a `RowError` where that fails."""
    processes = min(MAX_PROCESSES, cpu_count())
    # A worker of some other pool may be unable to start processes.
    is_worker = multiprocessing.current_process().name != "MainProcess"
    if rows < MIN_PARALLEL or processes == 1 or is_worker:
        for first, chunk in _number_rows(texts):
            yield _tokenize_chunk(tokenizer, chunk, first)
        return
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, spawn, _prepare_process, (tokenizer,))
    pending: deque[Future[Tokens]] = deque()
    try:
        for first, chunk in _number_rows(texts):
            with _no_script():
                pending.append(pool.submit(_tokenize_in_process, chunk, first))
            if len(pending) > 2 * processes:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _no_script() -> Iterator[None]:
    """Processes start without importing the script: without an `if __name__ == "__main__"`, it would train."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def _number_rows(chunks: Iterable[Sequence[str]]) -> Iterator[tuple[int, Sequence[str]]]:
    """Each chunk, and the row number of its first review."""
    first = 0
    for chunk in chunks:
        yield first, chunk
        first += len(chunk)


def _tokenize_chunk(tokenizer: Tokenizer, texts: Sequence[str], first: int) -> Tokens:
    """Tokenize reviews, of which the first has the row number `first`; one without a token is an unknown word."""
    tokens: list[list[str]] = []
    try:
        tokens.extend(map(tokenizer, texts))
    except InputError as error:
        failed = RowError(str(error))
        failed.row = first + len(tokens)
        raise failed from error
    numbers = WordNumbers()
    numbered = [[numbers[word] for word in words or [SPECIALS[UNKNOWN]]] for words in tokens]
    sizes = np.fromiter(map(len, numbered), np.int64, len(numbered))
    flat = np.fromiter(itertools.chain.from_iterable(numbered), np.int32, sizes.sum())
    return Tokens([*numbers], flat, sizes, [hash_tokens(words) for words in tokens])


_tokenizer: Tokenizer  # of a process of the pool


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


def _tokenize_in_process(texts: Sequence[str], first: int) -> Tokens:
    return _tokenize_chunk(_tokenizer, texts, first)
