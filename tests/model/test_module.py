"""SentimentModule: losses, the adversarial perturbation, and errors of training."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sentiment.classifier import load
from sentiment.data.encoded.batching import Batch
from sentiment.model.adversarial import adversarial_perturbation, divergence, entropy
from sentiment.model.module import SentimentModule
from sentiment.model.network import log_probabilities
from sentiment.runtime.errors import InputError
from sentiment.training.experiment import run_experiment
from tests.helpers import Compose, has_bfloat16_lstm, load_weights

ENCODER = {"vocabulary": ["<pad>", "<unk>", *map(str, range(28))], "tokenizer": "words", "maxlen": 9,
           "padding": "post", "truncating": "pre"}  # fmt: skip
MODEL = {"_target_": "sentiment.model.recurrent.LSTMClassifier", "embedding_dim": 12, "units": 10,
         "dropout": 0.0, "recurrent_dropout": 0.0}  # fmt: skip


def make_batch(labels: list[int]) -> Batch:
    torch.manual_seed(0)
    ids = torch.randint(1, 30, (4, 9))
    ids[1, 4:] = 0
    return Batch(ids, torch.tensor(labels), torch.arange(4))


@pytest.mark.parametrize(
    ("label_names", "labels"), [(["bad", "good"], [0, 1, 1, 0]), (["a", "b", "c"], [0, 1, 2, 0])]
)
def test_training_loss_is_the_cross_entropy_of_the_probabilities(
    label_names: list[str], labels: list[int]
) -> None:
    module, batch = SentimentModule(ENCODER, label_names, MODEL), make_batch(labels)
    module.on_train_epoch_start()
    probabilities = module(batch.ids)
    assert probabilities.shape == (4, len(label_names))
    assert torch.allclose(probabilities.sum(1), torch.ones(4))
    assert module.training_step(batch).item() == pytest.approx(
        F.nll_loss(probabilities.log(), batch.labels).item()
    )


@pytest.mark.parametrize(
    ("label_names", "labels"), [(["bad", "good"], [0, 1, 1, 0]), (["a", "b", "c"], [0, 1, 2, 0])]
)
def test_training_accuracy_counts_the_most_probable_classes(
    label_names: list[str], labels: list[int]
) -> None:
    module, batch = SentimentModule(ENCODER, label_names, MODEL), make_batch(labels)
    module.on_train_epoch_start()
    for _ in range(2):
        module.training_step(batch)
    expected = 2 * (module(batch.ids).argmax(1) == batch.labels).sum()
    assert module._num_correct == expected
    assert 0 < expected < 8


def test_adversarial_perturbation_has_the_given_norm_and_raises_the_loss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = SentimentModule(ENCODER, ["bad", "good"], MODEL, adversarial_epsilon=0.3)
    batch, lengths = make_batch([0, 1, 1, 0]), torch.tensor([9, 4, 9, 9])
    forward_embedded, embedded = module.net.forward_embedded, []

    def loss(x: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            forward_embedded(x, lengths)[:, 0], batch.labels.float()
        )

    def record(x: Tensor, lengths: Tensor | None) -> Tensor:
        embedded.append(x)
        return forward_embedded(x, lengths)

    monkeypatch.setattr(module.net, "forward_embedded", record)
    module.on_train_epoch_start()
    total = module.training_step(batch)
    x, perturbed = embedded
    perturbation = perturbed - x
    rms = perturbation.square().sum((1, 2)).div(lengths).sqrt()
    assert torch.allclose(rms, torch.full((4,), 0.3))
    assert (perturbation[1, 4:] == 0).all()  # of padding
    assert total.item() == pytest.approx((loss(x) + loss(perturbed)).item())
    weights, embedding = [*module.net.parameters()], module.net.embed(batch.ids)
    expected = torch.autograd.grad(
        loss(embedding) + loss(embedding + perturbation.detach()), weights
    )
    torch.testing.assert_close(torch.autograd.grad(total, weights), expected)
    directions = F.normalize(torch.randn(20, *x.shape).flatten(2), dim=2).view(20, *x.shape)
    random = directions * (0.3 * lengths.sqrt())[:, None, None]
    assert loss(perturbed) > max(loss(x), *(loss(x + direction) for direction in random))


@pytest.mark.parametrize("label_names", [["bad", "good"], ["a", "b", "c"]])
def test_mixed_objective_and_its_gradients(
    label_names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss is written down again; its gradients are those of differences of it."""
    module = SentimentModule(
        ENCODER,
        label_names,
        MODEL,
        adversarial_epsilon=0.3,
        adversarial_weight=0.7,
        virtual_adversarial_weight=0.5,
        entropy_weight=0.3,
    )
    module.double().on_train_epoch_start()
    labelled = make_batch([0, 1, 1, 0])
    unlabelled = labelled._replace(ids=labelled.ids.flip(0) % 29 + 1)
    forward_embedded, embedded = module.net.forward_embedded, []

    def record(x: Tensor, lengths: Tensor | None) -> Tensor:
        embedded.append(x.detach())
        return forward_embedded(x, lengths)

    monkeypatch.setattr(module.net, "forward_embedded", record)
    total = module.training_step((labelled, unlabelled))
    monkeypatch.undo()
    with torch.no_grad():
        originals = [forward_embedded(x, torch.tensor(n)) for x, n in zip(
            embedded[::2], [[9, 4, 9, 9], [9, 9, 9, 9]], strict=True)]  # fmt: skip

    def loss() -> Tensor:
        """With the perturbations and the original predictions as they were."""
        parts = torch.zeros((), dtype=torch.float64)
        for i, batch in enumerate([labelled, unlabelled]):
            x, lengths = module.net.embed(batch.ids), module.net.lengths(batch.ids)
            perturbed = x + (embedded[2 * i + 1] - embedded[2 * i])
            p, q, r = (
                log_probabilities(logits).exp()
                for logits in (
                    originals[i],
                    forward_embedded(perturbed, lengths),
                    forward_embedded(x, lengths),
                )
            )
            parts = parts + 0.5 * (p * (p / q).log()).sum(1).mean()
            parts = parts - 0.3 * (r * r.log()).sum(1).mean()
            if batch is labelled:
                rows = torch.arange(4)
                parts = parts - r[rows, batch.labels].log().mean()
                parts = parts - 0.7 * q[rows, batch.labels].log().mean()
        return parts

    assert total.item() == pytest.approx(loss().item(), rel=1e-6)
    weights = [*module.net.parameters()]
    for weight, gradient in zip(weights, torch.autograd.grad(total, weights), strict=True):
        direction = torch.randn_like(weight)
        values = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                weight.add_(direction, alpha=step)
                values.append(loss().item())
                weight.sub_(direction, alpha=step)
        slope = (values[0] - values[1]) / 2e-5
        assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("label_names", [["bad", "good"], ["a", "b", "c"]])
def test_perturbation_by_the_entropy_changes_the_prediction_more_than_random_ones(
    label_names: list[str],
) -> None:
    module = SentimentModule(ENCODER, label_names, MODEL)
    ids = make_batch([0, 1, 1, 0]).ids
    x, lengths = module.net.embed(ids).detach().requires_grad_(), module.net.lengths(ids)
    original = module.net.forward_embedded(x, lengths)
    (gradient,) = torch.autograd.grad(entropy(original), [x])
    perturbation = adversarial_perturbation(gradient, (ids != 0).sum(1), 0.3)

    def change(perturbation: Tensor) -> float:
        return divergence(
            module.net.forward_embedded(x + perturbation, lengths), original.detach()
        ).item()

    norms = perturbation.flatten(1).norm(dim=1)[:, None, None]
    random = F.normalize(torch.randn(50, *x.shape).flatten(2), dim=2).view(50, *x.shape) * norms
    assert change(perturbation) > 5 * max(map(change, random))


@pytest.mark.parametrize("epsilon", [-1, float("inf"), float("nan"), "much"])
def test_invalid_adversarial_epsilon_is_rejected(epsilon: float) -> None:
    with pytest.raises(
        InputError, match=f"adversarial_epsilon={epsilon}: must be a finite number >= 0"
    ):
        SentimentModule(ENCODER, ["bad", "good"], MODEL, adversarial_epsilon=epsilon)


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_mixed_precision_clips_before_a_fused_optimizer(
    composed: Compose, tmp_path: Path, algorithm: str
) -> None:
    settings = ["trainer.precision=bf16-mixed", "optimizer=sgd", "trainer.max_epochs=1"]
    settings += [f"trainer.gradient_clip_algorithm={algorithm}"]
    if not has_bfloat16_lstm():
        why = "trainer.precision: this CPU has no bf16 kernel for the network; use trainer.precision=32-true"
        with pytest.raises(InputError, match=why):
            run_experiment(composed(*settings))
        return
    bias = []
    for clip in ("1e-9", "1"):
        folder = tmp_path / clip
        run_experiment(composed(*settings, f"trainer.gradient_clip_val={clip}", folder=folder))
        bias.append(float(load_weights(folder)["net.linear.bias"]))  # 0 before the training
    assert abs(bias[0]) < 1e-6 < 1e-4 < abs(bias[1])


@pytest.mark.skipif(not has_bfloat16_lstm(), reason="the CPU has no kernel")
@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "16-true", "64-true"])
@pytest.mark.parametrize("settings", [
    ["model.freeze_embedding=true", "model.embedding_init=ppmi", "adversarial_epsilon=0.02"],
    ["class_weights=balanced", "loss.label_smoothing=0.1"],
])  # fmt: skip
def test_figures_of_every_precision_are_those_of_the_predictions(
    composed: Compose, tmp_path: Path, precision: str, settings: list[str]
) -> None:
    ngrams = ["model.max_ngram=2", "model.min_ngram_count=3"]
    quick = ["trainer.max_epochs=1", f"trainer.precision={precision}"]
    run = run_experiment(composed(*settings, *ngrams, *quick))
    predictions = run.predictions
    assert len(predictions) == len(set(predictions["row"])) == 100
    accuracy = (predictions["label"] == predictions["predicted"]).mean()
    assert accuracy == pytest.approx(run.metrics["test/accuracy"], abs=1e-6)
    true = [row[f"p({row['label']})"] for _, row in predictions.iterrows()]
    assert -np.log(true).mean() == pytest.approx(run.metrics["test/loss"], abs=1e-5)
    again = [
        made.probabilities["good"] for made in load(tmp_path).predict(list(predictions["text"]))
    ]
    expected = predictions["p(good)"].to_numpy()
    assert again == pytest.approx(expected, abs=0.02 if precision.endswith("-true") else 1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("label_names", [["a", "b"], ["a", "b", "c"]])
@pytest.mark.parametrize("weights", [None, [0.5, 1.0, 2.0]])
def test_probabilities_as_labels_are_cast_to_the_precision_of_the_logits(
    dtype: torch.dtype, label_names: list[str], weights: list[float] | None
) -> None:
    num_classes = len(label_names)
    class_weights = weights and weights[:num_classes]
    module = SentimentModule(ENCODER, label_names, MODEL, class_weights=class_weights)
    torch.manual_seed(0)
    logits, labels = (
        torch.randn(4, 1 if num_classes == 2 else 3),
        torch.rand(4, num_classes).softmax(1),
    )
    expected = module._compute_loss(logits, labels)
    assert module._compute_loss(logits, labels.to(dtype)) == pytest.approx(
        float(expected), abs=0.01
    )
