"""Baselines: scikit-learn estimators on the rows that the network sees, fitted once; their predictions are cached."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import joblib
import numpy as np
import numpy.typing as npt
import sklearn
import torch
from filelock import FileLock
from sklearn.base import BaseEstimator, clone
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from sentiment.data.batching import PaddedReviews
from sentiment.runtime.files import atomic_write, cache_dir, fingerprint

FEATURES = ("padded_ids", "counts", "tfidf")


def extract_features(splits: Mapping[str, PaddedReviews], features: str, max_ngram: int) -> dict[str, Any]:
    """Extract the features of every split.

    Args:
        splits: `train`, `val` and `test`; n-grams are collected from `train`.
        features: `padded_ids`, the matrix that the network reads; `counts` or `tfidf` of n-grams of whole reviews.
        max_ngram: maximum number of tokens of an n-gram.

    Returns:
        A matrix `(rows, features)` by split: int64 for `padded_ids`, else sparse float32.
    """
    if features == "padded_ids":
        return {name: split.pad() for name, split in splits.items()}
    vectorizer = {"counts": CountVectorizer, "tfidf": TfidfVectorizer}[features](
        lowercase=False, tokenizer=_ids_as_tokens, token_pattern=None, ngram_range=(1, max_ngram), dtype=np.float32
    )
    train = vectorizer.fit_transform(splits["train"].reviews)
    return {"train": train} | {name: vectorizer.transform(splits[name].reviews) for name in ("val", "test")}


def _ids_as_tokens(ids: npt.NDArray[np.int32]) -> list[str]:
    return list(map(str, ids.tolist()))


@dataclass(frozen=True)
class CachedFit:
    """An estimator and the reviews that it is fitted to.

    Attributes:
        estimator: any scikit-learn classifier.
        features: one of `FEATURES`, see `extract_features`.
        max_ngram: maximum number of tokens of an n-gram.
        splits: `train`, `val` and `test`.
        data_fingerprint: identifies the reviews, their tokens and their split.
    """

    estimator: BaseEstimator
    features: str
    max_ngram: int
    splits: Mapping[str, PaddedReviews]
    data_fingerprint: str

    @property
    def path(self) -> Path:
        """Where the predictions are cached; the name depends on all settings and rows that they depend on."""
        params = self.estimator.get_params()
        irrelevant = {name: None for name in params if name.rpartition("__")[2] in ("n_jobs", "verbose")}
        estimator = clone(self.estimator).set_params(**irrelevant)
        key = [self.data_fingerprint, self.features, self.max_ngram, joblib.hash(estimator), sklearn.__version__]
        if self.features == "padded_ids":
            encoder = self.splits["train"].encoder
            key += [len(encoder.vocabulary), encoder.maxlen, encoder.padding, encoder.truncating]
        return cache_dir() / "baselines" / f"{fingerprint(key)}.npz"

    def read(self) -> dict[str, npt.NDArray[Any]] | None:
        """Read the cache: `fit_seconds`, and the predicted classes of `val` and `test`, int64 `(rows,)`.

        Returns:
            None if the file is missing or damaged.
        """
        try:
            with open(self.path, "rb") as file, np.load(file) as cached:
                return dict(cached)
        except (OSError, ValueError, EOFError, BadZipFile):
            return None

    def fit(self) -> None:
        """Fit a clone of the estimator and cache its predictions, unless that was done before.

        Raises:
            ValueError: scikit-learn rejects a parameter of the estimator, or its features.
            TypeError: likewise.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self.path}.lock"):
            if self.read():
                return
            start = time.perf_counter()
            features = extract_features(self.splits, self.features, self.max_ngram)
            train = self.splits["train"].reviews
            # Threads, since they share the features; as many as this job of a sweep may use.
            with joblib.parallel_config("threading", n_jobs=torch.get_num_threads()):
                fitted = clone(self.estimator).fit(features["train"], train.labels[train.rows])
                seconds = time.perf_counter() - start
                predictions = {split: fitted.predict(features[split]) for split in ("val", "test")}
            with atomic_write(self.path) as temporary, open(temporary, "wb") as file:
                np.savez(file, fit_seconds=seconds, **predictions)
