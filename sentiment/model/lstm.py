"""LSTMClassifier: nn.Embedding → nn.LSTM → nn.Linear.

Legend of shapes: `B` batch, `T` tokens, `E` embedding, `H` units, `D` directions, `C` outputs.
"""

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from sentiment.data.text import PADDING
from sentiment.errors import InputError, require_at_least, require_choice


class LSTMClassifier(nn.Module):
    """Reads word ids, gives logits.

    Every layer and direction is an `nn.LSTM` of its own. Where padding is masked, the backward direction reads each row
    reversed within its own length, so it never meets padding, and rows of unlike lengths still run through the fused
    kernel. Weights start as Keras starts them: embedding uniform in ±0.05, Glorot input weights (Glorot & Bengio 2010),
    orthogonal recurrent weights (Saxe et al. 2014), forget bias 1 (Jozefowicz et al. 2015).

    Args:
        max_features: rows of the embedding.
        outputs: `C`; 1 for two classes (a sigmoid's logit), else one per class (softmax).
        embedding_dim: `E`.
        units: `H`, per direction.
        num_layers: LSTM layers, each fed with the outputs of the one below.
        bidirectional: also read every text backwards.
        dropout: share of a layer's inputs that is zeroed, the same ones at every step, as in Keras.
        recurrent_dropout: share of the hidden state that is zeroed on its way to the next step, the same units at every
            step (Gal & Ghahramani 2016) and, unlike in Keras, in every row of the batch.
        pooling: what of the last layer's outputs is classified: the `last` state, or the `max` or `mean` over time.
        masked: padding stands behind the words and is not read; otherwise it is read like any word.

    Raises:
        InputError: a setting is out of range.
    """

    def __init__(
        self,
        max_features: int,
        outputs: int,
        embedding_dim: int = 128,
        units: int = 64,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.2,
        recurrent_dropout: float = 0.2,
        pooling: str = "last",
        masked: bool = False,
    ) -> None:
        super().__init__()
        require_at_least(1, model__embedding_dim=embedding_dim, model__units=units, model__num_layers=num_layers)
        require_choice(("last", "max", "mean"), model__pooling=pooling)
        for name, value in (("dropout", dropout), ("recurrent_dropout", recurrent_dropout)):
            if not isinstance(value, int | float) or not 0 <= value < 1:
                raise InputError(f"model.{name}={value}: must be at least 0 and below 1")
        self.dropout = dropout
        self.recurrent_dropout = recurrent_dropout
        self.pooling = pooling
        self.masked = masked
        self.embedding = nn.Embedding(max_features, embedding_dim)
        directions = 2 if bidirectional else 1
        sizes = [embedding_dim] + [units * directions] * (num_layers - 1)
        self.layers = nn.ModuleList(
            nn.ModuleList(nn.LSTM(size, units, batch_first=True) for _ in range(directions)) for size in sizes
        )
        self.linear = nn.Linear(units * directions, outputs)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws all weights anew, as Keras does."""
        nn.init.uniform_(self.embedding.weight, -0.05, 0.05)
        for lstm in (lstm for layer in self.layers for lstm in layer):
            nn.init.xavier_uniform_(lstm.weight_ih_l0)
            nn.init.orthogonal_(lstm.weight_hh_l0)
            nn.init.zeros_(lstm.bias_hh_l0)
            nn.init.zeros_(lstm.bias_ih_l0)
            nn.init.ones_(lstm.bias_ih_l0[lstm.hidden_size : 2 * lstm.hidden_size])  # gates: input, forget, cell, output
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, ids: Tensor) -> Tensor:
        """Classifies a batch.

        Args:
            ids: int64 `(B, T)`; with `masked`, words first and padding behind.

        Returns:
            Logits, float `(B, C)`.
        """
        lengths = (ids != PADDING).sum(1).clamp(min=1) if self.masked else ids.new_full(ids.shape[:1], ids.shape[1])
        step = torch.arange(ids.shape[1], device=ids.device)
        reverse = torch.where(step < lengths[:, None], lengths[:, None] - 1 - step, step)[..., None]  # (B, T, 1)
        x = self.embedding(ids)  # (B, T, E)
        for layer in self.layers:
            outputs = [self._read(layer[0], x)]  # (B, T, H)
            if len(layer) == 2:
                outputs.append(_gather(self._read(layer[1], _gather(x, reverse)), reverse))
            x = torch.cat(outputs, 2) if len(outputs) == 2 else outputs[0]  # (B, T, D·H)
        logits: Tensor = self.linear(self._pool(x, lengths))
        return logits

    def _read(self, lstm: nn.LSTM, x: Tensor) -> Tensor:
        """Runs one layer in one direction, with both dropouts on the fused kernel: `(B, T, E)` → `(B, T, H)`."""
        output: Tensor
        if not self.training:
            output, _ = lstm(x)
            return output
        x = x * F.dropout(x.new_ones(len(x), 1, x.shape[2]), self.dropout)
        # A hidden unit that is dropped at every step is a column of weight_hh that is zero.
        kept = F.dropout(lstm.weight_hh_l0.new_ones(lstm.hidden_size), self.recurrent_dropout)
        output, _ = functional_call(lstm, {"weight_hh_l0": lstm.weight_hh_l0 * kept}, (x,))
        return output

    def _pool(self, x: Tensor, lengths: Tensor) -> Tensor:
        """`(B, T, D·H)` → `(B, D·H)`, padding left out where it is masked."""
        if self.pooling == "last":
            units = self.layers[-1][0].hidden_size
            ends = x[torch.arange(len(x), device=x.device), lengths - 1, :units]
            return torch.cat([ends, x[:, 0, units:]], 1)  # backwards, the first word is read last
        inside = (torch.arange(x.shape[1], device=x.device) < lengths[:, None])[..., None]  # (B, T, 1)
        if self.pooling == "max":
            return x.masked_fill(~inside, -torch.inf).amax(1)
        return (x * inside).sum(1) / lengths[:, None]


def _gather(x: Tensor, order: Tensor) -> Tensor:
    """Takes each row's steps in its own order: `(B, T, E)` by `(B, T, 1)`."""
    return x.gather(1, order.expand(-1, -1, x.shape[2]))
