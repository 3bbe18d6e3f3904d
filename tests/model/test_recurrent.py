import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sentiment.classifier import load
from sentiment.model.network import log_probabilities
from sentiment.model.recurrent import GRUClassifier, LSTMClassifier, RecurrentNetwork
from sentiment.runtime.errors import ArgumentError
from tests.helpers import MASKED, train_net, train_quick

NETWORKS = [LSTMClassifier, GRUClassifier]
POOLINGS = ["last", "max", "mean", "max_mean"]


def make_gru(**settings: bool | int | str) -> GRUClassifier:
    """A net with large random weights and biases: those that Keras starts with would hide errors."""
    torch.manual_seed(0)
    net = GRUClassifier(30, 1, embedding_dim=12, units=10, **settings)  # type: ignore[arg-type]
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.5)
    return net.eval()


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("chunk_length", [None, 8])
@torch.no_grad()
def test_masked_logits_do_not_depend_on_the_rest_of_the_batch(
    pooling: str, bidirectional: bool, num_layers: int, chunk_length: int | None
) -> None:
    net = train_net(
        pooling=pooling,
        bidirectional=bidirectional,
        num_layers=num_layers,
        chunk_length=chunk_length,
        masked=True,
    )
    reviews = [torch.randint(1, 30, (length,)) for length in (1, 3, 8, 17, 40)]
    alone = torch.cat([net(review[None]) for review in reviews])
    batch = nn.utils.rnn.pad_sequence(reviews, batch_first=True)
    wider = nn.functional.pad(batch, (0, 24))
    for logits in (net(batch), net(wider), net(wider.flip(0)).flip(0)):
        assert (logits - alone).abs().max() <= 1e-6
    assert alone.std() > 0.1


@torch.no_grad()
def test_masked_logits_of_a_gru_do_not_depend_on_the_rest_of_the_batch() -> None:
    net = make_gru(
        bidirectional=True, num_layers=2, chunk_length=8, pooling="max_mean", masked=True
    )
    reviews = [torch.randint(1, 30, (length,)) for length in (1, 3, 8, 17, 40)]
    alone = torch.cat([net(review[None]) for review in reviews])
    assert (net(nn.utils.rnn.pad_sequence(reviews, batch_first=True)) - alone).abs().max() <= 1e-5
    assert alone.std() > 0.1


@pytest.mark.parametrize(("make", "layer"), [(train_net, nn.LSTM), (make_gru, nn.GRU)])
@torch.no_grad()
def test_logits_equal_those_of_torchs_bidirectional_layers(
    make: Callable[..., RecurrentNetwork], layer: type[nn.LSTM | nn.GRU]
) -> None:
    net = make(bidirectional=True, num_layers=2)
    reference = layer(12, 10, num_layers=2, bidirectional=True, batch_first=True)
    for depth, (forward, backward) in enumerate(
        zip(net.forward_layers, net.backward_layers, strict=True)
    ):
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(reference, f"{name}_l{depth}").copy_(getattr(forward, f"{name}_l0"))
            getattr(reference, f"{name}_l{depth}_reverse").copy_(getattr(backward, f"{name}_l0"))
    ids = torch.randint(0, 30, (4, 9))
    output, _ = reference(net.embedding(ids))  # (4, 9, 2·10)
    last = torch.cat([output[:, -1, :10], output[:, 0, 10:]], 1)
    assert torch.allclose(net(ids), net.linear(last), atol=1e-6)


@pytest.mark.parametrize(("masked", "lengths"), [(False, [12, 12, 12]), (True, [12, 7, 1])])
@pytest.mark.parametrize("num_layers", [1, 2])
@torch.no_grad()
def test_gates_agree_with_the_fused_kernel(
    masked: bool, lengths: list[int], num_layers: int
) -> None:
    net = train_net(bidirectional=True, num_layers=num_layers, masked=masked)
    ids = torch.randint(1, 30, (3, 12))
    ids[1, 7:] = ids[2, 1:] = 0
    layers = net.gates(ids)
    assert len(layers) == num_layers
    for row, length in enumerate(lengths):
        x = net.embedding(ids[row : row + 1, :length])
        for (forward, backward), forward_lstm, backward_lstm in zip(
            layers, net.forward_layers, net.backward_layers, strict=True
        ):
            forward_output, (_, forward_cell) = forward_lstm(x)
            backward_output, (_, backward_cell) = backward_lstm(x.flip(1))
            x = torch.cat([forward_output, backward_output.flip(1)], 2)
            hidden = torch.cat([forward.hidden, backward.hidden], 2)[row, :length]
            assert (hidden - x[0]).abs().max() <= 1e-5
            assert (forward.state[row, length - 1] - forward_cell[0, 0]).abs().max() <= 1e-5
            assert (backward.state[row, 0] - backward_cell[0, 0]).abs().max() <= 1e-5
            for gates in (forward, backward):
                assert list(gates.activations) == ["input", "forget", "output"]
                for activation in gates.activations.values():
                    assert ((activation > 0) & (activation < 1)).all()


@pytest.mark.parametrize(("masked", "lengths"), [(False, [12, 12, 12]), (True, [12, 7, 1])])
@torch.no_grad()
def test_gates_of_a_gru_agree_with_the_fused_kernel(masked: bool, lengths: list[int]) -> None:
    net = make_gru(bidirectional=True, num_layers=2, masked=masked)
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
    net = make_gru()
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


def test_lengths_are_counted_only_if_padding_is_masked() -> None:
    ids = torch.tensor([[5, 6, 7], [5, 0, 0], [0, 0, 0]])
    counted = train_net(masked=True).lengths(ids)
    assert counted is not None
    assert counted.tolist() == [3, 1, 1]
    assert train_net(masked=False).lengths(ids) is None


@pytest.mark.parametrize("masked", [False, True])
@torch.no_grad()
def test_chunks_are_read_independently_and_pooled_together(masked: bool) -> None:
    net = train_net(bidirectional=True, num_layers=2, pooling="max", chunk_length=5, masked=masked)
    ids = torch.randint(1, 30, (3, 13))
    of_chunks = [net.gates(chunk) for chunk in (ids[:, :5], ids[:, 5:10], ids[:, 10:])]
    layers = net.gates(ids)
    for layer, directions in enumerate(layers):
        for direction, gates in enumerate(directions):
            parts = [chunk[layer][direction] for chunk in of_chunks]
            assert (gates.state - torch.cat([part.state for part in parts], 1)).abs().max() <= 1e-6
            for name, activation in gates.activations.items():
                assert (
                    activation - torch.cat([part.activations[name] for part in parts], 1)
                ).abs().max() <= 1e-6
    outputs = torch.cat([gates.hidden for gates in layers[-1]], 2)
    assert (net(ids) - net.linear(outputs.amax(1))).abs().max() <= 1e-5


@torch.no_grad()
def test_word_dropout_zeroes_embeddings_and_scales_the_others() -> None:
    net = LSTMClassifier(
        30, 1, embedding_dim=1000, units=10, word_dropout=0.5, dropout=0.0, recurrent_dropout=0.0
    )
    ids = torch.randint(1, 30, (8, 50))
    inputs: list[Tensor] = []
    net.forward_layers[0].register_forward_pre_hook(
        lambda _, arguments: inputs.append(arguments[0])
    )
    net(ids)
    dropped = (inputs[0] == 0).all(2)
    assert 0.4 < dropped.float().mean() < 0.6
    assert torch.equal(inputs[0][~dropped], 2 * net.embedding(ids)[~dropped])


@torch.no_grad()
def test_output_dropout_zeroes_inputs_of_the_linear_layer() -> None:
    net = LSTMClassifier(30, 1, units=1000, output_dropout=0.5, dropout=0.0, recurrent_dropout=0.0)
    inputs: list[Tensor] = []
    net.linear.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
    net(torch.randint(1, 30, (8, 50)))
    assert 0.4 < (inputs[0] == 0).float().mean() < 0.6


@pytest.mark.parametrize("network", NETWORKS)
def test_recurrent_dropout_drops_units_at_every_step_and_trains_the_others(
    network: type[RecurrentNetwork],
) -> None:
    torch.manual_seed(0)
    net = network(30, 1, embedding_dim=12, units=50, dropout=0.0, recurrent_dropout=0.4)
    (layer,) = net.forward_layers
    assert isinstance(layer, nn.RNNBase)
    weight = layer.all_weights[0][1]
    net(torch.randint(1, 30, (8, 5))).sum().backward()
    assert weight.grad is not None
    dropped = (weight.grad == 0).all(0)  # a unit that is dropped at every step
    assert 10 <= dropped.sum() <= 30
    assert (weight.grad[:, ~dropped] != 0).any(0).all()
    assert layer.all_weights[0][1] is weight


def test_dropout_is_active_in_training_only() -> None:
    net = LSTMClassifier(30, 1, embedding_dim=12, units=10)
    ids = torch.randint(1, 30, (8, 5))
    assert not torch.equal(net(ids), net(ids))
    assert torch.equal(net.eval()(ids), net(ids))


@pytest.mark.parametrize(
    ("network", "bias"),
    [(LSTMClassifier, [0.0] * 64 + [1.0] * 64 + [0.0] * 128), (GRUClassifier, [0.0] * 192)],
)
def test_weights_are_initialized_as_in_keras(
    network: type[RecurrentNetwork], bias: list[float]
) -> None:
    net = network(1000, 1, embedding_dim=128, units=64)
    (layer,) = net.forward_layers
    assert isinstance(layer, nn.RNNBase)
    input_weight, hidden_weight, input_bias, hidden_bias = layer.all_weights[0]
    assert net.embedding.weight.abs().max() <= 0.05
    assert 0.9 < input_weight.abs().max() / (6 / (128 + len(bias))) ** 0.5 <= 1
    assert torch.allclose(hidden_weight.T @ hidden_weight, torch.eye(64), atol=1e-5)
    assert input_bias.tolist() == bias
    assert (hidden_bias == 0).all()


def test_log_probabilities_of_one_logit_and_of_several() -> None:
    logits = torch.tensor([[2.0], [-100.0]])
    binary = log_probabilities(logits)
    assert torch.allclose(binary.exp(), torch.cat([1 - logits.sigmoid(), logits.sigmoid()], 1))
    assert binary.isfinite().all()
    assert torch.allclose(
        log_probabilities(torch.tensor([[1.0, 1.0, 1.0]])).exp(), torch.full((1, 3), 1 / 3)
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"units": 0}, "units=0: must be an integer >= 1"),
        ({"embedding_dim": -1}, "embedding_dim=-1: must be an integer >= 1"),
        ({"num_layers": 0}, "num_layers=0: must be an integer >= 1"),
        ({"bidirectional": "yes"}, "bidirectional=yes: must be one of False, True"),
        ({"pooling": "first"}, "pooling=first: must be one of last, max, mean, max_mean"),
        ({"max_ngram": 0}, "max_ngram=0: must be an integer >= 1"),
        ({"num_ngrams": -1}, "num_ngrams=-1: must be an integer >= 0"),
        ({"ngram_dim": 0}, "ngram_dim=0: must be an integer >= 1"),
        ({"chunk_length": 0}, "chunk_length=0: must be an integer >= 1"),
        ({"word_dropout": -0.1}, "word_dropout=-0.1: must be at least 0 and below 1"),
        ({"output_dropout": 1}, "output_dropout=1: must be at least 0 and below 1"),
        ({"dropout": 1.0}, "dropout=1.0: must be at least 0 and below 1"),
        ({"recurrent_dropout": "some"}, "recurrent_dropout=some: must be at least 0 and below 1"),
    ],
)
def test_invalid_arguments_are_rejected(setting: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentError) as error:
        LSTMClassifier(30, 1, **setting)  # type: ignore[arg-type]
    assert str(error.value) == message


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
