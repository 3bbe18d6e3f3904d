"""A convolutional network (Kim 2014): a network of one's own.

Legend of shapes: `B` batch, `T` tokens, `E` embedding, `F` filters of each width, `W` width, `C` outputs.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sentiment.model.network import Network


class CNN(Network):
    """Filters of several widths over the embedded words, the maximum of each over time, and a linear layer.

    Args:
        max_features: size of the vocabulary.
        num_outputs: `C`.
        masked: padding is masked, see `Network`.
        embedding_dim: size of the word embedding.
        filters: of each width.
        widths: of the filters, in tokens.
        dropout: of the inputs of the linear layer.
    """

    def __init__(
        self,
        max_features: int,
        num_outputs: int,
        masked: bool,
        embedding_dim: int = 128,
        filters: int = 100,
        widths: Sequence[int] = (3, 4, 5),
        dropout: float = 0.5,
    ) -> None:
        super().__init__(masked)
        self.embedding = nn.Embedding(max_features, embedding_dim)
        nn.init.uniform_(self.embedding.weight, -0.25, 0.25)
        # With zeros on both sides, a text may be shorter than the widest filter.
        self.convolutions = nn.ModuleList(
            nn.Conv1d(embedding_dim, filters, width, padding=width - 1) for width in widths
        )
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(filters * len(widths), num_outputs)

    def forward_embedded(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """Classify embedded tokens, `(B, T, E)` → `(B, C)`."""
        x = zero_after(lengths, x.transpose(1, 2))  # (B, E, T)
        maxima = []
        for convolution in self.convolutions:
            features = convolution(x).relu()  # (B, F, T + W - 1)
            num_windows = (
                None if lengths is None else lengths + features.shape[2] - x.shape[2]
            )  # with a token in them
            maxima.append(zero_after(num_windows, features).amax(2))  # (B, F)
        logits: Tensor = self.linear(self.dropout(torch.cat(maxima, 1)))
        return logits


def zero_after(lengths: Tensor | None, x: Tensor) -> Tensor:
    """Set what is beyond the length of each row to zero: `(B, E, T)` by `(B,)`."""
    if lengths is None:
        return x
    return x * (torch.arange(x.shape[2], device=x.device) < lengths[:, None])[:, None]
