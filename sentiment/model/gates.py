"""The gates of recurrent layers at every time step, which torch's kernels do not return."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Gates(NamedTuple):
    """Gates and states of one layer and direction, in the order of the tokens; each float `(B, T, H)`."""

    activations: dict[str, Tensor]  # of the gates by name, between 0 and 1
    state_name: str  # of the state that the gates control: cell state or hidden state
    state: Tensor
    hidden: Tensor  # hidden state, the output of the layer

    def map(self, function: Callable[[Tensor], Tensor]) -> "Gates":
        activations = {name: function(activation) for name, activation in self.activations.items()}
        return Gates(activations, self.state_name, function(self.state), function(self.hidden))


def unroll(layer: nn.Module, x: Tensor) -> Gates:
    """Compute an LSTM or GRU layer of one direction step by step over `(B, T, E)`, without dropout."""
    assert isinstance(layer, nn.LSTM | nn.GRU)
    return _unroll_lstm(layer, x) if isinstance(layer, nn.LSTM) else _unroll_gru(layer, x)


def _unroll_lstm(layer: nn.LSTM, x: Tensor) -> Gates:
    """The equations of Hochreiter & Schmidhuber (1997) with the forget gate of Gers et al. (2000)."""
    input_weight, hidden_weight, input_bias, hidden_bias = layer.all_weights[0]
    projected = x @ input_weight.T + input_bias + hidden_bias  # (B, T, 4·H)
    hidden = cell = x.new_zeros(x.shape[0], layer.hidden_size)  # (B, H)
    steps = []
    for projected_step in projected.unbind(1):
        input_, forget, candidate, output = (projected_step + hidden @ hidden_weight.T).chunk(4, 1)
        input_, forget, output = input_.sigmoid(), forget.sigmoid(), output.sigmoid()
        cell = forget * cell + input_ * candidate.tanh()
        hidden = output * cell.tanh()
        steps.append((input_, forget, output, cell, hidden))
    input_, forget, output, cell, hidden = (
        torch.stack(part, 1) for part in zip(*steps, strict=True)
    )
    return Gates({"input": input_, "forget": forget, "output": output}, "cell state", cell, hidden)


def _unroll_gru(layer: nn.GRU, x: Tensor) -> Gates:
    """The equations of Cho et al. (2014), but the reset gate comes after the matrix product, as in cuDNN."""
    input_weight, hidden_weight, input_bias, hidden_bias = layer.all_weights[0]
    projected = x @ input_weight.T + input_bias  # (B, T, 3·H)
    hidden = x.new_zeros(x.shape[0], layer.hidden_size)  # (B, H)
    steps = []
    for projected_step in projected.unbind(1):
        reset, update, candidate = projected_step.chunk(3, 1)
        recurrent = hidden @ hidden_weight.T + hidden_bias
        recurrent_reset, recurrent_update, recurrent = recurrent.chunk(3, 1)
        reset, update = (reset + recurrent_reset).sigmoid(), (update + recurrent_update).sigmoid()
        hidden = (1 - update) * (candidate + reset * recurrent).tanh() + update * hidden
        steps.append((reset, update, hidden))
    reset, update, hidden = (torch.stack(part, 1) for part in zip(*steps, strict=True))
    return Gates({"reset": reset, "update": update}, "hidden state", hidden, hidden)
