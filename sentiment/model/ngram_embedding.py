"""NgramEmbedding: vectors of the frequent n-grams that end at each token."""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sentiment.data.encoded.ngrams import hash_ngrams


class NgramEmbedding(nn.Embedding):
    """Embeds pairs, triples, … of word ids (Joulin et al. 2017); n-grams outside the vocabulary are zero vectors."""

    def __init__(self, max_ngram: int, num_ngrams: int, ngram_dim: int) -> None:
        super().__init__(num_ngrams + 1, ngram_dim, padding_idx=0)
        self.max_ngram = max_ngram
        # Of the n-gram of each row, ascending; row 0, of all others, has -1. It is no buffer, since
        # callbacks that average weights average buffers too, and would round it.
        self.hashes = torch.full((num_ngrams + 1,), -1)

    def reset_parameters(self) -> None:
        nn.init.uniform_(self.weight, -0.05, 0.05)
        nn.init.zeros_(self.weight[0])

    def forward(self, ids: Tensor) -> Tensor:
        """Embed the n-grams that end at each id: int64 `(B, T)` → `(B, T, (n - 1)·ngram_dim)`."""
        rows = self.lookup(hash_ngrams(ids, self.max_ngram))  # (B, T, n - 1)
        return F.embedding(rows, self.weight, self.padding_idx).flatten(2)

    def lookup(self, hashes: Tensor) -> Tensor:
        """The row of each hash, 0 of those outside the vocabulary: int64, of any shape."""
        if torch.onnx.is_in_onnx_export():
            rows = self._binary_search(hashes)
        else:
            rows = torch.searchsorted(self.hashes[1:], hashes, right=True)
        return torch.where(self.hashes[rows] == hashes, rows, 0)

    def _binary_search(self, hashes: Tensor) -> Tensor:
        """What `torch.searchsorted`, which cannot be exported, computes in `lookup`, in twice its time."""
        last = self.num_embeddings - 1
        rows = torch.zeros_like(hashes)
        for bit in reversed(range(last.bit_length())):
            higher = (rows + (1 << bit)).clamp(max=last)
            rows = torch.where(self.hashes[higher] <= hashes, higher, rows)
        return rows

    def get_extra_state(self) -> Tensor:
        return self.hashes

    def set_extra_state(self, state: Tensor) -> None:
        shape = self.hashes.shape
        if not isinstance(state, Tensor) or (state.dtype, state.shape) != (torch.int64, shape):
            raise ValueError(f"hashes of n-grams: not int64 {tuple(shape)}")
        self.hashes = state.to(self.weight.device)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the hashes with the weights."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.hashes = fn(self.hashes)
        return self
