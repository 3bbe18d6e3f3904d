"""CSV, TSV and their relatives: which separator and quoting a file has, and its rows."""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from typing import NamedTuple

SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}
SEPARATOR_NAMES = {"tab": "\t", r"\t": "\t"}  # as they can be typed
SAMPLE_LINES = 20
MAX_SHAPES = 1000  # of the cells of a column that are compared
MAX_CELL = (1 << 31) - 1  # characters; the csv module takes no more on Windows
_OTHER_BACKSLASH = re.compile(r'\\(?!["\\])')  # one that escapes neither a quote nor a backslash

OpenLines = Callable[[], AbstractContextManager[Iterable[str]]]


class Dialect(NamedTuple):
    """How a file separates and quotes its cells."""

    separator: str
    quotechar: str | None = '"'  # None if quotes are part of the text
    escapechar: str | None = None  # before a quote in a cell; None if such quotes are doubled


class DialectError(ValueError):
    """A row that is not in a dialect, and the line, from 1, at which it starts."""


def find_dialect(
    open_lines: OpenLines, columns: Sequence[str], header: bool, separator: str | None, default: str
) -> tuple[Dialect, tuple[str, ...]]:
    """Find the dialect in which each row of a file has as many cells as the first one.

    Quotes are around cells, and inside them doubled or else after a backslash; or part of the text,
    also if a row would span several lines that look like rows. Each trial reads the file. A
    separator that the user did not choose is found by the columns, names or, without a header, numbers.

    The notes tell what is unusual, and how many rows span several lines.
    """
    notes = []
    if separator is None:
        with open_lines() as lines:
            separator = _choose_separator([*islice(lines, SAMPLE_LINES)], columns, header, default)
        if separator != default:
            notes.append(f"separated by {SEPARATORS[separator]}")
    unquoted = Dialect(separator, quotechar=None)
    errors = []
    for dialect in (Dialect(separator), Dialect(separator, escapechar="\\"), unquoted):
        long_rows = _try(open_lines, dialect)
        if isinstance(long_rows, DialectError):
            errors.append(long_rows)
            continue
        is_ambiguous = long_rows > 0 and isinstance(_try(open_lines, unquoted), int)
        if is_ambiguous and _lines_look_like_rows(open_lines, dialect, unquoted):
            dialect = unquoted
        if dialect.escapechar:
            notes.append("quotes escaped by a backslash")
        if dialect.quotechar is None:
            notes.append("quotes are part of the text")
        elif long_rows:
            could_be = " (which could be rows)" if is_ambiguous else ""
            notes.append(f"rows over several lines{could_be}: {long_rows:,}")
        return dialect, tuple(notes)
    raise errors[0]


def parse_rows(lines: Iterable[str], dialect: Dialect) -> Iterator[list[str]]:
    """Yield the cells of each row, the header included; blank lines are no rows.

    A row that is not in the dialect, or has more or fewer cells than the first, raises a `DialectError`.
    """
    return (cells for cells, _ in _parse(lines, dialect))


def _parse(lines: Iterable[str], dialect: Dialect) -> Iterator[tuple[list[str], int]]:
    """Yield the cells of each row, and how many lines it spans."""
    csv.field_size_limit(MAX_CELL)  # 128 KB by default, for the whole process
    if dialect.escapechar:
        lines = (_OTHER_BACKSLASH.sub(r"\\\\", line) for line in lines)
    reader = csv.reader(
        lines,
        delimiter=dialect.separator,
        quotechar=dialect.quotechar,
        quoting=csv.QUOTE_MINIMAL if dialect.quotechar else csv.QUOTE_NONE,
        escapechar=dialect.escapechar,
        strict=True,
    )
    width = 0
    while True:
        before = reader.line_num
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise DialectError(f"line {before + 1:,}: {error}") from error
        if cells is None:
            return
        if not cells or (width > 1 and len(cells) == 1 and not cells[0].strip()):
            continue
        width = width or len(cells)
        if len(cells) != width:
            problem = f"{len(cells)} cells, but {width} in the first line"
            raise DialectError(f"line {before + 1:,}: {problem}")
        yield cells, reader.line_num - before


def _try(open_lines: OpenLines, dialect: Dialect) -> int | DialectError:
    """How many rows span several lines; or why the file is not in the dialect."""
    rows = long_rows = quoted_rows = 0
    try:
        with open_lines() as opened:
            for cells, lines in _parse(opened, dialect):
                rows += 1
                long_rows += lines > 1
                if dialect.quotechar is None:
                    quoted_rows += any(len(c) > 1 and c[0] == c[-1] == '"' for c in cells)
    except DialectError as error:
        return error
    return DialectError("cells are in quotes") if quoted_rows > rows / 2 else long_rows


def _lines_look_like_rows(open_lines: OpenLines, quoted: Dialect, unquoted: Dialect) -> bool:
    """Whether quoted rows over several lines are several rows, whose quotes are part of the text.

    Such are those of a quotation: `"I went to see it.,pos`, then `It was great fun.",pos`. A column
    that repeats itself, of labels or numbers, holds no new kind of cell then, as it would if a text
    were cut at its line breaks. Without such a column, tabs speak for rows: they are seldom with quotes.
    """
    count, of_rows = _collect_shapes(open_lines, quoted)
    _, of_lines = _collect_shapes(open_lines, unquoted)
    if len(of_rows) != len(of_lines):
        return False
    limit = min(count / 2, MAX_SHAPES)
    repeating = [
        in_lines <= in_rows
        for in_rows, in_lines in zip(of_rows, of_lines, strict=True)
        if len(in_rows) <= limit and in_rows != {""}
    ]
    return any(repeating) if repeating else quoted.separator == "\t" and len(of_rows) > 1


def _collect_shapes(open_lines: OpenLines, dialect: Dialect) -> tuple[int, list[set[str]]]:
    """How many rows follow the first; and their different cells by column, with 0 for each number."""
    rows = 0
    with open_lines() as lines:
        parsed = parse_rows(lines, dialect)
        columns: list[set[str]] = [set() for _ in next(parsed)]
        for cells in parsed:
            rows += 1
            for shapes, cell in zip(columns, cells, strict=True):
                if len(shapes) <= MAX_SHAPES:
                    shapes.add(re.sub(r"\d+", "0", cell))
    return rows, columns


def _choose_separator(
    sample: Sequence[str], columns: Sequence[str], header: bool, default: str
) -> str:
    """The separator whose first row has all columns, else the one with most cells; the default wins ties.

    Without a header, all rows must have as many cells.
    """
    csv.field_size_limit(MAX_CELL)
    scores = {}
    for separator in sorted(SEPARATORS, key=lambda separator: separator != default):
        rows = [row for row in csv.reader(sample, delimiter=separator) if row] or [[]]
        first, *others = [*map(len, rows)]
        if len(sample) == SAMPLE_LINES:
            del others[-1:]  # may be cut off
        names = [cell.strip() for cell in rows[0]] if header else map(str, range(1, first + 1))
        is_table = header or set(others) <= {first}
        scores[separator] = is_table and {*columns} <= {*names}, first
    return max(scores, key=scores.__getitem__)
