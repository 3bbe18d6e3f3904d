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
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.utils import check_random_state

from sentiment.data import Integers
from sentiment.data.encoded.batching import PaddedReviews
from sentiment.runtime.cache import Arrays, cached_arrays, source_hash
from sentiment.runtime.files import fingerprint

FEATURES = ("padded_ids", "counts", "tfidf")
CALIBRATION_FOLDS = 4
PART = 40  # trees of a forest that are in memory at a time


def extract_features(
    splits: Mapping[str, PaddedReviews], features: str, max_ngram: int, others: Sequence[str]
) -> dict[str, Any]:
    """Extract the features of the training rows and of other splits.

    Args:
        splits: by name; n-grams are collected from `train`.
        features: `padded_ids`, the matrix that the network reads; `counts` or `tfidf` of n-grams of whole reviews.
        max_ngram: maximum number of tokens of an n-gram.
        others: names of the splits besides `train`.

    Returns:
        A matrix `(rows, features)` by split: int64 for `padded_ids`, else sparse float32.
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


def fit_and_predict(
    estimator: BaseEstimator, train: Any, labels: Integers, others: Mapping[str, Any]
) -> tuple[dict[str, Integers], float]:
    """Fit a clone of an estimator and predict the classes of other rows.

    A large forest is fitted in parts, whose trees are dropped after they have voted: 1,000 trees on 22,500 rows take
    0.6 GB. The trees are those of a single fit.

    Args:
        estimator: any scikit-learn classifier.
        train: features of the training rows, `(rows, features)`.
        labels: of the training rows, int64 `(rows,)`.
        others: features of other rows, by name.

    Returns:
        Classes by name, int64 `(rows,)`, and the seconds of fitting.
    """
    if not _is_large_forest(estimator):
        start = time.perf_counter()
        fitted = clone(estimator).fit(train, labels)
        seconds = time.perf_counter() - start
        return {name: fitted.predict(features) for name, features in others.items()}, seconds
    # A single stream, from which every tree draws its seed.
    random_state = check_random_state(estimator.random_state)
    seconds, votes = 0.0, dict[str, Any](dict.fromkeys(others, 0))
    for first in range(0, estimator.n_estimators, PART):
        size = min(PART, estimator.n_estimators - first)
        part = clone(estimator).set_params(n_estimators=size, random_state=random_state)
        start = time.perf_counter()
        part.fit(train, labels)
        seconds += time.perf_counter() - start
        for name, features in others.items():
            votes[name] = votes[name] + size * part.predict_proba(features)
    # Rounded, so that classes with the same number of votes are equal, as in a single fit.
    return {name: part.classes_[sums.round(9).argmax(1)] for name, sums in votes.items()}, seconds


def _is_large_forest(estimator: BaseEstimator) -> bool:
    """Whether an estimator is one of scikit-learn's forests, with valid parameters and more than `PART` trees."""
    if type(estimator) not in (ExtraTreesClassifier, RandomForestClassifier):
        return False
    count, seed = estimator.n_estimators, estimator.random_state
    return isinstance(count, int) and count > PART and isinstance(seed, int) and seed >= 0


@dataclass(frozen=True)
class CachedFit:
    """An estimator and the reviews that it is fitted to.

    Attributes:
        estimator: any scikit-learn classifier.
        features: one of `FEATURES`, see `extract_features`.
        max_ngram: maximum number of tokens of an n-gram.
        splits: `train`, `val`, `test` and perhaps `unlabelled`.
        data_fingerprint: identifies the reviews, their tokens and their split.
    """

    estimator: BaseEstimator
    features: str
    max_ngram: int
    splits: Mapping[str, PaddedReviews]
    data_fingerprint: str

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
        """Fit a clone of the estimator and cache its predictions, unless that was done before.

        Returns:
            `fit_seconds`, and the predicted classes of `val` and `test`, int64 `(rows,)`.

        Raises:
            ValueError, TypeError: scikit-learn rejects a parameter of the estimator, or its features.
        """
        return self._compute_once(self.name, self._predict_classes)

    def label_unlabelled(self) -> npt.NDArray[np.float32]:
        """Probabilities of the classes of the unlabelled texts, float32 `(texts, classes)`.

        They are calibrated by cross-validation on the training rows (Platt 1999), also those of an estimator that
        knows none; each fold is a block of consecutive rows. Cached and raises errors as `fit`.
        """
        arrays = self._compute_once(f"{self.name}_unlabelled", self._label_unlabelled)
        probabilities: npt.NDArray[np.float32] = arrays["probabilities"]
        return probabilities

    def _predict_classes(self) -> dict[str, Any]:
        start = time.perf_counter()
        features = extract_features(self.splits, self.features, self.max_ngram, ("val", "test"))
        train = features.pop("train")
        seconds = time.perf_counter() - start
        predictions, fit_seconds = fit_and_predict(
            self.estimator, train, self._train_labels, features
        )
        return {"fit_seconds": seconds + fit_seconds} | predictions

    def _label_unlabelled(self) -> dict[str, Any]:
        features = extract_features(self.splits, self.features, self.max_ngram, ("unlabelled",))
        calibrated = CalibratedClassifierCV(
            clone(self.estimator), cv=CALIBRATION_FOLDS, ensemble=False
        )
        calibrated.fit(features["train"], self._train_labels)
        probabilities = calibrated.predict_proba(features["unlabelled"])
        return {"probabilities": probabilities.astype(np.float32)}

    @property
    def _train_labels(self) -> Integers:
        train = self.splits["train"].reviews
        return train.labels[train.rows]

    @staticmethod
    def _compute_once(name: str, compute: Callable[[], dict[str, Any]]) -> Arrays:
        def compute_in_threads() -> dict[str, Any]:
            # Threads, since they share the features; as many as this job of a sweep may use.
            with joblib.parallel_config("threading", n_jobs=torch.get_num_threads()):
                return compute()

        return cached_arrays(f"{name}.npz", compute_in_threads)
