"""Files of reviews, format by format: each reader yields chunks of rows as Python objects."""

import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from pyarrow.parquet import ParquetFile

from sentiment.data.delimited import find_dialect, read_rows
from sentiment.data.text_files import find_uncompressed_name, open_text
from sentiment.runtime.errors import InputError

CHUNK_SIZE = 1024  # rows whose texts are in memory at a time


@dataclass(frozen=True)
class ReadOptions:
    """How files are read.

    Attributes:
        text_column: column of the texts: its name, its number from 1 without a header, or a dotted path into JSON.
        label_column: column of the classes; None if they are not needed.
        id_column: column of identifiers; None if they are not needed.
        header: whether the first line of CSV or TSV holds the names of the columns.
        separator: of the cells of CSV or TSV; None chooses the one whose header has the columns.
        encoding: of text files, by the name of Python's codec.
        text_per: what a text is in `.txt` files: `line` or `file`; None if only one is possible.
        flags: how a command sets an option, for messages; `data.option=` by default.
    """

    text_column: str = "text"
    label_column: str | None = "label"
    id_column: str | None = None
    header: bool = True
    separator: str | None = None
    encoding: str = "utf-8"
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
        cells: values by column, as Python objects.
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
    name = find_uncompressed_name(file)
    if (suffix := Path(name).suffix) in READERS:
        return suffix
    *others, last = READERS
    raise InputError(f"{file}: unknown format {file.suffix or '(no suffix)'}; use {', '.join(others)} or {last}")


def _read_delimited(file: Path, options: ReadOptions, columns: Sequence[str] | None) -> Iterator[Chunk]:
    default = "\t" if find_format(file) == ".tsv" else ","

    @contextmanager
    def open_lines() -> Iterator[io.TextIOWrapper]:
        with open_text(file, options.encoding) as stream:
            yield stream.lines

    dialect = find_dialect(open_lines, options.columns, options.header, options.separator, default)
    notes = dialect.notes(default, options.separator)
    with open_text(file, options.encoding) as stream:
        rows = read_rows(stream.lines, dialect)
        names = [name.strip() for name in next(rows, [])] if options.header else None
        while chunk := list(islice(rows, CHUNK_SIZE)):
            names = names or [str(number) for number in range(1, len(chunk[0]) + 1)]
            for name in columns or ():
                if names.count(name) > 1:
                    raise ValueError(f"{names.count(name)} columns are named {name}; rename all but one")
            names = [f"column_{i}" if names.count(n) > 1 or not n else n for i, n in enumerate(names, 1)]
            by_name = dict(zip(names, map(list, zip(*chunk, strict=True)), strict=True))
            yield Chunk(names, {n: by_name[n] for n in columns or names if n in by_name}, stream.fraction(), notes)
        if names is not None and not chunk:
            yield Chunk(names, {name: [] for name in names}, 1.0, notes)


def _read_json(file: Path, options: ReadOptions, columns: Sequence[str] | None) -> Iterator[Chunk]:
    """Objects, one per line or in one array, which is read into memory as a whole."""
    with open_text(file, options.encoding) as stream:
        filled = (line for line in enumerate(stream.lines, 1) if not line[1].isspace())
        first = next(filled, None)
        if first is None:
            return
        start = first[1].strip()
        if start.startswith("[") or start == "{" or _LIST_IN_OBJECT.match(start):
            records = iter(_parse_array(first[1] + stream.lines.read()))
        else:
            records = (_parse_record(line, number) for number, line in chain([first], filled))
        while chunk := list(islice(records, CHUNK_SIZE)):
            names = list(dict.fromkeys(chain.from_iterable(chunk)))
            cells = {name: [_get(record, name) for record in chunk] for name in columns or names}
            known = [name for name in cells if name not in names and any(v is not None for v in cells[name])]
            yield Chunk(names + known, cells, stream.fraction())


_LIST_IN_OBJECT = re.compile(r'\{\s*"[^"]*"\s*:\s*\[\s*(\{|$)')  # {"data": [{…


def _get(record: Mapping[str, Any], name: str) -> Any:
    """A value by its key, or by a dotted path through nested objects; None if it is missing."""
    if name in record:
        return record[name]
    top, dot, rest = name.partition(".")
    inner = record.get(top)
    return _get(inner, rest) if dot and isinstance(inner, Mapping) else None


def _parse_record(line: str, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {number}: {error.msg}") from error
    if not isinstance(record, dict):
        raise ValueError(f"line {number}: not a JSON object")
    return record


def _parse_array(content: str) -> list[dict[str, Any]]:
    parsed = json.loads(content)
    if isinstance(parsed, dict):
        lists = [value for value in parsed.values() if isinstance(value, list)]
        if len(lists) != 1:
            raise ValueError("a single object; write an array of objects, or one object per line")
        parsed = lists[0]
    records: list[Any] = parsed
    for number, record in enumerate(records, 1):
        if not isinstance(record, dict):
            raise ValueError(f"element {number}: not a JSON object")
    return records


def _read_parquet(file: Path, options: ReadOptions, columns: Sequence[str] | None) -> Iterator[Chunk]:
    with ParquetFile(file, pre_buffer=False, buffer_size=1 << 16) as table:
        names = table.schema_arrow.names
        top = {name: name if name in names else name.partition(".")[0] for name in columns or names}
        rows = 0
        for batch in table.iter_batches(CHUNK_SIZE, columns=[name for name in {*top.values()} if name in names]):
            rows += len(batch)
            values = batch.to_pydict()
            cells = {name: values[name] for name in top if name in values}
            for name, key in top.items():
                if key != name and key in values:
                    cells[name] = [_get(value or {}, name[len(key) + 1 :]) for value in values[key]]
            yield Chunk([*dict.fromkeys([*names, *cells])], cells, rows / table.metadata.num_rows)


def _read_lines(file: Path, options: ReadOptions, columns: Sequence[str] | None) -> Iterator[Chunk]:
    """Lines, or the whole file as one text; the only column is the one of the texts."""
    name = options.text_column
    with open_text(file, options.encoding) as stream:
        if options.text_per == "file":
            yield Chunk([name], {name: [stream.lines.read()]}, 1.0)
            return
        lines = (line.rstrip("\r\n") for line in stream.lines)
        while chunk := list(islice(lines, CHUNK_SIZE)):
            yield Chunk([name], {name: chunk}, stream.fraction())


READERS: dict[str, Callable[[Path, ReadOptions, Sequence[str] | None], Iterator[Chunk]]] = {
    ".csv": _read_delimited,
    ".tsv": _read_delimited,
    ".jsonl": _read_json,
    ".json": _read_json,
    ".ndjson": _read_json,
    ".parquet": _read_parquet,
    ".txt": _read_lines,
}
