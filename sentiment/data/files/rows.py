"""Checked rows: the texts and labels of a file of any format, cell by cell."""

import codecs
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa

from sentiment.data.files.cells import to_label, to_text
from sentiment.data.files.compression import (
    DECOMPRESSION_ERRORS,
    find_undecodable_line,
    guess_encoding,
)
from sentiment.data.files.formats import READERS, OpenTable, ReadOptions, find_format
from sentiment.runtime.errors import InputError, one_line, shorten

MAX_REPR = 80  # characters of a cell in a message
MAX_COLUMNS = 8  # names of columns in a message
ENCODINGS = "(Western Europe), cp1251 (Cyrillic), gb18030 (Chinese), shift_jis (Japanese), …"
READ_ERRORS = (*DECOMPRESSION_ERRORS, ValueError, OverflowError, RecursionError, pa.ArrowException)
T = TypeVar("T")


class Rows(NamedTuple):
    """Checked rows of a file."""

    texts: list[str]  # empty where a cell is
    labels: list[str | None] | None  # None where a cell is empty, or if they are not read
    cells: dict[str, list[Any]]  # by column, as they are in the file
    first: int  # number of the first row in its file, from 1
    fraction: float  # of the file that has been read
    notes: tuple[str, ...]  # see `OpenTable`


def read_rows(
    file: Path, options: ReadOptions, all_columns: bool = False, suffix: str | None = None
) -> Iterator[Rows]:
    """Read a file and check its cells; its format is that of a suffix, or of its name.

    An `InputError` says that it cannot be read, lacks a column, or has a cell that is no text or label.
    """
    suffix = suffix or find_format(file)
    if problem := _find_problem(file, options, suffix):
        raise InputError(f"{file}: {problem}")
    first = 1
    try:
        with READERS[suffix](file, options, all_columns) as table:
            _check_columns(file, table, options, suffix, all_columns)
            paths = {*table.found} - {*table.names}
            for cells in table.chunks:
                texts = _convert(to_text, "text_column", cells, options, file, first)
                labels = None
                if options.label_column is not None:
                    labels = _convert(to_label, "label_column", cells, options, file, first)
                beside = {name: cells[name] for name in cells if name not in paths}
                yield Rows(texts, labels, beside, first, table.fraction(), table.notes)
                first += len(texts)
            if first == 1 and table.names:  # a header alone
                yield Rows([], None, {name: [] for name in table.names}, 1, 1.0, table.notes)
    except READ_ERRORS as error:
        raise InputError(_explain(error, file, options, suffix, first - 1)) from error


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


def _find_problem(file: Path, options: ReadOptions, suffix: str) -> str | None:
    """What would be no error, or none that is understood, when a file is read."""
    if not file.is_file():
        return f"{'is no regular' if file.exists() else 'no such'} file; check the path"
    if options.separator is not None and len(options.separator) != 1:
        flag = options.flag("separator", options.separator)
        return f"{flag} cannot be used; it must be one character, or tab"
    if options.text_column == options.label_column:
        flag = options.flag("label_column", options.label_column)
        return f"{flag} is the column of the texts too; name that of the classes"
    if suffix == ".txt" and options.label_column is not None:
        return (
            "lines of text have no classes; put those of each class into a file or folder of "
            "their own (pos.txt, neg.txt) and name the folder above; if lines end in a label, rename it "
            "to .tsv or .csv and type data.header=false data.text_column=1 data.label_column=2"
        )
    if file.stat().st_size == 0 and suffix != ".txt":
        return f"is empty; it needs rows with {' and '.join(options.columns)}"
    try:
        "".encode(options.encoding)
    except (LookupError, ValueError) as error:
        flag, example = (options.flag("encoding", name) for name in (options.encoding, "cp1252"))
        return f"{flag} cannot be used ({one_line(error)}); for example {example}"
    return None


def _is_in_other_encoding(file: Path, table: OpenTable, options: ReadOptions) -> bool:
    """Whether a file is read without an error in an encoding that is not its own."""
    is_unicode = codecs.lookup(options.encoding).name.startswith("utf")
    has_zeros = any("\0" in name for name in table.names)  # of UTF-16
    return has_zeros or (not is_unicode and guess_encoding(file) == "utf-8")


def _check_columns(
    file: Path, table: OpenTable, options: ReadOptions, suffix: str, all_columns: bool
) -> None:
    """Raise `InputError` if a column is missing, or there are several of its name, or its name is misread."""
    missing = {key: name for key, name in options.required.items() if name not in table.found}
    counts = Counter(table.names)
    read = table.names if all_columns else table.found
    repeated = next((name for name in read if counts[name] > 1), None)
    problem = None
    if suffix != ".parquet" and _is_in_other_encoding(file, table, options):
        problem = f"{file}: {_explain_encoding(file, options)}"
    elif repeated:
        problem = f"{file}: {counts[repeated]} columns are named {repeated}; rename all but one"
    elif missing and table.names:
        listed = ", ".join(map(shorten, table.names[:MAX_COLUMNS]))
        more = ", …" if len(table.names) > MAX_COLUMNS else ""
        advice = " ".join(
            options.flag(key, _find_closest(name, table.names)) for key, name in missing.items()
        )
        if options.header and suffix in (".csv", ".tsv"):
            advice += f", or {options.flag('header', 'false')} if that is a row"
        first = options.flag(*next(iter(missing.items())))
        problem = f"{first}: no such column in {file}; it has {listed}{more}; type {advice}"
    if problem:
        raise InputError(problem)


def _find_closest(name: str, names: Sequence[str]) -> str:
    by_folded = {other.casefold(): other for other in names}
    closest = get_close_matches(name.casefold(), by_folded, 1)
    return by_folded[closest[0]] if closest else "NAME"


def _explain(error: Exception, file: Path, options: ReadOptions, suffix: str, rows: int) -> str:
    """Why a file cannot be read after so many rows, and what to do."""
    if isinstance(error, InputError):
        return str(error)
    guess = "" if suffix == ".parquet" else guess_encoding(file) or ""
    is_misread = suffix != ".parquet" and isinstance(error, UnicodeError)
    if is_misread or guess.startswith("utf-16"):
        return f"{file}: {_explain_encoding(file, options)}"
    after = f"after row {rows:,}: " if rows else ""
    reason = one_line(error) or type(error).__name__
    return f"{file}: {after}cannot be read as {suffix[1:]} ({reason}); fix the file"


def _explain_encoding(file: Path, options: ReadOptions) -> str:
    """Where a file is not in its encoding, and what to type."""
    line = find_undecodable_line(file, options.encoding)
    guess = guess_encoding(file)
    if options.flags.get("encoding") == "":  # cannot be set
        advice = "convert the file"
    elif guess == options.encoding.lower():
        replaced = options.flag("encoding_errors", "replace")
        advice = f"fix it, or type {replaced} to read such bytes as U+FFFD"
    elif guess:
        advice = f"type {options.flag('encoding', guess)}, or convert the file"
    else:
        advice = f"name its encoding: {options.flag('encoding', 'cp1252')} {ENCODINGS}"
    return f"{f'line {line:,}: ' if line else ''}not in {options.encoding.upper()}; {advice}"
