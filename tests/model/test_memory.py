from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sentiment.classifier import load
from sentiment.model.memory import EVALUATION, TRAINING, available_memory, batch_bytes
from sentiment.model.recurrent import GRUClassifier, LSTMClassifier
from sentiment.runtime.errors import InputError
from sentiment.training.experiment import run_experiment
from tests.helpers import Compose, peak_memory

GIGABYTE = 10**9


@pytest.fixture
def one_gigabyte(monkeypatch: pytest.MonkeyPatch) -> None:
    """As much memory is available."""
    monkeypatch.setattr("sentiment.model.memory.available_memory", lambda: GIGABYTE)


@pytest.mark.usefixtures("one_gigabyte")
def test_batch_that_cannot_fit_is_refused_before_the_training(composed: Compose) -> None:
    message = r"^data\.maxlen=1000000000000: a batch takes [\d,.]+ GB of memory or more, and 1\.0 GB are available; "
    message += r"set data\.maxlen=\d\d, the length of the longest text, or data\.padding=post$"
    with pytest.raises(InputError, match=message):
        run_experiment(composed("data.maxlen=1000000000000"))


def test_batch_of_texts_that_are_long_is_refused(
    composed: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentiment.model.memory.available_memory", lambda: 1000)
    with pytest.raises(
        InputError, match=r"^data\.maxlen=10: a batch takes .*; lower it, or data\.batch_size$"
    ):
        run_experiment(composed("data.maxlen=10"))


def test_batch_that_takes_much_of_the_memory_is_announced(
    composed: Compose, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sentiment.model.memory.available_memory", lambda: 500_000)
    run_experiment(composed("data.maxlen=10", "trainer.max_epochs=1"))
    assert "data.maxlen=10: a batch takes 0.0 GB of memory or more" in caplog.text


@pytest.mark.usefixtures("one_gigabyte")
def test_matrix_of_a_baseline_that_cannot_fit_is_refused(composed: Compose) -> None:
    line = ["data.maxlen=200000", "data.batch_size=1"]
    with pytest.raises(
        InputError, match=r"^data\.maxlen=200000: baseline\.random_forest takes 1\.\d GB"
    ):
        run_experiment(composed(*line, "baseline=random_forest"))


@pytest.mark.usefixtures("one_gigabyte")
def test_end_padding_reaches_the_longest_text_alone(composed: Compose) -> None:
    settings = [
        "data.maxlen=1000000000000",
        "data.padding=post",
        "baseline=random_forest",
        "trainer.max_epochs=1",
    ]
    assert run_experiment(composed(*settings)).metrics["status"] == "finished"


def test_checkpoint_whose_texts_cannot_fit_is_refused(run: Path, tmp_path: Path) -> None:
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt")
    checkpoint["hyper_parameters"]["text_encoder"]["maxlen"] = 10**12
    torch.save(checkpoint, tmp_path / "hostile.ckpt")
    with pytest.raises(
        InputError, match=r"hostile\.ckpt: maxlen=1000000000000: a text takes [\d,.]+ GB"
    ):
        load(tmp_path / "hostile.ckpt")


def test_available_memory_is_limited_by_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = available_memory()
    assert free > 0
    monkeypatch.setattr("sentiment.model.memory.CGROUPS", tmp_path)
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory() > free / 2
    (tmp_path / "memory.max").write_text(f"{20 * GIGABYTE // 10}\n")
    assert available_memory() < 2 * GIGABYTE


@pytest.mark.slow
@pytest.mark.parametrize("network", [LSTMClassifier, GRUClassifier])
@pytest.mark.parametrize(
    "settings", [{}, {"units": 256}, {"bidirectional": True}, {"num_layers": 2, "max_ngram": 3}]
)
def test_batch_takes_as_much_memory_as_is_said(
    network: type[nn.Module], settings: dict[str, Any]
) -> None:
    def step(length: int, is_training: bool) -> None:
        with torch.set_grad_enabled(is_training):
            loss = net.train(is_training)(torch.ones(32, length, dtype=torch.int64)).sum()
            if is_training:
                torch.autograd.backward(loss)

    net = network(1000, 1, **settings)
    for is_training, copies in ((True, TRAINING), (False, EVALUATION)):
        step(8, is_training)
        measured = 1e6 * peak_memory(step, 2000, is_training)
        assert 0.25 * measured < batch_bytes(net, 32 * 2000, copies) < 1.05 * measured
