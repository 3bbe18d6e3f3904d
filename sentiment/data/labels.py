"""How labels become numbered classes."""

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from sentiment.data import Integers
from sentiment.data.files.cells import to_label
from sentiment.runtime.errors import InputError, one_line

# Instead of the number of a class: no label, one that is mapped to null, and no text.
MISSING_LABEL, DROPPED_LABEL, NO_TEXT = -1, -2, -3
# Spellings of a missing label, unless `data.labels` has them as a key.
MISSING = frozenset({"NaN", "nan", "NA", "N/A", "n/a", "#N/A", "<NA>", "NULL", "null"})
MAX_NUMBERS = 20  # different numbers or dates that may be classes whatever the number of rows
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")
_MEASURED = re.compile(r"[+-]?\d[\d.,:/eETZ +-]*")  # a number, a date or a time


def read_mapping(labels: Any) -> dict[str, str | None]:
    """New labels by old ones; None drops the rows.

    `data.labels` is a mapping, or a list of texts such as `007:agent`, which may have any spelling.
    """
    try:
        if isinstance(labels, Mapping):
            pairs = [("null" if old is None else old, new) for old, new in labels.items()]
        else:
            split = [text.rsplit(":", 1) for text in labels or []]
            pairs = [(old, None if new == "null" else new) for old, new in split]
        mapping = {to_label(old) or "": to_label(new) for old, new in pairs}
        problem = "an old label is there twice" if len(mapping) < len(pairs) else None
    except (AttributeError, TypeError, ValueError) as error:
        problem = one_line(error)
    if problem:
        advice = "write data.labels={OLD:NEW,...}, with text, numbers, booleans or null"
        raise InputError(f"data.labels={labels}: cannot be read ({problem}); {advice}")
    return mapping


class Numbered(NamedTuple):
    """Numbered classes."""

    names: list[str]  # of the classes: numbers by value, other labels alphabetically
    labels: Integers  # class of each row, int64 `(rows,)`; negative without one
    missing: list[str]  # spellings that count as a missing label
    unused: list[str]  # keys that stand for no label


def number_classes(
    labels: pa.ChunkedArray, mapping: Mapping[str, str | None], class_names: Sequence[str]
) -> Numbered:
    """Number the classes of what `to_label` returned, string `(rows,)`, after `data.labels` is applied.

    `class_names` are those in the metadata of the files, in the order of the classes; often empty.
    """
    found: list[str] = labels.unique().drop_null().to_pylist()
    keys = _find_keys(found, mapping)
    missing = [label for label in found if label in MISSING and label not in keys]
    names = {
        label: mapping[keys[label]] if label in keys else label
        for label in found
        if label not in missing
    }
    kept = {name for name in names.values() if name}
    are_numbers = all(map(_NUMBER.fullmatch, kept))
    classes = sorted(kept, key=lambda name: (float(name) if are_numbers else 0, name))
    if class_names and not mapping:
        known = [name for name in class_names if name in classes]
        classes = [name for name in classes if name not in known] + known
    numbers = {name: number for number, name in enumerate(classes)} | {None: DROPPED_LABEL}
    of_label = {label: numbers[name] for label, name in names.items()}
    of_rows = [of_label.get(label, MISSING_LABEL) for label in labels.to_pylist()]
    unused = [key for key in mapping if key not in keys.values()]
    return Numbered(classes, np.array(of_rows, dtype=np.int64), missing, unused)


def _find_keys(labels: Sequence[str], mapping: Mapping[str, Any]) -> dict[str, str]:
    """The key that stands for each label: its own spelling, else an unused one of the same meaning."""
    others = {_meaning(key): key for key in mapping if key not in labels}
    keys = {label: label if label in mapping else others.get(_meaning(label)) for label in labels}
    return {label: key for label, key in keys.items() if key is not None}


def _meaning(label: str) -> float | str:
    if _NUMBER.fullmatch(label):
        return float(label)
    return label.casefold() if label.casefold() in ("true", "false") else label


def check_classes(names: Sequence[str], rows: int) -> None:
    """Raise `InputError` if the classes of so many rows are rather measurements or dates."""
    are_classes = all(map(str.isdecimal, names)) and len(names) <= rows / 20
    if len(names) > MAX_NUMBERS and all(map(_MEASURED.fullmatch, names)) and not are_classes:
        raise InputError(
            f"data.label_column: {rows:,} rows have {len(names):,} different numbers or dates, such as "
            f"{names[0]} and {names[-1]}; name a column of classes, or write their bins into one"
        )


def find_similar(names: Sequence[str]) -> list[list[str]]:
    """Groups of classes that may mean the same: equal numbers, other case."""
    groups: dict[float | str, list[str]] = {}
    for name in names:
        groups.setdefault(_meaning(name.casefold()), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def find_closest(name: str, names: Sequence[str]) -> str | None:
    """The class that may mean the same as a name, see `find_similar`."""
    return next((other for other in names if find_similar([name, other])), None)


def suggest_mapping(new_labels: Mapping[str, str | None]) -> str:
    """What to type in a shell to rename or drop labels: `'data.labels=["Negative:negative"]'`."""
    from sentiment.runtime.config import quote  # Hydra is slow to import

    pairs = (f"{old}:{'null' if new is None else new}" for old, new in new_labels.items())
    return shlex.quote(f"data.labels=[{','.join(map(quote, pairs))}]")
