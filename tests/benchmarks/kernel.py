"""The article's LSTM forward and backward beside its floor: as many floating-point operations as one matrix product.

    python -m tests.benchmarks.kernel

Forward it multiplies each word's 128 values and 64 hidden ones by four gates of 64; backward is twice that. The floor
is the time of so many operations at the rate of a large single-precision product, measured in the same turn.
"""

import time
from collections.abc import Callable

import torch
from torch import nn

from tests.benchmarks.turns import tell

BATCH, TOKENS, EMBEDDING, UNITS = 32, 80, 128, 64
STEP = 3 * 2 * BATCH * TOKENS * 4 * UNITS * (EMBEDDING + UNITS)  # operations
SIZE = 2048  # of the matrices
TURNS, REPEATS = 15, 30


def seconds_each(work: Callable[[], object]) -> float:
    """Mean of some repeats."""
    start = time.perf_counter()
    for _ in range(REPEATS):
        work()
    return (time.perf_counter() - start) / REPEATS


def main() -> None:
    """Prints both and their ratio."""
    lstm = nn.LSTM(EMBEDDING, UNITS, batch_first=True)
    x = torch.randn(BATCH, TOKENS, EMBEDDING).mul(0.05).requires_grad_()
    a, b = torch.randn(2, SIZE, SIZE)

    def step() -> None:
        torch.autograd.backward(lstm(x)[0][:, -1].sum())

    def floor() -> float:
        return seconds_each(lambda: a @ b) * STEP / (2 * SIZE**3)

    floors, steps = zip(*((floor(), seconds_each(step)) for _ in range(TURNS + 1)), strict=True)
    tell("matrix product of as many operations", floors[1:], floors[1:])  # the first turn warms up
    tell("LSTM, forward and backward", steps[1:], floors[1:])


if __name__ == "__main__":
    main()
