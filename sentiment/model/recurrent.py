"""The networks of recurrent layers: embedding, layers in one or both directions, pooling over time, linear layer.

Shapes: `E` embedding including that of n-grams, `D` directions, `N` chunks of a text, `S` tokens of a chunk.
"""

from collections.abc import Callable
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from sentiment.model.gates import Gates, unroll
from sentiment.model.network import Network
from sentiment.model.ngram_embedding import NgramEmbedding
from sentiment.runtime.errors import check_at_least, check_choice, check_dropout


class RecurrentNetwork(Network):
    """Embedding, recurrent layers, pooling over time and a linear layer; the settings are those of `conf/model/`.

    Every layer and direction is a separate single-layer `nn.LSTM` or `nn.GRU`. With masked padding, the backward layer
    reads the tokens of each row in reverse, without its padding, so that rows of different lengths still use the fused
    kernel. Weights are initialized as in Keras: embedding uniform in ±0.05, Glorot input weights (Glorot & Bengio
    2010), orthogonal recurrent weights (Saxe et al. 2014), zero biases.

    Dropout has one mask for all time steps, as in Keras; that of the hidden state (Gal & Ghahramani 2016) has, unlike
    in Keras, one for all rows of the batch. Word dropout sets embeddings to zero (Iyyer et al. 2015). Frozen embeddings
    are float16; trained ones memorize the texts from the second epoch on. The state starts at zero in each chunk of
    `chunk_length` tokens (Johnson & Zhang 2016).
    """

    layer_class: ClassVar[type[nn.LSTM | nn.GRU]]

    def __init__(
        self,
        max_features: int,
        num_outputs: int,
        embedding_dim: int = 128,
        max_ngram: int = 1,
        num_ngrams: int = 0,
        ngram_dim: int = 32,
        units: int = 64,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.2,
        recurrent_dropout: float = 0.2,
        word_dropout: float = 0.0,
        output_dropout: float = 0.0,
        freeze_embedding: bool = False,
        pooling: str = "last",
        chunk_length: int | None = None,
        masked: bool = False,
    ) -> None:
        super().__init__(masked)
        check_at_least(1, embedding_dim=embedding_dim, units=units, num_layers=num_layers)
        check_at_least(1, max_ngram=max_ngram, ngram_dim=ngram_dim)
        check_at_least(0, num_ngrams=num_ngrams)
        check_at_least(1, chunk_length=1 if chunk_length is None else chunk_length)
        check_choice(tuple(POOLS), pooling=pooling)
        check_choice((False, True), bidirectional=bidirectional, freeze_embedding=freeze_embedding)
        check_dropout(dropout=dropout, recurrent_dropout=recurrent_dropout)
        check_dropout(word_dropout=word_dropout, output_dropout=output_dropout)
        self.dropout = dropout
        self.recurrent_dropout = recurrent_dropout
        self.word_dropout = word_dropout
        self.output_dropout = output_dropout
        self.pooling = pooling
        self.chunk_length = chunk_length
        self.units = units
        self.num_directions = 2 if bidirectional else 1
        self.embedding = nn.Embedding(max_features, embedding_dim)
        self.ngram_embedding = (
            NgramEmbedding(max_ngram, num_ngrams, ngram_dim) if max_ngram > 1 else None
        )
        for embedding in (self.embedding, self.ngram_embedding):
            if embedding is not None and freeze_embedding:
                embedding.requires_grad_(False).half()
        hidden_dim = units * self.num_directions
        input_dims = [embedding_dim + (max_ngram - 1) * ngram_dim] + [hidden_dim] * (num_layers - 1)
        self.forward_layers = self._make_layers(input_dims)
        self.backward_layers = self._make_layers(input_dims if bidirectional else [])
        self.linear = nn.Linear(hidden_dim * len(POOLS[pooling]), num_outputs)
        self.reset_parameters()

    def _make_layers(self, input_dims: list[int]) -> nn.ModuleList:
        return nn.ModuleList(
            self.layer_class(dim, self.units, batch_first=True) for dim in input_dims
        )

    def reset_parameters(self) -> None:
        nn.init.uniform_(self.embedding.weight, -0.05, 0.05)
        if self.ngram_embedding is not None:
            self.ngram_embedding.reset_parameters()
        for layer in [*self.forward_layers, *self.backward_layers]:
            assert isinstance(layer, nn.RNNBase)
            self.reset_layer(layer)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def reset_layer(self, layer: nn.RNNBase) -> None:
        """Initialize the weights of one layer in one direction."""
        input_weight, hidden_weight, input_bias, hidden_bias = layer.all_weights[0]
        nn.init.xavier_uniform_(input_weight)
        nn.init.orthogonal_(hidden_weight)
        nn.init.zeros_(input_bias)
        nn.init.zeros_(hidden_bias)

    def embed(self, ids: Tensor) -> Tensor:
        dtype = self.linear.weight.dtype  # that of a frozen embedding may be another one
        x: Tensor = self.embedding(ids).to(dtype)
        if self.ngram_embedding is not None:
            x = torch.cat([x, self.ngram_embedding(ids).to(dtype)], 2)
        return x

    def forward_embedded(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        if self.training and self.word_dropout:
            x = x * F.dropout(x.new_ones(*x.shape[:2], 1), self.word_dropout)  # (B, T, E)
        if torch.is_autocast_enabled(x.device.type):  # else each direction casts its own copy
            x = x.to(torch.get_autocast_dtype(x.device.type))
        chunks, chunk_lengths = self._split_into_chunks(x, lengths)  # (B·N, S, E), (B·N,)
        outputs = self._run_layers(chunks, chunk_lengths, self._run_layer)  # (B·N, S, D·H)
        outputs = self._merge_chunks(outputs, x)  # (B, T, D·H)
        pools = [pool(outputs, lengths, self.units) for pool in POOLS[self.pooling]]
        pooled = torch.cat(pools, 1)  # (B, D·H), twice that for max_mean
        pooled = F.dropout(pooled, self.output_dropout, self.training)
        logits: Tensor = self.linear(pooled)  # (B, C)
        return logits

    def gates(self, ids: Tensor) -> list[tuple[Gates, ...]]:
        """Gates of each layer, forward and perhaps backward, which the fused kernel does not return; no dropout."""
        unrolled: list[Gates] = []

        def run_layer(layer: nn.Module, x: Tensor) -> Tensor:
            unrolled.append(unroll(layer, x))
            return unrolled[-1].hidden

        x = self.embed(ids)
        chunks, lengths = self._split_into_chunks(x, self.lengths(ids))
        self._run_layers(chunks, lengths, run_layer)
        if self.backward_layers:
            reverse = _reverse_within_length(lengths, chunks.shape[1])
            unrolled[1::2] = [gates.map(reverse) for gates in unrolled[1::2]]
        merged = [gates.map(partial(self._merge_chunks, x=x)) for gates in unrolled]
        starts = range(0, len(merged), self.num_directions)
        return [tuple(merged[start : start + self.num_directions]) for start in starts]

    def _split_into_chunks(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """`(B, T, E)` and `(B,)` → `(B·N, S, E)` and `(B·N,)`."""
        size, width = self.chunk_length, x.shape[1]
        if size is None:
            return x, lengths
        chunks = F.pad(x, (0, 0, 0, -width % size)).reshape(-1, size, x.shape[2])
        starts = torch.arange(0, width, size, device=x.device)
        if lengths is None:
            lengths = torch.full_like(x[:, 0, 0], width, dtype=torch.int64)
        return chunks, (lengths[:, None] - starts).clamp(0, size).flatten()

    @staticmethod
    def _merge_chunks(outputs: Tensor, x: Tensor) -> Tensor:
        """Outputs for the chunks of `x`, `(B·N, S, D·H)` → `(B, T, D·H)`."""
        return outputs.reshape(x.shape[0], -1, outputs.shape[2])[:, : x.shape[1]]

    def _run_layers(
        self, x: Tensor, lengths: Tensor | None, run_layer: Callable[[nn.Module, Tensor], Tensor]
    ) -> Tensor:
        """Outputs of the last layer, `(B, T, E)` → `(B, T, D·H)`; `run_layer` runs one layer in one direction."""
        reverse = _reverse_within_length(lengths, x.shape[1])
        for depth, layer in enumerate(self.forward_layers):
            output = run_layer(layer, x)  # (B, T, H)
            if self.backward_layers:
                backward = reverse(run_layer(self.backward_layers[depth], reverse(x)))  # (B, T, H)
                output = torch.cat([output, backward], 2)  # (B, T, 2·H)
            x = output
        return x

    def _run_layer(self, layer: nn.Module, x: Tensor) -> Tensor:
        """Run one layer in one direction, with both dropouts, on the fused kernel: `(B, T, E)` → `(B, T, H)`."""
        assert isinstance(layer, nn.RNNBase)
        weights = {}
        if self.training and self.dropout:
            x = x * F.dropout(x.new_ones(len(x), 1, x.shape[2]), self.dropout)
        if self.training and self.recurrent_dropout:
            # Dropping a hidden unit at every step means zeroing its column of weight_hh.
            hidden_weight = layer.all_weights[0][1]
            mask = F.dropout(hidden_weight.new_ones(self.units), self.recurrent_dropout)
            weights["weight_hh_l0"] = hidden_weight * mask
        output: Tensor
        output, _ = functional_call(layer, weights, (x,)) if weights else layer(x)
        return output


class LSTMClassifier(RecurrentNetwork):
    """Hochreiter & Schmidhuber (1997); the forget bias starts at 1 (Jozefowicz et al. 2015)."""

    layer_class = nn.LSTM

    def reset_layer(self, layer: nn.RNNBase) -> None:
        super().reset_layer(layer)
        input_bias = layer.all_weights[0][2]
        nn.init.ones_(input_bias[self.units : 2 * self.units])  # gates: input, forget, cell, output


class GRUClassifier(RecurrentNetwork):
    """Cho et al. (2014)."""

    layer_class = nn.GRU


def _reverse_within_length(lengths: Tensor | None, width: int) -> Callable[[Tensor], Tensor]:
    """A function that reverses each row of a `(B, T, E)` tensor within its own length."""
    if lengths is None:
        return lambda x: x.flip(1)
    step = torch.arange(width, device=lengths.device)
    order = torch.where(step < lengths[:, None], lengths[:, None] - 1 - step, step)  # (B, T)
    rows = torch.arange(lengths.shape[0], device=lengths.device)[:, None] * width + order
    return lambda x: x.flatten(0, 1).index_select(0, rows.flatten()).view_as(x)


# Pooling: outputs of the forward layer, then of the backward one, `(B, T, D·H)`, lengths `(B,)` and `H` → `(B, D·H)`.


def _last(x: Tensor, lengths: Tensor | None, units: int) -> Tensor:
    forward = x[:, :, :units]  # (B, T, H)
    backward = x[:, 0, units:]  # (B, H), as the backward layer ends at the first token
    if lengths is None:
        return torch.cat([forward[:, -1], backward], 1)
    last = (lengths - 1)[:, None, None].expand(-1, -1, units)  # (B, 1, H)
    return torch.cat([forward.gather(1, last)[:, 0], backward], 1)


def _max(x: Tensor, lengths: Tensor | None, units: int) -> Tensor:
    return (x if lengths is None else x.masked_fill(~_token_mask(x, lengths), -torch.inf)).amax(1)


def _mean(x: Tensor, lengths: Tensor | None, units: int) -> Tensor:
    if lengths is None:
        return x.mean(1)
    mask = _token_mask(x, lengths)
    return (x * mask).sum(1) / mask.sum(1)


def _token_mask(x: Tensor, lengths: Tensor) -> Tensor:
    """Which steps are tokens, bool `(B, T, 1)`."""
    return (torch.arange(x.shape[1], device=x.device) < lengths[:, None])[..., None]


POOLS: dict[str, tuple[Callable[[Tensor, Tensor | None, int], Tensor], ...]] = {
    "last": (_last,),
    "max": (_max,),
    "mean": (_mean,),
    "max_mean": (_max, _mean),
}
