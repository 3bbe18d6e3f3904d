"""Adversarial training of embedded texts (Miyato et al. 2017), in two backward passes per step."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def adversarial_perturbation(gradient: Tensor, num_tokens: Tensor, epsilon: float) -> Tensor:
    """Perturbation along the gradient of the loss with RMS norm `epsilon` per token.

    `(B, T, E)` and `(B,)` → `(B, T, E)`.
    """
    direction = F.normalize(gradient.flatten(1)).view_as(gradient)  # of norm 1 per text
    norm = epsilon * num_tokens.sqrt()  # (B,)
    return direction * norm[:, None, None]


class KnownGradients(torch.autograd.Function):
    """Returns a loss whose gradients are known, so that its graph is not traversed a second time."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, gradients: Sequence[Tensor | None], *_: Tensor) -> Tensor:
        ctx.gradients = gradients
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, *gradient_outputs: Tensor) -> Any:
        (scale,) = gradient_outputs
        scaled = (gradient if gradient is None else gradient * scale for gradient in ctx.gradients)
        return None, None, *scaled
