"""What more labels brought, in a sentence, if `data.train_rows` varies."""

import math
from collections.abc import Sequence
from typing import Any

from sentiment.analysis.report.comparison import BySeed, Comparison, compare_with_best
from sentiment.analysis.results import Result, baseline_tags

KEY = "data.train_rows"


def describe_learning_curve(
    results: Sequence[Result], correct: Sequence[BySeed | str]
) -> str | None:
    """What a doubling of the labels brought between the two largest sets, with the other settings of the best."""
    others = {key: value for key, value in results[0].settings.items() if key != KEY}
    sizes: dict[Any, int] = {
        result.settings.get(KEY): i
        for i, result in enumerate(results)
        if {**result.settings, KEY: None} == {**others, KEY: None}
    }
    if len(sizes) < 2 or not all(isinstance(size, int | float) for size in sizes):
        return None
    few, many = sorted(sizes)[-2:]
    doublings = math.log2(many / few)
    compared = compare_with_best([correct[sizes[few]], correct[sizes[many]]])[1]
    if not isinstance(compared, Comparison):
        return None
    # The difference is that of the second from the first: more labels minus fewer.
    gain, low, high = (100 * points / doublings for points in compared[:3])
    first, second = results[sizes[few]], results[sizes[many]]
    gains = [f"{gain:+.2f} points of test accuracy (95 % interval {low:+.2f} to {high:+.2f})"]
    for tag, name in baseline_tags([first, second], "test/accuracy").items():
        if tag in first.mean and tag in second.mean:
            rise = 100 * (second.mean[tag] - first.mean[tag]) / doublings
            gains.append(f"{name.replace('_', ' ')} {rise:+.2f}")
    return f"{KEY}: from {few:,} to {many:,}, twice as many labels brought {', '.join(gains)}"
