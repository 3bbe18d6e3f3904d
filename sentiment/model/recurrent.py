"""RecurrentNetwork: embedding, recurrent layers in one or both directions, pooling over time, linear layer.

Legend of shapes: `B` batch, `T` tokens, `E` embedding including that of n-grams, `H` units, `D` directions, `C`
outputs, `N` chunks of a text, `S` tokens of a chunk.
"""

from collections.abc import Callable
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from sentiment.model.gates import Gates
from sentiment.model.network import Network
from sentiment.model.ngram_embedding import NgramEmbedding
from sentiment.model.pooling import POOLS, pool
from sentiment.runtime.errors import check_at_least, check_choice, check_dropout


class RecurrentNetwork(Network):
    """Embedding, recurrent layers, pooling over time and a linear layer; subclasses say which kind the layers are.

    Every layer and direction is a separate single-layer `nn.LSTM` or `nn.GRU`. With masked padding, the backward layer
    reads the tokens of each row in reverse, without its padding, so that rows of different lengths still use the fused
    kernel. Weights are initialized as in Keras: embedding uniform in ±0.05, Glorot input weights (Glorot & Bengio
    2010), orthogonal recurrent weights (Saxe et al. 2014), zero biases.

    Args:
        max_features: size of the vocabulary.
        num_outputs: `C`; 1 for two classes (the logit of a sigmoid), else one per class (softmax).
        embedding_dim: size of the word embedding.
        max_ngram: maximum order of n-grams. The embeddings of the pairs, triples, … that end at a word are concatenated
            to the embedding of the word, see `NgramEmbedding`; 1 disables them.
        num_ngrams: number of n-grams that have an embedding, of all orders.
        ngram_dim: size of each n-gram embedding.
        units: `H`, per direction.
        num_layers: number of recurrent layers.
        bidirectional: add layers that read in the opposite direction.
        dropout: dropout of the inputs of each layer, the first included, with one mask for all time steps, as in
            Keras.
        recurrent_dropout: dropout of the hidden state between time steps, with one mask for all of them (Gal &
            Ghahramani 2016) and, unlike in Keras, for all rows of the batch.
        word_dropout: fraction of the tokens whose embedding is set to zero (Iyyer et al. 2015).
        output_dropout: dropout of the inputs of the linear layer (Srivastava et al. 2014).
        freeze_embedding: leave the embeddings of words and n-grams as they are initialized, as float16; trained ones
            memorize the texts from the second epoch on.
        pooling: how the last layer's outputs are reduced over time: the `last` state, the `max` or `mean`, or both
            concatenated, `max_mean`.
        chunk_length: tokens after which the state is reset to zero; pooling covers all chunks of a text
            (Johnson & Zhang 2016). None reads a text in one piece.
        masked: as in `Network`.

    Raises:
        ArgumentError: an argument is out of range.
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
        check_choice(tuple(POOLS), pooling=pooling)
        check_choice((False, True), bidirectional=bidirectional)
        check_choice((False, True), freeze_embedding=freeze_embedding)
        if chunk_length is not None:
            check_at_least(1, chunk_length=chunk_length)
        check_dropout(
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            word_dropout=word_dropout,
            output_dropout=output_dropout,
        )
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
        self.forward_layers = nn.ModuleList(
            self.layer_class(dim, units, batch_first=True) for dim in input_dims
        )
        self.backward_layers = nn.ModuleList(
            self.layer_class(dim, units, batch_first=True)
            for dim in (input_dims if bidirectional else [])
        )
        self.linear = nn.Linear(hidden_dim * len(POOLS[pooling]), num_outputs)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialize all weights as Keras does."""
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

    @staticmethod
    def unroll(layer: nn.Module, x: Tensor) -> Gates:
        """The gates of one layer in one direction while it reads `(B, T, E)`, without dropout."""
        raise NotImplementedError

    def embed(self, ids: Tensor) -> Tensor:
        """Embed word ids, and the n-grams that end at each of them: int64 `(B, T)` → `(B, T, E)`."""
        dtype = self.linear.weight.dtype  # that of a frozen embedding may be another one
        x: Tensor = self.embedding(ids).to(dtype)
        if self.ngram_embedding is not None:
            x = torch.cat([x, self.ngram_embedding(ids).to(dtype)], 2)
        return x

    def forward_embedded(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """Classify embedded tokens, as in `Network`."""
        if self.training and self.word_dropout:
            x = x * F.dropout(x.new_ones(*x.shape[:2], 1), self.word_dropout)  # (B, T, E)
        chunks, chunk_lengths = self._split_into_chunks(x, lengths)  # (B·N, S, E), (B·N,)
        outputs = self._encode(chunks, chunk_lengths, self._run_layer)  # (B·N, S, D·H)
        outputs = self._merge_chunks(outputs, x)  # (B, T, D·H)
        pooled = pool(
            outputs, lengths, self.pooling, self.units
        )  # (B, D·H), twice that for max_mean
        pooled = F.dropout(pooled, self.output_dropout, self.training)
        logits: Tensor = self.linear(pooled)  # (B, C)
        return logits

    def gates(self, ids: Tensor) -> list[tuple[Gates, ...]]:
        """Gates and states, which the fused kernel does not return; without dropout.

        Args:
            ids: as in `forward`.

        Returns:
            For each layer the gates of the forward layer, and those of the backward one if there is one.
        """
        unrolled: list[Gates] = []

        def run_layer(layer: nn.Module, x: Tensor) -> Tensor:
            unrolled.append(self.unroll(layer, x))
            return unrolled[-1].hidden

        x = self.embed(ids)
        chunks, lengths = self._split_into_chunks(x, self.lengths(ids))
        self._encode(chunks, lengths, run_layer)
        if self.backward_layers:
            reverse = _reverse_within_length(lengths, chunks.shape[1])
            unrolled[1::2] = [gates.map(reverse) for gates in unrolled[1::2]]
        merged = [gates.map(partial(self._merge_chunks, x=x)) for gates in unrolled]
        return [
            tuple(merged[i : i + self.num_directions])
            for i in range(0, len(merged), self.num_directions)
        ]

    def _split_into_chunks(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """`(B, T, E)` and `(B,)` → `(B·N, S, E)` and `(B·N,)`."""
        if self.chunk_length is None:
            return x, lengths
        length = x.shape[1]
        chunks = F.pad(x, (0, 0, 0, -length % self.chunk_length)).reshape(
            -1, self.chunk_length, x.shape[2]
        )
        starts = torch.arange(0, length, self.chunk_length, device=x.device)
        ends = (
            torch.full_like(x[:, 0, 0], length, dtype=torch.int64) if lengths is None else lengths
        )
        return chunks, (ends[:, None] - starts).clamp(0, self.chunk_length).flatten()

    @staticmethod
    def _merge_chunks(outputs: Tensor, x: Tensor) -> Tensor:
        """Outputs for the chunks of `x`, `(B·N, S, D·H)` → `(B, T, D·H)`."""
        return outputs.reshape(x.shape[0], -1, outputs.shape[2])[:, : x.shape[1]]

    def _encode(
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
        output: Tensor
        if self.training:
            x = x * F.dropout(x.new_ones(len(x), 1, x.shape[2]), self.dropout)
            # Dropping a hidden unit at every step means zeroing its column of weight_hh.
            hidden_weight = layer.all_weights[0][1]
            mask = F.dropout(hidden_weight.new_ones(self.units), self.recurrent_dropout)
            output, _ = functional_call(layer, {"weight_hh_l0": hidden_weight * mask}, (x,))
        else:
            output, _ = layer(x)
        return output


def _reverse_within_length(lengths: Tensor | None, width: int) -> Callable[[Tensor], Tensor]:
    """A function that reverses each row of a `(B, T, E)` tensor within its own length."""
    if lengths is None:
        return lambda x: x.flip(1)
    step = torch.arange(width, device=lengths.device)
    order = torch.where(step < lengths[:, None], lengths[:, None] - 1 - step, step)[
        ..., None
    ]  # (B, T, 1)
    return lambda x: x.gather(1, order.expand(-1, -1, x.shape[2]))
