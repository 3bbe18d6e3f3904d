"""LSTMClassifier: nn.Embedding → nn.LSTM → nn.Linear."""

from torch import nn

from sentiment.model.gates import unroll_lstm
from sentiment.model.recurrent import RecurrentNetwork


class LSTMClassifier(RecurrentNetwork):
    """A recurrent network of `nn.LSTM` layers (Hochreiter & Schmidhuber 1997), whose forget bias starts at 1.

    The arguments are those of `RecurrentNetwork`; the bias is that of Jozefowicz et al. (2015).
    """

    layer_class = nn.LSTM
    unroll = staticmethod(unroll_lstm)

    def reset_layer(self, layer: nn.RNNBase) -> None:
        """Initialize the weights of one layer in one direction."""
        super().reset_layer(layer)
        input_bias = layer.all_weights[0][2]
        nn.init.ones_(input_bias[self.units : 2 * self.units])  # gates: input, forget, cell, output
