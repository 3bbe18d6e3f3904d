"""What a cell of a file means as a text or a label, and how labels become numbered classes."""

import math
import re
import shlex
import unicodedata
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from sentiment.data.encoded.encoding import Integers
from sentiment.runtime.errors import InputError

# Spellings of a missing label, unless `data.labels` has them as a key.
MISSING = frozenset({"NaN", "nan", "NA", "N/A", "n/a", "#N/A", "<NA>", "NULL", "null"})
MAX_NUMBERS = 20  # different numbers or dates that may be classes whatever the number of rows
_BLANK = r"[\s\u00ad\u200b-\u200f\u2028-\u202f\u2060-\u2064\ufeff]"  # invisible characters
_EDGES = re.compile(f"^{_BLANK}+|{_BLANK}+$")
_EMPTY = re.compile(f"{_BLANK}*")
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")
_DATE = re.compile(r"(\d{4}[-/.]\d\d?[-/.]\d\d?|\d\d?[-/.]\d\d?[-/.]\d{2,4})\b.*")
_YES, _NO = {"true", "t", "yes", "y", "1", "1.0"}, {"false", "f", "no", "n", "0", "0.0"}


def is_empty(text: str) -> bool:
    """Whether a text has nothing but invisible characters."""
    return _EMPTY.fullmatch(text) is not None


def to_text(cell: Any) -> str:
    """A cell as a text; empty if it has nothing but invisible characters.

    Raises:
        TypeError: it is not text.
    """
    if cell is None:
        return ""
    if not isinstance(cell, str):
        raise TypeError("not text")
    return "" if is_empty(cell) else cell


def to_label(cell: Any) -> str | None:
    """A cell as a label; None if it is empty.

    Text stays as it is, but for invisible characters around it; `1.0` that is a number is `1`.

    Raises:
        TypeError: it is neither text, number nor boolean.
    """
    if cell is None:
        return None
    if isinstance(cell, bool | int):
        return str(cell)
    if isinstance(cell, float | Decimal):
        if math.isnan(cell):
            return None
        is_whole = math.isfinite(cell) and cell == int(cell)
        return str(int(cell)) if is_whole else str(cell)
    if not isinstance(cell, str):
        raise TypeError("neither text, number nor boolean")
    return unicodedata.normalize("NFC", _EDGES.sub("", cell.replace("\0", ""))) or None


def read_mapping(labels: Any) -> dict[str, str | None]:
    """`data.labels` as new labels by old ones; None drops the rows.

    Args:
        labels: a mapping, or a list of texts such as `007:agent`, which may have any spelling.
    """
    if isinstance(labels, Mapping):
        pairs = [("null" if old is None else old, new) for old, new in labels.items()]
    else:
        texts = labels if isinstance(labels, list) else [] if labels is None else [labels]
        split = [str(text).rpartition(":") for text in texts]
        pairs = [(old, None if new == "null" else new) for old, _, new in split]
        if "" in (separator for _, separator, _ in split):
            raise InputError(f"data.labels={labels}: must map old labels to new ones: OLD:NEW")
    mapping: dict[str, str | None] = {}
    for old, new in pairs:
        try:
            key, value = to_label(old) or "", to_label(new)
        except TypeError as error:
            raise InputError(f"data.labels: the new label {new!r} is {error}") from error
        if key in mapping:
            raise InputError(f"data.labels: has the key {key} twice; remove one")
        mapping[key] = value
    return mapping


def find_keys(labels: Sequence[str], mapping: Mapping[str, Any]) -> dict[str, str]:
    """The key of a mapping that stands for each label, for those that have one.

    A key stands for the label of its spelling; one without such a label, for those that are the
    same number, or the same boolean in another case.
    """
    others = {_meaning(key): key for key in mapping if key not in labels}
    keys = {label: label if label in mapping else others.get(_meaning(label)) for label in labels}
    return {label: key for label, key in keys.items() if key is not None}


def _meaning(label: str) -> float | str:
    if _NUMBER.fullmatch(label):
        return float(label)
    return label.casefold() if label.casefold() in ("true", "false") else label


def find_similar(names: Sequence[str]) -> list[list[str]]:
    """Groups of classes that may mean the same: equal numbers, other case, yes and true."""
    are_booleans = all(name.casefold() in _YES | _NO for name in names)
    groups: dict[float | str | bool, list[str]] = {}
    for name in names:
        meaning = _meaning(name)
        folded = meaning.casefold() if isinstance(meaning, str) else meaning
        groups.setdefault(name.casefold() in _YES if are_booleans else folded, []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def sort_classes(names: Sequence[str]) -> list[str]:
    """Numbers by value, other names alphabetically."""
    if all(map(_NUMBER.fullmatch, names)):
        return sorted(names, key=lambda name: (float(name), name))
    return sorted(names)


def check_classes(names: Sequence[str], rows: int) -> None:
    """Raise `InputError` if the classes of so many rows are rather measurements or dates."""
    if len(names) <= MAX_NUMBERS:
        return
    are_numbers = all(map(_NUMBER.fullmatch, names))
    are_fractions = are_numbers and any(not float(name).is_integer() for name in names)
    are_dates = all(map(_DATE.fullmatch, names))
    if are_fractions or are_dates or (are_numbers and len(names) > rows / 20):
        kind = "dates" if are_dates else "numbers"
        raise InputError(
            f"data.label_column: {rows:,} rows have {len(names):,} different {kind}, such as "
            f"{names[0]} and {names[-1]}, which are no classes; name another column, or write "
            "their bins into one"
        )


def suggest_mapping(new_labels: Mapping[str, str | None]) -> str:
    """What to type in a shell to rename or drop labels: `'data.labels={Negative:negative}'`."""
    from sentiment.runtime.config import parse_overrides, quote  # Hydra is slow to import

    shown = {old: "null" if new is None else new for old, new in new_labels.items()}
    typed = "data.labels={" + ",".join(f"{old}:{new}" for old, new in shown.items()) + "}"
    try:
        [override] = parse_overrides([typed])
        is_same = read_mapping(override.value()) == new_labels
    except Exception:  # Hydra's lexer has many
        is_same = False
    if not is_same:
        pairs = ",".join(quote(f"{old}:{new}") for old, new in shown.items())
        typed = f"data.labels=[{pairs}]"
    return shlex.quote(typed)


def find_closest(name: str, names: Sequence[str]) -> str | None:
    """The class that may mean the same as a name, see `find_similar`."""
    return next((other for other in names if find_similar([name, other])), None)


# Instead of the number of a class.
MISSING_LABEL, DROPPED_LABEL = -1, -2


class Numbered(NamedTuple):
    """Numbered classes.

    Attributes:
        names: of the classes: numbers by value, other labels alphabetically.
        labels: class of each row, int64 `(rows,)`; negative without one.
        missing: spellings that count as a missing label.
        merged: labels that a key of another spelling stands for, by key.
        unused: keys of the mapping that no row has.
    """

    names: list[str]
    labels: Integers
    missing: list[str]
    merged: dict[str, list[str]]
    unused: list[str]


def number_classes(
    labels: pa.ChunkedArray, mapping: Mapping[str, str | None], class_names: Sequence[str]
) -> Numbered:
    """Number the classes.

    Args:
        labels: what `to_label` returned, string `(rows,)`.
        mapping: new labels by old ones; None drops the rows.
        class_names: of the metadata of a file, in the order of the classes; often empty.
    """
    encoded = labels.combine_chunks().dictionary_encode()
    found: list[str] = encoded.dictionary.to_pylist()
    keys = find_keys(found, mapping)
    missing = [label for label in found if label in MISSING and label not in keys]
    names = {
        label: mapping[keys[label]] if label in keys else label
        for label in found
        if label not in missing
    }
    classes = sort_classes([*{name for name in names.values() if name}])
    if class_names and not mapping:
        known = [name for name in class_names if name in classes]
        classes = [name for name in classes if name not in known] + known
    numbers = {name: number for number, name in enumerate(classes)} | {None: DROPPED_LABEL}
    of_label = [numbers[names[label]] if label in names else MISSING_LABEL for label in found]
    by_code = np.array([*of_label, MISSING_LABEL], dtype=np.int64)
    codes = encoded.indices.fill_null(len(found)).to_numpy(zero_copy_only=False)
    merged: dict[str, list[str]] = {}
    for label, key in keys.items():
        if label != key:
            merged.setdefault(key, []).append(label)
    unused = [key for key in mapping if key not in keys.values()]
    return Numbered(classes, by_code[codes], missing, merged, unused)
