"""Where reviews come from: the Hub, a local copy of IMDB, the user's own files, or the built-in corpus.

Every source gives a `Corpus`: a memory-mapped `datasets.Dataset` of texts, and the class of each.
"""

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset, Features, concatenate_datasets, load_dataset
from huggingface_hub import HfApi
from pyarrow.parquet import read_schema

from sentiment.data import demo
from sentiment.data.splits import stratified_split
from sentiment.data.tables import ARROW_TYPES, READERS, Columns, check_format, describe_files, find_files, load_table
from sentiment.runtime.errors import InputError, one_line
from sentiment.runtime.files import fingerprint

HUB = "stanfordnlp/imdb"
IMDB_LABELS = ["negative", "positive"]
DEMO_TRAIN, DEMO_TEST = 6000, 2000


datasets.utils.logging.set_verbosity(datasets.utils.logging.CRITICAL)  # its errors reach the user as one line
if not sys.stderr.isatty():
    datasets.disable_progress_bars()


@dataclass(frozen=True)
class Corpus:
    """Labelled reviews with their training and test sets.

    Attributes:
        texts: one string column, `text`; the rows of the training set come first.
        labels: class of each row, int64 `(rows,)`.
        train_rows: size of the training set.
        label_names: names of the classes.
    """

    texts: Dataset
    labels: npt.NDArray[np.int64]
    train_rows: int
    label_names: list[str]


@dataclass(frozen=True)
class Source:
    """A corpus that is identified, but not read yet.

    Attributes:
        fingerprint: changes whenever the reviews do (files: names, sizes and times of change).
        load: reads it; raises `InputError` if that fails.
        train_files: tables with training rows.
        test_files: tables with test rows.
    """

    fingerprint: str
    load: Callable[[], Corpus]
    train_files: frozenset[Path] = frozenset()
    test_files: frozenset[Path] = frozenset()


def resolve_source(
    source: str, path: str | None, text_column: str, label_column: str, test_fraction: float, split_seed: int
) -> Source:
    """Find a source without reading it.

    Args:
        source: `imdb`, `files` or `demo`.
        path: file or folder; with `imdb`, None is the Hub.
        text_column: name of the column of reviews (tables only).
        label_column: name of the column of classes (tables only).
        test_fraction: fraction of a single file that becomes the test set; 1 for all of it.
        split_seed: draws that fraction.

    Raises:
        InputError: `path` holds nothing that the source can read.
    """
    if text_column == label_column:
        raise InputError(f"data.label_column={label_column}: is data.text_column too; name the column of the classes")
    if source == "demo":
        return Source(fingerprint(Path(demo.__file__).read_bytes().hex()), _load_demo)
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
        folders = [tree / split / label for split in ("train", "test") for label in ("neg", "pos")]
        changed = [[str(folder.resolve()), folder.stat().st_mtime_ns] for folder in folders if folder.is_dir()]
        return Source(fingerprint(changed), lambda: _load_acl(tree))
    labels = IMDB_LABELS if source == "imdb" else None
    return _resolve_tables(root, Columns(text_column, label_column), test_fraction, split_seed, labels)


def _resolve_tables(
    root: Path, columns: Columns, test_fraction: float, split_seed: int, label_names: list[str] | None
) -> Source:
    files = {"train": [root]} if root.is_file() else {split: find_files(root, split) for split in ("train", "test")}
    for split, found in files.items():
        if not found:
            formats = ", ".join(suffix[1:] for suffix in READERS)
            raise InputError(f"data.path={root}: contains no {split}.* ({formats}); add it or name one file")
        for file in found:
            check_format(file)
    described = [describe_files(found) for found in files.values()]
    key = fingerprint([described, columns.text, columns.label, test_fraction, split_seed])

    def load() -> Corpus:
        tables = [load_table(found, columns) for found in files.values()]
        names = {arrow: python.__name__ for python, arrow in ARROW_TYPES.items()}
        types = [names[table.schema.field("label").type] for table in tables]
        if types[0] != types[-1]:
            raise InputError(f"{root}: labels are {types[0]} in train, {types[-1]} in test; use one type")
        table = pa.concat_tables(tables)
        texts, labels, train_rows = Dataset(table.select(["text"]), fingerprint=key), table["label"], len(tables[0])
        if "test" not in files and test_fraction == 1:
            train_rows = 0
        elif "test" not in files:
            rows = np.arange(len(table))
            train, test = stratified_split(rows, labels.to_pylist(), test_fraction, split_seed, "data.test_fraction")
            order = np.concatenate([train, test])
            texts, labels, train_rows = texts.select(order), labels.take(order), len(train)
        class_names = _read_class_names(files["train"][0], columns.label)
        return _number_classes(texts, labels, train_rows, str(root), label_names, class_names)

    train_files, test_files = (
        frozenset(file.resolve() for file in files.get(split, [root])) for split in ("train", "test")
    )
    return Source(key, load, train_files, test_files)


def _load_demo() -> Corpus:
    texts, labels = zip(*demo.reviews(DEMO_TRAIN + DEMO_TEST), strict=True)
    return Corpus(Dataset.from_dict({"text": texts}), np.array(labels), DEMO_TRAIN, IMDB_LABELS)


def _load_hub() -> Corpus:
    try:
        HfApi().dataset_info(HUB, timeout=10)
    except Exception:  # whatever the reason, use the copy in the cache without retries
        datasets.config.HF_HUB_OFFLINE = True
    try:
        splits = load_dataset(HUB)
    except Exception as error:
        raise InputError(
            f"data=imdb: {HUB} cannot be downloaded from the Hub ({type(error).__name__}) and is not cached; "
            "name a local copy with data.path=DIR, or use data=demo"
        ) from error
    reviews = concatenate_datasets([splits["train"], splits["test"]])
    return _number_classes(
        reviews.select_columns("text"), reviews.data["label"], len(splits["train"]), HUB, IMDB_LABELS, {}
    )


def _acl_tree(root: Path) -> Path | None:
    """The folder of the extracted archive, which contains `train/pos`: `root` or `root/aclImdb`; None if neither."""
    return next((tree for tree in (root, root / "aclImdb") if (tree / "train" / "pos").is_dir()), None)


def _load_acl(tree: Path) -> Corpus:
    texts: list[str] = []
    labels: list[int] = []
    rows: dict[str, int] = {}
    for split in ("train", "test"):
        for label, folder in enumerate(("neg", "pos")):
            files = sorted((tree / split / folder).glob("*.txt"), key=lambda file: int(file.name.split("_")[0]))
            if not files:
                raise InputError(f"data.path={tree}: no reviews in {split}/{folder}; extract the aclImdb archive again")
            for file in files:
                try:
                    texts.append(file.read_text(encoding="utf-8"))
                except UnicodeDecodeError as error:
                    raise InputError(f"{file}: not UTF-8 ({error.reason} at byte {error.start}); convert it") from error
            labels += [label] * len(files)
        rows[split] = len(texts)
    return Corpus(Dataset.from_dict({"text": texts}), np.array(labels), rows["train"], IMDB_LABELS)


def _read_class_names(file: Path, column: str | None) -> dict[int, str]:
    """Names of integer classes in the metadata that the `datasets` library writes to Parquet files; else empty."""
    if file.suffix.lower() != ".parquet":
        return {}
    schema = read_schema(file)
    try:
        feature = Features.from_arrow_schema(pa.schema([schema.field(column)], schema.metadata))[column]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        message = f"{file}: metadata of the datasets library cannot be read ({one_line(error)}); write the file again"
        raise InputError(message) from error
    return dict(enumerate(feature.names)) if isinstance(feature, ClassLabel) else {}


def _number_classes(
    texts: Dataset,
    labels: pa.ChunkedArray,
    train_rows: int,
    path: str,
    label_names: list[str] | None,
    class_names: Mapping[int, str],
) -> Corpus:
    """Number the classes: integers by value, other labels alphabetically.

    Args:
        texts: one string column, `text`; the rows of the training set come first.
        labels: string, integer or boolean `(rows,)`.
        train_rows: size of the training set.
        path: for messages.
        label_names: names of the classes in the order of their numbers.
        class_names: names by label, if `label_names` is None; other labels are their own names.
    """
    test_classes = labels[train_rows:].unique().to_pylist()
    classes = labels[:train_rows].unique().to_pylist() or test_classes
    if unknown := sorted(set(test_classes) - set(classes)):
        raise InputError(f"{path}: label {unknown[0]} occurs in the test set only; fix the split")
    if len(classes) < 2:
        raise InputError(f"{path}: every label is {classes[0]}; a classifier needs two classes or more")
    classes.sort(key=int if all(re.fullmatch(r"-?[0-9]+", str(label)) for label in classes) else str)
    names = label_names or [class_names.get(label, str(label)) for label in classes]
    if len(names) != len(classes):
        raise InputError(f"{path}: {len(classes)} classes, but IMDB has {len(names)}; use data=files")
    numbers = pc.index_in(labels, pa.array(classes, labels.type)).to_numpy().astype(np.int64)
    return Corpus(texts, numbers, train_rows, names)
