"""GRUClassifier: nn.Embedding → nn.GRU → nn.Linear."""

from torch import nn

from sentiment.model.gates import unroll_gru
from sentiment.model.recurrent import RecurrentNetwork


class GRUClassifier(RecurrentNetwork):
    """A recurrent network of `nn.GRU` layers (Cho et al. 2014); the arguments are those of `RecurrentNetwork`."""

    layer_class = nn.GRU
    unroll = staticmethod(unroll_gru)
