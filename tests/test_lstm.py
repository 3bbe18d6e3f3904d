import itertools

import pytest
import torch
from torch import nn

from sentiment.errors import InputError
from sentiment.model.lstm import LSTMClassifier


@torch.enable_grad()
def trained(**settings: object) -> LSTMClassifier:
    """A net some steps away from its start, where a forget bias of 1 and zero biases hide what padding does."""
    torch.manual_seed(0)
    net = LSTMClassifier(30, 1, embedding_dim=12, units=10, **settings)  # type: ignore[arg-type]
    optimizer = torch.optim.Adam(net.parameters(), lr=0.03)
    ids, labels = torch.randint(1, 30, (64, 20)), torch.randint(0, 2, (64,)).float()
    for _ in range(30):
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(net(ids)[:, 0], labels)
        torch.autograd.backward(loss)
        optimizer.step()
    return net.eval()


@pytest.mark.parametrize(
    ("pooling", "bidirectional", "num_layers", "chunk"),
    list(itertools.product(["last", "max", "mean", "max_mean"], [False, True], [1, 2], [None, 8])),
)
@torch.no_grad()
def test_masked_a_review_gets_the_same_logit_alone_and_in_any_batch(
    pooling: str, bidirectional: bool, num_layers: int, chunk: int | None
) -> None:
    net = trained(pooling=pooling, bidirectional=bidirectional, num_layers=num_layers, chunk=chunk, masked=True)
    reviews = [torch.randint(1, 30, (length,)) for length in (1, 3, 8, 17, 40)]
    alone = torch.cat([net(review[None]) for review in reviews])
    batch = nn.utils.rnn.pad_sequence(reviews, batch_first=True)
    wider = nn.functional.pad(batch, (0, 24))
    for together in (net(batch), net(wider)[:5], net(wider.flip(0)).flip(0)):
        assert (together - alone).abs().max() <= 1e-6
    assert alone.std() > 0.1


@torch.no_grad()
def test_the_logits_are_those_of_torchs_own_bidirectional_lstm() -> None:
    net = trained(bidirectional=True, num_layers=2)
    reference = nn.LSTM(12, 10, num_layers=2, bidirectional=True, batch_first=True)
    for depth, (forwards, backwards) in enumerate(zip(net.forwards, net.backwards, strict=True)):
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(reference, f"{name}_l{depth}").copy_(getattr(forwards, f"{name}_l0"))
            getattr(reference, f"{name}_l{depth}_reverse").copy_(getattr(backwards, f"{name}_l0"))
    ids = torch.randint(0, 30, (4, 9))
    _, (last, _) = reference(net.embedding(ids))
    assert torch.allclose(net(ids), net.linear(torch.cat([last[-2], last[-1]], 1)), atol=1e-6)


@pytest.mark.parametrize(("masked", "num_layers"), list(itertools.product([False, True], [1, 2])))
@torch.no_grad()
def test_the_gates_step_to_what_torchs_lstm_gives(masked: bool, num_layers: int) -> None:
    net = trained(bidirectional=True, num_layers=num_layers, masked=masked)
    ids = torch.randint(1, 30, (3, 12))
    ids[1, 7:] = ids[2, 1:] = 0
    counted = net.lengths(ids)
    assert (counted is not None) == masked
    lengths = [12, 12, 12] if counted is None else counted.tolist()
    assert lengths == ([12, 7, 1] if masked else [12, 12, 12])
    layers = net.gates(ids)
    for row, length in enumerate(lengths):
        x = net.embedding(ids[row : row + 1, :length])
        for depth, directions in enumerate(layers):
            outputs = []
            for gates, lstms, turn in zip(directions, (net.forwards, net.backwards), (False, True), strict=True):
                output, (_, last_cell) = lstms[depth](x.flip(1) if turn else x)
                output = output.flip(1) if turn else output
                assert (gates.hidden[row, :length] - output[0]).abs().max() <= 1e-5
                assert (gates.cell[row, 0 if turn else length - 1] - last_cell[0, 0]).abs().max() <= 1e-5
                for gate in (gates.input, gates.forget, gates.output):
                    assert ((gate > 0) & (gate < 1)).all()
                outputs.append(output)
            x = torch.cat(outputs, 2)


@pytest.mark.parametrize(
    ("pooling", "bidirectional", "masked", "chunk"),
    list(itertools.product(["last", "max", "mean", "max_mean"], [False, True], [False, True], [None, 5])),
)
@torch.no_grad()
def test_the_running_logit_is_that_of_the_text_so_far(
    monkeypatch: pytest.MonkeyPatch, pooling: str, bidirectional: bool, masked: bool, chunk: int | None
) -> None:
    net = trained(pooling=pooling, bidirectional=bidirectional, masked=masked, chunk=chunk)
    ids = torch.randint(1, 30, (17,))
    one_by_one = torch.cat([net(ids[None, :end]) for end in range(1, 18)])
    assert (net.running(ids) - one_by_one).abs().max() <= 1e-6
    monkeypatch.setattr("sentiment.model.lstm.EVALUATED_WORDS", 50)  # in several batches
    assert (net.running(ids) - one_by_one).abs().max() <= 1e-6


@pytest.mark.parametrize("masked", [False, True])
@torch.no_grad()
def test_chunks_are_texts_of_their_own_but_for_the_pooling(masked: bool) -> None:
    net = trained(bidirectional=True, num_layers=2, pooling="max", chunk=5, masked=masked)
    ids = torch.randint(1, 30, (3, 13))
    each = [net.gates(part) for part in (ids[:, :5], ids[:, 5:10], ids[:, 10:])]
    for depth, directions in enumerate(net.gates(ids)):
        for direction, gates in enumerate(directions):
            for whole, parts in zip(gates, zip(*(part[depth][direction] for part in each), strict=True), strict=True):
                assert (whole - torch.cat(parts, 1)).abs().max() <= 1e-6
    outputs = torch.cat([gates.hidden for gates in net.gates(ids)[-1]], 2)
    assert (net(ids) - net.linear(outputs.amax(1))).abs().max() <= 1e-5


@torch.no_grad()
def test_word_and_output_dropout_drop_what_they_say() -> None:
    net = LSTMClassifier(30, 1, embedding_dim=1000, units=10, word_dropout=0.5, dropout=0.0, recurrent_dropout=0.0)
    ids = torch.randint(1, 30, (8, 50))
    seen: list[torch.Tensor] = []
    net.forwards[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    net(ids)
    dropped = (seen[0] == 0).all(2)
    assert 0.4 < dropped.float().mean() < 0.6
    assert torch.equal(seen[0][~dropped], 2 * net.embedding(ids)[~dropped])
    net = LSTMClassifier(30, 1, units=1000, output_dropout=0.5, dropout=0.0, recurrent_dropout=0.0)
    net.linear.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    net(ids)
    assert 0.4 < (seen[1] == 0).float().mean() < 0.6


@torch.no_grad()
def test_ngrams_tell_apart_what_the_words_alone_do_not() -> None:
    net = LSTMClassifier(30, 1, embedding_dim=12, units=10, ngrams=3, ngram_rows=100_003, ngram_dim=4)
    x = net.embed(torch.tensor([[5, 6, 7, 6, 7, 8], [7, 6, 5, 6, 7, 8]]))
    assert x.shape == (2, 6, 20)
    words, pairs, triples = torch.split(x, [12, 4, 4], 2)
    assert torch.equal(words[0, 1], words[1, 1])
    assert not torch.equal(pairs[0, 1], pairs[1, 1])
    assert torch.equal(pairs[0, 1], pairs[1, 3])  # 5 6
    assert torch.equal(pairs[0, 4], pairs[1, 4])  # 6 7
    assert not torch.equal(triples[0, 4], triples[1, 4])  # 7 6 7, 5 6 7
    assert torch.equal(triples[0, 2], triples[1, 4])  # 5 6 7
    net = LSTMClassifier(300, 1, embedding_dim=1, units=1, ngrams=2, ngram_rows=100_003, ngram_dim=8)
    each = torch.cartesian_prod(torch.arange(300), torch.arange(300))
    rows = len({*map(tuple, net.embed(each)[:, 1, 1:].tolist())})
    assert 0.57 < rows / 100_003 < 0.61  # of a random hash: 1 - exp(-0.9)


def test_weights_start_as_in_keras() -> None:
    net = LSTMClassifier(1000, 1, embedding_dim=128, units=64)
    lstm = net.forwards[0]
    assert isinstance(lstm, nn.LSTM)
    input_weight, hidden_weight, input_bias, hidden_bias = lstm.all_weights[0]
    assert net.embedding.weight.abs().max() <= 0.05
    assert 0.9 < input_weight.abs().max() / (6 / (128 + 4 * 64)) ** 0.5 <= 1
    assert torch.allclose(hidden_weight.T @ hidden_weight, torch.eye(64), atol=1e-5)
    assert (input_bias + hidden_bias).tolist() == [0.0] * 64 + [1.0] * 64 + [0.0] * 128


def test_recurrent_dropout_drops_whole_units_and_lets_their_weights_learn() -> None:
    torch.manual_seed(0)
    net = LSTMClassifier(30, 1, embedding_dim=12, units=50, dropout=0.0, recurrent_dropout=0.4)
    lstm = net.forwards[0]
    assert isinstance(lstm, nn.LSTM)
    weight = lstm.all_weights[0][1]
    net(torch.randint(1, 30, (8, 5))).sum().backward()
    assert weight.grad is not None
    dropped = (weight.grad == 0).all(0)  # a unit that is dropped at every step gives its column no gradient
    assert 10 <= dropped.sum() <= 30
    assert (weight.grad[:, ~dropped] != 0).any(0).all()
    assert lstm.all_weights[0][1] is weight


def test_dropout_draws_anew_in_training_only() -> None:
    net = LSTMClassifier(30, 1, embedding_dim=12, units=10)
    ids = torch.randint(1, 30, (8, 5))
    assert not torch.equal(net(ids), net(ids))
    assert torch.equal(net.eval()(ids), net(ids))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"units": 0}, "model.units=0"),
        ({"embedding_dim": -1}, "model.embedding_dim=-1"),
        ({"num_layers": 0}, "model.num_layers=0"),
        ({"pooling": "first"}, "model.pooling=first: must be one of last, max, mean, max_mean"),
        ({"ngrams": 0}, "model.ngrams=0"),
        ({"ngram_rows": 0}, "model.ngram_rows=0"),
        ({"ngram_dim": 0}, "model.ngram_dim=0"),
        ({"chunk": 0}, "model.chunk=0"),
        ({"word_dropout": -0.1}, "model.word_dropout=-0.1"),
        ({"output_dropout": 1}, "model.output_dropout=1"),
        ({"dropout": 1.0}, "model.dropout=1.0"),
        ({"recurrent_dropout": "some"}, "model.recurrent_dropout=some"),
    ],
)
def test_settings_out_of_range_are_named(setting: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LSTMClassifier(30, 1, **setting)  # type: ignore[arg-type]
