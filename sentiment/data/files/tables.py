"""Tables of reviews: Arrow files in the cache, from which training reads. Memory does not grow with the files."""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow.parquet import read_schema
from rich.progress import track

from sentiment.data.files.formats import CHUNK_SIZE, ReadOptions
from sentiment.data.files.layout import FileSet, describe_files
from sentiment.data.files.rows import read_rows
from sentiment.runtime.cache import cached
from sentiment.runtime.cli import progress_options
from sentiment.runtime.errors import InputError
from sentiment.runtime.files import fingerprint

FORMAT = 5  # of the Arrow files; a new number ignores older caches
SCHEMA = pa.schema(
    {
        "text": pa.large_string(),
        "label": pa.large_string(),
        "file": pa.large_string(),
        "row": pa.int64(),
        "id": pa.large_string(),
    }
)


def load_table(found: FileSet, options: ReadOptions, root: Path) -> pa.Table:
    """Read files as one table, through the cache, in which it is found by `FileSet.states`.

    The table is memory-mapped and has the columns of `SCHEMA`: `label` is null where it is missing, `file` is relative
    to `root`, `row` counts from 1 in each file, `id` is null without `options.id_column`. See also `get_metadata`.
    """
    if found.label is not None:
        options = replace(options, label_column=None, id_column=None)
    if found.format == ".txt" and len(found.files) == 1:
        options = replace(options, text_per=options.text_per or "line")
    names = [Path(os.path.relpath(file, root)).as_posix() for file in found.files]
    key = fingerprint([FORMAT, found.states, names, found.label, options.cache_key])

    def write(path: Path) -> None:
        _write_table(found, options, names, path)
        for before, now in zip(found.states, describe_files(found.files), strict=True):
            if now != before:
                raise InputError(f"{now.path}: changed while it was read; start again")

    return cached(f"tables/{key}.arrow", _map_table, write)


def get_metadata(table: pa.Table, key: str) -> list[str]:
    """In the metadata of a table: `notes`, how the files were read; `class_names`, those of integer labels."""
    found: list[str] = json.loads((table.schema.metadata or {}).get(key.encode(), "[]"))
    return found


def _map_table(path: Path) -> pa.Table | None:
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (OSError, pa.ArrowInvalid):  # missing or damaged
        return None


def _write_table(found: FileSet, options: ReadOptions, names: list[str], path: Path) -> None:
    batches = _read_batches(found, options, names)
    first = next(batches, None)
    if first is None:
        name = found.files[0] if len(found.files) == 1 else found.files[0].parent
        raise InputError(f"{name}: contains no rows; add some")
    with path.open("wb") as file, pa.ipc.new_file(file, first.schema) as writer:
        for batch in chain([first], batches):
            writer.write_batch(batch)


def _read_batches(
    found: FileSet, options: ReadOptions, names: list[str]
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of all files, in batches with the columns of the table."""
    columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
    schema = None
    files = [*zip(found.files, names, strict=True)]
    purpose = f"Reading {found.files[0].parent.name}"
    for file, name in track(files, purpose, **progress_options()):
        for rows in read_rows(file, options, suffix=found.format):
            count = len(rows.texts)
            if rows.first == 1:
                class_names = _read_class_names(file, options.label_column)
            columns["text"] += rows.texts
            labels = rows.labels or [found.label] * count
            columns["label"] += [class_names.get(str(label), label) for label in labels]
            columns["file"] += [name] * count
            columns["row"] += range(rows.first, rows.first + count)
            ids = rows.cells.get(options.id_column or "") or [None] * count
            columns["id"] += [None if id_ is None else str(id_) for id_ in ids]
            if schema is None:
                metadata = {"notes": rows.notes, "class_names": [*class_names.values()]}
                encoded = {key: json.dumps(value) for key, value in metadata.items()}
                schema = SCHEMA.with_metadata(encoded)
            if len(columns["text"]) >= CHUNK_SIZE:
                yield pa.record_batch(columns, schema=schema)
                columns = {name: [] for name in columns}
    if columns["text"]:
        yield pa.record_batch(columns, schema=schema)


def _read_class_names(file: Path, column: str | None) -> dict[str, str]:
    """Names of integer classes in the metadata that the `datasets` library writes to Parquet files; else empty."""
    names: list[str] = []
    if file.suffix.lower() == ".parquet":
        # There may be no such column or no metadata.
        with suppress(AttributeError, KeyError, TypeError, ValueError):
            metadata = json.loads(read_schema(file).metadata[b"huggingface"])
            names = metadata["info"]["features"][column].get("names", [])
    return {str(number): name for number, name in enumerate(names)}
