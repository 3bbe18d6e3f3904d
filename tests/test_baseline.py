import os
import signal
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from joblib import Parallel, parallel_config
from pytorch_lightning import Trainer
from pytorch_lightning.accelerators import Accelerator
from pytorch_lightning.strategies import SingleDeviceStrategy
from scipy.sparse import csr_matrix
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sentiment.baselines.fitting import CachedFit, extract_features
from sentiment.baselines.nb_svm import LogRatioScaler, nb_svm
from sentiment.data.datamodule import ReviewDataModule
from sentiment.data.sources import resolve_source
from sentiment.data.text import split_words
from sentiment.model.module import SentimentModule
from sentiment.runtime.errors import ArgumentError, InputError
from sentiment.training.baseline import Baseline
from sentiment.training.experiment import train
from tests.helpers import Compose, prepare_datamodule, read_metrics


class FakeAccelerator(Accelerator):
    """An accelerator to Lightning, but its tensors are on the CPU."""

    @staticmethod
    def parse_devices(devices: Any) -> Any:
        return devices

    @staticmethod
    def get_parallel_devices(devices: Any) -> list[torch.device]:
        return [torch.device("cpu")]

    @staticmethod
    def auto_device_count() -> int:
        return 1

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def name() -> str:
        return "fake"

    def setup_device(self, device: torch.device) -> None: ...

    def teardown(self) -> None: ...

    def get_device_stats(self, device: Any) -> dict[str, Any]:
        return {}


@pytest.fixture
def datamodule(small: Path) -> ReviewDataModule:
    return prepare_datamodule(source="files", path=str(small), maxlen=32)


@pytest.fixture
def empty_cache(cache: Path) -> Path:
    """The folder of the cached predictions, without any."""
    for file in (cache / "baselines").glob("*"):
        file.unlink()
    return cache / "baselines"


def forest(trees: int = 50, n_jobs: int | None = None) -> RandomForestClassifier:
    return RandomForestClassifier(trees, random_state=0, n_jobs=n_jobs)


def make_fit(estimator: Any, datamodule: ReviewDataModule, features: str = "padded_ids") -> CachedFit:
    return CachedFit(estimator, features, 1, datamodule.splits, datamodule.folder.name)


def fit_and_test(baseline: Baseline, folder: Path, accelerator: str) -> None:
    """Train a net for one step, with the baseline, and test it."""
    fake = SingleDeviceStrategy(torch.device("cpu"), accelerator=FakeAccelerator())
    device: dict[str, Any] = {"accelerator": "cpu"} if accelerator == "cpu" else {"strategy": fake}
    trainer = Trainer(
        callbacks=[baseline],
        max_epochs=1,
        limit_train_batches=1,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
        enable_checkpointing=False,
        **device,
    )
    datamodule = baseline.datamodule
    encoder, model = datamodule.encoder.to_dict(), {"embedding_dim": 4, "units": 4}
    module = SentimentModule(encoder, datamodule.label_names, model)
    trainer.fit(module, datamodule)
    assert "baseline/forest/test_accuracy" not in baseline.metrics
    trainer.test(module, datamodule, verbose=False)


@pytest.mark.parametrize(("features", "vectorizer"), [("counts", CountVectorizer), ("tfidf", TfidfVectorizer)])
def test_word_features_equal_those_of_scikit_learn_on_the_raw_text(
    datamodule: ReviewDataModule, small: Path, features: str, vectorizer: Any
) -> None:
    texts = resolve_source("files", str(small), "text", "label", 0.2, 0).load().texts["text"]
    splits = {name: [texts[int(row)] for row in split.reviews.rows] for name, split in datamodule.splits.items()}
    reference = vectorizer(tokenizer=split_words, lowercase=False, token_pattern=None, ngram_range=(1, 2))
    expected = {"train": reference.fit_transform(splits["train"]), "test": reference.transform(splits["test"])}
    extracted = extract_features(datamodule.splits, features, 2)
    for name, matrix in expected.items():  # the columns are in another order
        assert extracted[name].shape == matrix.shape
        assert np.allclose(np.sort(extracted[name].toarray(), 1), np.sort(matrix.toarray(), 1), atol=1e-6)


@pytest.mark.usefixtures("empty_cache")
def test_cached_predictions_equal_those_of_scikit_learn(datamodule: ReviewDataModule) -> None:
    fit = make_fit(forest(), datamodule)
    assert fit.read() is None
    fit.fit()
    cached = fit.read()
    assert cached
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
    written = first.path.stat().st_mtime_ns
    second.fit()
    assert second.path == first.path
    assert first.path.stat().st_mtime_ns == written


def test_damaged_cache_is_fitted_again(datamodule: ReviewDataModule, empty_cache: Path) -> None:
    fit = make_fit(DummyClassifier(), datamodule)
    fit.fit()
    fit.path.write_bytes(fit.path.read_bytes()[:100])
    assert fit.read() is None
    fit.fit()
    assert fit.read()


def test_cache_key_depends_on_every_parameter_of_nested_estimators(datamodule: ReviewDataModule) -> None:
    estimators = [forest(), forest(51), LogisticRegression(), make_pipeline(LogisticRegression()),
                  make_pipeline(LogisticRegression(C=2.0)), nb_svm(), nb_svm(alpha=0.5), nb_svm(C=0.1)]  # fmt: skip
    paths = {make_fit(estimator, datamodule).path for estimator in estimators}
    assert len(paths) == len(estimators)
    assert make_fit(forest(), datamodule, "counts").path not in paths
    assert make_fit(nb_svm(), datamodule).path in paths
    assert make_fit(make_pipeline(LogisticRegression(n_jobs=2)), datamodule).path in paths


def cache_path(fit: CachedFit) -> Path:
    return fit.path


def test_cache_key_is_the_same_in_another_process(datamodule: ReviewDataModule) -> None:
    fits = [make_fit(estimator, datamodule) for estimator in (forest(), nb_svm())]
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        assert list(executor.map(cache_path, fits)) == [fit.path for fit in fits]


@pytest.mark.parametrize(("features", "same"), [("padded_ids", False), ("counts", True), ("tfidf", True)])
def test_only_padded_ids_are_fitted_again_for_another_maxlen(
    small: Path, datamodule: ReviewDataModule, features: str, same: bool
) -> None:
    shorter = prepare_datamodule(source="files", path=str(small), maxlen=5)
    paths = {make_fit(forest(), data, features).path for data in (datamodule, shorter)}
    assert (len(paths) == 1) == same


class RecordsProcess(RandomForestClassifier):  # type: ignore[misc]  # scikit-learn is untyped
    """Writes the process that fits it, and its niceness, to a file named by an environment variable."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "RecordsProcess":
        Path(os.environ["RECORD"]).write_text(f"{os.getpid()} {os.nice(0)}")
        super().fit(X, y, sample_weight)
        return self


def test_background_fit_beside_an_accelerator_gives_the_same_metrics(
    datamodule: ReviewDataModule, tmp_path: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECORD", str(tmp_path / "record"))
    metrics = {}
    for accelerator in ("cpu", "fake"):
        for file in empty_cache.glob("*.npz"):
            file.unlink()
        baseline = Baseline("forest", datamodule, RecordsProcess(50, random_state=0))
        fit_and_test(baseline, tmp_path, accelerator)
        pid, niceness = map(int, (tmp_path / "record").read_text().split())
        assert (pid == os.getpid()) == (accelerator == "cpu")
        assert niceness == os.nice(0) + (0 if accelerator == "cpu" else 10)
        metrics[accelerator] = {tag: value for tag, value in baseline.metrics.items() if not tag.endswith("seconds")}
    assert metrics["cpu"] == metrics["fake"]
    assert set(metrics["cpu"]) == {"baseline/forest/val_accuracy", "baseline/forest/test_accuracy"}


def test_predictions_are_looked_up_by_row_number(datamodule: ReviewDataModule, tmp_path: Path) -> None:
    baseline = Baseline("forest", datamodule, forest())
    fit_and_test(baseline, tmp_path, "cpu")
    reviews = datamodule.splits["test"].reviews
    rows = reviews.rows[::-3]
    predicted = baseline.lookup_predictions("test", rows)
    assert np.array_equal(predicted, baseline.predictions["test"][::-3])
    accuracy = np.mean(baseline.lookup_predictions("test", reviews.rows) == reviews.labels[reviews.rows])
    assert baseline.metrics["baseline/forest/test_accuracy"] == accuracy


@pytest.mark.parametrize("accelerator", ["cpu", "fake"])
def test_error_of_scikit_learn_is_one_line_with_the_key(
    datamodule: ReviewDataModule, tmp_path: Path, accelerator: str
) -> None:
    baseline = Baseline("forest", datamodule, forest(trees=-1))
    with pytest.raises(InputError, match=r"^baseline\.forest: The 'n_estimators' parameter .* Got -1 instead\.$"):
        fit_and_test(baseline, tmp_path, accelerator)


class Interrupts(DummyClassifier):  # type: ignore[misc]  # scikit-learn is untyped
    """Sends itself what Ctrl-C sends."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "Interrupts":
        signal.raise_signal(signal.SIGINT)
        super().fit(X, y, sample_weight)
        return self


def test_ctrl_c_during_the_fit_leaves_no_predictions(composed: Compose, tmp_path: Path, empty_cache: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(composed("+baseline.slow.estimator._target_=tests.test_baseline.Interrupts", "trainer.max_epochs=1"))
    assert read_metrics(tmp_path)["status"] == "interrupted"
    assert [path.suffix for path in empty_cache.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"features": "words"}, r"^features=words: must be one of padded_ids, counts, tfidf$"),
        ({"max_ngram": 0}, r"^max_ngram=0: must be an integer >= 1$"),
    ],
)
def test_invalid_settings_are_rejected(datamodule: ReviewDataModule, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Baseline("forest", datamodule, forest(), **settings)


def test_log_ratio_is_that_of_the_paper() -> None:
    counts = csr_matrix(np.array([[1, 1, 0], [1, 0, 0], [0, 1, 1], [0, 0, 1]]))
    scaler = LogRatioScaler(alpha=1.0).fit(counts, np.array([1, 1, 0, 0]))
    expected = np.log(np.array([3, 2, 1]) / 6) - np.log(np.array([1, 2, 3]) / 6)
    assert np.allclose(scaler.log_ratio_, expected)
    assert np.allclose(scaler.transform(counts).toarray(), counts.toarray() * expected)


def test_nb_svm_ignores_how_often_a_word_occurs() -> None:
    random = np.random.default_rng(0)
    counts, labels = csr_matrix(random.poisson(0.5, (90, 6))), np.arange(90) % 2
    assert np.array_equal(*(nb_svm().fit(X, labels).decision_function(counts) for X in (counts, counts.sign())))


@pytest.mark.parametrize("names", [["bad", "good"], ["bad", "good", "meh"]])
def test_nb_svm_separates_classes_with_any_names_on_any_number_of_threads(names: list[str]) -> None:
    random = np.random.default_rng(0)
    classes = np.arange(90) % len(names)
    labels = np.array(names)[classes]
    counts = csr_matrix(random.poisson(0.3, (90, 6)) + 2 * np.eye(3)[classes].repeat(2, 1))
    scores = []
    for n_jobs in (1, 2):
        with parallel_config("threading", n_jobs=n_jobs):
            model = nb_svm().fit(counts, labels)
        assert np.mean(model.predict(counts) == labels) > 0.9
        scores.append(model.decision_function(counts))
    assert np.array_equal(*scores)
