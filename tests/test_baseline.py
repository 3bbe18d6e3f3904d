from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from joblib import Parallel
from pytorch_lightning import Trainer
from pytorch_lightning.accelerators import Accelerator
from pytorch_lightning.strategies import SingleDeviceStrategy
from scipy.sparse import csr_matrix
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from sentiment.callbacks.baseline import Baseline, Fit
from sentiment.callbacks.nb_svm import NBSVM
from sentiment.data.datamodule import ReviewDataModule
from sentiment.data.sources import find
from sentiment.data.text import words
from sentiment.errors import InputError
from sentiment.model.module import SentimentModule


class Pretended(Accelerator):
    """Stands for a GPU: to Lightning it is no CPU, but its tensors live there."""

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
        return "pretended"

    def setup_device(self, device: torch.device) -> None: ...

    def teardown(self) -> None: ...

    def get_device_stats(self, device: Any) -> dict[str, Any]:
        return {}


@pytest.fixture
def datamodule(small: Path) -> ReviewDataModule:
    datamodule = ReviewDataModule(source="files", path=str(small), maxlen=32)
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule


@pytest.fixture
def fresh_cache(cache: Path) -> None:
    for file in (cache / "baselines").glob("*"):
        file.unlink()


def module(datamodule: ReviewDataModule) -> SentimentModule:
    text = {"words": datamodule.vocabulary.words, "label_names": datamodule.label_names, "padding": "pre"}
    return SentimentModule(text, {"embedding_dim": 4, "units": 4})


def forest(trees: int = 50) -> RandomForestClassifier:
    return RandomForestClassifier(trees, random_state=0)


def quick_trainer(folder: Path, callback: Baseline, **settings: Any) -> Trainer:
    return Trainer(
        callbacks=[callback],
        max_epochs=1,
        limit_train_batches=1,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
        enable_checkpointing=False,
        **settings,
    )


@pytest.mark.parametrize(("features", "vectorizer"), [("counts", CountVectorizer), ("tfidf", TfidfVectorizer)])
@pytest.mark.usefixtures("fresh_cache")
def test_word_features_are_scikit_learns_own_of_the_raw_text(
    datamodule: ReviewDataModule, small: Path, features: str, vectorizer: Any
) -> None:
    texts = find("files", str(small), "text", "label", 0.2, 0).load().texts["text"]
    splits = {name: [texts[int(row)] for row in split.reviews.rows] for name, split in datamodule.splits.items()}
    reference = vectorizer(tokenizer=words, lowercase=False, token_pattern=None, ngram_range=(1, 2))
    expected = {"train": reference.fit_transform(splits["train"]), "test": reference.transform(splits["test"])}
    matrices = Fit(forest(), features, 2, datamodule.splits, datamodule.folder.name).matrices()
    for name, matrix in expected.items():  # columns are ordered otherwise
        assert matrices[name].shape == matrix.shape
        assert np.allclose(np.sort(matrices[name].toarray(), 1), np.sort(matrix.toarray(), 1), atol=1e-6)


@pytest.mark.usefixtures("fresh_cache")
def test_a_forest_that_grows_by_steps_is_the_forest_grown_at_once(datamodule: ReviewDataModule) -> None:
    splits = datamodule.splits
    fit = Fit(forest(50), "indices", 1, splits, "rows")
    fit.run(show=False)
    labels = {name: split.reviews.labels[split.reviews.rows] for name, split in splits.items()}
    at_once = forest(50).fit(splits["train"].matrix(), labels["train"])
    with np.load(fit.path) as cached:
        assert np.array_equal(cached["test"], at_once.predict(splits["test"].matrix()))
        assert np.array_equal(cached["val"], at_once.predict(splits["val"].matrix()))


class Counting(RandomForestClassifier):  # type: ignore[misc]  # of untyped scikit-learn
    """Keeps how many threads scikit-learn would grow its trees with."""

    threads = 0

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "Counting":
        Counting.threads = Parallel(n_jobs=self.n_jobs, prefer="threads").n_jobs
        super().fit(X, y, sample_weight)
        return self


@pytest.mark.usefixtures("fresh_cache")
def test_a_forest_grows_on_as_many_threads_as_torch_may_take(datamodule: ReviewDataModule) -> None:
    torch.set_num_threads(2)
    try:
        Fit(Counting(10), "indices", 1, datamodule.splits, datamodule.folder.name).run(show=False)
    finally:
        torch.set_num_threads(1)
    assert Counting.threads == 2


@pytest.mark.usefixtures("fresh_cache")
def test_it_is_fitted_once_for_the_same_data_and_settings(datamodule: ReviewDataModule) -> None:
    first = Fit(forest(), "indices", 1, datamodule.splits, datamodule.folder.name)
    first.run(show=False)
    written = first.path.stat().st_mtime_ns
    again = Fit(
        RandomForestClassifier(50, random_state=0, n_jobs=2), "indices", 1, datamodule.splits, datamodule.folder.name
    )
    again.run(show=False)
    assert again.path == first.path
    assert first.path.stat().st_mtime_ns == written
    assert Fit(forest(51), "indices", 1, datamodule.splits, datamodule.folder.name).path != first.path
    assert Fit(forest(), "counts", 1, datamodule.splits, datamodule.folder.name).path != first.path


def test_what_whole_reviews_give_does_not_hang_on_maxlen(small: Path, datamodule: ReviewDataModule) -> None:
    shorter = ReviewDataModule(source="files", path=str(small), maxlen=5)
    shorter.setup()
    for features, same in (("indices", False), ("counts", True), ("tfidf", True)):
        paths = {Fit(forest(), features, 1, data.splits, data.folder.name).path for data in (datamodule, shorter)}
        assert (len(paths) == 1) == same


@pytest.mark.usefixtures("fresh_cache")
def test_it_is_the_same_on_a_cpu_and_in_its_own_process_beside_an_accelerator(
    datamodule: ReviewDataModule, tmp_path: Path, cache: Path
) -> None:
    results = []
    for device in ("cpu", "pretended"):
        for file in (cache / "baselines").glob("*.npz"):
            file.unlink()
        baseline = Baseline("forest", datamodule, forest())
        if device == "cpu":
            trainer = quick_trainer(tmp_path, baseline, accelerator="cpu")
        else:
            trainer = quick_trainer(
                tmp_path, baseline, strategy=SingleDeviceStrategy(torch.device("cpu"), accelerator=Pretended())
            )
        net = module(datamodule)
        trainer.fit(net, datamodule)
        assert (baseline.process_ is not None) == (device == "pretended")
        assert "baseline/forest/test_accuracy" not in baseline.metrics_
        trainer.test(net, datamodule, verbose=False)
        results.append({tag: value for tag, value in baseline.metrics_.items() if not tag.endswith("seconds")})
    assert results[0] == results[1]
    assert set(results[0]) == {"baseline/forest/val_accuracy", "baseline/forest/test_accuracy"}


def test_nb_svm_weighs_words_by_the_papers_log_ratio() -> None:
    counts = csr_matrix(np.array([[2, 1, 0], [1, 0, 0], [0, 1, 1], [0, 0, 3]]))
    labels = np.array([1, 1, 0, 0])
    model = NBSVM(alpha=1.0, beta=0.0).fit(counts, labels)
    ratio = np.log(np.array([3, 2, 1]) / 6) - np.log(np.array([1, 2, 3]) / 6)
    assert np.allclose(model.coef_ / np.abs(model.coef_).max(), ratio / np.abs(ratio).max())
    assert model.predict(counts).tolist() == labels.tolist()


def test_nb_svm_takes_three_classes_by_any_name() -> None:
    random = np.random.default_rng(0)
    labels = np.array(["bad", "good", "meh"])[np.arange(90) % 3]
    counts = csr_matrix(random.poisson(0.3, (90, 6)) + 2 * np.eye(3)[np.arange(90) % 3].repeat(2, 1))
    assert np.mean(NBSVM().fit(counts, labels).predict(counts) == labels) > 0.9


def test_any_classifier_will_do_and_features_are_named(datamodule: ReviewDataModule) -> None:
    Fit(LogisticRegression(), "tfidf", 1, datamodule.splits, datamodule.folder.name).run(show=False)
    with pytest.raises(InputError, match=r"baseline\.odd\.features=words: must be one of indices, counts, tfidf"):
        Baseline("odd", datamodule, forest(), features="words")
