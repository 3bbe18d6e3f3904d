"""ClassificationMetrics: agreement with scikit-learn, and classes without reviews."""

import math
from collections.abc import Sequence

import pytest
import torch
from sklearn.metrics import (
    balanced_accuracy_score,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from sentiment.model.metrics import ClassificationMetrics

NAMES = ["bad/[x]", "good, 100%", "neither"]


def compute(
    probabilities: torch.Tensor, labels: torch.Tensor, label_names: Sequence[str]
) -> dict[str, float]:
    metrics = ClassificationMetrics(label_names)
    for start in range(0, len(labels), 64):
        part = slice(start, start + 64)
        metrics.update(
            "test",
            torch.tensor(0.5),
            probabilities[part],
            labels[part],
            torch.arange(len(labels))[part],
        )
    values = {tag: float(value) for tag, value in metrics.compute("test")[0].items()}
    metrics.update("test", torch.tensor(0.5), probabilities, labels, torch.arange(len(labels)))
    again = {tag: float(value) for tag, value in metrics.compute("test")[0].items()}
    assert again == pytest.approx(values, nan_ok=True)  # it starts from zero
    return values


def random_predictions(num_classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(num_classes, (200,), generator=generator)
    logits = torch.randn(200, num_classes, generator=generator)
    logits[torch.arange(200), labels] += 0.7
    return logits.softmax(1), labels


@pytest.mark.parametrize("num_classes", [2, 3])
def test_test_metrics_are_those_of_scikit_learn(num_classes: int) -> None:
    probabilities, labels = random_predictions(num_classes)
    names, predicted = NAMES[:num_classes], probabilities.argmax(1)
    values = compute(probabilities, labels, names)
    assert values["test/accuracy"] == pytest.approx((predicted == labels).float().mean().item())
    assert values["test/f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert values["test/balanced_accuracy"] == pytest.approx(
        balanced_accuracy_score(labels, predicted)
    )
    scores = probabilities[:, 1] if num_classes == 2 else probabilities
    assert values["test/auroc"] == pytest.approx(roc_auc_score(labels, scores, multi_class="ovr"))
    for measure, score in (("precision", precision_score), ("recall", recall_score)):
        by_class = [values[f"test/{measure}/{name}"] for name in names]
        assert by_class == pytest.approx(score(labels, predicted, average=None))


@pytest.mark.parametrize("num_classes", [2, 3])
def test_figures_of_a_class_without_reviews_are_undefined(num_classes: int) -> None:
    probabilities, labels = random_predictions(num_classes)
    kept = labels != num_classes - 1
    probabilities, labels = probabilities[kept], labels[kept]
    names, predicted = NAMES[:num_classes], probabilities.argmax(1)
    values = compute(probabilities, labels, names)
    assert math.isnan(values["test/auroc"])
    assert math.isnan(values[f"test/recall/{names[-1]}"])
    assert values[f"test/precision/{names[-1]}"] == 0
    recalls = recall_score(labels, predicted, average=None, labels=range(num_classes - 1))
    assert values["test/balanced_accuracy"] == pytest.approx(recalls.mean())
    assert values["test/f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))


def test_precision_of_a_class_that_is_never_predicted() -> None:
    probabilities = torch.tensor([[0.9, 0.05, 0.05]] * 4)
    values = compute(probabilities, torch.tensor([0, 0, 0, 1]), NAMES)
    assert values[f"test/precision/{NAMES[1]}"] == values[f"test/recall/{NAMES[1]}"] == 0
    assert math.isnan(values[f"test/precision/{NAMES[2]}"])  # it has no reviews either
    assert values["test/f1"] == pytest.approx((6 / 7 + 0) / 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_row_numbers_and_the_loss_are_exact_in_any_precision(dtype: torch.dtype) -> None:
    metrics = ClassificationMetrics(NAMES[:2]).to(device="cpu", dtype=dtype).to("cpu")
    rows = torch.arange(2**24, 2**24 + 3)
    probabilities = torch.tensor([[0.123456, 0.876544]]).expand(3, 2)
    metrics.update("test", torch.tensor(0.123456), probabilities, torch.tensor([0, 1, 1]), rows)
    values, predictions = metrics.compute("test")
    assert predictions.rows.tolist() == rows.tolist()
    assert predictions.probabilities.tolist() == probabilities.tolist()
    assert float(values["test/loss"]) == pytest.approx(0.123456, abs=1e-7)
