"""Schedules of the learning rate, made by any factory of a scheduler of torch."""

import inspect
from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


def takes_total_steps(factory: Callable[..., LRScheduler]) -> bool:
    """Whether a schedule is planned over all steps."""
    try:
        return "total_steps" in inspect.signature(factory).parameters
    except ValueError:  # it has arguments that the scheduler does not take
        return False


def make_scheduler(
    factory: Callable[..., LRScheduler], optimizer: Optimizer, total_steps: int
) -> LRScheduler:
    """The scheduler of an optimizer; the factory gets `total_steps` if it has such an argument."""
    return (
        factory(optimizer, total_steps=total_steps)
        if takes_total_steps(factory)
        else factory(optimizer)
    )
