"""Every precision with every kind of network: it trains, resumes, tests and predicts."""

from itertools import product
from pathlib import Path

import pytest
import torch

from sentiment import load
from sentiment.training.experiment import run_experiment
from tests.helpers import Compose, has_bfloat16_lstm

PRECISIONS = ["32-true", "64-true", *(["bf16-mixed"] if has_bfloat16_lstm() else [])]
PRECISIONS += ["16-mixed"] if torch.cuda.is_available() else []
KINDS = [
    *product(
        ["model=lstm", "model=gru"],
        ["model.freeze_embedding=true", "model.bidirectional=true"],
        ["model.max_ngram=1", "model.max_ngram=2"],
        ["adversarial_epsilon=0", "virtual_adversarial_weight=1"],
    )
]


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_trains_resumes_tests_and_predicts(
    composed: Compose, tmp_path: Path, precision: str, kind: tuple[str, ...]
) -> None:
    ngrams = ["model.min_ngram_count=2", "model.embedding_init=ppmi"]
    perturbed = ["adversarial_epsilon=0.02", "entropy_weight=0.5"]
    settings = [*perturbed, *kind, *ngrams, f"trainer.precision={precision}"]
    run_experiment(composed(*settings, "trainer.max_epochs=1"))
    run = run_experiment(composed(*settings, f"resume={tmp_path}"))
    assert run.metrics["precision"] == precision
    assert run.metrics["epochs"] == 2
    predicted = load(tmp_path).predict(list(run.predictions["text"]))
    probabilities = [made.probabilities["good"] for made in predicted]
    expected = run.predictions["p(good)"].to_numpy()
    assert probabilities == pytest.approx(expected, abs=1e-5 if precision == "64-true" else 1e-6)
