"""Networks of one's own that are unlike those of this package, each with one embedding."""

from typing import Any

import torch
from torch import Tensor, nn

from sentiment.model.network import Network


class OneMatrix(Network):
    """A bag of words; the embedding of a word is its logit."""

    def __init__(self, max_features: int, num_outputs: int, masked: bool) -> None:
        super().__init__(masked)
        self.embedding = nn.Embedding(max_features, num_outputs)

    def forward_embedded(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """The mean over the tokens."""
        return x.mean(1)


class SharedLayers(OneMatrix):
    """The same layer four times, under four names; `num_layers` is above the number of weights."""

    def __init__(self, num_layers: int = 12, **sizes: Any) -> None:
        super().__init__(**sizes)
        layer = nn.Linear(sizes["num_outputs"], sizes["num_outputs"])
        self.layers = nn.ModuleList([layer] * num_layers)

    def forward_embedded(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """The mean over the tokens, and the layers."""
        x = x.mean(1)
        for layer in self.layers:
            x = x + layer(x).tanh()
        return x


class Buffers(OneMatrix):
    """A buffer that training changes, a parameter of integers and one that is frozen."""

    def __init__(self, **sizes: Any) -> None:
        super().__init__(**sizes)
        self.norm = nn.BatchNorm1d(sizes["num_outputs"])
        self.shift = nn.Parameter(torch.tensor([1]), requires_grad=False)
        self.scale = nn.Parameter(torch.rand(1), requires_grad=False)

    def forward_embedded(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """The mean over the tokens, scaled."""
        logits: Tensor = self.norm(x.mean(1)) * self.scale + self.shift
        return logits


class Lazy(OneMatrix):
    """A layer whose size is known when it is first used."""

    def __init__(self, **sizes: Any) -> None:
        super().__init__(**sizes)
        self.linear = nn.LazyLinear(sizes["num_outputs"])

    def forward_embedded(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """The mean over the tokens, and the layer."""
        logits: Tensor = self.linear(x.mean(1))
        return logits


class NoWeights(Network):
    """Counts words."""

    def __init__(self, max_features: int, num_outputs: int, masked: bool) -> None:
        super().__init__(masked)

    def forward(self, ids: Tensor) -> Tensor:
        """The number of unknown words."""
        return (ids == 1).sum(1, keepdim=True).float()


class AllFrozen(OneMatrix):
    """An embedding that is not trained."""

    def __init__(self, **sizes: Any) -> None:
        super().__init__(**sizes)
        self.requires_grad_(False)


class PlainTensor(OneMatrix):
    """Random numbers that are no buffer, so that a checkpoint lacks them."""

    def __init__(self, **sizes: Any) -> None:
        super().__init__(**sizes)
        self.scale = torch.rand(1)

    def forward_embedded(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """The mean over the tokens, scaled."""
        return x.mean(1) * self.scale


class RandomInEvaluation(OneMatrix):
    """Dropout that is never switched off."""

    def forward_embedded(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """The mean over some of the numbers."""
        return nn.functional.dropout(x, 0.5).mean(1)


class Doubles(OneMatrix):
    """Weights of float64, which a checkpoint gives back as float32."""

    def __init__(self, **sizes: Any) -> None:
        super().__init__(**sizes)
        self.linear = nn.Linear(sizes["num_outputs"], sizes["num_outputs"]).double()

    def forward_embedded(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """The mean over the tokens, and the layer."""
        logits: Tensor = self.linear(x.mean(1).double())
        return logits
