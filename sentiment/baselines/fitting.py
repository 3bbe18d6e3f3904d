"""Baselines: scikit-learn estimators on the rows that the network sees, fitted once; their predictions are cached."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
import numpy.typing as npt
import sklearn
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from sentiment.data.encoded.batching import PaddedReviews
from sentiment.runtime.cache import Arrays, cached_arrays, source_hash
from sentiment.runtime.files import fingerprint

FEATURES = ("padded_ids", "counts", "tfidf")
CALIBRATION_FOLDS = 4


def extract_features(
    splits: Mapping[str, PaddedReviews], features: str, max_ngram: int, others: Sequence[str]
) -> dict[str, Any]:
    """Matrices `(rows, features)` of `train` and other splits: int64 for `padded_ids`, else sparse float32.

    Those of `padded_ids` are what the network reads; `counts` and `tfidf` are of n-grams of whole reviews in `train`.
    """
    if features == "padded_ids":
        width = max(splits[name].width for name in ("train", *others))
        return {name: splits[name].pad(width=width) for name in ("train", *others)}
    vectorizer = {"counts": CountVectorizer, "tfidf": TfidfVectorizer}[features](
        lowercase=False,
        tokenizer=lambda ids: list(map(str, ids.tolist())),
        token_pattern=None,
        ngram_range=(1, max_ngram),
        dtype=np.float32,
    )
    train = vectorizer.fit_transform(splits["train"].reviews)
    return {"train": train} | {name: vectorizer.transform(splits[name].reviews) for name in others}


@dataclass(frozen=True)
class CachedFit:
    """A scikit-learn classifier and the reviews that it is fitted to.

    Its methods raise `ValueError` or `TypeError` if scikit-learn rejects a parameter of the estimator, or its features.
    """

    estimator: BaseEstimator
    features: str  # one of `FEATURES`, see `extract_features`
    max_ngram: int
    splits: Mapping[str, PaddedReviews]  # train, val, test and perhaps unlabelled
    data_fingerprint: str  # identifies the reviews, their tokens and their split

    @property
    def name(self) -> str:
        """Of the predictions in the cache; it depends on all settings and rows that they depend on."""
        params = self.estimator.get_params()
        irrelevant = [key for key in params if key.rpartition("__")[2] in ("n_jobs", "verbose")]
        estimator = clone(self.estimator).set_params(**dict.fromkeys(irrelevant))
        key = [self.data_fingerprint, self.features, self.max_ngram, joblib.hash(estimator)]
        key += [sklearn.__version__, source_hash(CachedFit)]
        if self.features == "padded_ids":
            encoder = self.splits["train"].encoder
            key += [len(encoder.vocabulary), encoder.maxlen, encoder.padding, encoder.truncating]
        return f"baselines/{fingerprint(key)}"

    def fit(self) -> Arrays:
        """`fit_seconds` of a clone of the estimator, and the classes of `val` and `test`, int64 `(rows,)`; cached."""
        return _compute_once(self.name, self._predict_classes)

    def label_unlabelled(self) -> npt.NDArray[np.float32]:
        """Probabilities of the classes of the unlabelled texts, float32 `(texts, classes)`; cached.

        They are calibrated by cross-validation on the training rows (Platt 1999), also those of an estimator that
        knows none; each fold is a block of consecutive rows.
        """
        arrays = _compute_once(f"{self.name}_unlabelled", self._label_unlabelled)
        probabilities: npt.NDArray[np.float32] = arrays["probabilities"]
        return probabilities

    def _predict_classes(self) -> dict[str, Any]:
        start = time.perf_counter()
        fitted, features = self._fit(clone(self.estimator), "val", "test")
        seconds = time.perf_counter() - start
        predictions = {name: fitted.predict(matrix) for name, matrix in features.items()}
        return {"fit_seconds": seconds} | predictions

    def _label_unlabelled(self) -> dict[str, Any]:
        estimator = clone(self.estimator)
        calibrated = CalibratedClassifierCV(estimator, cv=CALIBRATION_FOLDS, ensemble=False)
        fitted, features = self._fit(calibrated, "unlabelled")
        probabilities = fitted.predict_proba(features["unlabelled"])
        return {"probabilities": probabilities.astype(np.float32)}

    def _fit(self, estimator: BaseEstimator, *others: str) -> tuple[BaseEstimator, dict[str, Any]]:
        """The fitted estimator, and the features of other splits."""
        features = extract_features(self.splits, self.features, self.max_ngram, others)
        train = self.splits["train"].reviews
        return estimator.fit(features.pop("train"), train.labels[train.rows]), features


def _compute_once(name: str, compute: Callable[[], dict[str, Any]]) -> Arrays:
    # Threads, since they share the features; as many as this job of a sweep may use.
    with joblib.parallel_config("threading", n_jobs=torch.get_num_threads()):
        return cached_arrays(f"{name}.npz", compute)
