"""CSV, TSV and their relatives: which separator and quoting a file has, and its rows."""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import _csv

SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}
SAMPLE_LINES = 20
MAX_SHAPES = 1000  # of the cells of a column that are compared
MAX_CELL = (1 << 31) - 1  # characters; the csv module takes no more on Windows
SEPARATOR_LINE = re.compile(r"sep=(.)\s*", re.IGNORECASE)  # of Excel
_OTHER_BACKSLASH = re.compile(r'\\(?!["\\])')  # one that escapes neither a quote nor a backslash
ERRORS = {  # of the csv module
    "expected after": "a quote inside a quoted cell is not doubled",
    "unexpected end of data": "a quoted cell does not end",
}


class RowError(ValueError):
    """A row that is not in the dialect of its file.

    Attributes:
        line: where it starts, from 1.
    """

    def __init__(self, line: int, message: str) -> None:
        super().__init__(f"line {line:,}: {message}")
        self.line = line


OpenLines = Callable[[], AbstractContextManager[Iterable[str]]]


class Dialect(NamedTuple):
    """How a file separates and quotes its cells.

    Attributes:
        separator: between cells.
        quotechar: around cells; None if quotes are part of the text.
        escapechar: before a quote inside a quoted cell; None if such quotes are doubled.
        skipinitialspace: whether blanks after a separator are left out.
    """

    separator: str
    quotechar: str | None = '"'
    escapechar: str | None = None
    skipinitialspace: bool = False


def find_dialect(
    open_lines: OpenLines, columns: Sequence[str], header: bool, separator: str | None, default: str
) -> tuple[Dialect, tuple[str, ...]]:
    """Find the dialect in which each row of a file has as many cells as the first one.

    Cells in quotes are tried first; quotes inside them are doubled, or else follow a backslash. Then
    quotes are part of the text; also if a row would span several lines each of which looks like a row,
    see `_lines_look_like_rows`. Each trial reads the file once.

    Args:
        open_lines: opens the file.
        columns: names, or numbers without a header, by which the separator is found.
        header: whether there is a header.
        separator: None chooses the one whose header has the columns.
        default: the usual separator of the format.

    Returns:
        The dialect, and notes for the log: what of it is unusual, and how many rows span several lines.

    Raises:
        RowError: there is none.
    """
    chosen = separator
    if separator is None:
        with open_lines() as lines:
            separator = _choose_separator([*islice(lines, SAMPLE_LINES)], columns, header, default)
    notes = []
    if separator not in (default, chosen):
        notes.append(f"separated by {SEPARATORS.get(separator, repr(separator))}")
    doubled = Dialect(separator)
    unquoted = doubled._replace(quotechar=None)
    escaped = doubled._replace(escapechar="\\")
    after_blank = doubled._replace(skipinitialspace=True)
    errors = []
    for dialect in (doubled, escaped, unquoted, after_blank):
        try:
            long_rows, lines_are_rows = _survey(open_lines, dialect)
        except RowError as error:
            errors.append(error)
            continue
        if long_rows and lines_are_rows and _lines_look_like_rows(open_lines, dialect):
            dialect = unquoted
        if dialect.escapechar:
            notes.append("quotes escaped by a backslash")
        if dialect.quotechar is None:
            notes.append("quotes are part of the text")
        elif long_rows:
            could_be = " (which could be rows)" if lines_are_rows else ""
            notes.append(f"rows over several lines{could_be}: {long_rows:,}")
        return dialect, tuple(notes)
    raise max(errors, key=lambda error: error.line)  # of the dialect that got furthest


def _survey(open_lines: OpenLines, dialect: Dialect) -> tuple[int, bool]:
    """How many rows span several lines, and whether all lines have the same number of separators.

    Raises:
        RowError: a row is not in the dialect.
    """
    rows = long_rows = quoted_rows = 0
    counts: set[int] = set()  # separators of a line
    with open_lines() as lines:
        for row in _parse(lines, dialect):
            rows += 1
            long_rows += len(row.lines) > 1
            counts.update(line.count(dialect.separator) for line in row.lines)
            if dialect.quotechar is None:
                quoted_rows += any(len(c) > 1 and c[0] == c[-1] == '"' for c in row.cells)
    if quoted_rows > rows / 2:
        raise RowError(1, "cells are in quotes")
    return long_rows, len(counts) == 1


def _lines_look_like_rows(open_lines: OpenLines, dialect: Dialect) -> bool:
    """Whether a quoted row over several lines is several rows, whose quotes are part of the text.

    Such are the rows of a quotation: `"I went to see it.,pos`, then `It was great fun.",pos`. A column
    that repeats itself, of labels or numbers, holds no new kind of cell then, as it would if a long text
    were cut at its line breaks. Without such a column, only tabs speak for rows, since files separated by
    tabs are seldom quoted.
    """
    with open_lines() as lines:
        rows = _parse(lines, dialect)
        width = len(next(rows).cells)  # of the header
        of_rows: list[set[str]] = [set() for _ in range(width)]  # shapes by column
        of_lines: list[set[str]] = [set() for _ in range(width)]
        count = 0
        for row in rows:
            count += 1
            _add_shapes(of_rows, row.cells)
            for line in row.lines if len(row.lines) > 1 else ():
                _add_shapes(of_lines, line.rstrip("\r\n").split(dialect.separator))
    limit = min(count / 2, MAX_SHAPES)
    repeating = [
        in_lines <= in_rows
        for in_rows, in_lines in zip(of_rows, of_lines, strict=True)
        if len(in_rows) <= limit and in_rows != {""}
    ]
    return any(repeating) if repeating else dialect.separator == "\t" and width > 1


def _add_shapes(columns: Sequence[set[str]], cells: Sequence[str]) -> None:
    """Add each cell to its column, with 0 for each number, so that identifiers and dates are alike."""
    for shapes, cell in zip(columns, cells, strict=True):
        if len(shapes) <= MAX_SHAPES:
            shapes.add(re.sub(r"\d+", "0", cell))


def read_rows(lines: Iterable[str], dialect: Dialect) -> Iterator[list[str]]:
    """Yield the cells of each row, the header included; blank lines are no rows."""
    return (row.cells for row in _parse(lines, dialect))


class _Row(NamedTuple):
    """A row: its cells, and its lines without blank ones, which are forgotten with the next row."""

    cells: list[str]
    lines: list[str]


def _parse(lines: Iterable[str], dialect: Dialect) -> Iterator[_Row]:
    """Yield the rows.

    Raises:
        RowError: one is not in the dialect, or has more or fewer cells than the first.
    """
    read: list[str] = []

    def remember() -> Iterator[str]:
        for number, line in enumerate(lines):
            if number == 0 and SEPARATOR_LINE.fullmatch(line):
                line = "\n"
            if dialect.separator in line or line.strip():
                read.append(line)
            yield _OTHER_BACKSLASH.sub(r"\\\\", line) if dialect.escapechar else line

    reader = _read_csv(
        remember(),
        delimiter=dialect.separator,
        quotechar=dialect.quotechar,
        quoting=csv.QUOTE_MINIMAL if dialect.quotechar else csv.QUOTE_NONE,
        escapechar=dialect.escapechar,
        skipinitialspace=dialect.skipinitialspace,
        strict=True,
    )
    width = 0
    while True:
        start = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            known = [message for part, message in ERRORS.items() if part in str(error)]
            raise RowError(start, known[0] if known else str(error)) from error
        if cells is None:
            return
        is_blank = not cells or (width > 1 and len(cells) == 1 and not cells[0].strip())
        if not is_blank:
            width = width or len(cells)
            if len(cells) != width:
                count = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
                raise RowError(start, f"has {count}, the first line {width}")
            yield _Row(cells, read)
        read.clear()


def _read_csv(lines: Iterable[str], **dialect: Any) -> "_csv.Reader":
    csv.field_size_limit(MAX_CELL)  # 128 KB by default, for the whole process
    return csv.reader(lines, **dialect)


def _choose_separator(
    sample: Sequence[str], columns: Sequence[str], header: bool, default: str
) -> str:
    """The separator whose first row has all columns, else the one with most cells.

    The default wins ties.
    """
    if sample and (line := SEPARATOR_LINE.fullmatch(sample[0])):
        return line[1]
    candidates = sorted(SEPARATORS, key=lambda separator: separator != default)
    widths = {}
    fitting = []
    for separator in candidates:
        rows = _read_csv(sample, delimiter=separator)
        first = next(rows, [])
        widths[separator] = len(first)
        names = [cell.strip() for cell in first] if header else map(str, range(1, len(first) + 1))
        complete = [row for row in ([] if header else rows) if row]
        if len(sample) == SAMPLE_LINES:
            del complete[-1:]  # may be cut off
        is_table = all(len(row) == len(first) for row in complete)
        if is_table and set(columns) <= set(names):
            fitting.append(separator)
    return max(fitting or candidates, key=widths.__getitem__)
