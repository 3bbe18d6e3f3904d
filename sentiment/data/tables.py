"""Tables of reviews: CSV, TSV, JSONL and Parquet files, read in chunks and checked cell by cell.

Training reads them through an Arrow file in the cache, prediction directly. Memory does not grow with the file.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from io import TextIOWrapper
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
from filelock import FileLock
from pyarrow.parquet import ParquetFile
from rich.console import Console
from rich.progress import Progress

from sentiment.runtime.errors import InputError, one_line
from sentiment.runtime.files import atomic_write, cache_dir, fingerprint

FORMAT = 1  # of the Arrow files; a new number ignores older caches
CHUNK_SIZE = 1024  # rows whose texts are in memory at a time
ARROW_TYPES = {str: pa.large_string(), int: pa.int64(), bool: pa.bool_()}  # of texts and labels
LABEL_ADVICE = "; labels must be all text, all integers or all booleans: convert them"
MAX_REPR = 80  # characters of a cell in a message


class Columns(NamedTuple):
    """The columns to read.

    Attributes:
        text: texts.
        label: classes; None if they are not needed.
        text_option: what sets `text`, for messages.
        label_option: what sets `label`, for messages.
    """

    text: str
    label: str | None = None
    text_option: str = "data.text_column="
    label_option: str = "data.label_column="

    @property
    def names(self) -> list[str]:
        """The columns that are read."""
        return [name for name in (self.text, self.label) if name is not None]


class RawChunk(NamedTuple):
    """Rows before they are checked.

    Attributes:
        names: all columns of the file.
        cells: values of each column that is read, as Python objects.
        fraction: how much of the file has been read.
    """

    names: Sequence[str]
    cells: Mapping[str, list[Any]]
    fraction: float


def find_files(folder: Path, split: str) -> list[Path]:
    """The files of a split: `train.csv`, or parts such as `plain_text/train-00000-of-00001.parquet`."""
    return sorted(file for file in folder.rglob(f"{split}*") if file.is_file() and file.stem.split("-")[0] == split)


def describe_files(files: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Resolved path, size in bytes and time of the last change in nanoseconds of each file."""
    return [(str(file.resolve()), (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files]


def check_format(file: Path) -> None:
    """Raise `InputError` if the suffix of a file is not in `READERS`."""
    if file.suffix.lower() not in READERS:
        *others, last = READERS
        raise InputError(f"{file}: unknown format {file.suffix or '(no suffix)'}; use {', '.join(others)} or {last}")


def load_table(files: Sequence[Path], columns: Columns) -> pa.Table:
    """Read files as one table, through the cache.

    Returns:
        A memory-mapped table of two columns without nulls: `text` (large_string) and `label` (large_string, int64 or
        bool).

    Raises:
        InputError: see `read_chunks`; or there are no rows.
        OSError: the cache cannot be written.
    """
    key = fingerprint([FORMAT, describe_files(files), columns.text, columns.label])
    path = cache_dir() / "tables" / f"{key}.arrow"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        try:
            return _map_table(path)
        except (OSError, pa.ArrowInvalid):  # missing or damaged
            _write_table(files, columns, path)
        return _map_table(path)


def _map_table(path: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _write_table(files: Sequence[Path], columns: Columns, path: Path) -> None:
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_interactive) as progress:
        chunks = read_chunks(files, columns, progress)
        first = next(chunks, None)
        if first is None:
            raise InputError(f"{_name(files)}: contains no rows; add some")
        with (
            atomic_write(path) as temporary,
            temporary.open("wb") as file,
            pa.ipc.new_file(file, first.schema) as writer,
        ):
            for chunk in chain([first], chunks):
                writer.write_batch(chunk)


def read_chunks(files: Sequence[Path], columns: Columns, progress: Progress) -> Iterator[pa.RecordBatch]:
    """Read files one after another and check every cell in the columns.

    Yields:
        Up to `CHUNK_SIZE` rows without nulls: `text` (large_string) and, if it is read, `label` (large_string, int64
        or bool).

    Raises:
        InputError: a file is missing, empty, damaged or not in UTF-8; a column is missing; a text is not a string; a
            label is empty, neither string, integer nor boolean, or of another type than the first label.
    """
    if all(file.is_file() and file.stat().st_size == 0 for file in files):
        raise InputError(f"{_name(files)}: is empty; it needs rows with {' and '.join(columns.names)}")
    label_type: type | None = None
    for file in files:
        check_format(file)
        task = progress.add_task(f"Reading {file.name}", total=1)
        rows = 0
        try:
            for names, cells, fraction in READERS[file.suffix.lower()](file, columns.names):
                if rows == 0:
                    _check_names(names, columns, file)
                if not cells[columns.text]:
                    continue
                advice = f", not text; fix it or choose another column with {columns.text_option}NAME"
                arrays = {"text": _to_array(cells[columns.text], str, columns.text, file, rows, advice)}
                if columns.label is not None:
                    labels = [None if label == "" else label for label in cells[columns.label]]
                    if label_type is None:
                        label_type = type(labels[0]) if type(labels[0]) in ARROW_TYPES else str
                    arrays["label"] = _to_array(labels, label_type, columns.label, file, rows, LABEL_ADVICE)
                yield pa.record_batch(arrays)
                rows += len(arrays["text"])
                progress.update(task, completed=fraction)
        except InputError:
            raise
        except FileNotFoundError as error:
            raise InputError(f"{file}: no such file; check the path") from error
        except (OSError, ValueError, OverflowError, RecursionError, pa.ArrowException) as error:
            after = f" after row {rows:,}" if rows else ""
            reason = one_line(error) or type(error).__name__
            raise InputError(
                f"{file}: cannot be read as {file.suffix[1:]} in UTF-8{after} ({reason}); repair or convert it"
            ) from error


def _name(files: Sequence[Path]) -> Path:
    """What to call the files of a split in messages."""
    return files[0] if len(files) == 1 else files[0].parent


def _check_names(names: Sequence[str], columns: Columns, file: Path) -> None:
    for option, column in ((columns.text_option, columns.text), (columns.label_option, columns.label)):
        if column is not None and column not in names:
            raise InputError(f"{option}{column}: no such column in {file}; it has {', '.join(map(str, names))}")


def _to_array(cells: list[Any], kind: type, column: str, file: Path, rows: int, advice: str) -> pa.Array:
    """Check that every cell is a `kind`; `rows` of the file were before them."""
    for row, cell in enumerate(cells, rows + 1):
        if type(cell) is not kind:
            content = "is empty; fix the file" if cell is None else f"holds {repr(cell)[:MAX_REPR]}{advice}"
            raise InputError(f"{file}: row {row:,}, column {column} {content}")
    return pa.array(cells, ARROW_TYPES[kind])


def _read_csv(file: Path, columns: Sequence[str]) -> Iterator[RawChunk]:
    size = file.stat().st_size
    with file.open("rb") as stream:
        frames = pd.read_csv(
            stream,
            sep="\t" if file.suffix.lower() == ".tsv" else ",",
            converters=dict.fromkeys(columns, str),  # keeps `007` and `null` as written; faster than dtype=str
            keep_default_na=False,
            chunksize=CHUNK_SIZE,
            low_memory=False,  # infers the types of the other columns from a whole chunk
        )
        for frame in frames:
            if not isinstance(frame.index, pd.RangeIndex):  # pandas takes the first cells as an index
                raise ValueError("rows have more cells than the header")
            cells = {name: frame[name].tolist() for name in columns if name in frame}
            yield RawChunk(list(frame), cells, stream.tell() / size)


def _read_jsonl(file: Path, columns: Sequence[str]) -> Iterator[RawChunk]:
    size = file.stat().st_size
    with file.open("rb") as stream, TextIOWrapper(stream, encoding="utf-8-sig") as lines:
        records = (_parse_record(line, number) for number, line in enumerate(lines, 1) if not line.isspace())
        while chunk := list(islice(records, CHUNK_SIZE)):
            cells = {name: [record.get(name) for record in chunk] for name in columns}
            yield RawChunk(list(dict.fromkeys(chain.from_iterable(chunk))), cells, stream.tell() / size)


def _parse_record(line: str, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {number}: {error.msg}") from error
    if not isinstance(record, dict):
        raise ValueError(f"line {number}: not a JSON object")
    return record


def _read_parquet(file: Path, columns: Sequence[str]) -> Iterator[RawChunk]:
    with ParquetFile(file, pre_buffer=False, buffer_size=1 << 16) as table:
        names = table.schema_arrow.names
        rows = 0
        for batch in table.iter_batches(CHUNK_SIZE, columns=[name for name in columns if name in names]):
            rows += len(batch)
            yield RawChunk(names, batch.to_pydict(), rows / table.metadata.num_rows)


READERS: dict[str, Callable[[Path, Sequence[str]], Iterator[RawChunk]]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}
