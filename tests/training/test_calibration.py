"""Calibration: the temperature that is found, and that every command computes with it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from sentiment.classifier import load
from sentiment.model.checkpoint import read_checkpoint
from sentiment.model.network import log_probabilities
from sentiment.runtime.errors import InputError
from sentiment.training.calibration import find_temperature, scale
from sentiment.training.experiment import run_experiment
from tests.helpers import compose_quick, evaluate_quick, read_metrics, train_quick, weights_equal
from tests.odd_networks import OneMatrix

SETTINGS = ["trainer.max_epochs=4", "optimizer.lr=0.02", "data.val_fraction=0.3"]


@pytest.mark.parametrize("num_outputs", [1, 3])
def test_temperature_of_logits_that_are_too_large_is_found(num_outputs: int) -> None:
    torch.manual_seed(0)
    logits = torch.randn(20_000, num_outputs)
    labels = log_probabilities(logits).exp().multinomial(1)[:, 0]
    assert find_temperature(log_probabilities(3 * logits), labels) == pytest.approx(3, rel=0.05)
    torch.testing.assert_close(scale(log_probabilities(3 * logits), 3), log_probabilities(logits))


def test_calibrated_run_predicts_what_it_tested(small: Path, tmp_path: Path) -> None:
    plain, run = tmp_path / "plain", tmp_path / "run"
    train_quick(plain, small, *SETTINGS)
    train_quick(run, small, *SETTINGS, "calibrate=true")
    before, after = read_metrics(plain), read_metrics(run)
    assert after["temperature"] != 1
    assert after["test/accuracy"] == before["test/accuracy"]
    assert after["test/loss"] != before["test/loss"]
    assert after["test/ece_uncalibrated"] == pytest.approx(before["test/ece"], abs=1e-5)
    assert "temperature" not in before
    rows = pd.read_csv(run / "test_predictions.csv")
    predicted = [found.probabilities["good"] for found in load(run).predict(rows["text"].tolist())]
    np.testing.assert_allclose(predicted, rows["p(good)"], atol=2e-6)
    metrics = evaluate_quick(tmp_path / "evaluation", f"checkpoint={run}")
    assert metrics["test/loss"] == pytest.approx(after["test/loss"], abs=1e-6)


def test_training_continues_from_the_weights_as_they_were(small: Path, tmp_path: Path) -> None:
    for name, settings in {
        "once": ["trainer.max_epochs=2"],
        "twice": ["trainer.max_epochs=1"],
    }.items():
        train_quick(tmp_path / name, small, "calibrate=true", "test_ckpt=last", *settings)
    assert "temperature" in read_checkpoint(tmp_path / "twice" / "checkpoints" / "last.ckpt")
    resumed = compose_quick(
        tmp_path / "twice", small, "calibrate=true", "test_ckpt=last", "trainer.max_epochs=2",
        f"resume={tmp_path / 'twice'}",
    )  # fmt: skip
    run_experiment(resumed)
    first, second = (
        read_checkpoint(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("once", "twice")
    )
    assert weights_equal(first["state_dict"], second["state_dict"])
    assert first.get("temperature") == second.get("temperature")


def test_invalid_calibration_is_refused(small: Path, tmp_path: Path) -> None:
    for settings, message in (
        (
            ["calibrate=true", "data.validate_on=test"],
            "calibrate: the validation rows are the test",
        ),
        (["calibrate=yes please"], "calibrate=yes please: must be one of False, True"),
    ):
        with pytest.raises(InputError, match=message):
            run_experiment(compose_quick(tmp_path / "run", small, *settings))


def test_network_without_a_last_layer_cannot_be_calibrated() -> None:
    network = OneMatrix(8, 1, masked=False)
    with pytest.raises(ValueError, match=r"OneMatrix has no nn\.Linear as its last layer, linear"):
        network.divide_logits(2.0)
