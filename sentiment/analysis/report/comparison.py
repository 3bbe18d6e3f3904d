"""Compares the best setting of a sweep with the others on the reviews of the test set."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sentiment.analysis.report.statistics import Difference, adjust_p_values, compare_accuracies
from sentiment.analysis.results import Result
from sentiment.runtime.errors import one_line

Correct = dict[Any, "pd.Series[bool]"]  # by seed; the index is the file, row and label of a review

_COLUMNS = ("file", "row", "label", "predicted")


class Comparison(NamedTuple):
    """A setting compared with the best one.

    Attributes:
        difference: accuracy of the setting minus that of the best one.
        adjusted_p: p-value, corrected for the number of comparisons.
        seeds: number of seeds that both have.
        reviews: number of reviews.
    """

    difference: Difference
    adjusted_p: float
    seeds: int
    reviews: int


def compare_with_best(results: Sequence[Result]) -> dict[int, Comparison | str]:
    """Compare the first result, the best, with each of the others, where both tested the same reviews.

    Returns:
        By index of the others: the comparison, or why there is none.
    """
    best, *others = map(_read_correct, results)
    found = {i: _compare(other, best) for i, other in enumerate(others, 1)}
    compared = {i: value for i, value in found.items() if isinstance(value, Comparison)}
    adjusted = adjust_p_values([comparison.difference.p_value for comparison in compared.values()])
    for (i, comparison), p_value in zip(compared.items(), adjusted, strict=True):
        found[i] = comparison._replace(adjusted_p=p_value)
    return found


def _compare(correct: Correct | str, best: Correct | str) -> Comparison | str:
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
    reviews = pairs[0][0].index
    if not reviews.is_unique or any(
        not one.index.equals(reviews) for pair in pairs for one in pair
    ):
        return "other test reviews"
    if len(reviews) < 2:
        return "a single test review"
    first, second = (np.stack(of_seeds) for of_seeds in zip(*pairs, strict=True))
    difference = compare_accuracies(first, second)
    return Comparison(difference, difference.p_value, len(pairs), len(reviews))


def _read_correct(result: Result) -> Correct | str:
    """Read by seed which reviews were classified correctly, or return why that is impossible."""
    correct = {}
    for seed, run in result.runs.items():
        file = run.folder.predictions_file
        try:
            frame = pd.read_csv(
                file, usecols=_COLUMNS.__contains__, dtype=str, keep_default_na=False
            )
            review = [name for name in ("file", "row") if name in frame]
            frame = frame.set_index([*review, "label"], drop=False).sort_index()
            correct[seed] = frame["label"] == frame["predicted"]
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError) as error:
            return f"{file}: cannot be read ({one_line(error)})"
    return correct
