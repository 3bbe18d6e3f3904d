"""What more labels brought."""

import numpy as np
import pandas as pd
import pytest

from sentiment.analysis.figures.sweep import plot_sweep
from sentiment.analysis.report.comparison import BySeed
from sentiment.analysis.report.learning_curve import KEY, describe_learning_curve
from sentiment.analysis.results import Result
from tests.report_helpers import make_result


def make(rows: object, accuracy: float, **settings: object) -> tuple[Result, BySeed]:
    result = make_result(
        {KEY: rows, **settings}, [accuracy] * 2, baseline__forest__test_accuracy=accuracy - 0.1
    )
    random = np.random.default_rng(0)
    return result, {
        seed: pd.Series(random.permutation(np.arange(1000) < 1000 * accuracy)) for seed in range(2)
    }


def test_gain_is_that_of_a_doubling_between_the_largest_sets() -> None:
    results, correct = zip(*[make(4000, 0.9), make(1000, 0.86), make(250, 0.6)], strict=True)
    line = describe_learning_curve(results, correct)
    assert line is not None
    assert line.startswith(f"{KEY}: from 1,000 to 4,000, twice as many labels brought +2.00 points")
    assert line.endswith("forest +2.00")


def test_gain_is_that_of_the_best_settings() -> None:
    pairs = [make(4000, 0.9, units=8), make(4000, 0.7, units=4), make(1000, 0.8, units=8)]
    results, correct = zip(*pairs, strict=True)
    line = describe_learning_curve(results, correct)
    assert line is not None
    assert "brought +5.00 points" in line


@pytest.mark.parametrize("sizes", [[4000], [4000, None]])
def test_without_two_sizes_nothing_is_said(sizes: list[object]) -> None:
    results, correct = zip(*[make(size, 0.9) for size in sizes], strict=True)
    assert describe_learning_curve(results, correct) is None


def test_axis_is_logarithmic() -> None:
    results = [make(4000, 0.9)[0], make(1000, 0.86)[0], make(250, 0.6)[0]]
    (axis,) = plot_sweep(results, "val/accuracy", [None] * 3).axes
    assert axis.get_xlabel() == "train_rows"
    assert axis.get_xticks().tolist() == [0, 2, 4]
