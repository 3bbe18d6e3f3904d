"""Files of reviews, format by format: each is opened as a table, whose columns are read in chunks."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, fields
from functools import partial
from io import TextIOWrapper
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pyarrow.parquet import ParquetFile

from sentiment.data.files.cells import is_empty
from sentiment.data.files.compression import find_uncompressed_name, open_text
from sentiment.data.files.delimited import SEPARATOR_NAMES, find_dialect, parse_rows
from sentiment.runtime.errors import InputError, check_choice, one_line, prefix_key

CHUNK_SIZE = 1024  # rows whose texts are in memory at a time
MAX_CELLS = 1 << 20  # of these rows, in tables of very many columns
T = TypeVar("T")


@dataclass(kw_only=True)
class ReadOptions:
    """How files are read: keys of `conf/data/default.yaml`, as they are typed."""

    text_column: Any = "text"
    label_column: Any = "label"  # None if labels are not needed
    id_column: Any = None  # may be missing in a file whose labels are not needed
    header: bool = True
    separator: Any = None
    encoding: Any = "utf-8"
    encoding_errors: str = "strict"
    text_per: str | None = "line"  # or file; None for a single line in each file
    # How a command sets an option, for messages; `data.OPTION={}` by default.
    flags: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in ("text_column", "label_column", "id_column", "separator", "encoding"):
            value = getattr(self, key)
            setattr(self, key, None if value is None else str(value))
        self.encoding = self.encoding or "utf-8"
        self.separator = SEPARATOR_NAMES.get(self.separator, self.separator)
        with prefix_key("data"):
            check_choice((None, "line", "file"), text_per=self.text_per)
            check_choice(("strict", "replace"), encoding_errors=self.encoding_errors)
            check_choice((True, False), header=self.header)
        key, problem = "encoding", ""
        try:
            "".encode(self.encoding)
        except (LookupError, ValueError) as error:
            problem = f"cannot be used ({one_line(error)}); for example cp1252"
        if self.separator is not None and len(self.separator) != 1:
            key, problem = "separator", "cannot be used; it must be one character, or tab"
        if self.text_column == self.label_column:
            key, problem = (
                "label_column",
                "is the column of the texts too; name that of the classes",
            )
        if problem:
            raise InputError(f"{self.flag(key, getattr(self, key))} {problem}")

    @property
    def columns(self) -> list[str]:
        names = (self.text_column, self.label_column, self.id_column)
        return [name for name in dict.fromkeys(names) if name is not None]

    @property
    def required(self) -> dict[str, str]:
        """The columns that a file must have, by option."""
        keys = ["text_column", "label_column"] + (["id_column"] if self.label_column else [])
        return {key: getattr(self, key) for key in keys if getattr(self, key) is not None}

    @property
    def cache_key(self) -> list[Any]:
        """All options but `flags`."""
        names = (option.name for option in fields(ReadOptions) if option.name != "flags")
        return [getattr(self, name) for name in names]

    def flag(self, name: str, value: object) -> str:
        """What to type to set an option to a value."""
        return self.flags.get(name, f"data.{name}={{}}").format(value)


class OpenTable(NamedTuple):
    """A file that is being read."""

    names: Sequence[str]  # all columns; of a file without a header, empty if it has no rows
    found: Sequence[str]  # those of `ReadOptions.columns` that it has, by name or dotted path
    chunks: Iterator[dict[str, list[Any]]]  # cells by column, of those found or of all
    notes: tuple[str, ...] = ()  # how the file is read, if that was a choice


def find_format(file: Path) -> str:
    """The suffix in `READERS` that a file has, without that of a compression; `InputError` without one."""
    suffix = Path(find_uncompressed_name(file)).suffix
    if not suffix and file.suffix.lower() == ".zip":
        return ".csv"  # pandas calls what it puts into reviews.zip just "reviews"
    if suffix not in READERS:
        problem = f"unknown format {file.suffix or '(no suffix)'}; use {', '.join(READERS)}"
        raise InputError(f"{file}: {problem}")
    return suffix


def _open(file: Path, options: ReadOptions) -> AbstractContextManager[TextIOWrapper]:
    return open_text(file, options.encoding, options.encoding_errors)


def _split(rows: Iterator[T], columns: int = 1) -> Iterator[list[T]]:
    """Lists of `CHUNK_SIZE` rows, or of fewer that have `MAX_CELLS` cells."""
    while chunk := list(islice(rows, max(1, min(CHUNK_SIZE, MAX_CELLS // columns)))):
        yield chunk


def _check(rows: Iterator[T], is_row: Callable[[T], bool], problem: str) -> Iterator[T]:
    for number, row in enumerate(rows, 1):
        if not is_row(row):
            raise ValueError(f"row {number:,} {problem}")
        yield row


@contextmanager
def _open_delimited(file: Path, options: ReadOptions, all_columns: bool) -> Iterator[OpenTable]:
    open_lines = partial(_open, file, options)
    default = "\t" if find_format(file) == ".tsv" else ","
    given = [*options.required.values()], options.header, options.separator
    dialect, notes = find_dialect(open_lines, *given, default)
    with open_lines() as lines:
        rows = parse_rows(lines, dialect)
        first = next(rows, [])
        if options.header:
            names = _name_columns(first, options.columns)
            problem = "repeats the header; remove it"  # of joined files
            rows = _check(rows, lambda row: row != first or len(row) == 1, problem)
        else:
            names = [str(number) for number in range(1, len(first) + 1)]
            rows = chain([first] if first else [], rows)
        kept = {n: name for n, name in enumerate(names) if all_columns or name in options.columns}
        chunks = (
            {name: [row[n] for row in chunk] for n, name in kept.items()}
            for chunk in _split(rows, max(1, len(names)))
        )
        found = [name for name in options.columns if name in names]
        yield OpenTable(names, found, chunks, notes)


def _name_columns(header: Sequence[str], columns: Sequence[str]) -> list[str]:
    """The names in the header, `column_N` for those that are empty, or not unique and not needed."""
    names = [name.strip().strip("\ufeff") for name in header]  # several marks, of joined files
    counts = Counter(names)
    for n, name in enumerate(names):
        if not name or (counts[name] > 1 and name not in columns):
            name = f"column_{n + 1}"
            while name in counts:
                name += "_"
            names[n] = name
    return names


@contextmanager
def _open_json(file: Path, options: ReadOptions, all_columns: bool) -> Iterator[OpenTable]:
    """Objects, one per line or in one array, which is read into memory as a whole."""
    with _open(file, options) as lines:
        filled = ((n, line) for n, line in enumerate(lines, 1) if not line.isspace())
        number, line = next(filled, (0, ""))
        if line.lstrip().startswith("["):
            records = iter(_parse(line + lines.read(), number))
        else:
            numbered = chain([(number, line)] if line else [], filled)
            records = (_parse(line, number) for number, line in numbered)
        chunks = _split(_check(records, lambda row: isinstance(row, dict), "is no JSON object"))
        first = next(chunks, [])
        names = _list_keys(first)
        is_inside = {n: any(_get(row, n) is not None for row in first) for n in options.columns}
        found = [name for name in options.columns if name in names or is_inside[name]]
        columns = (
            _by_column(chunk, [*(_list_keys(chunk) if all_columns else []), *found])
            for chunk in chain([first] if first else [], chunks)
        )
        yield OpenTable(names, found, columns)


def _parse(content: str, number: int) -> Any:
    """Parse JSON from line `number` on; lone surrogates, which UTF-8 lacks, become U+FFFD."""
    try:
        value = json.loads(content)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {number + error.lineno - 1}: {error.msg}") from error
    if not re.search(r"\\u[dD][89a-fA-F]", content):
        return value
    return json.loads(re.sub("[\ud800-\udfff]", "\ufffd", json.dumps(value, ensure_ascii=False)))


def _list_keys(records: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(chain.from_iterable(records)))


def _by_column(records: Sequence[Mapping[str, Any]], names: Iterable[str]) -> dict[str, list[Any]]:
    return {name: [_get(record, name) for record in records] for name in names}


def _get(record: Mapping[str, Any], name: str) -> Any:
    """A value by its key, or by a dotted path through nested objects; None if it is missing."""
    if name in record:
        return record[name]
    top, dot, rest = name.partition(".")
    inner = record.get(top)
    return _get(inner, rest) if dot and isinstance(inner, Mapping) else None


@contextmanager
def _open_parquet(file: Path, options: ReadOptions, all_columns: bool) -> Iterator[OpenTable]:
    with ParquetFile(file, pre_buffer=False, buffer_size=1 << 16) as table:
        names = table.schema_arrow.names
        paths = {table.schema.column(n).path for n in range(len(table.schema))}  # of nested values
        found = [name for name in options.columns if name in names or name in paths]
        wanted = [*(names if all_columns else []), *found]
        batches = table.iter_batches(CHUNK_SIZE, columns=None if all_columns else found)
        chunks = (_by_column(batch.to_pylist(), wanted) for batch in batches)
        yield OpenTable(names, found, chunks)


@contextmanager
def _open_lines(file: Path, options: ReadOptions, all_columns: bool) -> Iterator[OpenTable]:
    """Lines, or the whole file as one text; the only column is the one of the texts."""
    with _open(file, options) as lines:
        texts: Iterator[str] = (line.rstrip("\r\n") for line in lines)
        if options.text_per == "file":
            texts = iter([lines.read()])
        elif options.text_per is None:
            texts = iter([_read_only_line(texts, options)])
        names = [options.text_column]
        chunks = ({options.text_column: chunk} for chunk in _split(texts))
        yield OpenTable(names, names, chunks)


def _read_only_line(lines: Iterable[str], options: ReadOptions) -> str:
    """The text of a file whose lines after the first one are empty."""
    first, *others = [*lines] or [""]
    if not all(map(is_empty, others)):
        line, whole = (options.flag("text_per", value) for value in ("line", "file"))
        raise ValueError(f"has several lines; type {line} if each is a text, or {whole}")
    return first


READERS: dict[str, Callable[[Path, ReadOptions, bool], AbstractContextManager[OpenTable]]] = {
    ".csv": _open_delimited,
    ".tsv": _open_delimited,
    ".jsonl": _open_json,
    ".json": _open_json,
    ".ndjson": _open_json,
    ".parquet": _open_parquet,
    ".txt": _open_lines,
}
