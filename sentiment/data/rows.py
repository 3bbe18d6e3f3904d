"""Checked rows: the texts and labels of a file of any format, cell by cell."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from sentiment.data.formats import READERS, Chunk, ReadOptions, find_format
from sentiment.data.labels import is_empty, to_label
from sentiment.data.text_files import DECOMPRESSION_ERRORS, find_undecodable_line, guess_encoding
from sentiment.runtime.errors import InputError, one_line, shorten

MAX_REPR = 80  # characters of a cell in a message
MAX_COLUMNS = 8  # names of columns in a message
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


def read_rows(file: Path, options: ReadOptions, all_columns: bool = False, suffix: str | None = None) -> Iterator[Rows]:
    """Read a file and check its cells.

    Args:
        file: of a format in `READERS`.
        options: how to read it.
        all_columns: return the cells of all columns, not only those of `options.id_column`.
        suffix: of its format; None takes that of its name.

    Raises:
        InputError: a file is missing, empty, damaged or in another encoding; a column is missing; a text is not a
            string; a label is neither string, number nor boolean.
    """
    count = 0
    suffix = suffix or find_format(file)
    try:
        if suffix != ".parquet" and not options.encoding.lower().startswith("utf") and guess_encoding(file) == "utf-8":
            raise InputError(f"{options.setting('encoding', options.encoding)}: {file} is in UTF-8; type utf-8")
        if file.stat().st_size == 0 and suffix != ".txt":
            raise InputError(f"{file}: is empty; it needs rows with {' and '.join(options.columns)}")
        if suffix == ".txt" and options.label_column is not None:
            raise InputError(
                f"{file}: lines of text have no classes; put those of each class into a file or folder of their own "
                "(pos.txt, neg.txt) and name the folder above; if lines end in a label, rename it to .tsv or .csv and "
                "type data.header=false data.text_column=1 data.label_column=2"
            )
        for chunk in READERS[suffix](file, options, None if all_columns else options.columns):
            if count == 0:
                _check_names(chunk, options, file, suffix)
            rows = _check_rows(chunk, options, file, count, all_columns)
            count += len(rows.texts)
            yield rows
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{file}: no such file; check the path") from error
    except UnicodeDecodeError as error:
        reason = one_line(error) if suffix == ".parquet" else _explain_encoding(file, options)
        raise InputError(f"{file}: {_after(count)}{reason}") from error
    except LookupError as error:
        advice = options.setting("encoding", "cp1252")
        raise InputError(f"{options.setting('encoding', options.encoding)}: {error}; for example {advice}") from error
    except READ_ERRORS as error:
        reason = one_line(error) or type(error).__name__
        if suffix != ".parquet" and (guess_encoding(file) or "").startswith("utf-16"):
            raise InputError(f"{file}: {_after(count)}{_explain_encoding(file, options)}") from error
        raise InputError(f"{file}: {_after(count)}cannot be read as {suffix[1:]} ({reason}); fix the file") from error


def _after(rows: int) -> str:
    return f"after row {rows:,}: " if rows else ""


def _explain_encoding(file: Path, options: ReadOptions) -> str:
    line = find_undecodable_line(file, options.encoding)
    place = f"line {line:,}: not in {options.encoding.upper()}" if line else f"not in {options.encoding.upper()}"
    guess = guess_encoding(file)
    advice = "fix it" if guess in ("utf-8", options.encoding) else f"type {options.setting('encoding', guess)}"
    return f"{place}; {advice}, or convert the file"


def _check_names(chunk: Chunk, options: ReadOptions, file: Path, suffix: str) -> None:
    """Raise `InputError` if a column is missing; the message has what to type instead, if that can be guessed."""
    keys = {"text_column": options.text_column, "label_column": options.label_column, "id_column": options.id_column}
    missing = [key for key, name in keys.items() if name is not None and name not in chunk.names]
    if not missing:
        return
    if any("\0" in str(name) for name in chunk.names):
        raise InputError(f"{file}: {_explain_encoding(file, options)}")
    names = [shorten(str(name)) for name in chunk.names[:MAX_COLUMNS]]
    listed = ", ".join(names) + (", …" if len(chunk.names) > MAX_COLUMNS else "")
    message = f"{options.setting(missing[0], keys[missing[0]])}: no such column in {file}; it has {listed}"
    sample = next(READERS[suffix](file, options, None)).cells
    text, label = _guess_columns(sample, options)
    if options.header and suffix in (".csv", ".tsv") and any(map(_looks_like_a_cell, chunk.names)):
        message += f"; if that is a row, type {options.setting('header', 'false')}"
        text, label = (None if name is None else str(chunk.names.index(name) + 1) for name in (text, label))
    guesses = {"text_column": text, "label_column": label}
    suggested = [options.setting(key, guesses[key]) for key in missing if guesses.get(key) is not None]
    if suggested:
        message += " ".join(["" if message.endswith("false") else "; type", *suggested])
    raise InputError(message)


def _guess_columns(cells: Mapping[str, list[Any]], options: ReadOptions) -> tuple[str | None, str | None]:
    """The columns of these names in other case; else that of the longest texts, and that of fewest different values."""
    while nested := [name for name, values in cells.items() if values and isinstance(values[0], Mapping)]:
        inner = {
            f"{name}.{key}": [value.get(key) for value in cells[name] if isinstance(value, Mapping)]
            for name in nested
            for key in cells[name][0]
        }
        cells = {name: values for name, values in cells.items() if name not in nested} | inner
    by_name = {name.casefold(): name for name in cells if name}
    lengths = {name: sum(len(v) for v in values if isinstance(v, str)) for name, values in cells.items() if name}
    longest = max(lengths, key=lengths.__getitem__, default=None)
    text = by_name.get(options.text_column.casefold(), longest if longest and lengths[longest] else None)
    rows = max(map(len, cells.values()), default=0)
    counts = {name: len({str(value) for value in cells[name]}) for name in lengths if name != text}
    few = [name for name in counts if 1 < counts[name] <= max(2, rows / 2)]
    label = by_name.get(str(options.label_column).casefold(), min(few, key=counts.__getitem__, default=None))
    return text, label


def _looks_like_a_cell(name: str) -> bool:
    return len(name.split()) > 4 or re.fullmatch(r"-?[0-9.]+", name) is not None


def _check_rows(chunk: Chunk, options: ReadOptions, file: Path, before: int, all_columns: bool) -> Rows:
    """Check every cell; `before` rows of the file were before them."""
    texts: list[str] = []
    for row, cell in enumerate(chunk.cells[options.text_column], before + 1):
        if cell is not None and not isinstance(cell, str):
            advice = f"not text; fix it or choose another column with {options.setting('text_column', 'NAME')}"
            raise InputError(
                f"{file}: row {row:,}, column {options.text_column} holds {shorten(repr(cell), MAX_REPR)}, {advice}"
            )
        texts.append("" if cell is None or is_empty(cell) else cell)
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as error:  # a lone surrogate, which JSON can express
        raise ValueError(one_line(error)) from error
    labels: list[str | None] | None = None
    if options.label_column is not None:
        labels = []
        for row, cell in enumerate(chunk.cells[options.label_column], before + 1):
            try:
                labels.append(to_label(cell))
            except TypeError as error:
                place = f"{file}: row {row:,}, column {options.label_column}"
                advice = "labels must be text, numbers or booleans: convert them"
                raise InputError(f"{place} holds {shorten(repr(cell), MAX_REPR)}; {advice}") from error
    columns = chunk.names if all_columns else [options.id_column] if options.id_column else []
    cells = {name: chunk.cells[name] for name in columns}
    return Rows(texts, labels, cells, before + 1, chunk.fraction, chunk.notes)
