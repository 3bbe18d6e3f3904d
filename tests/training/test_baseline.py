import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.accelerators import Accelerator
from pytorch_lightning.strategies import SingleDeviceStrategy
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier

from sentiment.data.datamodule import ReviewDataModule
from sentiment.model.module import SentimentModule
from sentiment.runtime.errors import ArgumentError, InputError
from sentiment.training.baseline import Baseline
from sentiment.training.experiment import run_experiment
from tests.helpers import Compose, read_metrics


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


def forest(trees: int = 50) -> RandomForestClassifier:
    return RandomForestClassifier(trees, random_state=0)


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
    model = {"_target_": "sentiment.model.recurrent.LSTMClassifier", "embedding_dim": 4, "units": 4}
    module = SentimentModule(datamodule.encoder.to_dict(), datamodule.label_names, model)
    trainer.fit(module, datamodule)
    assert "baseline/forest/test_accuracy" not in baseline.metrics
    trainer.test(module, datamodule, verbose=False)


class RecordsProcess(RandomForestClassifier):  # type: ignore[misc]  # scikit-learn is untyped
    """Writes the process that fits it, and its niceness, to a file named by an environment variable."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "RecordsProcess":
        Path(os.environ["RECORD"]).write_text(f"{os.getpid()} {os.nice(0)}")
        super().fit(X, y, sample_weight)
        return self


@pytest.mark.slow
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
        metrics[accelerator] = {
            tag: value for tag, value in baseline.metrics.items() if not tag.endswith("seconds")
        }
    assert metrics["cpu"] == metrics["fake"]
    assert set(metrics["cpu"]) == {"baseline/forest/val_accuracy", "baseline/forest/test_accuracy"}


def test_predictions_are_looked_up_by_row_number(
    datamodule: ReviewDataModule, tmp_path: Path
) -> None:
    baseline = Baseline("forest", datamodule, forest())
    fit_and_test(baseline, tmp_path, "cpu")
    reviews = datamodule.splits["test"].reviews
    rows = reviews.rows[::-3]
    predicted = baseline.lookup_predictions("test", rows)
    assert np.array_equal(predicted, baseline.predictions["test"][::-3])
    accuracy = np.mean(
        baseline.lookup_predictions("test", reviews.rows) == reviews.labels[reviews.rows]
    )
    assert baseline.metrics["baseline/forest/test_accuracy"] == accuracy


@pytest.mark.slow
@pytest.mark.parametrize("accelerator", ["cpu", "fake"])
def test_error_of_scikit_learn_is_one_line_with_the_key(
    datamodule: ReviewDataModule, tmp_path: Path, accelerator: str
) -> None:
    baseline = Baseline("forest", datamodule, forest(trees=-1))
    with pytest.raises(
        InputError, match=r"^baseline\.forest: The 'n_estimators' parameter .* Got -1 instead\.$"
    ):
        fit_and_test(baseline, tmp_path, accelerator)


class Interrupts(DummyClassifier):  # type: ignore[misc]  # scikit-learn is untyped
    """Sends itself what Ctrl-C sends."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "Interrupts":
        signal.raise_signal(signal.SIGINT)
        super().fit(X, y, sample_weight)
        return self


def test_ctrl_c_during_the_fit_leaves_no_predictions(
    composed: Compose, tmp_path: Path, empty_cache: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_experiment(
            composed(
                "+baseline.slow.estimator._target_=tests.training.test_baseline.Interrupts",
                "trainer.max_epochs=1",
            )
        )
    assert read_metrics(tmp_path)["status"] == "interrupted"
    assert [path.suffix for path in empty_cache.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"features": "words"}, r"^features=words: must be one of padded_ids, counts, tfidf$"),
        ({"max_ngram": 0}, r"^max_ngram=0: must be an integer >= 1$"),
    ],
)
def test_invalid_settings_are_rejected(
    datamodule: ReviewDataModule, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        Baseline("forest", datamodule, forest(), **settings)
