"""Checked rows: the texts and labels of a file of any format, cell by cell."""

import codecs
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from sentiment.data.files.compression import (
    DECOMPRESSION_ERRORS,
    find_undecodable_line,
    guess_encoding,
)
from sentiment.data.files.formats import READERS, Chunk, ReadOptions, find_format
from sentiment.data.labels import is_empty, to_label
from sentiment.runtime.errors import InputError, one_line, shorten

MAX_REPR = 80  # characters of a cell in a message
MAX_COLUMNS = 8  # names of columns in a message
ENCODINGS = "(Western Europe), cp1251 (Cyrillic), gb18030 (Chinese), shift_jis (Japanese), …"
_CELL = re.compile(r"-?[0-9.]+|(\S+\s+){4,}\S+")  # a number, or five words: seldom a name
READ_ERRORS = (*DECOMPRESSION_ERRORS, ValueError, OverflowError, RecursionError, pa.ArrowException)


class Rows(NamedTuple):
    """Checked rows of a file.

    Attributes:
        texts: `N` texts, empty where a cell is.
        labels: `N` labels, None where a cell is empty; None if they are not read.
        cells: further values by column, as they are in the file.
        first: number of the first row in its file, from 1.
        fraction: how much of the file has been read.
        notes: how the file was read, if that was a choice.
    """

    texts: list[str]
    labels: list[str | None] | None
    cells: dict[str, list[Any]]
    first: int
    fraction: float
    notes: tuple[str, ...]


def read_rows(
    file: Path, options: ReadOptions, all_columns: bool = False, suffix: str | None = None
) -> Iterator[Rows]:
    """Read a file and check its cells.

    Args:
        file: of a format in `READERS`.
        options: how to read it.
        all_columns: return the cells of all columns, not only those of `options.id_column`.
        suffix: of its format; None takes that of its name.

    Raises:
        InputError: a file is missing, empty, damaged or in another encoding; a column is missing; a
            text is not a string; a label is neither string, number nor boolean.
    """
    suffix = suffix or find_format(file)
    count = 0
    try:
        _check_file(file, options, suffix)
        for chunk in READERS[suffix](file, options, all_columns):
            if count == 0:
                _check_names(chunk, options, file)
            rows = _check_rows(chunk, options, file, count, all_columns)
            count += len(rows.texts)
            yield rows
    except InputError:
        raise
    except READ_ERRORS as error:
        after = f"after row {count:,}: " if count else ""
        raise InputError(f"{file}: {after}{_explain(error, file, options, suffix)}") from error


def _check_file(file: Path, options: ReadOptions, suffix: str) -> None:
    """Raise `InputError` for what is wrong before the first row."""
    if not file.is_file():
        problem = "is no regular file" if file.exists() else "no such file"
        raise InputError(f"{file}: {problem}; check the path")
    if suffix == ".txt" and options.label_column is not None:
        raise InputError(
            f"{file}: lines of text have no classes; put those of each class into a file or folder of "
            "their own (pos.txt, neg.txt) and name the folder above; if lines end in a label, rename it "
            "to .tsv or .csv and type data.header=false data.text_column=1 data.label_column=2"
        )
    if file.stat().st_size == 0 and suffix != ".txt":
        raise InputError(f"{file}: is empty; it needs rows with {' and '.join(options.columns)}")
    if suffix == ".parquet":
        return
    try:
        "".encode(options.encoding)
    except (LookupError, ValueError) as error:
        setting = options.setting("encoding", options.encoding)
        example = options.setting("encoding", "cp1252")
        raise InputError(f"{setting}: {one_line(error)}; for example {example}") from error
    is_unicode = codecs.lookup(options.encoding).name.startswith("utf")
    if not is_unicode and guess_encoding(file) == "utf-8":
        raise InputError(f"{file}: {_explain_encoding(file, options)}")


def _explain(error: Exception, file: Path, options: ReadOptions, suffix: str) -> str:
    """What is wrong with a file that cannot be read, and what to do."""
    if suffix != ".parquet":
        if isinstance(error, UnicodeDecodeError):
            return _explain_encoding(file, options)
        if (guess_encoding(file) or "").startswith("utf-16"):
            return _explain_encoding(file, options)
    reason = one_line(error) or type(error).__name__
    return f"cannot be read as {suffix[1:]} ({reason}); fix the file"


def _explain_encoding(file: Path, options: ReadOptions) -> str:
    """Where a file is not in its encoding, and what to type."""
    line = find_undecodable_line(file, options.encoding)
    place = f"line {line:,}: " if line else ""
    guess = guess_encoding(file)
    if options.flags.get("encoding") == "":  # cannot be set
        advice = "convert the file"
    elif guess == options.encoding.lower():
        replaced = options.setting("encoding_errors", "replace")
        advice = f"fix it, or type {replaced} to read such bytes as U+FFFD"
    elif guess:
        advice = f"type {options.setting('encoding', guess)}, or convert the file"
    else:
        advice = f"name its encoding: {options.setting('encoding', 'cp1252')} {ENCODINGS}"
    return f"{place}not in {options.encoding.upper()}; {advice}"


def _check_names(chunk: Chunk, options: ReadOptions, file: Path) -> None:
    """Raise `InputError` if a column is missing, with its name in other case if there is one."""
    keys = {
        "text_column": options.text_column,
        "label_column": options.label_column,
        "id_column": options.id_column,
    }
    missing = {
        key: name for key, name in keys.items() if name is not None and name not in chunk.cells
    }
    if not missing:
        return
    names = [str(name) for name in chunk.names]
    if any("\0" in name for name in names):
        raise InputError(f"{file}: {_explain_encoding(file, options)}")
    listed = ", ".join(shorten(name) for name in names[:MAX_COLUMNS])
    more = ", …" if len(names) > MAX_COLUMNS else ""
    by_case = {name.casefold(): name for name in names}
    found = {key: by_case.get(name.casefold()) for key, name in missing.items()}
    if known := [options.setting(key, name) for key, name in found.items() if name]:
        advice = f"type {' '.join(known)}"
    elif options.header and any(map(_CELL.fullmatch, names)):
        advice = f"if that is a row, type {options.setting('header', 'false')}"
    else:
        advice = "type " + " ".join(options.setting(key, "NAME") for key in missing)
    first = options.setting(*next(iter(missing.items())))
    raise InputError(f"{first}: no such column in {file}; it has {listed}{more}; {advice}")


def _check_rows(
    chunk: Chunk, options: ReadOptions, file: Path, before: int, all_columns: bool
) -> Rows:
    """Check every cell; `before` rows of the file were before them."""
    texts: list[str] = []
    for row, cell in enumerate(chunk.cells[options.text_column], before + 1):
        if cell is not None and not isinstance(cell, str):
            place = f"{file}: row {row:,}, column {options.text_column}"
            other = options.setting("text_column", "NAME")
            raise InputError(
                f"{place} holds {shorten(repr(cell), MAX_REPR)}, not text; fix it or choose another column with {other}"
            )
        texts.append("" if cell is None or is_empty(cell) else cell)
    labels: list[str | None] | None = None
    if options.label_column is not None:
        labels = []
        for row, cell in enumerate(chunk.cells[options.label_column], before + 1):
            try:
                labels.append(to_label(cell))
            except TypeError as error:
                place = f"{file}: row {row:,}, column {options.label_column}"
                advice = "labels must be text, numbers or booleans: convert them"
                raise InputError(
                    f"{place} holds {shorten(repr(cell), MAX_REPR)}; {advice}"
                ) from error
    columns = chunk.names if all_columns else [options.id_column] if options.id_column else []
    cells = {name: chunk.cells[name] for name in columns}
    return Rows(texts, labels, cells, before + 1, chunk.fraction, chunk.notes)
