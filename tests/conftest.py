"""Fixtures: a cache of the session, small files of reviews, composed configurations, trained runs."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from sentiment.data.datamodule import ReviewDataModule
from tests.helpers import (
    MASKED,
    Compose,
    compose_quick,
    labelled_reviews,
    prepare_datamodule,
    train_quick,
    write_csv,
)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache folder of the session, new and empty."""
    folder = tmp_path_factory.mktemp("cache")
    torch.set_num_threads(1)  # nets this small only wait for a second thread
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENTIMENT_CACHE", str(folder))
        patch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        yield folder


@pytest.fixture(scope="session")
def imdb() -> Path:
    """The folder of the real IMDB."""
    if "SENTIMENT_IMDB" not in os.environ:
        pytest.skip(
            "SENTIMENT_IMDB is not set to a folder with IMDB's train.parquet and test.parquet"
        )
    return Path(os.environ["SENTIMENT_IMDB"])


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 300 training and 100 test reviews."""
    folder = tmp_path_factory.mktemp("small")
    rows = labelled_reviews(400)
    write_csv(folder / "train.csv", rows[:300])
    write_csv(folder / "test.csv", rows[300:])
    return folder


@pytest.fixture
def composed(small: Path, tmp_path: Path) -> Compose:
    """Composes the configuration of a quick run on the small files; `folder` is its output folder."""

    def compose(*overrides: str, folder: Path = tmp_path) -> DictConfig:
        return compose_quick(folder, small, *overrides)

    return compose


@pytest.fixture(scope="session")
def run(small: Path, tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A run that has learned something, with front padding as in the article."""
    settings = ["trainer.max_epochs=8", "optimizer.lr=0.02", "baseline=logistic_regression"]
    return train_quick(tmp_path_factory.mktemp("run"), small, *settings)


@pytest.fixture(scope="session")
def masked_run(small: Path, tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A run with the settings of the model that the article's net does not use."""
    settings = ["trainer.max_epochs=4", "optimizer.lr=0.02", "adversarial_epsilon=0.02"]
    return train_quick(tmp_path_factory.mktemp("masked_run"), small, *settings, *MASKED)


@pytest.fixture(scope="session")
def run_of_three(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A run on the classes a, b and c."""
    folder = tmp_path_factory.mktemp("run_of_three")
    data = write_csv(
        folder / "reviews.csv", [(f"film {'abc'[i % 3]}", "abc"[i % 3]) for i in range(120)]
    )
    return train_quick(folder, data, "trainer.max_epochs=8", "optimizer.lr=0.03")


@pytest.fixture
def datamodule(small: Path) -> ReviewDataModule:
    """The data module of the small files, set up."""
    return prepare_datamodule(source="files", path=str(small), maxlen=32)


@pytest.fixture
def empty_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the cached predictions in a cache of the test's own."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SENTIMENT_CACHE", str(folder))
    return folder / "baselines"
