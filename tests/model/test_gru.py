import csv
from pathlib import Path

import pytest
import torch
from torch import nn

from sentiment.classifier import load
from sentiment.model.recurrent import GRUClassifier
from tests.helpers import MASKED, train_quick


def make_net(**settings: bool | int | str) -> GRUClassifier:
    """A net with large random weights and biases: those that Keras starts with would hide errors."""
    torch.manual_seed(0)
    net = GRUClassifier(30, 1, embedding_dim=12, units=10, **settings)  # type: ignore[arg-type]
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.5)
    return net.eval()


@torch.no_grad()
def test_logits_equal_those_of_torchs_bidirectional_gru() -> None:
    net = make_net(bidirectional=True, num_layers=2)
    reference = nn.GRU(12, 10, num_layers=2, bidirectional=True, batch_first=True)
    for layer, (forward, backward) in enumerate(
        zip(net.forward_layers, net.backward_layers, strict=True)
    ):
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(reference, f"{name}_l{layer}").copy_(getattr(forward, f"{name}_l0"))
            getattr(reference, f"{name}_l{layer}_reverse").copy_(getattr(backward, f"{name}_l0"))
    ids = torch.randint(0, 30, (4, 9))
    _, hidden = reference(net.embedding(ids))
    assert torch.allclose(net(ids), net.linear(torch.cat([hidden[-2], hidden[-1]], 1)), atol=1e-6)


@pytest.mark.parametrize(("masked", "lengths"), [(False, [12, 12, 12]), (True, [12, 7, 1])])
@torch.no_grad()
def test_gates_agree_with_the_fused_kernel(masked: bool, lengths: list[int]) -> None:
    net = make_net(bidirectional=True, num_layers=2, masked=masked)
    ids = torch.randint(1, 30, (3, 12))
    ids[1, 7:] = ids[2, 1:] = 0
    for row, length in enumerate(lengths):
        x = net.embedding(ids[row : row + 1, :length])
        for (forward, backward), forward_layer, backward_layer in zip(
            net.gates(ids), net.forward_layers, net.backward_layers, strict=True
        ):
            x = torch.cat([forward_layer(x)[0], backward_layer(x.flip(1))[0].flip(1)], 2)
            for part in ("hidden", "state"):
                unrolled = torch.cat([getattr(forward, part), getattr(backward, part)], 2)[
                    row, :length
                ]
                assert (unrolled - x[0]).abs().max() <= 1e-5
            assert forward.state_name == "hidden state"
            assert list(forward.activations) == ["reset", "update"]
            assert all(((gate > 0) & (gate < 1)).all() for gate in forward.activations.values())


@torch.no_grad()
def test_open_update_gate_keeps_the_old_state_and_closed_reset_gate_ignores_it() -> None:
    net = make_net()
    (layer,) = net.forward_layers
    assert isinstance(layer, nn.GRU)
    hidden_bias = layer.all_weights[0][3]
    ids = torch.tensor([[5, 6, 7], [8, 9, 7]])
    hidden_bias[10:20] = 100.0
    ((gates,),) = net.gates(ids)
    assert (gates.activations["update"] == 1).all()
    assert (gates.state == 0).all()  # as at the start
    hidden_bias[:20] = -100.0
    ((gates,),) = net.gates(ids)
    assert (gates.activations["reset"] < 1e-6).all()
    assert (gates.state[0, 2] - gates.state[1, 2]).abs().max() < 1e-5
    assert (gates.state[0, 1] - gates.state[1, 1]).abs().max() > 0.1


@torch.no_grad()
def test_masked_logits_do_not_depend_on_the_rest_of_the_batch() -> None:
    net = make_net(
        bidirectional=True, num_layers=2, chunk_length=8, pooling="max_mean", masked=True
    )
    reviews = [torch.randint(1, 30, (length,)) for length in (1, 3, 8, 17, 40)]
    alone = torch.cat([net(review[None]) for review in reviews])
    assert (net(nn.utils.rnn.pad_sequence(reviews, batch_first=True)) - alone).abs().max() <= 1e-5
    assert alone.std() > 0.1


def test_recurrent_dropout_drops_units_at_every_step_and_trains_the_others() -> None:
    torch.manual_seed(0)
    net = GRUClassifier(30, 1, embedding_dim=12, units=50, dropout=0.0, recurrent_dropout=0.4)
    (layer,) = net.forward_layers
    assert isinstance(layer, nn.GRU)
    weight = layer.all_weights[0][1]
    net(torch.randint(1, 30, (8, 5))).sum().backward()
    assert weight.grad is not None
    dropped = (weight.grad == 0).all(0)
    assert 10 <= dropped.sum() <= 30
    assert (weight.grad[:, ~dropped] != 0).any(0).all()


def test_weights_are_initialized_as_in_keras() -> None:
    net = GRUClassifier(1000, 1, embedding_dim=128, units=64)
    (layer,) = net.forward_layers
    assert isinstance(layer, nn.GRU)
    input_weight, hidden_weight, input_bias, hidden_bias = layer.all_weights[0]
    assert net.embedding.weight.abs().max() <= 0.05
    assert 0.9 < input_weight.abs().max() / (6 / (128 + 3 * 64)) ** 0.5 <= 1
    assert torch.allclose(hidden_weight.T @ hidden_weight, torch.eye(64), atol=1e-5)
    assert (input_bias == 0).all()
    assert (hidden_bias == 0).all()


@pytest.mark.slow
def test_checkpoint_of_a_gru_reproduces_its_test_predictions(small: Path, tmp_path: Path) -> None:
    run = train_quick(
        tmp_path, small, "model=gru", *MASKED, "trainer.max_epochs=4", "optimizer.lr=0.02"
    )
    classifier = load(run)
    assert isinstance(classifier.net, GRUClassifier)
    with (
        open(small / "test.csv", newline="") as texts,
        open(run / "test_predictions.csv", newline="") as recorded,
    ):
        predictions = classifier.predict([row["text"] for row in csv.DictReader(texts)])
        expected = [float(row["p(good)"]) for row in csv.DictReader(recorded)]
    assert [prediction.probabilities["good"] for prediction in predictions] == pytest.approx(
        expected, abs=1e-5
    )
