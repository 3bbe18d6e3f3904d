"""Encoding IMDB's 50,000 reviews without and with a cache, and making a training batch.

    SENTIMENT_IMDB=DIR python -m tests.benchmarks.data

Cold: without any cache, from Parquet to ids on disk. Cached: opening them again. A batch: 32 reviews × 80 words.
"""

import os
import tempfile
import time

from tests.benchmarks.timing import compose_article, prepare, print_times

TURNS = 5


def time_prepare() -> float:
    """Seconds until the data module is ready."""
    start = time.perf_counter()
    prepare(compose_article())
    return time.perf_counter() - start


def time_batch() -> float:
    """Mean seconds per batch of an epoch."""
    loader = prepare(compose_article()).train_dataloader()
    start = time.perf_counter()
    count = sum(1 for _ in loader)
    return (time.perf_counter() - start) / count


def main() -> None:
    """Print a line each."""
    turns = []
    for _ in range(TURNS + 1):
        with tempfile.TemporaryDirectory() as cache:
            os.environ["SENTIMENT_CACHE"] = cache
            turns.append((time_prepare(), time_prepare(), time_batch()))
    cold, cached, batches = zip(*turns[1:], strict=True)  # the first turn imports libraries
    print_times("cold", cold, cold)
    print_times("cached", cached, cold)
    print_times("one batch", batches, cold)


if __name__ == "__main__":
    main()
