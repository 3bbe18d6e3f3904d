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
MAX_LABELS = 1000  # that are compared between two dialects
SEPARATOR_LINE = re.compile(r"sep=(.)\s*", re.IGNORECASE)  # of Excel
_OTHER_BACKSLASH = re.compile(r'\\(?!["\\])')  # one that escapes neither a quote nor a backslash
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
        skipinitialspace: whether blanks after a separator are left out.
        skipped_lines: lines before the header.
    """

    separator: str
    quotechar: str | None = '"'
    escapechar: str | None = None
    skipinitialspace: bool = False
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

    Quotes that surround cells are tried first. If there is a stray quote, quotes are part of the text; also if a row
    would span lines although every line has all cells by itself and, unless tabs separate them, no further label.

    Args:
        open_lines: opens the file.
        columns: names, or numbers without a header: of the texts, the labels, the identifiers.
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
    doubled = Dialect(separator, skipped_lines=skipped)
    dialects = [doubled, doubled._replace(escapechar="\\")]
    if separator != "\t" and any(f'{separator} "' in line for line in sample):
        dialects.insert(1, doubled._replace(skipinitialspace=True))
    if len(sample) > skipped + header and _is_in_single_quotes(sample[skipped + header]):
        dialects.insert(0, doubled._replace(quotechar="'"))
    quoted = None  # the first dialect in which cells span lines
    errors = []
    for dialect in dialects:
        try:
            survey = _survey(open_lines, dialect, header, columns)
        except RowError as error:
            errors.append(error)
            continue
        if not survey.has_long_rows and not survey.has_blanks_before_quotes:
            return dialect
        quoted = quoted or (dialect if dialect.quotechar == '"' else None)
    plain = doubled._replace(quotechar=None)
    try:
        survey = _survey(open_lines, plain, header, columns)
    except RowError as error:
        errors.append(error)
    else:
        if quoted is None and not survey.is_quoted:
            return plain
        if quoted and (separator == "\t" or survey.labels == _survey(open_lines, quoted, header, columns).labels):
            return plain
    if quoted:
        return quoted
    raise max(errors, key=lambda error: error.line)  # of the dialect that got furthest


class _Survey(NamedTuple):
    """What the rows of a file have in common in a dialect.

    Attributes:
        has_long_rows: whether a row spans several lines.
        has_blanks_before_quotes: whether most rows have a cell in quotes after a blank, which belong to the text then.
        is_quoted: whether most rows have a cell in quotes that belong to the text.
        labels: different cells of the column of labels; a set of its own without one.
    """

    has_long_rows: bool
    has_blanks_before_quotes: bool
    is_quoted: bool
    labels: object


def _survey(open_lines: OpenLines, dialect: Dialect, header: bool, columns: Sequence[str]) -> _Survey:
    """Read a whole file.

    Raises:
        RowError: a row is not in the dialect.
    """
    rows = long_rows = blank_rows = quoted_rows = 0
    labels: set[str] = set()
    names: list[str] = []
    column = None
    with open_lines() as lines:
        for start, end, cells in _parse(lines, dialect):
            if not names:
                names = [cell.strip() for cell in cells] if header else [str(i) for i in range(1, len(cells) + 1)]
                column = names.index(columns[1]) if len(columns) > 1 and columns[1] in names else None
            elif header and len(cells) > 1 and [cell.strip() for cell in cells] == names:
                raise RowError(start, "repeats the header; remove it")
            rows += 1
            long_rows += end > start
            blank_rows += any(len(cell) > 2 and cell.startswith(' "') and cell.endswith('"') for cell in cells)
            quoted_rows += any(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in cells)
            if column is not None and len(labels) <= MAX_LABELS:
                labels.add(cells[column])
    return _Survey(long_rows > 0, blank_rows > rows / 2, quoted_rows > rows / 2, labels if labels else object())


def read_rows(lines: Iterable[str], dialect: Dialect) -> Iterator[list[str]]:
    """Yield the cells of each row, the header included; blank lines are no rows."""
    return (cells for _, _, cells in _parse(lines, dialect))


def _parse(lines: Iterable[str], dialect: Dialect) -> Iterator[tuple[int, int, list[str]]]:
    """Yield the numbers of the first and the last line of each row, from 1, and its cells."""
    lines = islice(lines, dialect.skipped_lines, None)
    if dialect.escapechar:
        lines = (_OTHER_BACKSLASH.sub(r"\\\\", line) for line in lines)
    reader = csv.reader(
        lines,
        delimiter=dialect.separator,
        quotechar=dialect.quotechar,
        quoting=csv.QUOTE_MINIMAL if dialect.quotechar else csv.QUOTE_NONE,
        escapechar=dialect.escapechar,
        skipinitialspace=dialect.skipinitialspace,
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
    fitting = []
    for separator in candidates:
        first, *rows = [*csv.reader(sample, delimiter=separator)] or [[]]
        if len(sample) == SAMPLE_LINES:
            del rows[-1:]  # may be cut off
        names = [cell.strip() for cell in first] if header else [str(i) for i in range(1, len(first) + 1)]
        if set(columns) <= set(names) and (header or all(len(row) == len(first) for row in rows if row)):
            fitting.append(separator)
        widths[separator] = len(first)
    if fitting:
        return fitting[0] if header else next((s for s in fitting if widths[s] > 1), fitting[0])
    return max(candidates, key=widths.__getitem__)


def _is_in_single_quotes(line: str) -> bool:
    line = line.strip()
    return len(line) > 1 and "'" in (line[0], line[-1]) and '"' not in line
