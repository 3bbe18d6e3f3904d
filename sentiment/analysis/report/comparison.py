"""Differences in accuracy on the same rows: tests, and the best setting against the others."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sentiment.analysis.evaluation_tables import Correct, mcnemar_p_value, wilson_interval
from sentiment.analysis.results import Result
from sentiment.runtime.errors import one_line

# By seed, which reviews were classified correctly; the index is the file, row and label of each.
BySeed = dict[Any, "pd.Series[bool]"]


class Comparison(NamedTuple):
    """Accuracy of a setting minus that of another one on the same rows."""

    difference: float
    low: float  # ends of its 95 % interval
    high: float
    p_value: float  # two-sided, of no difference
    adjusted_p: float  # corrected for the number of comparisons
    seeds: int
    reviews: int


def compare_accuracies(first: Correct, second: Correct) -> Comparison:
    """Compare two settings, `(seeds, N)`, with the seeds and reviews in the same order.

    One seed: exact McNemar test, and the interval of Agresti & Min (2005); they say nothing of
    other seeds. Several: a t-test of the mean difference, whose variance is that between seeds plus
    that between reviews, so that the result holds for other seeds and other reviews. Critical
    values are those of a paired t-test over the seeds and of a normal test over the reviews,
    weighted by the two variances (Cochran 1964). The sum errs on the safe side: it counts what is
    due to neither seed nor review twice (Owen 2007).
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
        p = mcnemar_p_value(first[0], second[0])
        return Comparison(value, low, high, p, p, seeds, n)
    of_seeds = differences.mean(1).var(ddof=1) / seeds
    of_reviews = differences.mean(0).var(ddof=1) / n
    variance = of_seeds + of_reviews
    if variance == 0:
        p = float(value == 0)
        return Comparison(value, value, value, p, p, seeds, n)

    def critical_value(p: float) -> float:
        return float((of_seeds * t.isf(p / 2, seeds - 1) + of_reviews * norm.isf(p / 2)) / variance)

    margin = critical_value(0.05) * np.sqrt(variance)
    smallest = -200.0  # logarithm of a p-value; smaller ones are cut
    statistic = min(abs(value) / np.sqrt(variance), critical_value(np.exp(smallest)))
    log_p = brentq(lambda log_p: critical_value(np.exp(log_p)) - statistic, smallest, 0)
    low, high = max(-1.0, value - margin), min(1.0, value + margin)
    return Comparison(value, low, high, float(np.exp(log_p)), float(np.exp(log_p)), seeds, n)


def adjust_p_values(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for the number of tests (Holm 1979)."""
    order = np.argsort(p_values)
    adjusted = np.empty(len(p_values))
    factors = len(p_values) - np.arange(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * np.asarray(p_values)[order]), 1)
    return [float(p) for p in adjusted]


def compare_with_best(correct: Sequence[BySeed | str]) -> dict[int, Comparison | str]:
    """What `read_correct` returned of each result, by its index, compared with the first, or why it cannot be."""
    best, *others = correct
    found = {i: _compare(other, best) for i, other in enumerate(others, 1)}
    compared = {i: value for i, value in found.items() if isinstance(value, Comparison)}
    adjusted = adjust_p_values([comparison.p_value for comparison in compared.values()])
    for (i, comparison), p_value in zip(compared.items(), adjusted, strict=True):
        found[i] = comparison._replace(adjusted_p=p_value)
    return found


def _compare(correct: BySeed | str, best: BySeed | str) -> Comparison | str:
    """Compare two settings by their predictions of each seed; the p-value is not corrected yet."""
    if isinstance(best, str):
        return best
    if isinstance(correct, str):
        return correct
    if not correct or not best:
        return "no test predictions"
    pairs = [(correct[seed], best[seed]) for seed in best if seed in correct]
    if len(correct) == len(best) == 1:  # whatever their seeds
        pairs = [(*correct.values(), *best.values())]
    if not pairs:
        return "no seed in common"
    first, second = zip(*pairs, strict=True)
    return _compare_rows(first, second)


def _compare_rows(
    first: Sequence["pd.Series[bool]"], second: Sequence["pd.Series[bool]"]
) -> Comparison | str:
    reviews = first[0].index
    if not reviews.is_unique or not all(one.index.equals(reviews) for one in (*first, *second)):
        return "other test reviews or labels"
    if len(reviews) < 2:
        return "a single test review"
    return compare_accuracies(np.stack(first), np.stack(second))


def find_interval(correct: BySeed | str) -> tuple[float, float] | None:
    """The 95 % interval of the test accuracy: of one seed Wilson's, of several that of `compare_accuracies`."""
    if isinstance(correct, str) or not correct:
        return None
    first, *others = correct.values()
    if not others and len(first):
        return wilson_interval(first.to_numpy())
    compared = _compare_rows([first, *others], [first & False] * len(correct))
    return None if isinstance(compared, str) else (compared.low, compared.high)


def read_correct(result: Result) -> BySeed | str:
    """Read by seed which reviews were classified correctly, or return why that is impossible."""
    correct = {}
    for seed, run in result.runs.items():
        file = run.folder.predictions_file
        try:
            needed = {"file", "row", "label", "predicted"}.__contains__
            frame = pd.read_csv(file, usecols=needed, dtype=str, keep_default_na=False)
            review = [name for name in ("file", "row") if name in frame]
            frame = frame.set_index([*review, "label"], drop=False).sort_index()
            correct[seed] = frame["label"] == frame["predicted"]
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError) as error:
            return f"{file}: cannot be read ({one_line(error)})"
    return correct
