"""Data sets of the Hugging Face Hub, and local folders in their layout, by the `datasets` library."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset, DatasetDict, Value, load_dataset_builder
from datasets.packaged_modules.cache.cache import Cache
from huggingface_hub import get_session
from huggingface_hub.constants import ENDPOINT

from sentiment.data.files.cells import to_label, to_text
from sentiment.data.files.formats import ReadOptions
from sentiment.data.files.layout import SPLITS
from sentiment.data.files.tables import SCHEMA
from sentiment.runtime.errors import InputError, one_line

_COMMIT = re.compile("[0-9a-f]{40}")


def load_splits(
    name: str, config: str | None = None, revision: str | None = None
) -> tuple[DatasetDict, list[str]]:
    """Download a data set, unless it is cached, and return its splits and what identifies their content.

    Without a connection the latest cached copy is used, of which `datasets` tells.
    """
    try:
        if Path(name).is_dir() or _is_online():
            builder = load_dataset_builder(name, config, revision=revision)
        else:  # `load_dataset_builder` would try for half a minute
            builder = Cache(None, name.split("/")[-1], config, "auto", "auto", repo_id=name)
            if revision and _COMMIT.fullmatch(revision) and builder.hash != revision:
                raise InputError(f"the cached copy is of revision {builder.hash}")
        builder.download_and_prepare()
        splits = builder.as_dataset()
    except Exception as error:  # of the network, the cache, the disk or any reader
        reason = one_line(error)
        if "Config name is missing" in reason:
            reason += "; choose one with data.config"
        raise InputError(f"data.name={name}: cannot be loaded ({reason})") from error
    return splits, [name, *Path(builder.cache_dir).parts[-3:]]


def _is_online() -> bool:
    try:
        get_session().head(ENDPOINT, timeout=10)
    except Exception:  # whatever the network, a proxy or a certificate does
        return False
    return True


def assign_splits(
    name: str, found: DatasetDict, chosen: Mapping[str, str] | None
) -> dict[str, str]:
    """Which split of the data set is `train`, `val`, `test` and `unlabelled`; `chosen` comes before usual names."""
    assigned = dict(chosen or {})
    listed = ", ".join(found)
    for split, source in assigned.items():
        if split not in SPLITS or source not in found:
            problem = f"{name} has the splits {listed}; the keys are {', '.join(SPLITS)}"
            raise InputError(f"data.splits={{{split}:{source}}}: {problem}")
    for split, names in SPLITS.items():
        usual = [one for one in names if one in found and one not in assigned.values()]
        if split not in assigned and usual:
            assigned[split] = usual[0]
    if "train" not in assigned:
        advice = "name that of the training rows: data.splits={train:NAME}"
        raise InputError(f"data.name={name}: has the splits {listed}; {advice}")
    return assigned


def make_table(rows: Dataset, split: str, options: ReadOptions, has_labels: bool) -> pa.Table:
    """Rows as a table with the columns of `SCHEMA`; `file` is the name of the split.

    A column of another name is taken if only one can be meant.
    """
    others = (options.label_column, options.id_column)
    strings = [key for key, kind in rows.features.items() if _is_string(kind) and key not in others]
    text_column = _find_column(rows, options, "text_column", strings)
    table = rows.with_format("arrow")[:]
    missing = pa.nulls(len(table), pa.large_string())
    labels, class_names = _read_labels(rows, options) if has_labels else (missing, [])
    columns = {
        "text": pc.fill_null(_convert(table[text_column], text_column, to_text), ""),
        "label": labels,
        "file": pa.repeat(pa.scalar(split, pa.large_string()), len(table)),
        "row": pa.array(range(1, len(table) + 1)),
        "id": table[options.id_column].cast(pa.large_string()) if options.id_column else missing,
    }
    metadata = {"notes": "[]", "class_names": json.dumps(class_names)}
    return pa.table(columns, schema=SCHEMA.with_metadata(metadata))


def has_no_label(rows: Dataset, options: ReadOptions) -> bool:
    """Whether no row has a label, as in the test set of a competition."""
    return bool(_read_labels(rows, options)[0].null_count == len(rows))


def _read_labels(rows: Dataset, options: ReadOptions) -> tuple[pa.Array, list[str]]:
    """The label of each row, and the names of its classes if the data set has them; -1 is a missing one."""
    named = [key for key, kind in rows.features.items() if isinstance(kind, ClassLabel)]
    column = _find_column(rows, options, "label_column", named)
    names = rows.features[column].names if column in named else []

    def name_class(cell: Any) -> str | None:
        if names:
            return names[cell] if cell >= 0 else None
        return to_label(cell)

    cells = rows.select_columns(column).with_format("arrow")[:][column]
    return _convert(cells, column, name_class), names


def _find_column(rows: Dataset, options: ReadOptions, key: str, candidates: list[str]) -> str:
    """The column that an option names, or the only candidate if that one is missing."""
    wanted: str = getattr(options, key)
    if wanted in rows.column_names:
        return wanted
    if len(candidates) == 1:
        return candidates[0]
    listed = ", ".join(candidates or rows.column_names)
    raise InputError(f"data.{key}={wanted}: no such column; choose from {listed}")


def _is_string(feature: object) -> bool:
    return isinstance(feature, Value) and feature.dtype in ("string", "large_string")


def _convert(cells: pa.ChunkedArray, column: str, convert: Callable[[Any], str | None]) -> pa.Array:
    """The converted cells; those that are null stay so."""
    encoded = pc.dictionary_encode(cells).combine_chunks()
    try:
        found = [convert(cell) for cell in encoded.dictionary.to_pylist()]
    except (AttributeError, TypeError) as error:
        raise InputError(f"column {column}: {one_line(error)}; name another one") from error
    return pa.array(found, pa.large_string()).take(encoded.indices)
