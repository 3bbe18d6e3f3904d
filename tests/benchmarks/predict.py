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
from pathlib import Path

import pandas as pd

TURNS = 5
SIZES = (5_000, 50_000)


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
    imdb = Path(os.environ["SENTIMENT_IMDB"])
    reviews = pd.concat([pd.read_parquet(imdb / f"{half}.parquet") for half in ("train", "test")])
    writers = {"csv": reviews.__class__.to_csv, "jsonl": to_jsonl, "parquet": reviews.__class__.to_parquet}
    with tempfile.TemporaryDirectory() as folder:
        for suffix, write in writers.items():
            files = {size: Path(folder) / f"{size}.{suffix}" for size in SIZES}
            for size, file in files.items():
                write(reviews[:size], file)
            turns = [[measured(sys.argv[1], files[size]) for size in SIZES] for _ in range(TURNS)]
            speeds = [(SIZES[1] - SIZES[0]) / (large[0] - small[0]) for small, large in turns]
            memory = [statistics.median(turn[i][1] for turn in turns) for i in range(2)]
            print(f"{suffix}: {statistics.median(speeds):,.0f} reviews/s, peak {memory[0]:.0f} and {memory[1]:.0f} MB")


def to_jsonl(table: pd.DataFrame, path: Path) -> None:
    table.to_json(path, orient="records", lines=True)


if __name__ == "__main__":
    main()
