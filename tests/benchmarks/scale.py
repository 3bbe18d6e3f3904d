"""Ten and a hundred times the reviews: how long they take to encode, and what training takes then, in time and memory.

    python -m tests.benchmarks.scale [REVIEWS ...]

For 25,000, 250,000 and 2,500,000 training reviews, or other numbers, Parquet files are written by a generator, encoded
without any cache, and read by the default network for 500 steps, in turns. All of it takes 10 GB in the temporary
folder and some five minutes. The memory is Linux's RssAnon of a training that finds the reviews encoded: the most that
was seen from its launch to its end, so what does not belong to files.
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
TEST_REVIEWS = 1_000
CHUNK = 25_000  # reviews written at a time
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
    "test=false",
    "baseline=none",
    "callbacks.inspection=null",
    "callbacks.progress=null",
    "trainer.enable_progress_bar=false",
]


def write(folder: Path, reviews: int) -> None:
    """Writes `train.parquet` and `test.parquet`: IMDB's lengths, and words as frequent and as many as in English."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow.parquet import ParquetWriter

    folder.mkdir()
    random = np.random.default_rng(reviews)
    for half, count in (("train", reviews), ("test", TEST_REVIEWS)):
        schema = pa.schema({"text": pa.string(), "label": pa.int64()})
        with ParquetWriter(folder / f"{half}.parquet", schema, use_dictionary=False) as file:
            for start in range(0, count, CHUNK):
                lengths = np.ceil(random.lognormal(5.15, 0.75, min(CHUNK, count - start))).astype(np.int32)
                ranks = 46 * ((1 - random.random(lengths.sum())) ** (-1 / 0.6) - 1)  # new words never cease to come
                words = pc.cast(FIRST_WORD + np.minimum(ranks, 1e9).astype(np.int64), pa.string())
                texts = pc.binary_join(pa.ListArray.from_arrays(np.append(0, lengths.cumsum()), words), " ")
                labels = random.integers(0, 2, len(lengths))
                file.write_table(pa.table([texts, labels], schema))


def prepare(folder: Path) -> float:
    """Seconds of encoding the reviews."""
    from sentiment.data.datamodule import ReviewDataModule

    start = time.perf_counter()
    ReviewDataModule("files", str(folder)).prepare_data()
    return time.perf_counter() - start


def train(folder: Path) -> tuple[float, float]:
    """Steps per second and the most anonymous memory in MB of one run."""
    with tempfile.TemporaryDirectory() as run:
        command = [sys.executable, "-m", "sentiment.train", *TRAIN, f"data.path={folder}", f"hydra.run.dir={run}"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        memory = 0.0
        while process.poll() is None:
            found = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
            memory = max(memory, int(found[1]) / 1024 if found else 0)
            time.sleep(0.02)
        assert process.returncode == 0
        metrics = json.loads(Path(run, "metrics.json").read_text())
    return metrics["train/reviews_per_second"] / BATCH_SIZE, memory


def afresh(function: Callable[..., T], *arguments: object) -> T:
    """Calls it in a process of its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def main() -> None:
    """Prints a line per size, and what became of the figures of the first one."""
    sizes = [int(size) for size in sys.argv[1:]] or SIZES
    with tempfile.TemporaryDirectory() as root:
        os.environ |= {"SENTIMENT_CACHE": f"{root}/cache", "PYTHONPATH": str(Path(__file__).parents[2])}
        folders = [Path(root, str(size)) for size in sizes]
        seconds = []
        for folder, size in zip(folders, sizes, strict=True):
            afresh(write, folder, size)
            seconds.append(afresh(prepare, folder))
        turns = [[train(folder) for folder in folders] for _ in range(TURNS)]
    speeds, memory = (np.array([[run[i] for run in turn] for turn in turns]) for i in range(2))
    for i, size in enumerate(sizes):
        print(
            f"{size:9,} reviews: prepared in {seconds[i]:.1f} s, {size / seconds[i]:,.0f} reviews/s; "
            f"{np.median(speeds[:, i]):.1f} steps/s, {np.median(memory[:, i]):.0f} MB"
        )
    print(
        f"{sizes[-1] / sizes[0]:.0f} times the reviews: preparation x {seconds[-1] / seconds[0]:.1f}, "
        f"steps/s x {np.median(speeds[:, -1] / speeds[:, 0]):.3f}, "
        f"memory {np.median(memory[:, -1] - memory[:, 0]):+.0f} MB"
    )


if __name__ == "__main__":
    main()
