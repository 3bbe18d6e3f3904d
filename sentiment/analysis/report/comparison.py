"""Compares the best setting of a sweep with the others on the reviews of the test set."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sentiment.analysis.report.statistics import (
    Correct,
    Difference,
    adjust_p_values,
    compare_accuracies,
)
from sentiment.analysis.results import Result
from sentiment.runtime.errors import one_line

Predictions = dict[Any, pd.DataFrame]  # by seed

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
    """Compare the first result with each of the others, where both have predictions for the same reviews.

    Args:
        results: the best first.

    Returns:
        By index of the others: the comparison, or why there is none.
    """
    if len(results) < 2:
        return {}
    best = _read_predictions(results[0])
    found = {
        i: _compare(_read_predictions(result), best) for i, result in enumerate(results[1:], 1)
    }
    compared = {i: value for i, value in found.items() if not isinstance(value, str)}
    adjusted = adjust_p_values([comparison.difference.p_value for comparison in compared.values()])
    corrected = {
        i: compared[i]._replace(adjusted_p=p) for i, p in zip(compared, adjusted, strict=True)
    }
    return {**found, **corrected}


def _compare(predictions: Predictions | str, best: Predictions | str) -> Comparison | str:
    """Compare two settings by their predictions of each seed; the p-value is not corrected yet."""
    if isinstance(best, str):
        return best
    if isinstance(predictions, str):
        return predictions
    if not predictions or not best:
        return "no test predictions"
    seeds = [seed for seed in best if seed in predictions]
    pairs = [(predictions[seed], best[seed]) for seed in seeds]
    if len(predictions) == len(best) == 1:  # whatever their seeds
        pairs = [(*predictions.values(), *best.values())]
    if not pairs:
        return "no seed in common"
    correct = _align([frame for pair in pairs for frame in pair])
    if correct is None:
        return "other test reviews"
    if correct.shape[1] == 1:
        return "a single test review"
    difference = compare_accuracies(correct[::2], correct[1::2])
    return Comparison(difference, difference.p_value, len(pairs), correct.shape[1])


def _read_predictions(result: Result) -> Predictions | str:
    """Read the predictions by seed, or return why they cannot be read.

    Their columns are `row`, `label`, `predicted` and, of a folder of files, `file`.
    """
    predictions = {}
    for seed, run in result.runs.items():
        file = run.folder.predictions_file
        try:
            frame = pd.read_csv(
                file, usecols=_COLUMNS.__contains__, dtype=str, keep_default_na=False
            )
            if missing := {*_COLUMNS[1:]} - {*frame}:
                raise ValueError(f"no column {min(missing)}")
            if frame.empty:
                raise ValueError("no row")
            predictions[seed] = frame
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            return f"{file}: cannot be read ({one_line(error)})"
    return predictions


def _align(frames: Sequence[pd.DataFrame]) -> Correct | None:
    """Return which reviews are classified correctly, `(frames, N)`; None if the frames are of different reviews."""
    keys = [key for key in ("file", "row") if all(key in frame for frame in frames)]
    if not keys:
        return None
    aligned = [frame.sort_values(keys, ignore_index=True) for frame in frames]
    reviews = aligned[0][[*keys, "label"]]
    if reviews.duplicated(keys).any() or not all(
        reviews.equals(frame[[*keys, "label"]]) for frame in aligned
    ):
        return None
    return np.stack([(frame["label"] == frame["predicted"]).to_numpy() for frame in aligned])
