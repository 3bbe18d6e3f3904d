"""Texts of the test sets that are worth a look."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np

from sentiment.serving.served_model import ServedModel

COUNT = 5  # texts of each kind
MAX_CHARACTERS = 1500  # longer ones are left out


def find_examples(models: Sequence[ServedModel]) -> list[dict[str, Any]]:
    """Texts on which the first two models disagree most, then those on which each model is most wrong.

    Returns:
        Reviews as `TestSet.describe` returns them, with the `reason` why each was chosen.
    """
    tested = [model for model in models if model.has_test_set]
    examples = []
    if len(tested) > 1 and tested[0].test_set.texts == tested[1].test_set.texts:
        first, second = tested[0].test_set, tested[1].test_set
        disagree = np.flatnonzero(first.predicted != second.predicted)
        distance = np.abs(first.probabilities - second.probabilities)[disagree].sum(1)
        positions = _take_short(disagree[distance.argsort(kind="stable")[::-1]], first.texts)
        reason = f"{tested[0].name} and {tested[1].name} disagree"
        examples += [review | {"reason": reason} for review in first.describe(positions)]
    for model in tested:
        positions = _take_short(model.test_set.orders["most wrong"], model.test_set.texts)
        examples += [
            review | {"reason": f"{model.name} is most wrong"}
            for review in model.test_set.describe(positions)
            if review["label"] != review["predicted"]
        ]
    return examples


def _take_short(positions: Sequence[int], texts: Sequence[str]) -> list[int]:
    short = (int(i) for i in positions if len(texts[i]) <= MAX_CHARACTERS)
    return list(islice(short, COUNT))
