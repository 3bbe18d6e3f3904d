"""Baseline: a scikit-learn estimator on the rows that the network sees."""

import multiprocessing
import os
import signal
from contextlib import nullcontext
from multiprocessing.context import SpawnProcess

import numpy as np
import numpy.typing as npt
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.accelerators import CPUAccelerator
from rich.console import Console
from sklearn.base import BaseEstimator, is_classifier

from sentiment.baselines.fitting import FEATURES, CachedFit
from sentiment.data.datamodule import ReviewDataModule
from sentiment.model.metrics import Predictions
from sentiment.runtime.errors import (
    ArgumentError,
    check_at_least,
    check_choice,
    quote_errors,
)


class Baseline(Callback):
    """Fits a classifier to the training rows of the network and scores it on the same validation and test rows.

    On a CPU it is fitted after the training, on an accelerator in a background process during it. Predictions are
    cached by data and settings, so a sweep fits once. After the fit, the first rank has `metrics` by tag and
    `predictions`, the classes of the rows of `val` and `test`, int64 `(rows,)`.
    """

    def __init__(
        self,
        name: str,
        datamodule: ReviewDataModule,
        estimator: BaseEstimator,
        features: str = "padded_ids",
        max_ngram: int = 1,
    ) -> None:
        check_choice(FEATURES, features=features)
        check_at_least(1, max_ngram=max_ngram)
        if not is_classifier(estimator):
            kind = type(estimator).__name__
            raise ArgumentError(f"estimator={kind}: not a classifier of scikit-learn; use one")
        self.name = name
        self.datamodule = datamodule
        self.estimator = estimator
        self.features = features
        self.max_ngram = max_ngram
        self.metrics: dict[str, float] = {}
        self.predictions: dict[str, npt.NDArray[np.int64]] = {}
        self._background: SpawnProcess | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        splits, folder = self.datamodule.splits, self.datamodule.folder
        self._fit = CachedFit(self.estimator, self.features, self.max_ngram, splits, folder.name)
        if trainer.is_global_zero and not isinstance(trainer.accelerator, CPUAccelerator):
            # A daemon, since an executor would wait for its worker when the training is interrupted.
            spawn = multiprocessing.get_context("spawn")
            self._background = spawn.Process(target=_fit_alone, args=(self._fit,), daemon=True)
            self._background.start()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        show_progress = trainer.progress_bar_callback is not None
        with Console().status(f"Fitting baseline {self.name}") if show_progress else nullcontext():
            if self._background:
                self._background.join()
            with quote_errors(f"baseline.{self.name}"):
                fitted = self._fit.fit()  # if the background process failed, this shows why
        self.predictions = {split: fitted[split] for split in ("val", "test")}
        self.metrics[f"baseline/{self.name}/fit_seconds"] = float(fitted["fit_seconds"])
        self._score("val", pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.predictions:
            self._score("test", pl_module)

    def lookup_predictions(self, split: str, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the predicted classes of rows of a split by their row numbers, int64 `(N,)`."""
        positions = np.searchsorted(self.datamodule.splits[split].reviews.rows, rows)
        return self.predictions[split][positions]

    def _score(self, split: str, module: LightningModule) -> None:
        """Log the accuracy on the rows on which the network was evaluated, which `limit_test_batches` may reduce."""
        reviews = self.datamodule.splits[split].reviews
        predictions: Predictions | None = getattr(module, "predictions", None)
        rows = predictions.rows if predictions else reviews.rows
        accuracy = np.mean(self.lookup_predictions(split, rows) == reviews.labels[rows])
        self.metrics[f"baseline/{self.name}/{split}_accuracy"] = float(accuracy)


def _fit_alone(fit: CachedFit) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that trains
    if hasattr(os, "nice"):
        os.nice(10)
    fit.fit()
