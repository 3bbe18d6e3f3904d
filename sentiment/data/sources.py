"""Where reviews come from: the Hub, a local copy of IMDB, anyone's own files, or the built-in corpus.

Whatever the source, what comes out is one `Corpus`: a memory-mapped `datasets.Dataset` of texts, and a class for each.
"""

import hashlib
import json
import re
import sys
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

from sentiment.data import demo, tables
from sentiment.errors import InputError

HUB = "stanfordnlp/imdb"
IMDB_LABELS = ["negative", "positive"]
DEMO_TRAIN, DEMO_TEST = 6000, 2000


datasets.utils.logging.set_verbosity(datasets.utils.logging.CRITICAL)  # its errors reach the user as one line
if not sys.stderr.isatty():
    datasets.disable_progress_bars()


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
        train_files: tables that training rows stand in.
        test_files: tables that test rows stand in.
    """

    fingerprint: str
    load: Callable[[], Corpus]
    train_files: frozenset[Path] = frozenset()
    test_files: frozenset[Path] = frozenset()


def find(
    source: str, path: str | None, text_column: str, label_column: str, test_fraction: float, split_seed: int
) -> Source:
    """Finds a source without reading it.

    Args:
        source: `imdb`, `files` or `demo`.
        path: file or folder; with `imdb` None stands for the Hub.
        text_column: name of the column of reviews (tables only).
        label_column: name of the column of classes (tables only).
        test_fraction: share of a single file that becomes the test half; 1 for all of it.
        split_seed: draws that share.

    Raises:
        InputError: there is nothing at `path` that the source could read.
    """
    if text_column == label_column:
        raise InputError(f"data.label_column={label_column}: is data.text_column too; name the column of the classes")
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
        folders = [tree / half / label for half in ("train", "test") for label in ("neg", "pos")]
        changed = [[str(folder.resolve()), folder.stat().st_mtime_ns] for folder in folders if folder.is_dir()]
        return Source(digest(changed), lambda: _load_acl(tree))
    files = {"train": [root]} if root.is_file() else {half: tables.shards(root, half) for half in ("train", "test")}
    for half, found in files.items():
        if not found:
            raise InputError(
                f"data.path={path}: no {half}.* there (csv, tsv, jsonl or parquet); add it or name one file"
            )
    suffixes = {file.suffix.lower() for found in files.values() for file in found}
    if wrong := sorted(suffixes - tables.BUILDERS.keys()):
        raise InputError(
            f"data.path={path}: cannot read {wrong[0] or 'a file without suffix'}; use {', '.join(tables.BUILDERS)}"
        )
    stats = [
        (str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns)
        for found in files.values()
        for file in found
    ]
    names = IMDB_LABELS if source == "imdb" else None

    def load() -> Corpus:
        train = tables.read(files["train"], text_column, label_column)
        if "test" in files:
            test = tables.read(files["test"], text_column, label_column)
        elif test_fraction == 1:
            train, test = train.select([]), train
        else:
            rest, drawn = stratified(
                np.arange(len(train)), train["label"][:], test_fraction, split_seed, "data.test_fraction"
            )
            train, test = train.select(rest), train.select(drawn)
        return _corpus(train, test, path, names)

    halves = (frozenset(file.resolve() for file in files.get(half, files["train"])) for half in ("train", "test"))
    return Source(digest([stats, text_column, label_column, test_fraction, split_seed]), load, *halves)


def digest(value: Any) -> str:
    """A name that tells any two JSON values apart."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


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


def last_of_each_class(
    rows: npt.NDArray[np.int64], labels: npt.NDArray[np.int64], fraction: float, key: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Takes the last `fraction` of the rows of each class; returns the rest and what was taken, both in order.

    Raises:
        InputError: a class keeps no row or gives none; the message names `key`.
    """
    taken = np.zeros(len(rows), dtype=bool)
    for members in (np.flatnonzero(labels == label) for label in np.unique(labels)):
        count = round(fraction * len(members))
        if not 0 < count < len(members):
            raise InputError(f"{key}={fraction}: {count} of {len(members)} rows of a class; change it or add rows")
        taken[members[-count:]] = True
    return rows[~taken], rows[taken]


def _corpus(train: Dataset, test: Dataset, shown: str | None, names: list[str] | None) -> Corpus:
    """Numbers the labels: integers by value, text by alphabet."""
    known = train.unique("label") or test.unique("label")
    if strange := set(test.unique("label")) - set(known):
        raise InputError(f"{shown}: label {strange.pop()} stands in the test half but not in train; mend the split")
    if len(known) < 2:
        raise InputError(f"{shown}: every label is {known[0]}; a classifier needs two classes or more")
    known.sort(key=int if all(re.fullmatch(r"-?[0-9]+", str(label)) for label in known) else str)
    feature = train.features["label"]
    if names is None:
        names = [feature.int2str(label) if isinstance(feature, ClassLabel) else str(label) for label in known]
    if len(names) != len(known):
        raise InputError(f"{shown}: {len(known)} classes, where IMDB has {len(names)}; use data=files")
    numbers = {label: number for number, label in enumerate(known)}
    labels = [numbers[label] for half in (train, test) for label in half["label"][:]]
    if test.features != train.features:
        test = test.cast(train.features)
    texts = [half.select_columns("text") for half in (train, test)]
    return Corpus(concatenate_datasets(texts), np.array(labels), len(train), names)
