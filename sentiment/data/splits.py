"""Which rows are held out, for validation or as the test set of a single file."""

import math
from collections.abc import Sequence

import numpy as np
from sklearn.model_selection import train_test_split

from sentiment.data.encoded.encoding import Integers
from sentiment.data.labels import suggest_mapping
from sentiment.runtime.errors import InputError


def stratified_split(
    rows: Integers,
    labels: Integers,
    fraction: float,
    seed: int,
    key: str,
    label_names: Sequence[str],
) -> tuple[Integers, Integers]:
    """Draw `fraction` of the rows, in proportion to the classes.

    Args:
        rows: numbers, int64 `(rows,)`.
        labels: class of each of them, int64 `(rows,)`.
        fraction: in the open interval (0, 1).
        seed: draws them.
        key: of the fraction, for messages.
        label_names: names of the classes.

    Returns:
        The remaining rows and the drawn ones, both in order.

    Raises:
        InputError: too few rows of some class.
    """
    counts = np.bincount(labels, minlength=len(label_names))
    classes = np.flatnonzero(counts)
    drawn = math.ceil(fraction * len(rows))
    single = [label_names[label] for label in classes.tolist() if counts[label] == 1]
    problem = None
    if len(classes) > max(2, len(rows) / 2):
        key = "data.label_column"
        problem = f"{len(rows):,} rows have {len(classes):,} different labels; name another column"
    elif single:
        others = f" and {len(single) - 1} more classes" if len(single) > 1 else ""
        advice = "add rows"
        if len(single) < len(classes) - 1:
            nulls = dict.fromkeys(single[:3])
            advice += f", or drop or merge classes: {suggest_mapping(nulls)}"
        problem = f"class {single[0]}{others} has a single row, too few to split; {advice}"
    elif min(drawn, len(rows) - drawn) < len(classes):
        problem = (
            f"draws {drawn} of {len(rows)} rows, and either part needs all {len(classes)} classes; "
            "change it, add rows, or merge classes with data.labels"
        )
    if problem:
        setting = key if key == "data.label_column" else f"{key}={fraction}"
        raise InputError(f"{setting}: {problem}")
    rest, held_out = train_test_split(rows, test_size=fraction, stratify=labels, random_state=seed)
    return np.sort(rest), np.sort(held_out)


def tail_split(
    rows: Integers, labels: Integers, fraction: float, key: str
) -> tuple[Integers, Integers]:
    """Take the last `fraction` of the rows of each class; otherwise as `stratified_split`."""
    held_out = np.zeros(len(rows), dtype=bool)
    for members in (np.flatnonzero(labels == label) for label in np.unique(labels)):
        count = round(fraction * len(members))
        if not 0 < count < len(members):
            raise InputError(
                f"{key}={fraction}: {count} of {len(members)} rows of a class; change it or add rows"
            )
        held_out[members[-count:]] = True
    return rows[~held_out], rows[held_out]
