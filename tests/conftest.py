"""Shared parts: a cache of its own for every session, small files of reviews, composed configurations."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from sentiment.data.demo import reviews
from sentiment.settings import CONF
from sentiment.train import train

Compose = Callable[..., DictConfig]


def command(
    *arguments: str, cwd: Path, module: str = "train", preexec_fn: Callable[[], None] | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs `python -m sentiment.train`, or another module of the package, as a user does."""
    told: dict[str, Any] = {"capture_output": True, "text": True}
    return subprocess.run(_line(module, arguments), cwd=cwd, env=_with(environment), preexec_fn=preexec_fn, **told)


def background(*arguments: str, cwd: Path, module: str = "train", **environment: str) -> subprocess.Popen[str]:
    """`command`, but goes on at once; what the program says comes line by line, on one pipe."""
    together: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    environment = {"PYTHONUNBUFFERED": "1"} | environment
    return subprocess.Popen(
        _line(module, arguments), cwd=cwd, env=_with(environment), preexec_fn=_heed_ctrl_c, **together
    )


def _heed_ctrl_c() -> None:
    """What a shell starts in the background would ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _line(module: str, arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", f"sentiment.{module}", *arguments]


def _with(environment: dict[str, str]) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"} | environment


def metrics_of(folder: Path) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return metrics


def weights_of(folder: Path, name: str = "last") -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = torch.load(folder / "checkpoints" / f"{name}.ckpt")["state_dict"]
    return weights


def figures(metrics: dict[str, Any]) -> dict[str, Any]:
    """What a run must give again to the last bit: all but times."""
    return {name: value for name, value in metrics.items() if "second" not in name}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first | second)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    torch.set_num_threads(1)  # nets this small only wait for a second thread
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENTIMENT_CACHE", str(folder))
        patch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        yield folder


@pytest.fixture(scope="session")
def imdb() -> Path:
    if "SENTIMENT_IMDB" not in os.environ:
        pytest.skip("SENTIMENT_IMDB names no folder with IMDB's train.parquet and test.parquet")
    return Path(os.environ["SENTIMENT_IMDB"])


def write_csv(path: Path, rows: list[tuple[str, object]], columns: tuple[str, str] = ("text", "label")) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
    return path


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 300 training and 100 test reviews."""
    folder = tmp_path_factory.mktemp("small")
    rows: list[tuple[str, object]] = [(text, ("bad", "good")[label]) for text, label in reviews(400)]
    write_csv(folder / "train.csv", rows[:300])
    write_csv(folder / "test.csv", rows[300:])
    return folder


@pytest.fixture
def composed(small: Path, tmp_path: Path) -> Compose:
    """Composes a configuration for two quick epochs on the small files; overrides come last."""

    def run(*overrides: str, folder: Path = tmp_path) -> DictConfig:
        return quick(folder, small, *overrides)

    return run


def quick(folder: Path, data: Path, *overrides: str) -> DictConfig:
    settings = [
        f"output_dir={folder}",
        "data=files",
        f"data.path={data}",
        "data.maxlen=32",
        "model.embedding_dim=8",
        "model.units=6",
        "trainer=cpu",
        "trainer.max_epochs=2",
        "baseline=none",
        "trainer.enable_progress_bar=false",
        "trainer.enable_model_summary=false",
        "callbacks.progress=null",
        "callbacks.summary=null",
        "callbacks.inspection=null",
    ]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", [*settings, *overrides])


@pytest.fixture(scope="session")
def run(small: Path, tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A run that has learned something, front padding as in the article."""
    settings = ["trainer.max_epochs=8", "optimizer.lr=0.02", "baseline=logistic_regression"]
    return trained(tmp_path_factory.mktemp("run"), small, *settings)


@pytest.fixture(scope="session")
def masked_run(small: Path, tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A run with all that the article's net has not: masked, two layers, both directions, chunks, n-grams."""
    model = ["data.padding=post", "model.bidirectional=true", "model.num_layers=2", "model.pooling=max_mean",
             "model.chunk=7", "model.ngrams=3", "model.ngram_rows=500", "adversarial=0.02"]  # fmt: skip
    return trained(tmp_path_factory.mktemp("masked_run"), small, "trainer.max_epochs=4", "optimizer.lr=0.02", *model)


@pytest.fixture(scope="session")
def run_of_three(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A run on the classes a, b and c."""
    folder = tmp_path_factory.mktemp("run_of_three")
    data = write_csv(folder / "reviews.csv", [(f"film {'abc'[i % 3]}", "abc"[i % 3]) for i in range(120)])
    return trained(folder, data, "trainer.max_epochs=8", "optimizer.lr=0.03")


def trained(folder: Path, data: Path, *overrides: str) -> Path:
    """Trains, and leaves the configuration as the command line would."""
    cfg = quick(folder, data, *overrides)
    train(cfg)
    (folder / ".hydra").mkdir()
    OmegaConf.save(cfg, folder / ".hydra" / "config.yaml")
    return folder
