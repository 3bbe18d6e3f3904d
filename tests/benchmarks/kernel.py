"""The article's LSTM, forward and backward, compared with a matrix product of as many floating-point operations.

    python -m tests.benchmarks.kernel

Forward multiplies 128 values of each word and 64 hidden ones by four gates of 64 units; backward takes twice as many
operations. The reference is the time for them at the rate of a large float32 product, measured in the same turn.
"""

import time
from collections.abc import Callable

import torch
from torch import nn

from tests.benchmarks.timing import print_times

BATCH_SIZE, TOKENS, EMBEDDING_DIM, UNITS = 32, 80, 128, 64
OPERATIONS = 3 * 2 * BATCH_SIZE * TOKENS * 4 * UNITS * (EMBEDDING_DIM + UNITS)
SIZE = 2048  # of the matrices
TURNS, REPEATS = 15, 30


def time_mean(work: Callable[[], object]) -> float:
    """Mean seconds of some repeats."""
    start = time.perf_counter()
    for _ in range(REPEATS):
        work()
    return (time.perf_counter() - start) / REPEATS


def main() -> None:
    """Print both times and their ratio."""
    lstm = nn.LSTM(EMBEDDING_DIM, UNITS, batch_first=True)
    x = torch.randn(BATCH_SIZE, TOKENS, EMBEDDING_DIM).mul(0.05).requires_grad_()
    a, b = torch.randn(2, SIZE, SIZE)

    def step() -> None:
        torch.autograd.backward(lstm(x)[0][:, -1].sum())

    def time_product() -> float:
        return time_mean(lambda: a @ b) * OPERATIONS / (2 * SIZE**3)

    products, steps = zip(*((time_product(), time_mean(step)) for _ in range(TURNS + 1)), strict=True)
    print_times("matrix product of as many operations", products[1:], products[1:])  # the first turn warms up
    print_times("LSTM, forward and backward", steps[1:], products[1:])


if __name__ == "__main__":
    main()
