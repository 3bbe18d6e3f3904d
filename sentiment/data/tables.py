"""Tables of reviews: CSV, TSV, JSONL and Parquet files → `datasets.Dataset`."""

import warnings
from pathlib import Path
from typing import Any

from datasets import Dataset, load_dataset
from pandas.errors import ParserWarning
from pyarrow import ArrowInvalid

from sentiment.data.text import cache_folder
from sentiment.errors import InputError

BUILDERS = {".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".parquet": "parquet"}  # of the datasets library


def shards(root: Path, half: str) -> list[Path]:
    """The files of one half: `train.csv`, or parts such as `plain_text/train-00000-of-00001.parquet`."""
    return sorted(file for file in root.rglob(f"{half}*") if file.is_file() and file.stem.split("-")[0] == half)


def read(files: list[Path], text_column: str, label_column: str) -> Dataset:
    """Reads files of one format as one table, and checks it.

    Returns:
        Two columns, under the names `text` (string) and `label` (whole numbers or string), none of them empty.

    Raises:
        InputError: the files cannot be read, or a column is missing, has empty cells or another type.
    """
    suffix = files[0].suffix.lower()
    shown = files[0] if len(files) == 1 else files[0].parent
    options: dict[str, Any] = {}
    if BUILDERS[suffix] == "csv":  # a review "null", an empty one and a label "007" stay as they are written
        options = {"index_col": False, "sep": "\t" if suffix == ".tsv" else ",", "keep_default_na": False}
        options["converters"] = {text_column: str, label_column: str}
    if not any(file.stat().st_size for file in files):
        raise InputError(f"{shown}: empty; it needs the columns {text_column} and {label_column}")
    names = [str(file) for file in files]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ParserWarning)  # of a row with more cells than there are columns
            half = _table(BUILDERS[suffix], data_files=names, **options)
    except Exception as error:
        if "corresponds to no data" in str(error) or "BatchSize must be greater" in str(error.__cause__):
            raise InputError(f"{shown}: no reviews in it, only column names; add rows") from error
        cause = error.__cause__ or error
        if isinstance(cause, OSError) and cause.errno and str(cause.filename) not in names:  # of the cache's disk
            raise cause from None
        reason = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        raise InputError(
            f"{shown}: cannot be read as {suffix[1:]} in UTF-8 ({reason}); repair or convert it"
        ) from error
    for key, column in (("text_column", text_column), ("label_column", label_column)):
        if column not in half.column_names:
            raise InputError(f"data.{key}={column}: no such column in {shown}; it has {', '.join(half.column_names)}")
        cells = half.data.column(column)
        try:
            cells.validate(full=True)
        except ArrowInvalid as error:
            raise InputError(f"{shown}: column {column} is not UTF-8 ({error}); convert the file") from error
        empty = cells.null_count + (half[column][:].count("") if key == "label_column" else 0)
        if empty:
            raise InputError(f"{shown}: column {column} has {empty} empty cells; fill or drop those rows")
    text, label = (getattr(half.features[column], "dtype", "lists") for column in (text_column, label_column))
    if text not in ("string", "large_string"):
        raise InputError(f"{shown}: column {text_column} holds {text}, not text; name another by data.text_column")
    if label.rstrip("0123456789") not in ("int", "uint", "bool", "string", "large_string"):
        raise InputError(f"{shown}: column {label_column} holds {label}; labels are whole numbers or text")
    return half.select_columns([text_column, label_column]).rename_columns({text_column: "text", label_column: "label"})


def _table(builder: str, **options: Any) -> Dataset:
    """Reads files through the library's cache; anew, should that be damaged."""
    cache = str(cache_folder() / "tables")
    try:
        return load_dataset(builder, cache_dir=cache, split="train", **options)
    except Exception:
        return load_dataset(builder, cache_dir=cache, split="train", download_mode="force_redownload", **options)
