"""Files of reviews, format by format: each reader yields chunks of rows as Python objects."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, fields
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pyarrow.parquet import ParquetFile

from sentiment.data.files.compression import TextStream, find_uncompressed_name, open_text
from sentiment.data.files.delimited import find_dialect, read_rows
from sentiment.runtime.errors import InputError

CHUNK_SIZE = 1024  # rows whose texts are in memory at a time
MAX_CELLS = 1 << 20  # of these rows, in tables of very many columns
T = TypeVar("T")


@dataclass(frozen=True)
class ReadOptions:
    """How files are read.

    Attributes:
        text_column: column of the texts: its name, its number from 1 without a header, or a dotted path
            into JSON or Parquet.
        label_column: column of the classes; None if they are not needed.
        id_column: column of identifiers; None if they are not needed.
        header: whether the first line of CSV or TSV holds the names of the columns.
        separator: of the cells of CSV or TSV; None chooses the one whose header has the columns.
        encoding: of text files, by the name of Python's codec.
        encoding_errors: `strict`, or `replace` for U+FFFD in place of bytes outside the encoding.
        text_per: what a text is in `.txt` files: `line` or `file`; None if only one is possible.
        flags: how a command sets an option, for messages; `data.option=` by default.
    """

    text_column: str = "text"
    label_column: str | None = "label"
    id_column: str | None = None
    header: bool = True
    separator: str | None = None
    encoding: str = "utf-8"
    encoding_errors: str = "strict"
    text_per: str | None = None
    flags: Mapping[str, str] = field(default_factory=dict, hash=False, compare=False)

    @property
    def columns(self) -> list[str]:
        """The columns that are read."""
        names = (self.text_column, self.label_column, self.id_column)
        return [name for name in dict.fromkeys(names) if name is not None]

    @property
    def settings(self) -> list[Any]:
        """All options but `flags`."""
        return [getattr(self, option.name) for option in fields(self) if option.name != "flags"]

    def setting(self, name: str, value: object) -> str:
        """What to type to set an option."""
        return self.flags.get(name, f"data.{name}={{}}").format(value)


class Chunk(NamedTuple):
    """Rows of a file before they are checked.

    Attributes:
        names: all columns of the file.
        cells: values by column, as Python objects: of those of `ReadOptions.columns` that the file
            has, and of all of `names` if they are asked for.
        fraction: how much of the file has been read.
        notes: how the file was read, if that was a choice.
    """

    names: Sequence[str]
    cells: Mapping[str, list[Any]]
    fraction: float
    notes: tuple[str, ...] = ()


def find_format(file: Path) -> str:
    """The suffix in `READERS` that a file has, without that of a compression.

    Raises:
        InputError: there is none.
    """
    suffix = Path(find_uncompressed_name(file)).suffix
    if suffix == ".parquet" != file.suffix.lower():
        raise InputError(f"{file}: is compressed twice; extract the Parquet file")
    if suffix in READERS:
        return suffix
    if not suffix and file.suffix.lower() == ".zip":
        return ".csv"  # pandas calls what it puts into reviews.zip just "reviews"
    *others, last = READERS
    known = f"{', '.join(others)} or {last}"
    raise InputError(f"{file}: unknown format {file.suffix or '(no suffix)'}; use {known}")


def _open(file: Path, options: ReadOptions) -> AbstractContextManager[TextStream]:
    return open_text(file, options.encoding, options.encoding_errors)


def _read_delimited(file: Path, options: ReadOptions, all_columns: bool) -> Iterator[Chunk]:
    @contextmanager
    def open_lines() -> Iterator[Iterable[str]]:
        with _open(file, options) as stream:
            yield stream.lines

    default = "\t" if find_format(file) == ".tsv" else ","
    dialect, notes = find_dialect(
        open_lines, options.columns, options.header, options.separator, default
    )
    with _open(file, options) as stream:
        rows = read_rows(stream.lines, dialect)
        first = next(rows, None)
        if first is None:
            return
        header = first if options.header else None
        names = _name_columns(first, options)
        columns = [n for n, name in enumerate(names) if all_columns or name in options.columns]
        if header is None:
            rows = chain([first], rows)
        before = 0
        for chunk in _split(rows, len(names)):
            if header in chunk and len(names) > 1:
                row = before + chunk.index(header) + 1
                raise ValueError(f"row {row:,} repeats the header; remove it")
            before += len(chunk)
            cells = {names[n]: [row[n] for row in chunk] for n in columns}
            yield Chunk(names, cells, stream.fraction(), notes)
        if before == 0:
            yield Chunk(names, {names[n]: [] for n in columns}, 1.0, notes)


def _name_columns(first: Sequence[str], options: ReadOptions) -> list[str]:
    """The names in the header, `column_N` for those that are empty or not unique; or numbers from 1.

    Raises:
        ValueError: several columns have the name of one that is read.
    """
    if not options.header:
        return [str(number) for number in range(1, len(first) + 1)]
    found = [name.strip().strip("\ufeff") for name in first]  # several marks, of joined files
    counts = Counter(found)
    _check_unique(found, options.columns)
    names = []
    for number, name in enumerate(found, 1):
        if not name or counts[name] > 1:
            name = f"column_{number}"
            while name in counts:
                name += "_"
        names.append(name)
    return names


def _check_unique(names: Sequence[str], columns: Iterable[str]) -> None:
    for name in columns:
        if names.count(name) > 1:
            raise ValueError(f"{names.count(name)} columns are named {name}; rename all but one")


def _split(rows: Iterator[T], columns: int = 1) -> Iterator[list[T]]:
    """Lists of `CHUNK_SIZE` rows, or of fewer that have `MAX_CELLS` cells."""
    while chunk := list(islice(rows, max(1, min(CHUNK_SIZE, MAX_CELLS // columns)))):
        yield chunk


def _read_json(file: Path, options: ReadOptions, all_columns: bool) -> Iterator[Chunk]:
    """Objects, one per line or in one array, which is read into memory as a whole."""
    with _open(file, options) as stream:
        filled = ((n, line) for n, line in enumerate(stream.lines, 1) if not line.isspace())
        start = list(islice(filled, 2))
        if not start:
            return
        if _is_document([line for _, line in start], options):
            content = "".join(line for _, line in start) + stream.lines.read()
            records = iter(_parse_document(content, start[0][0]))
        else:
            records = (_parse_record(line, number) for number, line in chain(start, filled))
        columns = None
        for chunk in _split(records):
            names = list(dict.fromkeys(chain.from_iterable(chunk)))
            columns = columns or _find_columns(chunk, options)
            wanted = dict.fromkeys([*columns, *(names if all_columns else ())])
            yield Chunk(names, _by_column(chunk, wanted), stream.fraction())


def _find_columns(records: Sequence[Mapping[str, Any]], options: ReadOptions) -> list[str]:
    """Those of the columns to be read that the records have, by name or dotted path."""
    return [
        name
        for name in options.columns
        if any(name in record or _get(record, name) is not None for record in records)
    ]


def _is_document(lines: Sequence[str], options: ReadOptions) -> bool:
    """Whether the first lines of a file are part of one JSON value, and not an object each."""
    if lines[0].lstrip().startswith("["):
        return True
    try:
        first = json.loads(lines[0])
    except ValueError:
        return True
    if len(lines) > 1 or not isinstance(first, dict):
        return False
    has_list = any(isinstance(value, list) for value in first.values())
    return has_list and _get(first, options.text_column) is None


def _get(record: Mapping[str, Any], name: str) -> Any:
    """A value by its key, or by a dotted path through nested objects; None if it is missing."""
    if name in record:
        return record[name]
    top, dot, rest = name.partition(".")
    inner = record.get(top)
    return _get(inner, rest) if dot and isinstance(inner, Mapping) else None


def _by_column(records: Sequence[Mapping[str, Any]], names: Iterable[str]) -> dict[str, list[Any]]:
    return {name: [_get(record, name) for record in records] for name in names}


def _parse_record(line: str, number: int) -> dict[str, Any]:
    record = _parse(line, number)
    if not isinstance(record, dict):
        raise ValueError(f"line {number}: not a JSON object")
    return record


def _parse_document(content: str, number: int) -> list[dict[str, Any]]:
    parsed = _parse(content, number)
    if isinstance(parsed, dict):
        lists = [value for value in parsed.values() if isinstance(value, list)]
        if len(lists) != 1:
            raise ValueError("a single object; write an array of objects, or one object per line")
        parsed = lists[0]
    for number, record in enumerate(parsed, 1):
        if not isinstance(record, dict):
            raise ValueError(f"element {number}: not a JSON object")
    records: list[dict[str, Any]] = parsed
    return records


def _parse(content: str, number: int) -> Any:
    """Parse JSON from line `number` on; lone surrogates, which UTF-8 lacks, become U+FFFD."""
    try:
        value = json.loads(content)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {number + error.lineno - 1}: {error.msg}") from error
    if not re.search(r"\\u[dD][89a-fA-F]", content):
        return value
    return json.loads(re.sub("[\ud800-\udfff]", "\ufffd", json.dumps(value, ensure_ascii=False)))


def _read_parquet(file: Path, options: ReadOptions, all_columns: bool) -> Iterator[Chunk]:
    with ParquetFile(file, pre_buffer=False, buffer_size=1 << 16) as table:
        names = table.schema_arrow.names
        _check_unique(names, names if all_columns else options.columns)
        paths = {table.schema.column(n).path for n in range(len(table.schema))}  # of nested values
        columns = [name for name in options.columns if name in names or name in paths]
        wanted = dict.fromkeys([*columns, *(names if all_columns else ())])
        rows = 0
        for batch in table.iter_batches(CHUNK_SIZE, columns=None if all_columns else columns):
            rows += len(batch)
            cells = _by_column(batch.to_pylist(), wanted)
            yield Chunk(names, cells, rows / table.metadata.num_rows)


def _read_lines(file: Path, options: ReadOptions, all_columns: bool) -> Iterator[Chunk]:
    """Lines, or the whole file as one text; the only column is the one of the texts."""
    name = options.text_column
    with _open(file, options) as stream:
        if options.text_per == "file":
            yield Chunk([name], {name: [stream.lines.read()]}, 1.0)
            return
        for chunk in _split(line.rstrip("\r\n") for line in stream.lines):
            yield Chunk([name], {name: chunk}, stream.fraction())


READERS: dict[str, Callable[[Path, ReadOptions, bool], Iterator[Chunk]]] = {
    ".csv": _read_delimited,
    ".tsv": _read_delimited,
    ".jsonl": _read_json,
    ".json": _read_json,
    ".ndjson": _read_json,
    ".parquet": _read_parquet,
    ".txt": _read_lines,
}
