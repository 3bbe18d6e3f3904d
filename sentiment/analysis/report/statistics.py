"""Tests whether models that were scored on the same rows differ in accuracy."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Correct = npt.NDArray[np.bool_]


def mcnemar_p_value(first: Correct, second: Correct) -> float:
    """Exact two-sided p-value of the rows that only one model classified correctly."""
    from scipy.stats import binomtest

    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    disagreements = only_first + only_second
    return float(binomtest(only_first, disagreements).pvalue) if disagreements else 1.0


class Difference(NamedTuple):
    """Difference in accuracy between two settings on the same rows.

    Attributes:
        value: accuracy of the first minus that of the second.
        low: lower end of its 95 % interval.
        high: upper end of its 95 % interval.
        p_value: two-sided, of no difference.
    """

    value: float
    low: float
    high: float
    p_value: float


def compare_accuracies(first: Correct, second: Correct) -> Difference:
    """Compare two settings, each trained with the same seeds.

    One seed: exact McNemar test, and the interval of Agresti & Min (2005); they say nothing of
    other seeds. Several: a t-test of the mean difference, whose variance is that between seeds plus
    that between reviews, so that the result holds for other seeds and other reviews. Critical
    values are those of a paired t-test over the seeds and of a normal test over the reviews,
    weighted by the two variances (Cochran 1964). The sum errs on the safe side: it counts what is
    due to neither seed nor review twice (Owen 2007).

    Args:
        first: whether each review was classified correctly, `(seeds, N)`.
        second: the same, with the seeds and reviews in the same order.
    """
    from scipy.optimize import brentq
    from scipy.stats import norm, t

    differences = first.astype(float) - second  # (seeds, N)
    seeds, n = differences.shape
    value = float(differences.mean())
    if seeds == 1:
        only_first, only_second = float((first & ~second).sum()), float((second & ~first).sum())
        center = (only_first - only_second) / (n + 2)
        variance = (only_first + only_second + 1) / (n + 2)
        margin = norm.isf(0.025) * np.sqrt((variance - center**2) / (n + 2))
        low, high = max(-1.0, float(center - margin)), min(1.0, float(center + margin))
        return Difference(value, low, high, mcnemar_p_value(first[0], second[0]))
    of_seeds = differences.mean(1).var(ddof=1) / seeds
    of_reviews = differences.mean(0).var(ddof=1) / n
    variance = of_seeds + of_reviews
    if variance == 0:
        return Difference(value, value, value, float(value == 0))

    def critical_value(p: float) -> float:
        return float((of_seeds * t.isf(p / 2, seeds - 1) + of_reviews * norm.isf(p / 2)) / variance)

    margin = critical_value(0.05) * np.sqrt(variance)
    smallest = -200.0  # logarithm of a p-value; smaller ones are cut
    statistic = min(abs(value) / np.sqrt(variance), critical_value(np.exp(smallest)))
    log_p = brentq(lambda log_p: critical_value(np.exp(log_p)) - statistic, smallest, 0)
    low, high = max(-1.0, value - margin), min(1.0, value + margin)
    return Difference(value, low, high, float(np.exp(log_p)))


def adjust_p_values(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for the number of tests (Holm 1979)."""
    order = np.argsort(p_values)
    adjusted = np.empty(len(p_values))
    factors = len(p_values) - np.arange(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * np.asarray(p_values)[order]), 1)
    return [float(p) for p in adjusted]


def format_p_value(p_value: float) -> str:
    """`0.031`, or `< 0.001`."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"
