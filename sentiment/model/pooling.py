"""Pooling over time: the outputs of the last recurrent layer at all tokens become one vector per text.

Legend of shapes: `B` batch, `T` tokens, `H` units, `D` directions.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def pool(x: Tensor, lengths: Tensor | None, pooling: str, units: int) -> Tensor:
    """Reduce the outputs of a layer over time; masked padding is left out.

    Args:
        x: outputs of the forward layer, then of the backward layer if there is one, float `(B, T, D·H)`.
        lengths: number of tokens of each row, int64 `(B,)`; None if all of them are read.
        pooling: a name in `POOLS`.
        units: `H`.

    Returns:
        Float `(B, D·H)`, times the number of functions in `POOLS[pooling]`.
    """
    return torch.cat([reduce(x, lengths, units) for reduce in POOLS[pooling]], 1)


def _last(x: Tensor, lengths: Tensor | None, units: int) -> Tensor:
    """The last state of each direction."""
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
