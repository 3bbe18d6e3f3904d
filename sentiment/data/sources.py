"""Where reviews come from: the Hub, a local copy of IMDB, the user's own files, or the built-in corpus.

Every source gives a `Corpus`: a memory-mapped `datasets.Dataset` of texts, and the class of each.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from datasets import Dataset, concatenate_datasets, load_dataset
from huggingface_hub import HfApi

from sentiment.data import demo
from sentiment.data.corpus import Corpus, describe_part, make_corpus
from sentiment.data.formats import ReadOptions
from sentiment.data.labels import read_mapping
from sentiment.data.layout import Part, find_ignored, find_parts
from sentiment.data.tables import CLASS_NAMES, describe_files, load_table
from sentiment.data.unlabelled import UnlabelledTexts, resolve_unlabelled
from sentiment.runtime.errors import InputError, check_choice, prefix_key
from sentiment.runtime.files import fingerprint

HUB = "stanfordnlp/imdb"
IMDB_LABELS = ["negative", "positive"]
DEMO_TRAIN, DEMO_TEST = 6000, 2000
SEPARATOR_NAMES = {"tab": "\t", r"\t": "\t"}


datasets.utils.logging.set_verbosity(datasets.utils.logging.CRITICAL)  # its errors reach the user as one line
if not sys.stderr.isatty():
    datasets.disable_progress_bars()


@dataclass(frozen=True)
class Source:
    """A corpus that is identified, but not read yet.

    Attributes:
        fingerprint: changes whenever the reviews do (files: see `FileState`).
        load: reads it; raises `InputError` if that fails.
        has_test_set: whether the test set is given, and not drawn from all rows.
        has_val_set: whether the validation set is given, and not drawn from the training rows.
        train_files: tables with training rows.
        test_files: tables with test rows.
    """

    fingerprint: str
    load: Callable[[], Corpus]
    has_test_set: bool = True
    has_val_set: bool = False
    train_files: frozenset[Path] = frozenset()
    test_files: frozenset[Path] = frozenset()

    def add(self, texts: UnlabelledTexts | None) -> "Source":
        """The source of the same reviews and these texts."""
        if texts is None:
            return self
        key = fingerprint([self.fingerprint, texts.fingerprint])
        return replace(self, fingerprint=key, load=lambda: texts.add_to(self.load()))


def resolve_source(
    source: str,
    path: Any = None,
    text_column: Any = "text",
    label_column: Any = "label",
    id_column: Any = None,
    header: bool = True,
    separator: Any = None,
    encoding: Any = "utf-8",
    encoding_errors: str = "strict",
    text_per: str | None = None,
    labels: Any = None,
    empty: str = "drop",
    test_fraction: float = 0.2,
    split_seed: int = 0,
    unlabelled: Any = None,
) -> Source:
    """Find a source without reading it.

    Args:
        source: `imdb`, `files` or `demo`.
        path: file or folder, or a list of files; with `imdb`, None is the Hub.
        text_column: see `ReadOptions`, as the arguments up to `text_per`.
        label_column: see there.
        id_column: see there.
        header: see there.
        separator: see there.
        encoding: see there.
        encoding_errors: see there.
        text_per: see there.
        labels: see `read_mapping`.
        empty: `drop` leaves out rows with an empty text or without a label, `error` rejects them.
        test_fraction: fraction of the rows that becomes the test set, if none is given; 1 for all of them.
        split_seed: draws that fraction.
        unlabelled: further texts, without a label: a file or folder, or a list of them; True for the Hub's split
            `unsupervised`, or for `unlabelled.*` or `unsupervised.*` beside the training rows.

    Raises:
        InputError: `path` holds nothing that the source can read, or an argument is invalid.
    """
    if text_column == label_column:
        raise InputError(f"data.label_column={label_column}: is data.text_column too; name the column of the classes")
    with prefix_key("data"):
        check_choice(("drop", "error"), empty=empty)
        check_choice((None, "line", "file"), text_per=text_per)
        check_choice(("strict", "replace"), encoding_errors=encoding_errors)
        check_choice((True, False), header=header)
    if labels is not None and not isinstance(labels, Mapping | list):
        raise InputError(f"data.labels={labels}: must map old labels to new ones, as in data.labels={{1:bad,2:good}}")
    mapping = read_mapping(labels)
    separator = find_separator(separator)
    id_column = None if id_column is None else str(id_column)
    options = ReadOptions(
        str(text_column),
        str(label_column),
        id_column,
        header,
        separator,
        str(encoding or "utf-8"),
        encoding_errors,
        text_per,
    )
    if source == "imdb" and path is None and unlabelled is True:
        return Source(f"hub:{HUB}:unsupervised", lambda: _load_hub("unsupervised"))
    if source == "demo":
        key = fingerprint(Path(demo.__file__).read_bytes().hex())
        return Source(key, _load_demo).add(resolve_unlabelled(unlabelled, [], options, empty))
    if source == "imdb" and path is None:
        return Source(f"hub:{HUB}", _load_hub).add(resolve_unlabelled(unlabelled, [], options, empty))
    if path is None:
        raise InputError("data.path: not set; name a file of reviews, or a folder with train.* and test.*")
    paths = [path] if isinstance(path, str | int | Path) else list(path)
    roots = [Path(str(path)).expanduser() for path in paths]
    if not roots:
        raise InputError("data.path=[]: an empty list; name at least one file")
    if len({root.resolve() for root in roots}) < len(roots):
        raise InputError(f"data.path={', '.join(map(str, roots))}: names a file twice; remove one")
    for root in roots:
        if not root.exists():
            raise InputError(f"data.path={root}: no such file or folder; check the path, or try data=demo")
        if not root.is_file() and (len(roots) > 1 or not root.is_dir()):
            raise InputError(f"data.path={root}: is no regular file; name a file, or a single folder")
    names = IMDB_LABELS if source == "imdb" else None
    return _resolve_files(roots, options, mapping, empty, test_fraction, split_seed, names, unlabelled)


def find_separator(name: Any) -> str | None:
    """The character that a user's name of a separator stands for."""
    if name is None:
        return None
    separator = SEPARATOR_NAMES.get(str(name), str(name))
    if len(separator) != 1:
        raise InputError(f"separator {name}: must be one character, or tab")
    return separator


def _resolve_files(
    roots: Sequence[Path],
    options: ReadOptions,
    mapping: Mapping[Any, Any],
    empty: str,
    test_fraction: float,
    split_seed: int,
    label_names: list[str] | None,
    unlabelled: Any,
) -> Source:
    path = ", ".join(map(str, roots))
    try:
        parts = find_parts(path, roots)
        texts = resolve_unlabelled(unlabelled, _find_folders(parts, roots[0]), options, empty)
    except OSError as error:
        raise InputError(f"data.path={path}: {error.filename or path} cannot be read ({error.strerror})") from error
    if texts:
        parts = texts.remove_from(parts)
    folder = roots[0] if roots[0].is_dir() else Path(os.path.commonpath([root.absolute().parent for root in roots]))
    described = {split: [describe_files(part.files) for part in found] for split, found in parts.items()}
    settings = [*options.settings, sorted(map(str, mapping.items())), empty]
    if "train" not in parts:
        settings += [test_fraction, split_seed]
    key = fingerprint([described, *settings])

    def load() -> Corpus:
        tables = {
            split: [load_table(part, options, folder, key) for part, key in zip(found, described[split], strict=True)]
            for split, found in parts.items()
        }
        metadata = [table.schema.metadata for found in tables.values() for table in found]
        class_names = [*dict.fromkeys(name for of_table in metadata for name in json.loads(of_table[CLASS_NAMES]))]
        by_split = {split: pa.concat_tables(found) for split, found in tables.items()}
        corpus = make_corpus(by_split, mapping, class_names, empty, key)
        if "train" not in parts and test_fraction < 1:
            if len(set(corpus.labels.tolist())) > 1:
                corpus = corpus.draw_test_set(test_fraction, split_seed)
            else:
                corpus = replace(corpus, train_rows=len(corpus.labels))
        if corpus.train_rows:
            corpus.check_classes(path)
        if label_names and len(corpus.label_names) != len(label_names):
            raise InputError(
                f"{path}: {len(corpus.label_names)} classes, but IMDB has {len(label_names)}; use data=files"
            )
        read = [part for found in parts.values() for part in found] + list(texts.parts if texts else ())
        if roots[0].is_dir() and (ignored := find_ignored(read, roots[0])):
            corpus.warnings.append(f"not read: {', '.join(ignored)}")
        notes = [
            describe_part(part, table, split if "train" in parts else "all rows")
            for split, found in parts.items()
            for part, table in zip(found, tables[split], strict=True)
        ]
        return replace(corpus, label_names=label_names or corpus.label_names, notes=notes + corpus.notes)

    resolved = {
        split: frozenset(Path(file.path) for of_part in found for file in of_part) for split, found in described.items()
    }
    train_files = resolved.get("train", resolved["test"])  # without training files, the test set is drawn from all rows
    return Source(key, load, "train" in parts, "val" in parts, train_files, resolved["test"]).add(texts)


def _find_folders(parts: Mapping[str, Sequence[Part]], root: Path) -> list[Path]:
    """The folders between the training rows and the root, nearest first."""
    (file, *_), _ = parts.get("train", parts["test"])[0]
    top = root if root.is_dir() else root.parent
    return [folder for folder in file.parents if folder == top or top in folder.parents]


def _load_demo() -> Corpus:
    texts, labels = zip(*demo.reviews(DEMO_TRAIN + DEMO_TEST), strict=True)
    files = ["train"] * DEMO_TRAIN + ["test"] * DEMO_TEST
    rows = [*range(1, DEMO_TRAIN + 1), *range(1, DEMO_TEST + 1)]
    reviews = Dataset.from_dict({"text": texts, "file": files, "row": rows})
    return Corpus(reviews, np.array(labels), DEMO_TRAIN, 0, IMDB_LABELS)


def _load_hub(*further: str) -> Corpus:
    """The official split, and perhaps the Hub's `unsupervised`, whose labels are -1."""
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
    found = {split: splits[split] for split in ("train", "test", *further)}
    reviews = concatenate_datasets([reviews.select_columns("text") for reviews in found.values()])
    reviews = reviews.add_column("file", [split for split, rows in found.items() for _ in range(len(rows))])
    reviews = reviews.add_column("row", [row for rows in found.values() for row in range(1, len(rows) + 1)])
    labels = np.concatenate([rows.data["label"].to_numpy() for rows in found.values()])
    unlabelled_rows = sum(len(found[split]) for split in further)
    return Corpus(reviews, labels, len(found["train"]), 0, IMDB_LABELS, unlabelled_rows=unlabelled_rows)
