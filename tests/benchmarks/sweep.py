"""What a sweep costs: one job beside the same run alone, then four jobs in parallel beside one after another.

    SENTIMENT_IMDB=DIR python -m tests.benchmarks.sweep

Whole commands on the clock, start-up, test and report included: the default network, one epoch of IMDB, no baselines.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUN = [sys.executable, "-m", "sentiment.train"]
EPOCH = ["data.path=" + os.environ["SENTIMENT_IMDB"], "trainer=cpu", "trainer.max_epochs=1", "baseline=none"]
FOUR = ["-m", *EPOCH, "seed=1,2,3,4"]
ROUNDS = {"pair": 5, "four": 3}


def seconds(*arguments: str) -> float:
    """Wall-clock time of a command in a folder of its own."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        subprocess.run([*RUN, *arguments], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start


def tell(name: str, taken: list[float], beside: list[float]) -> None:
    """One line: the times, their median, and the median of the ratios within a round."""
    ratio = statistics.median(a / b for a, b in zip(taken, beside, strict=True))
    times = " ".join(f"{value:.1f}" for value in taken)
    print(f"{name:32} {statistics.median(taken):6.1f} s  x {ratio:.3f}  ({times})", flush=True)


def main() -> None:
    """Prints the table."""
    seconds(*EPOCH)  # encodes the reviews
    alone, job = zip(*((seconds(*EPOCH), seconds("-m", *EPOCH, "seed=0")) for _ in range(ROUNDS["pair"])), strict=True)
    tell("one run alone", list(alone), list(alone))
    tell("the same as a sweep of one job", list(job), list(alone))
    times: dict[str, list[float]] = {}
    for _ in range(ROUNDS["four"]):
        for name, launcher in {
            "four jobs one after another": [],
            "four jobs, two at a time": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
            "four jobs at once": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=4"],
        }.items():
            times.setdefault(name, []).append(seconds(*FOUR, *launcher))
    for name, taken in times.items():
        tell(name, taken, times["four jobs one after another"])


if __name__ == "__main__":
    main()
