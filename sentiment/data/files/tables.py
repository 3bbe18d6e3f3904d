"""Tables of reviews: files of any format, read in chunks and checked cell by cell.

Training reads them through an Arrow file in the cache, prediction directly. Memory does not grow with the file.
"""

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from datasets import ClassLabel, Features
from pyarrow.parquet import read_schema
from rich import get_console
from rich.console import Console
from rich.progress import Progress

from sentiment.data.files.formats import CHUNK_SIZE, ReadOptions
from sentiment.data.files.layout import Part
from sentiment.data.files.rows import Rows, read_rows
from sentiment.runtime.cache import cached
from sentiment.runtime.errors import InputError, one_line
from sentiment.runtime.files import fingerprint

FORMAT = 3  # of the Arrow files; a new number ignores older caches
NOTES, CLASS_NAMES = b"notes", b"class_names"  # keys of the metadata of a table
_LABELLED_LINE = re.compile(r"\t\s*\S{1,20}$")
_SCHEMA = pa.schema(
    {
        "text": pa.large_string(),
        "label": pa.large_string(),
        "file": pa.large_string(),
        "row": pa.int64(),
        "id": pa.large_string(),
    }
)


class FileState(NamedTuple):
    """A file and its content, as far as the file system tells; times of change in nanoseconds.

    Programs can set the time of the content, as `touch -r` and `rsync -t` do, but not that of the
    status (on Windows that of creation), and a file that replaces another has its own inode. A
    change goes unnoticed only within one tick of the kernel's clock (some milliseconds), after the
    clock was set back, or on Windows with size and time kept.
    """

    path: str
    size: int
    content_changed: int
    status_changed: int
    inode: int


def describe_files(files: Sequence[Path]) -> list[FileState]:
    """The state of each file, by its path without symbolic links."""
    folders = {folder: folder.resolve() for folder in {file.parent for file in files}}
    return [
        _describe(file.resolve() if file.is_symlink() else folders[file.parent] / file.name)
        for file in files
    ]


def _describe(path: Path) -> FileState:
    stat = path.stat()
    return FileState(str(path), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


def load_table(
    part: Part, options: ReadOptions, root: Path, described: Sequence[FileState] | None = None
) -> pa.Table:
    """Read files as one table, through the cache.

    Args:
        part: the files.
        options: how to read them.
        root: the folder to which file names in the table are relative.
        described: what `describe_files` returned, by which the table is found in the cache even if the files are gone
            meanwhile; None describes them now.

    Returns:
        A memory-mapped table: `text` (large_string), `label` (large_string, null where it is missing), `file`
        (large_string), `row` (int64, the row's number in its file, from 1) and `id` (large_string). The
        metadata of its schema has JSON: `notes`, a list of how the files were read, and `class_names`, names of
        integer labels. `id` is null unless `options.id_column` is set.

    Raises:
        InputError: see `read_rows`; or there are no rows, or a file is no longer as described.
    """
    described = described or describe_files(part.files)
    names = [os.path.relpath(file, root) for file in part.files]
    key = fingerprint([FORMAT, described, names, part.label, options.settings])

    def write(path: Path) -> None:
        _write_table(part, options, root, path)
        _check_unchanged(part, described)

    return cached(f"tables/{key}.arrow", _map_table, write)


def _map_table(path: Path) -> pa.Table | None:
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (OSError, pa.ArrowInvalid):  # missing or damaged
        return None


def _write_table(part: Part, options: ReadOptions, root: Path, path: Path) -> None:
    console = Console(stderr=True)
    disabled = get_console().quiet or not console.is_interactive
    with Progress(console=console, transient=True, disable=disabled) as progress:
        batches = _read_part(part, options, root, progress)
        first = next(batches, None)
        if first is None:
            name = part.files[0] if len(part.files) == 1 else part.files[0].parent
            raise InputError(f"{name}: contains no rows; add some")
        with path.open("wb") as file, pa.ipc.new_file(file, first.schema) as writer:
            for batch in chain([first], batches):
                writer.write_batch(batch)


def _check_unchanged(part: Part, described: Sequence[FileState]) -> None:
    """Raise `InputError` for the first file that is not as it was described."""
    for file, before, now in zip(part.files, described, describe_files(part.files), strict=True):
        if now != before:
            raise InputError(f"{file}: changed while it was read; start again")


def _read_part(
    part: Part, options: ReadOptions, root: Path, progress: Progress
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of all files, in batches with the columns of the table."""
    if part.label is not None:
        text_per = options.text_per or ("line" if len(part.files) == 1 else None)
        options = replace(options, label_column=None, id_column=None, text_per=text_per)
    task = progress.add_task(f"Reading {part.files[0].parent.name}", total=len(part.files))
    columns: dict[str, list[Any]] = {name: [] for name in _SCHEMA.names}
    schema = None
    for number, file in enumerate(part.files):
        name = Path(os.path.relpath(file, root)).as_posix()
        found = read_rows(file, options, suffix=None if part.label is None else ".txt")
        if part.label is not None and file.stat().st_size == 0:
            found = iter([Rows([""], None, {}, 1, 1.0, ())])
        for rows in found:
            if part.label is not None and options.text_per is None:
                while len(rows.texts) > 1 and not rows.texts[-1]:  # empty lines at the end
                    rows.texts.pop()
                if rows.first + len(rows.texts) > 2:
                    line, whole = (options.setting("text_per", value) for value in ("line", "file"))
                    raise InputError(
                        f"{file}: has several lines; type {line} if each is a text, or {whole}"
                    )
            if rows.first == 1:
                class_names = _read_class_names(file, options.label_column)
            if (
                part.label is not None
                and len(rows.texts) > 1
                and all(map(_LABELLED_LINE.search, rows.texts))
            ):
                raise InputError(
                    f"{file}: its lines end in a tab and a label; rename it to .tsv, name it with data.path, and type "
                    "data.header=false data.text_column=1 data.label_column=2"
                )
            count = len(rows.texts)
            columns["text"] += rows.texts
            columns["label"] += [
                class_names.get(str(label), label) for label in rows.labels or [part.label] * count
            ]
            columns["file"] += [name] * count
            columns["row"] += range(rows.first, rows.first + count)
            ids = rows.cells[options.id_column] if options.id_column else [None] * count
            columns["id"] += [None if id_ is None else str(id_) for id_ in ids]
            if schema is None:
                metadata = {
                    NOTES: json.dumps(rows.notes),
                    CLASS_NAMES: json.dumps([*class_names.values()]),
                }
                schema = _SCHEMA.with_metadata(metadata)
            if len(columns["text"]) >= CHUNK_SIZE:
                yield pa.record_batch(columns, schema=schema)
                columns = {name: [] for name in columns}
            progress.update(task, completed=number + rows.fraction)
    if columns["text"]:
        yield pa.record_batch(columns, schema=schema)


def _read_class_names(file: Path, column: str | None) -> dict[str, str]:
    """Names of integer classes in the metadata that the `datasets` library writes to Parquet files; else empty."""
    if file.suffix.lower() != ".parquet":
        return {}
    schema = read_schema(file)
    if column not in schema.names:  # none, or within a structure
        return {}
    try:
        feature = Features.from_arrow_schema(pa.schema([schema.field(column)], schema.metadata))[
            column
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        message = f"{file}: metadata of the datasets library cannot be read ({one_line(error)}); write the file again"
        raise InputError(message) from error
    return (
        {str(number): name for number, name in enumerate(feature.names)}
        if isinstance(feature, ClassLabel)
        else {}
    )
