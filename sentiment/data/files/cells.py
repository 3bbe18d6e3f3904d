"""What a cell of a file means as a text or a label, and when it is empty."""

import math
import re
import unicodedata
from decimal import Decimal
from typing import Any

_BLANK = r"[\s\u00ad\u200b-\u200f\u2028-\u202f\u2060-\u2064\ufeff]"  # invisible characters
_EDGES = re.compile(f"^{_BLANK}+|{_BLANK}+$")
_EMPTY = re.compile(f"{_BLANK}*")


def is_empty(text: str) -> bool:
    """Whether a text has nothing but invisible characters."""
    return _EMPTY.fullmatch(text) is not None


def to_text(cell: Any) -> str:
    """A cell as a text; empty if nothing is visible. Other types than text and None raise a TypeError."""
    return "" if cell is None or is_empty(cell) else str(cell)


def to_label(cell: Any) -> str | None:
    """A cell as a label; None if it is empty, TypeError or AttributeError if no text, number or boolean.

    Text stays as it is, but for invisible characters around it; `1.0` that is a number is `1`.
    """
    if cell is None or (isinstance(cell, float | Decimal) and math.isnan(cell)):
        return None
    if isinstance(cell, float | Decimal):
        is_whole = math.isfinite(cell) and cell == int(cell)
        return str(int(cell)) if is_whole else str(cell)
    if isinstance(cell, bool | int):
        return str(cell)
    return unicodedata.normalize("NFC", _EDGES.sub("", cell.replace("\0", ""))) or None
