"""Where reviews come from: the Hub, a local copy of IMDB, anyone's own files, or the built-in corpus.

Whatever the source, what comes out is one `Corpus`: a memory-mapped `datasets.Dataset` of texts, and a class for each.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
from datasets import ClassLabel, Dataset, concatenate_datasets, load_dataset
from huggingface_hub import HfApi
from sklearn.model_selection import train_test_split

from sentiment.data import demo
from sentiment.data.text import cache_folder
from sentiment.errors import InputError

HUB = "stanfordnlp/imdb"
IMDB_LABELS = ["negative", "positive"]
DEMO_TRAIN, DEMO_TEST = 6000, 2000
BUILDERS = {".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".parquet": "parquet"}


datasets.utils.logging.set_verbosity(datasets.utils.logging.CRITICAL)  # its errors reach the user as one line


@dataclass(frozen=True)
class Corpus:
    """Labelled reviews with their official or drawn split.

    Attributes:
        texts: one string column, `text`; the rows of the training half come first.
        labels: class of each row, int64 `(rows,)`.
        train_rows: size of the training half.
        label_names: what the classes are called, by number.
    """

    texts: Dataset
    labels: npt.NDArray[np.int64]
    train_rows: int
    label_names: list[str]


@dataclass(frozen=True)
class Source:
    """A corpus that can be told from others without being read.

    Attributes:
        fingerprint: changes whenever the reviews do (files: names, sizes and times of change).
        load: reads it; raises `InputError` for what cannot be read.
    """

    fingerprint: str
    load: Callable[[], Corpus]


def find(
    source: str, path: str | None, text_column: str, label_column: str, test_fraction: float, split_seed: int
) -> Source:
    """Finds a source without reading it.

    Args:
        source: `imdb`, `files` or `demo`.
        path: file or folder; with `imdb` None stands for the Hub.
        text_column: name of the column of reviews (tables only).
        label_column: name of the column of classes (tables only).
        test_fraction: share of a single file that becomes the test half.
        split_seed: draws that share.

    Raises:
        InputError: there is nothing at `path` that the source could read.
    """
    if source == "demo":
        return Source(digest(Path(demo.__file__).read_bytes().hex()), _load_demo)
    if source == "imdb" and path is None:
        return Source(f"hub:{HUB}", _load_hub)
    if path is None:
        raise InputError(
            "data.path: not set; name a CSV, TSV, JSONL or Parquet file, or a folder with train.* and test.*"
        )
    root = Path(path).expanduser()
    if not root.exists():
        raise InputError(f"data.path={path}: no such file or folder; check the path, or try data=demo")
    if source == "imdb" and (tree := _acl_tree(root)):
        return Source(f"aclImdb:{tree.resolve()}", lambda: _load_acl(tree))
    files = {"train": [root]} if root.is_file() else {half: _files(root, half) for half in ("train", "test")}
    for half, found in files.items():
        if not found:
            raise InputError(
                f"data.path={path}: no {half}.* there (csv, tsv, jsonl or parquet); add it or name one file"
            )
    suffixes = {file.suffix.lower() for found in files.values() for file in found}
    if wrong := sorted(suffixes - BUILDERS.keys()):
        raise InputError(
            f"data.path={path}: cannot read {wrong[0] or 'a file without suffix'}; use {', '.join(BUILDERS)}"
        )
    stats = [
        (str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns)
        for found in files.values()
        for file in found
    ]
    names = IMDB_LABELS if source == "imdb" else None

    def load() -> Corpus:
        train = _read(files["train"], text_column, label_column)
        if "test" in files:
            test = _read(files["test"], text_column, label_column)
        else:
            rest, drawn = stratified(
                np.arange(len(train)), train["label"], test_fraction, split_seed, "data.test_fraction"
            )
            train, test = train.select(rest), train.select(drawn)
        return _corpus(train, test, path, names)

    return Source(digest([stats, text_column, label_column, test_fraction, split_seed]), load)


def digest(value: Any) -> str:
    """A name that tells any two JSON values apart."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _files(root: Path, half: str) -> list[Path]:
    """`train.csv`, or shards such as `plain_text/train-00000-of-00001.parquet`."""
    return sorted(file for file in root.rglob(f"{half}*") if file.is_file() and file.stem.split("-")[0] == half)


def _load_demo() -> Corpus:
    texts, labels = zip(*demo.reviews(DEMO_TRAIN + DEMO_TEST), strict=True)
    return Corpus(Dataset.from_dict({"text": texts}), np.array(labels), DEMO_TRAIN, IMDB_LABELS)


def _load_hub() -> Corpus:
    try:
        HfApi().dataset_info(HUB, timeout=10)
    except Exception:  # whatever stands between here and the Hub, a copy in the cache will do, without retries
        datasets.config.HF_HUB_OFFLINE = True
    try:
        halves = load_dataset(HUB)
    except Exception as error:
        raise InputError(
            f"data=imdb: {HUB} cannot be fetched from the Hub ({type(error).__name__}) and is not cached; "
            "name a local copy with data.path=DIR, or use data=demo"
        ) from error
    return _corpus(halves["train"], halves["test"], HUB, IMDB_LABELS)


def _acl_tree(root: Path) -> Path | None:
    """The folder with `train/pos`, …, as the original archive unpacks: `root` itself or `root/aclImdb`."""
    return next((tree for tree in (root, root / "aclImdb") if (tree / "train" / "pos").is_dir()), None)


def _load_acl(tree: Path) -> Corpus:
    texts: list[str] = []
    labels: list[int] = []
    rows: dict[str, int] = {}
    for half in ("train", "test"):
        for label, folder in enumerate(("neg", "pos")):
            files = sorted((tree / half / folder).glob("*.txt"), key=lambda file: int(file.name.split("_")[0]))
            if not files:
                raise InputError(f"data.path={tree}: no reviews in {half}/{folder}; unpack the whole aclImdb archive")
            for file in files:
                try:
                    texts.append(file.read_text(encoding="utf-8"))
                except UnicodeDecodeError as error:
                    raise InputError(f"{file}: not UTF-8 ({error.reason} at byte {error.start}); convert it") from error
            labels += [label] * len(files)
        rows[half] = len(texts)
    return Corpus(Dataset.from_dict({"text": texts}), np.array(labels), rows["train"], IMDB_LABELS)


def _read(files: list[Path], text_column: str, label_column: str) -> Dataset:
    """Reads one half, checks it, and keeps two columns under the names `text` and `label`."""
    suffix = files[0].suffix.lower()
    shown = files[0] if len(files) == 1 else files[0].parent
    options: dict[str, Any] = {}
    if BUILDERS[suffix] == "csv":  # a review "null", an empty one and a label "007" stay as they are written
        options = {"sep": "\t" if suffix == ".tsv" else ",", "keep_default_na": False}
        options["converters"] = {text_column: str, label_column: str}
    if not any(file.stat().st_size for file in files):
        raise InputError(f"{shown}: empty; it needs the columns {text_column} and {label_column}")
    try:
        names = [str(file) for file in files]
        half = load_dataset(BUILDERS[suffix], data_files=names, cache_dir=str(cache_folder() / "tables"), **options)[
            "train"
        ]
    except Exception as error:
        if "corresponds to no data" in str(error):
            raise InputError(f"{shown}: no reviews in it, only column names; add rows") from error
        cause = error.__cause__ or error
        reason = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        raise InputError(
            f"{shown}: cannot be read as {suffix[1:]} in UTF-8 ({reason}); repair or convert it"
        ) from error
    for key, column in (("text_column", text_column), ("label_column", label_column)):
        if column not in half.column_names:
            raise InputError(f"data.{key}={column}: no such column in {shown}; it has {', '.join(half.column_names)}")
        if nulls := half.data.column(column).null_count:
            raise InputError(f"{shown}: column {column} has {nulls} empty cells; fill or drop those rows")
    if half.features[text_column].dtype not in ("string", "large_string"):
        kind = half.features[text_column].dtype
        raise InputError(f"{shown}: column {text_column} holds {kind}, not text; name another by data.text_column")
    return half.select_columns([text_column, label_column]).rename_columns({text_column: "text", label_column: "label"})


def stratified(
    rows: npt.NDArray[np.int64], labels: Any, fraction: float, seed: int, key: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Draws `fraction` of the rows, each class in proportion; returns the rest and what was drawn, both in order.

    Raises:
        InputError: too few rows of some class; the message names `key`.
    """
    try:
        rest, drawn = train_test_split(rows, test_size=fraction, stratify=labels, random_state=seed)
    except ValueError as error:
        raise InputError(f"{key}={fraction}: too few rows to draw from every class ({error}); add rows") from error
    return np.sort(rest), np.sort(drawn)


def _corpus(train: Dataset, test: Dataset, shown: str | None, names: list[str] | None) -> Corpus:
    """Numbers the labels: integers by value, text by alphabet."""
    known = train.unique("label")
    if strange := set(test.unique("label")) - set(known):
        raise InputError(f"{shown}: label {strange.pop()} stands in the test half but not in train; mend the split")
    if len(known) < 2:
        raise InputError(f"{shown}: every label is {known[0]}; a classifier needs two classes or more")
    known.sort(key=int if all(str(label).lstrip("-").isdecimal() for label in known) else str)
    feature = train.features["label"]
    if names is None:
        names = [feature.int2str(label) if isinstance(feature, ClassLabel) else str(label) for label in known]
    if len(names) != len(known):
        raise InputError(f"{shown}: {len(known)} classes, where IMDB has {len(names)}; use data=files")
    numbers = {label: number for number, label in enumerate(known)}
    labels = [numbers[label] for half in (train, test) for label in half["label"]]
    if test.features != train.features:
        test = test.cast(train.features)
    texts = [half.select_columns("text") for half in (train, test)]
    return Corpus(concatenate_datasets(texts), np.array(labels), len(train), names)
