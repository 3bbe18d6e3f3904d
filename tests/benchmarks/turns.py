"""What the benchmarks share: whole processes on the clock, and figures of alternatives that took turns.

A machine's speed drifts, so alternatives run one after the other, many times, and are compared within each turn.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig

from sentiment.data.datamodule import ReviewDataModule
from sentiment.settings import CONF


def seconds(*arguments: str) -> float:
    """Wall-clock time of Python with `arguments`, in a folder of its own."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start


def tell(name: str, taken: Sequence[float], beside: Sequence[float]) -> None:
    """One line: the median in seconds, the median of the ratios to `beside` within a turn, and all times."""
    ratio = statistics.median(a / b for a, b in zip(taken, beside, strict=True))
    times = " ".join(f"{value:.3g}" for value in taken)
    print(f"{name:44} {statistics.median(taken):8.4g} s  x {ratio:.3f}  ({times})", flush=True)


def imdb() -> str:
    """`data.path` of the real reviews; ends the program where `SENTIMENT_IMDB` is not set."""
    if "SENTIMENT_IMDB" not in os.environ:
        sys.exit("set SENTIMENT_IMDB to a folder with IMDB's train.parquet and test.parquet")
    return f"data.path={os.environ['SENTIMENT_IMDB']}"


def article(*overrides: str) -> DictConfig:
    """The configuration of the article's run on the real reviews, on a CPU."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", ["experiment=article", "trainer=cpu", imdb(), *overrides])


def opened(cfg: DictConfig) -> ReviewDataModule:
    """Its data module, with all splits at hand."""
    datamodule: ReviewDataModule = instantiate(cfg.data)
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule
