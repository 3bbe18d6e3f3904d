"""The article's LSTM, forward and backward, compared with its floating-point operations at the machine's best rate.

    python -m tests.benchmarks.kernel

Forward multiplies 128 values of each word and 64 hidden ones by four gates of 64 units; backward takes twice as many
operations. The reference is the time for them at the best rate of a float32 matrix product, in the same turn: of the
shapes that the LSTM multiplies, and of large square matrices.
"""

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from tests.benchmarks.timing import print_times

BATCH_SIZE, TOKENS, EMBEDDING_DIM, UNITS = 32, 80, 128, 64
OPERATIONS = 3 * 2 * BATCH_SIZE * TOKENS * 4 * UNITS * (EMBEDDING_DIM + UNITS)
WORDS, GATES = BATCH_SIZE * TOKENS, 4 * UNITS
PRODUCTS = (  # rows and columns of the result, length of the sums
    (WORDS, GATES, EMBEDDING_DIM),  # gates of the words
    (WORDS, EMBEDDING_DIM, GATES),  # gradients of the words
    (GATES, EMBEDDING_DIM, WORDS),  # gradients of the weights
    (BATCH_SIZE, GATES, UNITS),  # gates of the hidden values of a step
    (2048, 2048, 2048),
)
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
    matrices = [
        (torch.randn(rows, length), torch.randn(length, columns))
        for rows, columns, length in PRODUCTS
    ]

    def step() -> None:
        torch.autograd.backward(lstm(x)[0][:, -1].sum())

    def time_products() -> float:
        """Seconds at the best rate."""
        rates = [
            2 * a.numel() * b.shape[1] / time_mean(partial(torch.mm, a, b)) for a, b in matrices
        ]
        return OPERATIONS / max(rates)

    products, steps = zip(
        *((time_products(), time_mean(step)) for _ in range(TURNS + 1)), strict=True
    )
    print_times(
        "matrix products of as many operations", products[1:], products[1:]
    )  # the first turn warms up
    print_times("LSTM, forward and backward", steps[1:], products[1:])


if __name__ == "__main__":
    main()
