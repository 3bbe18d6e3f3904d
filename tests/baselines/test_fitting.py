import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from joblib import Parallel
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sentiment.baselines.fitting import CachedFit, extract_features
from sentiment.baselines.nb_svm import nb_svm
from sentiment.data.datamodule import ReviewDataModule
from sentiment.data.source import FileSettings, resolve_source
from sentiment.data.text.tokenizers import split_words
from sentiment.runtime.cache import Arrays, cache_dir, read_arrays
from tests.helpers import prepare_datamodule, write_csv


def forest(trees: int = 50, n_jobs: int | None = None) -> RandomForestClassifier:
    return RandomForestClassifier(trees, random_state=0, n_jobs=n_jobs)


def make_fit(
    estimator: Any, datamodule: ReviewDataModule, features: str = "padded_ids"
) -> CachedFit:
    return CachedFit(estimator, features, 1, datamodule.splits, datamodule.folder.name)


def cached_file(fit: CachedFit) -> Path:
    return cache_dir() / f"{fit.name}.npz"


def read(fit: CachedFit) -> Arrays | None:
    return read_arrays(cached_file(fit))


@pytest.mark.parametrize(
    ("features", "vectorizer"), [("counts", CountVectorizer), ("tfidf", TfidfVectorizer)]
)
def test_word_features_equal_those_of_scikit_learn_on_the_raw_text(
    datamodule: ReviewDataModule, small: Path, features: str, vectorizer: Any
) -> None:
    texts = resolve_source("files", FileSettings(str(small))).load().reviews["text"]
    splits = {
        name: [texts[int(row)] for row in split.reviews.rows]
        for name, split in datamodule.splits.items()
    }
    reference = vectorizer(
        tokenizer=split_words, lowercase=False, token_pattern=None, ngram_range=(1, 2)
    )
    expected = {
        "train": reference.fit_transform(splits["train"]),
        "test": reference.transform(splits["test"]),
    }
    extracted = extract_features(datamodule.splits, features, 2, ("val", "test"))
    for name, matrix in expected.items():  # the columns are in another order
        assert extracted[name].shape == matrix.shape
        assert np.allclose(
            np.sort(extracted[name].toarray(), 1), np.sort(matrix.toarray(), 1), atol=1e-6
        )


def test_padded_splits_have_the_same_width_whatever_their_longest_reviews(tmp_path: Path) -> None:
    write_csv(tmp_path / "train.csv", [("film " * 20, i % 2) for i in range(20)])
    write_csv(tmp_path / "test.csv", [("film " * 4, i % 2) for i in range(20)])
    splits = prepare_datamodule(source="files", path=str(tmp_path), padding="post").splits
    features = extract_features(splits, "padded_ids", 1, ("val", "test"))
    assert {matrix.shape[1] for matrix in features.values()} == {24}


@pytest.mark.usefixtures("empty_cache")
def test_cached_predictions_equal_those_of_scikit_learn(datamodule: ReviewDataModule) -> None:
    fit = make_fit(forest(), datamodule)
    assert read(fit) is None
    cached = fit.fit()
    assert cached.keys() == (read(fit) or {}).keys() == {"fit_seconds", "val", "test"}
    train = datamodule.splits["train"]
    reference = forest().fit(train.pad(), train.reviews.labels[train.reviews.rows])
    for split in ("val", "test"):
        assert np.array_equal(cached[split], reference.predict(datamodule.splits[split].pad()))


class RecordsThreads(RandomForestClassifier):  # type: ignore[misc]  # scikit-learn is untyped
    """Records how many threads scikit-learn would use."""

    threads = 0

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "RecordsThreads":
        RecordsThreads.threads = Parallel(n_jobs=self.n_jobs, prefer="threads").n_jobs
        super().fit(X, y, sample_weight)
        return self


@pytest.mark.usefixtures("empty_cache")
def test_fit_uses_as_many_threads_as_torch(datamodule: ReviewDataModule) -> None:
    torch.set_num_threads(2)
    try:
        make_fit(RecordsThreads(10), datamodule).fit()
    finally:
        torch.set_num_threads(1)
    assert RecordsThreads.threads == 2


@pytest.mark.usefixtures("empty_cache")
def test_second_fit_of_same_data_and_settings_reads_the_cache(datamodule: ReviewDataModule) -> None:
    first, second = make_fit(forest(), datamodule), make_fit(forest(n_jobs=2), datamodule)
    first.fit()
    written = cached_file(first).stat().st_mtime_ns
    second.fit()
    assert second.name == first.name
    assert cached_file(first).stat().st_mtime_ns == written


def test_damaged_cache_is_fitted_again(datamodule: ReviewDataModule, empty_cache: Path) -> None:
    fit = make_fit(DummyClassifier(), datamodule)
    fit.fit()
    os.truncate(cached_file(fit), 100)
    assert read(fit) is None
    fit.fit()
    assert read(fit)


def test_cache_key_depends_on_every_parameter_of_nested_estimators(
    datamodule: ReviewDataModule,
) -> None:
    estimators = [forest(), forest(51), LogisticRegression(), make_pipeline(LogisticRegression()),
                  make_pipeline(LogisticRegression(C=2.0)), nb_svm(), nb_svm(alpha=0.5), nb_svm(C=0.1)]  # fmt: skip
    paths = {make_fit(estimator, datamodule).name for estimator in estimators}
    assert len(paths) == len(estimators)
    assert make_fit(forest(), datamodule, "counts").name not in paths
    assert make_fit(nb_svm(), datamodule).name in paths
    assert make_fit(make_pipeline(LogisticRegression(n_jobs=2)), datamodule).name in paths


def cache_name(fit: CachedFit) -> str:
    return fit.name


@pytest.mark.slow
def test_cache_key_is_the_same_in_another_process(datamodule: ReviewDataModule) -> None:
    fits = [make_fit(estimator, datamodule) for estimator in (forest(), nb_svm())]
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        assert list(executor.map(cache_name, fits)) == [fit.name for fit in fits]


@pytest.mark.parametrize(
    ("features", "same"), [("padded_ids", False), ("counts", True), ("tfidf", True)]
)
def test_only_padded_ids_are_fitted_again_for_another_maxlen(
    small: Path, datamodule: ReviewDataModule, features: str, same: bool
) -> None:
    shorter = prepare_datamodule(source="files", path=str(small), maxlen=5)
    paths = {make_fit(forest(), data, features).name for data in (datamodule, shorter)}
    assert (len(paths) == 1) == same
