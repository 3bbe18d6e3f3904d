"""100 times the reviews: time of encoding them, and speed and memory of the training.

    python -m tests.benchmarks.scale [REVIEWS ...]

25,000, 250,000 and 2,500,000 training reviews, or other numbers, are generated as Parquet files, encoded without a
cache, and read by the default network for 500 steps, in turns. That takes 10 GB in the temporary directory and about
five minutes. The memory is the peak of Linux's RssAnon, which does not include files, of a training that finds the
reviews encoded.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import numpy as np

T = TypeVar("T")

SIZES = (25_000, 250_000, 2_500_000)
TEST_SIZE = 1_000
CHUNK_SIZE = 25_000  # reviews written at a time
STEPS = 500
BATCH_SIZE = 32
TURNS = 3
FIRST_WORD = 10_000  # words are numbers of five digits and more, as long as IMDB's
TRAIN = [
    "data=files",
    "trainer=cpu",
    "trainer.max_epochs=1",
    f"trainer.limit_train_batches={STEPS}",
    "trainer.limit_val_batches=10",
    f"data.batch_size={BATCH_SIZE}",
    "test_ckpt=null",
    "baseline=none",
    "callbacks.diagnostics=null",
    "callbacks.progress=null",
    "trainer.enable_progress_bar=false",
]


def write_reviews(folder: Path, count: int) -> None:
    """Write `train.parquet` and `test.parquet`, with IMDB's lengths and English word frequencies."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow.parquet import ParquetWriter

    folder.mkdir()
    random = np.random.default_rng(count)
    schema = pa.schema({"text": pa.string(), "label": pa.int64()})
    for split, size in (("train", count), ("test", TEST_SIZE)):
        with ParquetWriter(folder / f"{split}.parquet", schema, use_dictionary=False) as file:
            for start in range(0, size, CHUNK_SIZE):
                lengths = np.ceil(
                    random.lognormal(5.15, 0.75, min(CHUNK_SIZE, size - start))
                ).astype(np.int32)
                ranks = 46 * (
                    (1 - random.random(lengths.sum())) ** (-1 / 0.6) - 1
                )  # new words keep appearing
                words = pc.cast(FIRST_WORD + np.minimum(ranks, 1e9).astype(np.int64), pa.string())
                texts = pc.binary_join(
                    pa.ListArray.from_arrays(np.append(0, lengths.cumsum()), words), " "
                )
                labels = random.integers(0, 2, len(lengths))
                file.write_table(pa.table([texts, labels], schema))


def time_encoding(folder: Path) -> float:
    """Seconds of encoding the reviews."""
    from sentiment.data.datamodule import ReviewDataModule

    start = time.perf_counter()
    ReviewDataModule("files", path=str(folder)).prepare_data()
    return time.perf_counter() - start


def measure_training(folder: Path) -> tuple[float, float]:
    """Steps per second and peak anonymous memory in MB of one run."""
    with tempfile.TemporaryDirectory() as run:
        command = [
            sys.executable,
            "-m",
            "sentiment.train",
            *TRAIN,
            f"data.path={folder}",
            f"hydra.run.dir={run}",
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        memory = 0.0
        while process.poll() is None:
            found = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
            memory = max(memory, int(found[1]) / 1024 if found else 0)
            time.sleep(0.02)
        assert process.returncode == 0
        metrics = json.loads(Path(run, "metrics.json").read_text())
    return metrics["train/reviews_per_second"] / BATCH_SIZE, memory


def run_in_new_process(function: Callable[..., T], *arguments: object) -> T:
    """Call `function` without the memory and caches of this process."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def main() -> None:
    """Print a line per size, and how the figures of the last one compare with those of the first."""
    sizes = [int(size) for size in sys.argv[1:]] or SIZES
    with tempfile.TemporaryDirectory() as root:
        os.environ |= {
            "SENTIMENT_CACHE": f"{root}/cache",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        folders = [Path(root, str(size)) for size in sizes]
        seconds = []
        for folder, size in zip(folders, sizes, strict=True):
            run_in_new_process(write_reviews, folder, size)
            seconds.append(run_in_new_process(time_encoding, folder))
        turns = [[measure_training(folder) for folder in folders] for _ in range(TURNS)]
    speeds, memory = (np.array([[run[i] for run in turn] for turn in turns]) for i in range(2))
    for i, size in enumerate(sizes):
        print(
            f"{size:9,} reviews: encoded in {seconds[i]:.1f} s, {size / seconds[i]:,.0f} reviews/s; "
            f"{np.median(speeds[:, i]):.1f} steps/s, {np.median(memory[:, i]):.0f} MB"
        )
    print(
        f"{sizes[-1] / sizes[0]:.0f} times the reviews: encoding x {seconds[-1] / seconds[0]:.1f}, "
        f"steps/s x {np.median(speeds[:, -1] / speeds[:, 0]):.3f}, "
        f"memory {np.median(memory[:, -1] - memory[:, 0]):+.0f} MB"
    )


if __name__ == "__main__":
    main()
