"""Which rows are held out, for validation or as the test set of a single file."""

from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split

from sentiment.data.encoding import Integers
from sentiment.runtime.errors import InputError


def stratified_split(rows: Integers, labels: Any, fraction: float, seed: int, key: str) -> tuple[Integers, Integers]:
    """Draw `fraction` of the rows, in proportion to the classes.

    Returns:
        The remaining rows and the drawn ones, both in order.

    Raises:
        InputError: too few rows of some class; the message names `key`.
    """
    try:
        rest, held_out = train_test_split(rows, test_size=fraction, stratify=labels, random_state=seed)
    except ValueError as error:
        raise InputError(f"{key}={fraction}: too few rows to draw from every class ({error}); add rows") from error
    return np.sort(rest), np.sort(held_out)


def tail_split(rows: Integers, labels: Integers, fraction: float, key: str) -> tuple[Integers, Integers]:
    """Take the last `fraction` of the rows of each class.

    Returns:
        The remaining rows and the taken ones, both in order.

    Raises:
        InputError: a class keeps no row or loses none; the message names `key`.
    """
    held_out = np.zeros(len(rows), dtype=bool)
    for members in (np.flatnonzero(labels == label) for label in np.unique(labels)):
        count = round(fraction * len(members))
        if not 0 < count < len(members):
            raise InputError(f"{key}={fraction}: {count} of {len(members)} rows of a class; change it or add rows")
        held_out[members[-count:]] = True
    return rows[~held_out], rows[held_out]
