"""Checked rows: the texts and labels of a file of any format, cell by cell."""

import codecs
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa

from sentiment.data.files.cells import to_label, to_text
from sentiment.data.files.compression import DECOMPRESSION_ERRORS, looks_like_utf8
from sentiment.data.files.formats import READERS, OpenTable, ReadOptions, find_format
from sentiment.runtime.errors import InputError, one_line, shorten

MAX_REPR = 80  # characters of a cell in a message
MAX_NAMES = 200  # characters of the names of columns in a message
ENCODINGS = "(Western Europe), cp1251 (Cyrillic), gb18030 (Chinese), utf-16-le, …"
READ_ERRORS = (*DECOMPRESSION_ERRORS, ValueError, OverflowError, RecursionError, pa.ArrowException)
T = TypeVar("T")


class Rows(NamedTuple):
    """Checked rows of a file."""

    texts: list[str]  # empty where a cell is
    labels: list[str | None] | None  # None where a cell is empty, or if they are not read
    cells: dict[str, list[Any]]  # by column, as they are in the file
    first: int  # number of the first row in its file, from 1
    notes: tuple[str, ...]  # see `OpenTable`


def read_rows(
    file: Path, options: ReadOptions, all_columns: bool = False, suffix: str | None = None
) -> Iterator[Rows]:
    """Read a file and check its cells; its format is that of a suffix, or of its name.

    An `InputError` says that it cannot be read, lacks a column, or has a cell that is no text or label.
    """
    suffix = suffix or find_format(file)
    if not file.is_file():
        raise InputError(f"{file}: no such file; check the path")
    first = 1
    try:
        with READERS[suffix](file, options, all_columns) as table:
            if problem := _find_problem(file, table, options, suffix, all_columns):
                raise InputError(problem)
            paths = {*table.found} - {*table.names}
            for cells in table.chunks:
                texts = _convert(to_text, "text_column", cells, options, file, first)
                labels = None
                if options.label_column is not None:
                    labels = _convert(to_label, "label_column", cells, options, file, first)
                beside = {name: cells[name] for name in cells if name not in paths}
                yield Rows(texts, labels, beside, first, table.notes)
                first += len(texts)
            if first == 1 and table.names:  # a header alone
                yield Rows([], None, {name: [] for name in table.names}, 1, table.notes)
    except READ_ERRORS as error:
        raise InputError(_explain(error, file, options, suffix, first - 1)) from error


def has_labels(file: Path, options: ReadOptions) -> bool:
    """Whether a file has the column of labels, with one in the first chunk of rows, or is a text file."""
    suffix = find_format(file)
    if suffix == ".txt":
        return True
    column = options.label_column
    with READERS[suffix](file, options, False) as table:
        cells = next(table.chunks, {}) if column in table.found else {}
        return any(to_label(cell) for cell in cells.get(column, []))


def _convert(
    convert: Callable[[Any], T],
    key: str,
    cells: dict[str, list[Any]],
    options: ReadOptions,
    file: Path,
    first: int,
) -> list[T]:
    """The converted cells of the column that an option names; `first` is the number of the first one."""
    name = getattr(options, key)
    converted = []
    for row, cell in enumerate(cells[name], first):
        try:
            converted.append(convert(cell))
        except (AttributeError, TypeError) as error:
            raise InputError(
                f"{file}: row {row:,}, column {name} holds {shorten(repr(cell), MAX_REPR)}, not text"
                f"{'' if key == 'text_column' else ', a number or a boolean'}; fix it or choose "
                f"another column with {options.flag(key, 'NAME')}"
            ) from error
    return converted


def _find_problem(
    file: Path, table: OpenTable, options: ReadOptions, suffix: str, all_columns: bool
) -> str | None:
    """Whether an open file is misread, or has no rows, or a column is missing or there more than once."""
    is_unicode = codecs.lookup(options.encoding).name.startswith("utf")
    if suffix != ".parquet" and not is_unicode and looks_like_utf8(file):
        return f"{file}: {_explain_encoding(file, options)}"
    counts = Counter(table.names)
    for name in table.names if all_columns else table.found:
        if counts[name] > 1:
            return f"{file}: {counts[name]} columns are named {name}; rename all but one"
    missing = {key: name for key, name in options.required.items() if name not in table.found}
    if not missing:
        return None
    if not table.names:
        return f"{file}: contains no rows; add some"
    if suffix == ".txt":
        return (
            f"{file}: lines of text have no classes; put those of each class into a file or folder "
            "of their own (pos.txt, neg.txt) and name the folder above, or make it a table (.csv)"
        )
    listed = shorten(", ".join(table.names), MAX_NAMES)
    advice = " ".join(options.flag(key, "NAME") for key in missing)
    if options.header and suffix in (".csv", ".tsv"):
        advice += f", or {options.flag('header', 'false')} if that is a row"
    first = options.flag(*next(iter(missing.items())))
    return f"{first}: no such column in {file}; it has {listed}; type {advice}"


def _explain(error: Exception, file: Path, options: ReadOptions, suffix: str, rows: int) -> str:
    """Why a file cannot be read after so many rows, and what to do."""
    if isinstance(error, InputError):
        return str(error)
    if suffix != ".parquet" and isinstance(error, UnicodeDecodeError):
        return f"{file}: {_explain_encoding(file, options, error)}"
    after = f"after row {rows:,}: " if rows else ""
    reason = one_line(error) or type(error).__name__
    return f"{file}: {after}cannot be read as {suffix[1:]} ({reason}); fix the file"


def _explain_encoding(file: Path, options: ReadOptions, error: Exception | None = None) -> str:
    """Where a file is not in its encoding, and what to type."""
    near = ""
    if isinstance(error, UnicodeDecodeError):
        near = f" near {error.object[max(0, error.start - 20) : error.end + 9]!r}"
    if options.flags.get("encoding") == "":  # cannot be set
        advice = "convert the file"
    elif not looks_like_utf8(file):
        advice = f"name its encoding: {options.flag('encoding', 'cp1252')} {ENCODINGS}"
    elif codecs.lookup(options.encoding).name == "utf-8":
        replaced = options.flag("encoding_errors", "replace")
        advice = f"fix it, or type {replaced} to read such bytes as U+FFFD"
    else:
        advice = f"type {options.flag('encoding', 'utf-8')}, or convert the file"
    return f"not in {options.encoding.upper()}{near}; {advice}"
