"""The gates of an LSTM at every time step, which torch's kernel does not return.

Legend of shapes: `B` batch, `T` tokens, `E` input size, `H` units.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Gates(NamedTuple):
    """Activations of one layer and direction, in the order of the tokens; each float `(B, T, H)`.

    Attributes:
        input: input gate, between 0 and 1.
        forget: forget gate, between 0 and 1.
        output: output gate, between 0 and 1.
        cell: cell state.
        hidden: hidden state, `output · tanh(cell)`.
    """

    input: Tensor
    forget: Tensor
    output: Tensor
    cell: Tensor
    hidden: Tensor


def unroll_lstm(lstm: nn.Module, x: Tensor) -> Gates:
    """Compute one layer and direction step by step over `(B, T, E)`, without dropout.

    The equations are those of Hochreiter & Schmidhuber (1997) with the forget gate of Gers et al. (2000).
    """
    assert isinstance(lstm, nn.LSTM)
    input_weight, hidden_weight, input_bias, hidden_bias = lstm.all_weights[0]
    projected = x @ input_weight.T + input_bias + hidden_bias  # (B, T, 4·H)
    hidden = cell = x.new_zeros(x.shape[0], lstm.hidden_size)  # (B, H)
    steps = []
    for projected_step in projected.unbind(1):
        input_, forget, candidate, output = (projected_step + hidden @ hidden_weight.T).chunk(4, 1)
        input_, forget, output = input_.sigmoid(), forget.sigmoid(), output.sigmoid()
        cell = forget * cell + input_ * candidate.tanh()
        hidden = output * cell.tanh()
        steps.append((input_, forget, output, cell, hidden))
    return Gates(*(torch.stack(part, 1) for part in zip(*steps, strict=True)))
