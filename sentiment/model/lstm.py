"""LSTMClassifier: nn.Embedding → nn.LSTM → nn.Linear; and its gates, word by word.

Legend of shapes: `B` batch, `T` tokens, `E` embedding with those of n-grams, `H` units, `D` directions, `C` outputs;
where texts are read in chunks, `N` of them and `S` steps in each.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from sentiment.data.batching import EVALUATED_WORDS
from sentiment.data.text import PADDING
from sentiment.errors import InputError, require_at_least, require_choice
from sentiment.model.gates import Gates, read_by_hand


class LSTMClassifier(nn.Module):
    """Reads word ids, gives logits.

    Every layer and direction is an `nn.LSTM` of its own. Where padding is masked, the backward direction reads each row
    reversed within its own length, so it never meets padding, and rows of unlike lengths still run through the fused
    kernel. Weights start as Keras starts them: embedding uniform in ±0.05, Glorot input weights (Glorot & Bengio 2010),
    orthogonal recurrent weights (Saxe et al. 2014), forget bias 1 (Jozefowicz et al. 2015).

    Args:
        max_features: rows of the embedding.
        outputs: `C`; 1 for two classes (a sigmoid's logit), else one per class (softmax).
        embedding_dim: values of each word.
        ngrams: longest run of words, up to each word, that is embedded beside it: pairs, triples, … share a second
            embedding, whose rows are hashes of the words (Joulin et al. 2017); 1 for none.
        ngram_rows: of that embedding.
        ngram_dim: values of each run.
        units: `H`, per direction.
        num_layers: LSTM layers, each fed with the outputs of the one below.
        bidirectional: also read every text backwards.
        dropout: share of a layer's inputs that is zeroed, the same ones at every step, as in Keras.
        recurrent_dropout: share of the hidden state that is zeroed on its way to the next step, the same units at every
            step (Gal & Ghahramani 2016) and, unlike in Keras, in every row of the batch.
        word_dropout: share of the words whose embedding is zeroed (Iyyer et al. 2015).
        output_dropout: share of the inputs of the linear layer that is zeroed (Srivastava et al. 2014).
        pooling: what of the last layer's outputs is classified: the `last` state, the `max` or `mean` over time, or
            both of them side by side, `max_mean`.
        chunk: steps after which the LSTM starts anew from an empty state, while the pooling goes over the whole text
            (Johnson & Zhang 2016); None reads a text in one go.
        masked: padding stands behind the words and is not read; otherwise it is read like any word.

    Raises:
        InputError: a setting is out of range.
    """

    def __init__(
        self,
        max_features: int,
        outputs: int,
        embedding_dim: int = 128,
        ngrams: int = 1,
        ngram_rows: int = 1_000_000,
        ngram_dim: int = 32,
        units: int = 64,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.2,
        recurrent_dropout: float = 0.2,
        word_dropout: float = 0.0,
        output_dropout: float = 0.0,
        pooling: str = "last",
        chunk: int | None = None,
        masked: bool = False,
    ) -> None:
        super().__init__()
        require_at_least(1, model__embedding_dim=embedding_dim, model__units=units, model__num_layers=num_layers)
        require_at_least(1, model__ngrams=ngrams, model__ngram_rows=ngram_rows, model__ngram_dim=ngram_dim)
        require_choice(("last", *_POOLS), model__pooling=pooling)
        require_choice((False, True), model__bidirectional=bidirectional)
        if chunk is not None:
            require_at_least(1, model__chunk=chunk)
        for name, value in {
            "dropout": dropout,
            "recurrent_dropout": recurrent_dropout,
            "word_dropout": word_dropout,
            "output_dropout": output_dropout,
        }.items():
            if not isinstance(value, int | float) or not 0 <= value < 1:
                raise InputError(f"model.{name}={value}: must be at least 0 and below 1")
        self.dropout = dropout
        self.recurrent_dropout = recurrent_dropout
        self.word_dropout = word_dropout
        self.output_dropout = output_dropout
        self.pooling = pooling
        self.chunk = chunk
        self.masked = masked
        self.embedding = nn.Embedding(max_features, embedding_dim)
        self.ngrams = ngrams
        self.ngram_embedding = nn.Embedding(ngram_rows, ngram_dim) if ngrams > 1 else None
        self.directions = 2 if bidirectional else 1
        outputs_dim = units * self.directions
        sizes = [embedding_dim + (ngrams - 1) * ngram_dim] + [outputs_dim] * (num_layers - 1)
        self.forwards = nn.ModuleList(nn.LSTM(size, units, batch_first=True) for size in sizes)
        self.backwards = nn.ModuleList(
            nn.LSTM(size, units, batch_first=True) for size in (sizes if bidirectional else [])
        )
        self.units = units
        pooled = 1 if pooling == "last" else len(_POOLS[pooling])
        self.linear = nn.Linear(outputs_dim * pooled, outputs)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws all weights anew, as Keras does."""
        nn.init.uniform_(self.embedding.weight, -0.05, 0.05)
        if self.ngram_embedding is not None:
            nn.init.uniform_(self.ngram_embedding.weight, -0.05, 0.05)
        for lstm in [*self.forwards, *self.backwards]:
            assert isinstance(lstm, nn.LSTM)
            input_weight, hidden_weight, input_bias, hidden_bias = lstm.all_weights[0]
            nn.init.xavier_uniform_(input_weight)
            nn.init.orthogonal_(hidden_weight)
            nn.init.zeros_(input_bias)
            nn.init.zeros_(hidden_bias)
            nn.init.ones_(input_bias[self.units : 2 * self.units])  # gates: input, forget, cell, output
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    @classmethod
    def of(cls, text: Mapping[str, Any], model: Mapping[str, Any]) -> "LSTMClassifier":
        """A fresh net for the hyperparameters of a `SentimentModule`, which its checkpoints carry."""
        classes = len(text["label_names"])
        outputs = 1 if classes == 2 else classes
        return cls(len(text["words"]), outputs, masked=text["padding"] == "post", **model)

    def forward(self, ids: Tensor) -> Tensor:
        """Classifies a batch.

        Args:
            ids: int64 `(B, T)`; with `masked`, words first and padding behind.

        Returns:
            Logits, float `(B, C)`.
        """
        return self.logits(self.embed(ids), self.lengths(ids))

    def embed(self, ids: Tensor) -> Tensor:
        """What the first layer reads: int64 `(B, T)` → `(B, T, E)`."""
        x: Tensor = self.embedding(ids)
        if self.ngram_embedding is None:
            return x
        parts, hashed = [x], ids
        prime = 2**31 - 1  # whose square int64 holds
        for before in range(1, self.ngrams):
            hashed = (F.pad(ids, (before, 0))[:, : ids.shape[1]] * 1_000_003 + hashed) % prime
            hashed = hashed * hashed % prime  # squared, since small ids make a lattice
            parts.append(self.ngram_embedding(hashed % self.ngram_embedding.num_embeddings))
        return torch.cat(parts, 2)

    def lengths(self, ids: Tensor) -> Tensor | None:
        """How many steps of each row are read, int64 `(B,)`; None where all are."""
        return (ids != PADDING).sum(1).clamp(min=1) if self.masked else None

    def logits(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """Classifies embedded words.

        Args:
            x: float `(B, T, E)`.
            lengths: how many steps of each row to read, int64 `(B,)`; None for all.

        Returns:
            Logits, float `(B, C)`.
        """
        if self.training and self.word_dropout:
            x = x * F.dropout(x.new_ones(*x.shape[:2], 1), self.word_dropout)
        outputs = self._joined(self._outputs(*self._cut(x, lengths), self._read), x)
        logits: Tensor = self.linear(F.dropout(self._pool(outputs, lengths), self.output_dropout, self.training))
        return logits

    def gates(self, ids: Tensor) -> list[tuple[Gates, ...]]:
        """Steps every cell by hand, where torch's kernel shows outputs only; without dropout.

        Args:
            ids: as in `forward`.

        Returns:
            For each layer the gates of its directions: forwards, and backwards where there is one.
        """
        seen: list[Gates] = []

        def read(lstm: nn.Module, x: Tensor) -> Tensor:
            seen.append(read_by_hand(lstm, x))
            return seen[-1].hidden

        x = self.embed(ids)
        chunks, lengths = self._cut(x, self.lengths(ids))
        self._outputs(chunks, lengths, read)
        if self.backwards:
            turn = _turn(lengths, chunks.shape[1])
            seen[1::2] = [Gates(*map(turn, backwards)) for backwards in seen[1::2]]
        whole = [Gates(*(self._joined(part, x) for part in gates)) for gates in seen]
        return [tuple(whole[i : i + self.directions]) for i in range(0, len(whole), self.directions)]

    def running(self, ids: Tensor) -> Tensor:
        """What the net would say if the text ended at each of its words.

        Args:
            ids: of one text, int64 `(T,)`.

        Returns:
            Logits after each of them, float `(T, C)`.
        """
        x = self.embed(ids[None])
        steps, rows = len(ids), max(1, EVALUATED_WORDS // len(ids))
        parts = [torch.arange(end, min(end + rows, steps + 1), device=x.device) for end in range(1, steps + 1, rows)]
        return torch.cat([self.logits(x[:, : ends[-1]].expand(len(ends), -1, -1), ends) for ends in parts])

    def _cut(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Texts and their lengths as chunks and theirs: `(B, T, E)` and `(B,)` → `(B·N, S, E)` and `(B·N,)`."""
        if self.chunk is None:
            return x, lengths
        steps = x.shape[1]
        chunks = F.pad(x, (0, 0, 0, -steps % self.chunk)).reshape(-1, self.chunk, x.shape[2])
        starts = torch.arange(0, steps, self.chunk, device=x.device)
        ends = torch.full_like(x[:, 0, 0], steps, dtype=torch.int64) if lengths is None else lengths
        return chunks, (ends[:, None] - starts).clamp(0, self.chunk).flatten()

    @staticmethod
    def _joined(outputs: Tensor, x: Tensor) -> Tensor:
        """What was given for the chunks of `x`: `(B·N, S, H)` → `(B, T, H)`."""
        return outputs.reshape(x.shape[0], -1, outputs.shape[2])[:, : x.shape[1]]

    def _outputs(self, x: Tensor, lengths: Tensor | None, read: Callable[[nn.Module, Tensor], Tensor]) -> Tensor:
        """What the last layer gives for each word, by a way to read one layer: `(B, T, E)` → `(B, T, D·H)`."""
        turn = _turn(lengths, x.shape[1]) if self.backwards else None
        for depth, lstm in enumerate(self.forwards):
            output = read(lstm, x)  # (B, T, H)
            if turn:
                backwards = turn(read(self.backwards[depth], turn(x)))
                output = torch.cat([output, backwards], 2)  # (B, T, 2H)
            x = output
        return x

    def _read(self, lstm: nn.Module, x: Tensor) -> Tensor:
        """Runs one layer in one direction, with both dropouts on the fused kernel: `(B, T, E)` → `(B, T, H)`."""
        assert isinstance(lstm, nn.LSTM)
        output: Tensor
        if self.training:
            x = x * F.dropout(x.new_ones(len(x), 1, x.shape[2]), self.dropout)
            # A hidden unit that is dropped at every step is a column of weight_hh that is zero.
            hidden_weight = lstm.all_weights[0][1]
            kept = F.dropout(hidden_weight.new_ones(self.units), self.recurrent_dropout)
            output, _ = functional_call(lstm, {"weight_hh_l0": hidden_weight * kept}, (x,))
        else:
            output, _ = lstm(x)
        return output

    def _pool(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """`(B, T, D·H)` → `(B, D·H)`, or twice that for `max_mean`; padding left out where it is masked."""
        if self.pooling == "last":
            forwards, backwards = x[:, :, : self.units], x[:, 0, self.units :]  # backwards, the first word is read last
            ends = forwards[:, -1] if lengths is None else _gather(forwards, (lengths - 1)[:, None, None])[:, 0]
            return torch.cat([ends, backwards], 1)
        inside = None if lengths is None else (torch.arange(x.shape[1], device=x.device) < lengths[:, None])[..., None]
        return torch.cat([pool(x, inside) for pool in _POOLS[self.pooling]], 1)


def log_probabilities(logits: Tensor) -> Tensor:
    """Of the classes: `(B, C)` → `(B, classes)`; a single logit is the second of two classes'."""
    if logits.shape[1] == 1:
        return F.logsigmoid(torch.cat([-logits, logits], 1))
    return logits.log_softmax(1)


def _max(x: Tensor, inside: Tensor | None) -> Tensor:
    """Over the steps that are `inside`, bool `(B, T, 1)`: `(B, T, H)` → `(B, H)`."""
    return (x if inside is None else x.masked_fill(~inside, -torch.inf)).amax(1)


def _mean(x: Tensor, inside: Tensor | None) -> Tensor:
    """As `_max`."""
    return x.mean(1) if inside is None else (x * inside).sum(1) / inside.sum(1)


_POOLS = {"max": (_max,), "mean": (_mean,), "max_mean": (_max, _mean)}


def _turn(lengths: Tensor | None, width: int) -> Callable[[Tensor], Tensor]:
    """Turns each row of `(B, T, E)` round within its own length."""
    if lengths is None:
        return lambda x: x.flip(1)
    step = torch.arange(width, device=lengths.device)
    order = torch.where(step < lengths[:, None], lengths[:, None] - 1 - step, step)[..., None]  # (B, T, 1)
    return partial(_gather, order=order)


def _gather(x: Tensor, order: Tensor) -> Tensor:
    """Takes each row's steps in its own order: `(B, T, E)` by `(B, T, 1)`."""
    return x.gather(1, order.expand(-1, -1, x.shape[2]))
