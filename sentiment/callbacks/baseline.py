"""Baseline: a scikit-learn estimator on the very rows that the LSTM sees, logged beside it."""

import multiprocessing
import os
import signal
import time
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import sklearn
import torch
from filelock import FileLock
from joblib import parallel_config
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.accelerators import CPUAccelerator
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TimeElapsedColumn
from sklearn.base import BaseEstimator, clone
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from sentiment.data.batching import PaddedReviews
from sentiment.data.datamodule import ReviewDataModule
from sentiment.data.sources import digest
from sentiment.data.text import cache_folder
from sentiment.errors import InputError, require_at_least, require_choice
from sentiment.files import whole

TREES = 20  # grown between two updates of the progress bar


@dataclass(frozen=True)
class Fit:
    """An estimator, how it sees reviews, and the reviews with the name of their data set."""

    estimator: BaseEstimator
    features: str
    ngrams: int
    splits: dict[str, PaddedReviews]
    data: str

    @property
    def path(self) -> Path:
        """Where the predictions are cached; every setting and row that they depend on is in the name."""
        train = self.splits["train"]
        settings = {
            name: value for name, value in self.estimator.get_params().items() if name not in ("n_jobs", "verbose")
        }
        seen = [train.max_features, train.maxlen, train.padding, train.truncating] if self.features == "indices" else []
        kind = type(self.estimator).__qualname__
        key = [self.data, self.features, self.ngrams, seen, kind, repr(settings), sklearn.__version__]
        return cache_folder() / "baselines" / f"{digest(key)[:16]}.npz"

    def matrices(self) -> dict[str, Any]:
        """Features of every split, `(rows, features)`: the padded ids, or counts of all words of the training rows."""
        if self.features == "indices":
            return {name: split.matrix() for name, split in self.splits.items()}
        vectorizer = {"counts": CountVectorizer, "tfidf": TfidfVectorizer}[self.features](
            lowercase=False, tokenizer=_numerals, token_pattern=None, ngram_range=(1, self.ngrams), dtype=np.float32
        )
        train = vectorizer.fit_transform(self.splits["train"].reviews)
        return {"train": train} | {name: vectorizer.transform(self.splits[name].reviews) for name in ("val", "test")}

    def read(self) -> dict[str, npt.NDArray[Any]] | None:
        """What `run` wrote: `fit_seconds`, and the classes of `val` and `test`; None where it is missing or damaged."""
        try:
            with open(self.path, "rb") as file, np.load(file) as cached:
                return dict(cached)
        except (OSError, ValueError, EOFError, BadZipFile):
            return None

    def run(self, show: bool = True) -> None:
        """Fits and writes the predictions, unless that is done already."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self.path}.lock"):
            if self.read():
                return
            start = time.perf_counter()
            matrices = self.matrices()
            train = self.splits["train"].reviews
            with parallel_config("threading", n_jobs=torch.get_num_threads()):  # in a sweep, a job's share of the cores
                fitted = self._fitted(matrices["train"], train.labels[train.rows], show)
                seconds = time.perf_counter() - start
                predicted = {name: fitted.predict(matrices[name]) for name in ("val", "test")}
            with whole(self.path) as unfinished, open(unfinished, "wb") as file:
                np.savez(file, fit_seconds=seconds, **predicted)

    def _fitted(self, features: Any, labels: npt.NDArray[np.int64], show: bool) -> BaseEstimator:
        """A fitted copy; a forest grows by some trees at a time (`warm_start`), so that its progress shows."""
        estimator = clone(self.estimator)
        trees = estimator.get_params().get("n_estimators")
        columns = (SpinnerColumn(), *Progress.get_default_columns(), TimeElapsedColumn())
        with Progress(*columns, transient=True, disable=not show) as progress:
            task = progress.add_task(f"Fitting {type(estimator).__name__} on {self.features}", total=trees)
            if trees is None or "warm_start" not in estimator.get_params():
                return estimator.fit(features, labels)
            estimator.set_params(warm_start=True)
            for grown in [*range(TREES, trees, TREES), trees]:
                estimator.set_params(n_estimators=grown).fit(features, labels)
                progress.update(task, completed=grown)
            return estimator


def _numerals(ids: npt.NDArray[np.int32]) -> list[str]:
    """Encoded words as the tokens that scikit-learn counts."""
    return list(map(str, ids.tolist()))


def _run_politely(fit: Fit) -> None:
    """Fits in a process of its own that gives way to the one that trains."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that trains, which ends this one
    if hasattr(os, "nice"):
        os.nice(10)
    fit.run(show=False)


class Baseline(Callback):
    """Fits an estimator on the LSTM's training rows and scores it on the same validation and test rows.

    On a CPU it is fitted when the training has ended; on an accelerator in a process of its own meanwhile. Predictions
    are cached by data and settings, so a sweep fits once.

    Args:
        name: what it is called in logs: `baseline/<name>/…`.
        datamodule: where the rows come from.
        estimator: any scikit-learn classifier.
        features: `indices`, the padded matrix that the LSTM reads; `counts` or `tfidf` of all words of whole reviews.
        ngrams: longest run of words that is counted.

    Attributes:
        metrics_: final figures by tag, after the fit and, for the test half, after the test.
        process_: the process that fits beside an accelerator, or None.
        predictions_: predicted classes of `val` and `test` rows, int64 `(rows,)`, after the fit.
    """

    def __init__(
        self,
        name: str,
        datamodule: ReviewDataModule,
        estimator: BaseEstimator,
        features: str = "indices",
        ngrams: int = 1,
    ) -> None:
        require_choice(("indices", "counts", "tfidf"), **{f"baseline__{name}__features": features})
        require_at_least(1, **{f"baseline__{name}__ngrams": ngrams})
        self.name = name
        self.datamodule = datamodule
        self.estimator = estimator
        self.features = features
        self.ngrams = ngrams
        self.process_: SpawnProcess | None = None
        self.metrics_: dict[str, float] = {}
        self.predictions_: dict[str, npt.NDArray[np.int64]] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        self._fit = Fit(self.estimator, self.features, self.ngrams, self.datamodule.splits, self.datamodule.folder.name)
        if not isinstance(trainer.accelerator, CPUAccelerator):
            self.process_ = multiprocessing.get_context("spawn").Process(
                target=_run_politely, args=(self._fit,), daemon=True
            )
            self.process_.start()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        if self.process_ is not None:
            with Console().status(f"Waiting for baseline {self.name}"):
                self.process_.join()  # should it have died, the fit below is done anew and shows why
        try:
            self._fit.run(show=trainer.progress_bar_callback is not None)
        except (TypeError, ValueError) as error:
            raise InputError(f"baseline.{self.name}: {' '.join(str(error).split())}") from error
        cached = self._fit.read()
        assert cached
        self.predictions_ = {name: cached[name] for name in ("val", "test")}
        self._log(trainer, "fit_seconds", float(cached["fit_seconds"]))
        self._score(trainer, "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.predictions_:
            self._score(trainer, "test")

    def _score(self, trainer: Trainer, split: str) -> None:
        reviews = self.datamodule.splits[split].reviews
        accuracy = np.mean(self.predictions_[split] == reviews.labels[reviews.rows])
        self._log(trainer, f"{split}_accuracy", float(accuracy))

    def _log(self, trainer: Trainer, tag: str, value: float) -> None:
        self.metrics_[f"baseline/{self.name}/{tag}"] = value
        for logger in trainer.loggers:
            logger.log_metrics({f"baseline/{self.name}/{tag}": value}, step=trainer.global_step)
