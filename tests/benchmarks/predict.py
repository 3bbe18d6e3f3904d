"""How fast predict reads a file, and whether its memory grows with the file.

SENTIMENT_IMDB=DIR python -m tests.benchmarks.predict RUN

For each format 5,000 and 50,000 reviews, in turns; the speed is that of the 45,000 more, so start-up is left out.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

TURNS = 5
SIZES = (5_000, 50_000)
SUFFIXES = ("csv", "jsonl", "parquet")


def write(folder: Path) -> None:
    """Writes IMDB's reviews in every format, `<size>.<suffix>`."""
    import pandas as pd

    imdb = Path(os.environ["SENTIMENT_IMDB"])
    reviews = pd.concat([pd.read_parquet(imdb / f"{half}.parquet") for half in ("train", "test")])
    for size in SIZES:
        reviews[:size].to_csv(folder / f"{size}.csv", index=False)
        reviews[:size].to_json(folder / f"{size}.jsonl", orient="records", lines=True)
        reviews[:size].to_parquet(folder / f"{size}.parquet", index=False)


def measured(run: str, file: Path) -> tuple[float, float]:
    """Seconds and peak memory in MB of one call."""
    start = time.perf_counter()
    with open(os.devnull, "w") as nowhere:
        process = subprocess.Popen([sys.executable, "-m", "sentiment.predict", run, "--file", file], stdout=nowhere)
        _, status, usage = os.wait4(process.pid, 0)
    assert status == 0
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def main() -> None:
    """Prints a line per format."""
    with tempfile.TemporaryDirectory() as folder:
        # In a process of its own: a child's peak memory is at least that of the process which starts it.
        writer = get_context("spawn").Process(target=write, args=(Path(folder),))
        writer.start()
        writer.join()
        for suffix in SUFFIXES:
            turns = [[measured(sys.argv[1], Path(folder, f"{n}.{suffix}")) for n in SIZES] for _ in range(TURNS)]
            speeds = [(SIZES[1] - SIZES[0]) / (large[0] - small[0]) for small, large in turns]
            memory = [statistics.median(turn[i][1] for turn in turns) for i in range(2)]
            print(f"{suffix}: {statistics.median(speeds):,.0f} reviews/s, peak {memory[0]:.0f} and {memory[1]:.0f} MB")


if __name__ == "__main__":
    main()
