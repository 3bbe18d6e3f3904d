"""Parts that the benchmarks share: timed processes, and a line per alternative.

The speed of a machine drifts. So the alternatives run one after the other, in several turns, and are compared within
each turn.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from sentiment.data.datamodule import ReviewDataModule
from tests.helpers import compose_config

CHECKOUT = Path(__file__).parents[2]


def time_process(*arguments: str) -> float:
    """Seconds that Python takes with `arguments`, in a new working directory."""
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, *arguments],
            cwd=folder,
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return time.perf_counter() - start


def print_times(name: str, seconds: Sequence[float], reference: Sequence[float]) -> None:
    """Print the median, the median ratio to `reference` within a turn, and all times."""
    ratio = statistics.median(a / b for a, b in zip(seconds, reference, strict=True))
    times = " ".join(f"{value:.3g}" for value in seconds)
    print(f"{name:44} {statistics.median(seconds):8.4g} s  x {ratio:.3f}  ({times})", flush=True)


def imdb_folder() -> Path:
    """The folder of the real IMDB; exits if `SENTIMENT_IMDB` is not set."""
    if "SENTIMENT_IMDB" not in os.environ:
        sys.exit("set SENTIMENT_IMDB to a folder with IMDB's train.parquet and test.parquet")
    return Path(os.environ["SENTIMENT_IMDB"])


def compose_article(*overrides: str) -> DictConfig:
    """Compose `experiment=article` on the real IMDB, on a CPU."""
    return compose_config(
        "experiment=article", "trainer=cpu", f"data.path={imdb_folder()}", *overrides
    )


def prepare(cfg: DictConfig) -> ReviewDataModule:
    """The data module of a configuration, whose splits are ready."""
    datamodule: ReviewDataModule = instantiate(cfg.data)
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule
