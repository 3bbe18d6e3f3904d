"""Labels: what a cell of a file means as a label, and how labels become numbered classes."""

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np
import pyarrow as pa

from sentiment.data.encoding import Integers
from sentiment.runtime.errors import InputError

MISSING = frozenset({"", "NaN", "nan", "NA", "N/A", "n/a", "#N/A", "<NA>", "NULL", "null"})
_BLANK = r"[\s\u00ad\u200b-\u200f\u2028-\u202f\u2060-\u2064\ufeff]"  # invisible characters
_EDGES = re.compile(f"^{_BLANK}+|{_BLANK}+$")
_EMPTY = re.compile(f"{_BLANK}*")
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")


def is_empty(text: str) -> bool:
    """Whether a text has nothing but invisible characters."""
    return _EMPTY.fullmatch(text) is not None


def to_label(cell: Any) -> str | None:
    """A cell as a label, without invisible characters around it; None if the label is missing.

    Raises:
        TypeError: the cell is neither text, number nor boolean.
    """
    if cell is None:
        return None
    if isinstance(cell, bool | int):
        return str(cell)
    if isinstance(cell, float | Decimal):
        return None if math.isnan(cell) else _format_number(str(cell))
    if not isinstance(cell, str):
        raise TypeError
    label = unicodedata.normalize("NFC", _EDGES.sub("", cell.replace("\0", "")))
    return None if label in MISSING else label


def _format_number(text: str) -> str:
    """A number in its shortest form: `1` for `1.0` and `01`."""
    try:
        number = Decimal(text)
        return str(int(number)) if number == number.to_integral_value() else str(number.normalize())
    except (InvalidOperation, OverflowError, ValueError):  # infinity
        return text


def spell(label: str | None) -> str | None:
    """A label, numbers in their shortest form."""
    return _format_number(label) if label is not None and _NUMBER.fullmatch(label) else label


def merge_spellings(labels: Sequence[str]) -> dict[str, str | None]:
    """Map each of different labels to its class, so that spellings of one number or boolean are one class."""
    if all(label.lower() in ("true", "false") for label in labels):
        return {label: label.capitalize() for label in labels}
    return {label: spell(label) for label in labels}


def find_similar(names: Sequence[str]) -> list[list[str]]:
    """Groups of classes whose names differ only in case."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.casefold(), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def sort_classes(names: Sequence[str]) -> list[str]:
    """Numbers by value, other names alphabetically."""
    return sorted(names, key=float if all(map(_NUMBER.fullmatch, names)) else str)


def suggest_mapping(labels: Sequence[str], name: str) -> str:
    """What to type to rename or drop labels: `data.labels={Negative:negative}`."""
    return f"data.labels={{{','.join(f'{quote_key(label)}:{name}' for label in labels)}}}"


def quote_key(label: str) -> str:
    """A label as a key of a mapping in Hydra's grammar."""
    return label if re.fullmatch(r"[\w./-]+", label) else "'" + label.replace("'", "\\'") + "'"


MISSING_LABEL, DROPPED_LABEL = -1, -2  # instead of the number of a class


def number_classes(
    labels: pa.ChunkedArray, mapping: Mapping[Any, Any], class_names: Sequence[str]
) -> tuple[list[str], Integers]:
    """Number the classes: numbers by value, other labels alphabetically.

    Args:
        labels: what `to_label` returned, string `(rows,)`.
        mapping: new labels by old ones; None drops the rows.
        class_names: of the metadata of a file, in the order of the classes; often empty.

    Returns:
        The names of the classes, and the class of each row, int64 `(rows,)`; negative without one.
    """
    encoded = labels.combine_chunks().dictionary_encode()
    found = encoded.dictionary.to_pylist()
    spellings = merge_spellings(found)
    try:
        new_labels = {spell(to_label(old)): to_label(new) for old, new in mapping.items()}
    except TypeError as error:
        raise InputError(f"data.labels={dict(mapping)}: new labels must be text, numbers, booleans or null") from error
    names: dict[str, str | None] = {}
    for label in found:
        old = next((key for key in (spellings[label], label) if key in new_labels), None)
        names[label] = spellings[label] if old is None else new_labels[old]
    classes = sort_classes(sorted({name for name in names.values() if name is not None}))
    if class_names and not mapping:
        known = [name for name in class_names if name in classes]
        classes = [name for name in classes if name not in known] + known
    numbers = {name: number for number, name in enumerate(classes)} | {None: DROPPED_LABEL}
    by_code = np.array([*(numbers[names[label]] for label in found), MISSING_LABEL], dtype=np.int64)
    codes = encoded.indices.fill_null(len(found)).to_numpy(zero_copy_only=False)
    return classes, by_code[codes]
