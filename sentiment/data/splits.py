"""Which rows are held out, for validation or as the test set of a single file."""

from collections.abc import Sequence

import numpy as np
from sklearn.model_selection import train_test_split

from sentiment.data import Integers
from sentiment.runtime.errors import InputError, one_line, shorten


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
        seed: of the draw.
        key: of the fraction, for messages, as `label_names`.
        label_names: of all classes.

    Returns:
        The remaining rows and the drawn ones, both in order.
    """
    try:
        drawn = train_test_split(rows, test_size=fraction, stratify=labels, random_state=seed)
    except ValueError as error:
        classes, counts = np.unique(labels, return_counts=True)
        rarest = shorten(label_names[classes[counts.argmin()]])
        reason = one_line(error).partition(". ")[0]  # then all rare classes
        raise InputError(
            f"{key}={fraction}: {reason}; of {len(classes):,} classes, {rarest} is the rarest; add "
            "rows, merge or drop classes with data.labels, or name another data.label_column"
        ) from error
    rest, held_out = map(np.sort, drawn)
    return rest, held_out


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
