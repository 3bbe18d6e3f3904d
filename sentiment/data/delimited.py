"""CSV, TSV and their relatives: which separator and quoting a file has, and its rows, each checked for its cells."""

import csv
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from typing import IO, NamedTuple

SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}
SAMPLE_LINES = 20
SEPARATOR_LINE = re.compile(r"sep=(.)\s*", re.IGNORECASE)  # of Excel
ERRORS = {  # of the csv module
    "expected after": "a quote inside a quoted cell is not doubled",
    "unexpected end of data": "a quoted cell does not end",
}

csv.field_size_limit(sys.maxsize)  # a review may be longer than 128 KB


class RowError(ValueError):
    """A row that is not in the dialect of its file.

    Attributes:
        line: where it starts, from 1.
    """

    def __init__(self, line: int, message: str) -> None:
        super().__init__(f"line {line:,}: {message}")
        self.line = line


OpenLines = Callable[[], AbstractContextManager[IO[str]]]


class Dialect(NamedTuple):
    """How a file separates and quotes its cells.

    Attributes:
        separator: between cells.
        quotechar: around cells; None if quotes are part of the text.
        escapechar: before a quote inside a quoted cell; None if such quotes are doubled.
        skipped_lines: lines before the header.
    """

    separator: str
    quotechar: str | None = '"'
    escapechar: str | None = None
    skipped_lines: int = 0

    def notes(self, default: str, chosen: str | None) -> tuple[str, ...]:
        """What a reader should know of the choice; empty for the usual one."""
        separated = f"separated by {SEPARATORS.get(self.separator, repr(self.separator))}"
        notes = [separated] if self.separator not in (default, chosen) else []
        if self.quotechar == "'":
            notes.append("cells in single quotes")
        if self.escapechar:
            notes.append("quotes escaped by a backslash")
        if self.quotechar is None:
            notes.append("quotes are part of the text")
        return tuple(notes)


def find_dialect(
    open_lines: OpenLines, columns: Sequence[str], header: bool, separator: str | None, default: str
) -> Dialect:
    """Find the dialect in which each row of a file has as many cells as the first one.

    Quotes that surround cells are tried first. If there is a stray quote, or if rows of tab-separated cells would span
    lines although every line by itself has all cells, quotes are part of the text.

    Args:
        open_lines: opens the file.
        columns: names, or numbers without a header.
        header: whether there is a header.
        separator: None chooses the one whose header has the columns.
        default: the usual separator of the format.

    Raises:
        RowError: there is none.
    """
    with open_lines() as lines:
        sample = list(islice(lines, SAMPLE_LINES))
    skipped = 0
    if header and sample and (line := SEPARATOR_LINE.fullmatch(sample[0])):
        separator, skipped = separator or line[1], 1
    if separator is None:
        separator = _choose_separator(sample, columns, header, default)
    dialects = [Dialect(separator, skipped_lines=skipped)]
    dialects.append(dialects[0]._replace(escapechar="\\"))
    if len(sample) > skipped + header and _is_in_single_quotes(sample[skipped + header]):
        dialects.insert(0, dialects[0]._replace(quotechar="'"))
    plain = dialects[0]._replace(quotechar=None)
    valid, errors = [], []
    for dialect in (*dialects, plain):
        try:
            with open_lines() as lines:
                has_long_rows = sum(end > start for start, end, _ in _parse(lines, dialect)) > 0
        except RowError as error:
            errors.append(error)
            continue
        if dialect.quotechar != "'":
            valid.append(dialect)
        if not has_long_rows and (dialect != plain or separator == "\t"):
            return dialect
    if valid:
        return valid[0]
    raise max(errors, key=lambda error: error.line)  # of the dialect that got furthest


def read_rows(lines: Iterable[str], dialect: Dialect) -> Iterator[list[str]]:
    """Yield the cells of each row, the header included; blank lines are no rows."""
    return (cells for _, _, cells in _parse(lines, dialect))


def _parse(lines: Iterable[str], dialect: Dialect) -> Iterator[tuple[int, int, list[str]]]:
    """Yield the numbers of the first and the last line of each row, from 1, and its cells."""
    reader = csv.reader(
        islice(lines, dialect.skipped_lines, None),
        delimiter=dialect.separator,
        quotechar=dialect.quotechar,
        quoting=csv.QUOTE_MINIMAL if dialect.quotechar else csv.QUOTE_NONE,
        escapechar=dialect.escapechar,
        strict=True,
    )
    width = 0
    while True:
        start = reader.line_num + dialect.skipped_lines + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            message = next((text for part, text in ERRORS.items() if part in str(error)), str(error))
            raise RowError(start, message) from error
        if cells is None:
            return
        if not cells or (len(cells) == 1 < width and not cells[0].strip()):
            continue
        width = width or len(cells)
        if len(cells) != width:
            raise RowError(start, f"has {len(cells)} cell{'s' * (len(cells) != 1)}, the first line {width}")
        yield start, reader.line_num + dialect.skipped_lines, cells


def _choose_separator(sample: Sequence[str], columns: Sequence[str], header: bool, default: str) -> str:
    """The separator whose first row has all columns, else the one with most cells; the default wins ties."""
    candidates = sorted(SEPARATORS, key=lambda separator: separator != default)
    widths = {}
    for separator in candidates:
        first, *rows = [*csv.reader(sample, delimiter=separator)] or [[]]
        if len(sample) == SAMPLE_LINES:
            del rows[-1:]  # may be cut off
        names = [cell.strip() for cell in first] if header else [str(i) for i in range(1, len(first) + 1)]
        if set(columns) <= set(names) and (header or all(len(row) == len(first) for row in rows if row)):
            return separator
        widths[separator] = len(first)
    return max(candidates, key=widths.__getitem__)


def _is_in_single_quotes(line: str) -> bool:
    line = line.strip()
    return len(line) > 1 and "'" in (line[0], line[-1]) and '"' not in line
