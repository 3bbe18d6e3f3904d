"""Encoding IMDB's 50,000 reviews, cold and cached, and making one training batch.

    SENTIMENT_IMDB=DIR python -m tests.benchmarks.data

Cold: no cache of any kind, Parquet to ids on disk. Cached: opening them again. A batch: 32 reviews × 80 words.
"""

import os
import tempfile
import time

from tests.benchmarks.turns import article, opened, tell

TURNS = 5


def opening() -> float:
    """Seconds until the data module is ready."""
    start = time.perf_counter()
    opened(article())
    return time.perf_counter() - start


def batch() -> float:
    """Seconds for each batch of an epoch."""
    batches = iter(opened(article()).train_dataloader())
    next(batches)
    start = time.perf_counter()
    count = sum(1 for _ in batches)
    return (time.perf_counter() - start) / count


def main() -> None:
    """Prints a line each."""
    turns = []
    for _ in range(TURNS + 1):
        with tempfile.TemporaryDirectory() as cache:
            os.environ["SENTIMENT_CACHE"] = cache
            turns.append((opening(), opening(), batch()))
    cold, cached, batches = zip(*turns[1:], strict=True)  # the first turn imports libraries
    tell("cold", cold, cold)
    tell("cached", cached, cold)
    tell("one batch", batches, cold)


if __name__ == "__main__":
    main()
