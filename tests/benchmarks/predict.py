"""Speed of `python -m sentiment.predict` on a file, and whether its memory grows with the file.

    SENTIMENT_IMDB=DIR python -m tests.benchmarks.predict RUN

5,000 and 50,000 reviews in each format, in turns. The speed is that of the additional 45,000, without the start-up.
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


def write_files(folder: Path) -> None:
    """Write IMDB's reviews in every format, `<size>.<suffix>`."""
    import pandas as pd

    from tests.benchmarks.timing import imdb_folder

    reviews = pd.concat(
        [pd.read_parquet(imdb_folder() / f"{split}.parquet") for split in ("train", "test")]
    )
    for size in SIZES:
        reviews[:size].to_csv(folder / f"{size}.csv", index=False)
        reviews[:size].to_json(folder / f"{size}.jsonl", orient="records", lines=True)
        reviews[:size].to_parquet(folder / f"{size}.parquet", index=False)


def measure(run: str, file: Path) -> tuple[float, float]:
    """Seconds and peak memory in MB of one command."""
    start = time.perf_counter()
    with open(os.devnull, "w") as null:
        process = subprocess.Popen(
            [sys.executable, "-m", "sentiment.predict", run, "--file", file], stdout=null
        )
        _, status, usage = os.wait4(process.pid, 0)
    assert status == 0
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def main() -> None:
    """Print a line per format."""
    with tempfile.TemporaryDirectory() as folder:
        # In a new process: the peak memory of a child is at least that of the process that starts it.
        writer = get_context("spawn").Process(target=write_files, args=(Path(folder),))
        writer.start()
        writer.join()
        for suffix in SUFFIXES:
            turns = [
                [measure(sys.argv[1], Path(folder, f"{n}.{suffix}")) for n in SIZES]
                for _ in range(TURNS)
            ]
            speeds = [(SIZES[1] - SIZES[0]) / (large[0] - small[0]) for small, large in turns]
            memory = [statistics.median(turn[i][1] for turn in turns) for i in range(2)]
            print(
                f"{suffix}: {statistics.median(speeds):,.0f} reviews/s, peak {memory[0]:.0f} and {memory[1]:.0f} MB"
            )


if __name__ == "__main__":
    main()
