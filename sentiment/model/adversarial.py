"""Adversarial training, with labels and virtual (Miyato et al. 2017): the perturbation, and losses of predictions."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sentiment.model.network import log_probabilities


def entropy(logits: Tensor) -> Tensor:
    """Mean entropy, in nats, of the predictions of logits `(B, C)`.

    Its gradient by the embeddings is also the direction of the virtual adversarial perturbation, towards the decision
    boundary. With two classes it is the only direction, up to a factor for each text, in which the prediction changes.
    """
    logp = log_probabilities(logits)  # (B, classes)
    return -(logp.exp() * logp).sum(1).mean()


def divergence(logits: Tensor, original: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence, in nats, of the predictions of logits from the original ones, both `(B, C)`."""
    return F.kl_div(
        log_probabilities(logits),
        log_probabilities(original),
        log_target=True,
        reduction="batchmean",
    )


def adversarial_perturbation(gradient: Tensor, num_tokens: Tensor, epsilon: float) -> Tensor:
    """Along the gradient `(B, T, E)` of the loss, with RMS norm `epsilon` per token (Miyato et al. 2017)."""
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
