"""The gates of an LSTM, word by word, which torch's kernel does not show.

Legend of shapes: `B` batch, `T` tokens, `E` values of an input, `H` units.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Gates(NamedTuple):
    """What happens in one layer and direction, in the order of the words; each float `(B, T, H)`.

    Attributes:
        input: share of the new candidate that enters the cell, 0 to 1.
        forget: share of the cell's state that stays, 0 to 1.
        output: share of the cell's state that is shown, 0 to 1.
        cell: the state.
        hidden: what the next layer sees, `output · tanh(cell)`.
    """

    input: Tensor
    forget: Tensor
    output: Tensor
    cell: Tensor
    hidden: Tensor


def read_by_hand(lstm: nn.Module, x: Tensor) -> Gates:
    """Steps one layer and direction over `(B, T, E)`, as the equations have it, without dropout.

    Those of Hochreiter & Schmidhuber (1997), with the forget gate of Gers et al. (2000).
    """
    assert isinstance(lstm, nn.LSTM)
    input_weight, hidden_weight, input_bias, hidden_bias = lstm.all_weights[0]
    from_words = x @ input_weight.T + input_bias + hidden_bias  # (B, T, 4H)
    hidden = cell = x.new_zeros(x.shape[0], lstm.hidden_size)
    steps = []
    for from_word in from_words.unbind(1):
        input_, forget, candidate, output = (from_word + hidden @ hidden_weight.T).chunk(4, 1)
        input_, forget, output = input_.sigmoid(), forget.sigmoid(), output.sigmoid()
        cell = forget * cell + input_ * candidate.tanh()
        hidden = output * cell.tanh()
        steps.append((input_, forget, output, cell, hidden))
    return Gates(*(torch.stack(part, 1) for part in zip(*steps, strict=True)))
