import numpy as np
import pytest
from scipy.stats import norm, ttest_rel

from sentiment.analysis.report.statistics import (
    adjust_p_values,
    compare_accuracies,
    format_p_value,
)


def test_single_runs_have_the_exact_mcnemar_test_and_an_interval_that_is_never_empty() -> None:
    first, second = np.zeros((2, 1, 100), bool)
    first[0, :12], second[0, 10:12] = True, True  # ten disagreements, all in favour of the first
    difference = compare_accuracies(first, second)
    assert difference.value == pytest.approx(0.1)
    assert difference.p_value == pytest.approx(2 / 2**10)
    # Agresti & Min (2005): 10.5 and 0.5 disagreements of 102
    assert (difference.low, difference.high) == pytest.approx((0.0372, 0.1589), abs=1e-4)
    same = compare_accuracies(first, first)
    assert (same.value, same.p_value) == (0, 1)
    assert same.low == -same.high < 0


def test_several_seeds_have_a_t_test_over_seeds_and_reviews() -> None:
    rows = np.arange(4000)
    second = np.stack([rows % 4 > 0] * 3)
    first = np.stack([(rows % 4 > 0) | (rows < changed) for changed in (400, 800, 1200)])
    by_seed = first.mean(1) - second.mean(1)
    paired = ttest_rel(first.mean(1), second.mean(1))
    difference = compare_accuracies(first, second)
    assert difference.value == pytest.approx(by_seed.mean())
    assert difference.p_value == pytest.approx(
        paired.pvalue, rel=0.02
    )  # there is little variance between reviews
    interval = paired.confidence_interval()
    assert (difference.low, difference.high) == pytest.approx(
        (interval.low, interval.high), rel=0.02
    )
    assert compare_accuracies(second, second) == (0, 0, 0, 1)
    assert compare_accuracies(second, ~second).p_value < 1e-10

    equal = compare_accuracies(first[[1, 1, 1]], second)  # nothing but variance between reviews
    z = equal.value / (first[1].astype(float) - second[0]).std(ddof=1) * 4000**0.5
    assert equal.p_value == pytest.approx(2 * norm.sf(z), rel=1e-4, abs=0)


@pytest.mark.parametrize("seeds", [2, 3])
def test_settings_of_the_same_quality_seldom_differ_significantly(seeds: int) -> None:
    """Each run draws how good it is, and which reviews it finds easy: a test of single runs is misled."""
    generator = np.random.default_rng(0)
    several, single = [], []
    for _ in range(200):
        review, quality = generator.normal(2, 2, 400), generator.normal(0, 0.3, (2, seeds, 1))
        first, second = review + quality + generator.normal(0, 0.7, (2, seeds, 400)) > 0
        several.append(compare_accuracies(first, second).p_value < 0.05)
        single.append(compare_accuracies(first[:1], second[:1]).p_value < 0.05)
    assert np.mean(several) <= 0.08
    assert np.mean(single) > 0.3


def test_p_values_are_corrected_by_holm() -> None:
    assert adjust_p_values([0.03, 0.01, 0.04]) == pytest.approx([0.06, 0.03, 0.06])
    assert adjust_p_values([0.9, 0.8]) == [1, 1]
    assert adjust_p_values([]) == []


def test_p_values_are_shown_with_a_bound() -> None:
    assert [format_p_value(p) for p in (1.0, 0.0305, 0.001, 0.00099)] == [
        "1.000",
        "0.030",
        "0.001",
        "< 0.001",
    ]
