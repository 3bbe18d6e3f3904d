"""Where reviews come from: the Hub, a local copy of IMDB, the user's own files, or the built-in corpus.

Every source gives a `Corpus`: a memory-mapped `datasets.Dataset` of texts, and the class of each.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from huggingface_hub import hf_hub_download

from sentiment.data import demo
from sentiment.data.corpus import Corpus, make_corpus
from sentiment.data.files.file_set import FileSet
from sentiment.data.files.formats import READERS, ReadOptions
from sentiment.data.files.layout import (
    FileSets,
    add_unlabelled,
    find_files,
    find_ignored,
    find_texts,
    find_unlabelled,
)
from sentiment.data.files.tables import SCHEMA, get_metadata, load_table
from sentiment.data.labels import read_mapping
from sentiment.runtime.errors import InputError, check_choice, prefix_key
from sentiment.runtime.files import fingerprint

HUB = "stanfordnlp/imdb"
REVISION = "e6281661ce1c48d982bc483cf8a173c1bbeb5d31"  # so that the reviews never change
IMDB_LABELS = ["negative", "positive"]
DEMO_TRAIN, DEMO_TEST = 6000, 2000
SEPARATOR_NAMES = {"tab": "\t", r"\t": "\t"}


@dataclass(frozen=True)
class FileSettings:
    """Which files are read, and how: keys of `conf/data/default.yaml`, as they are typed.

    Raises:
        InputError: a value is invalid, or there is no such file or folder.
    """

    path: Any = None
    unlabelled: Any = None
    text_column: Any = "text"
    label_column: Any = "label"
    id_column: Any = None
    header: bool = True
    separator: Any = None
    encoding: Any = "utf-8"
    encoding_errors: str = "strict"
    text_per: str | None = None
    labels: Any = None
    empty: str = "drop"
    test_fraction: float = 0.2
    split_seed: int = 0

    def __post_init__(self) -> None:
        if str(self.text_column) == str(self.label_column):
            raise InputError(
                f"data.label_column={self.label_column}: is data.text_column too; name the column of the classes"
            )
        with prefix_key("data"):
            check_choice(("drop", "error"), empty=self.empty)
            check_choice((None, "line", "file"), text_per=self.text_per)
            check_choice(("strict", "replace"), encoding_errors=self.encoding_errors)
            check_choice((True, False), header=self.header)
        _ = self.mapping, self.options, self.roots

    @cached_property
    def mapping(self) -> dict[str, str | None]:
        """See `read_mapping`."""
        return read_mapping(self.labels)

    @cached_property
    def options(self) -> ReadOptions:
        """How files of labelled rows are read."""
        return ReadOptions(
            text_column=str(self.text_column),
            label_column=str(self.label_column),
            id_column=None if self.id_column is None else str(self.id_column),
            header=self.header,
            separator=find_separator(self.separator),
            encoding=str(self.encoding or "utf-8"),
            encoding_errors=self.encoding_errors,
            text_per=self.text_per,
        )

    @cached_property
    def roots(self) -> list[Path]:
        """Existing files, or one folder; empty without a path."""
        return [] if self.path is None else _find_paths("path", self.path)

    @cached_property
    def texts(self) -> list[FileSet]:
        """Named files of texts without a label."""
        if self.unlabelled is None or isinstance(self.unlabelled, bool):
            return []
        texts = []
        for path in _find_paths("unlabelled", self.unlabelled):
            texts += (found := find_texts(path))
            if not found:
                raise InputError(
                    f"data.unlabelled={path}: contains no texts; add .txt files or tables, or name a file"
                )
        return texts


def _find_paths(key: str, named: Any) -> list[Path]:
    """The existing files and folders that a setting names."""
    names = [named] if isinstance(named, str | int | Path) else list(named)
    paths = [Path(str(name)).expanduser() for name in names]
    problem = None if paths else "an empty list; name at least one file"
    for path in paths:
        if not path.is_file() and not path.is_dir():
            named, problem = path, "no such file or folder; check the path"
    if problem:
        raise InputError(f"data.{key}={named}: {problem}")
    return paths


def find_separator(name: Any) -> str | None:
    """The character that a user's name of a separator stands for."""
    if name is None:
        return None
    separator = SEPARATOR_NAMES.get(str(name), str(name))
    if len(separator) != 1:
        raise InputError(f"separator {name}: must be one character, or tab")
    return separator


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


def resolve_source(source: str, settings: FileSettings) -> Source:
    """Find a source without reading it.

    Args:
        source: `imdb` (the Hub, or a copy at `settings.path`), `files` or `demo`.
        settings: further texts are added to every source, files are those of `imdb` and `files`.

    Raises:
        InputError: the path holds nothing that the source can read.
    """
    if source != "demo" and settings.roots:
        return _resolve_files(settings, IMDB_LABELS if source == "imdb" else None)
    if source == "imdb":
        return _resolve_hub(settings)
    if source == "demo" and settings.unlabelled is not True:
        return _resolve_demo(settings)
    problem = {
        "files": "path: not set; name a file of reviews, or a folder with train.* and test.*",
        "demo": "unlabelled=true: data=demo has no texts without a label; name a file of such texts",
    }
    raise InputError(f"data.{problem[source]}")


def _resolve_demo(settings: FileSettings) -> Source:
    texts = add_unlabelled({}, settings.texts)
    key = fingerprint([Path(demo.__file__).read_bytes().hex(), *_identify(texts, settings)])

    def load() -> Corpus:
        return _read_corpus(texts, settings, Path(), key, "data=demo", IMDB_LABELS, _make_demo())

    return Source(key, load)


def _make_demo() -> dict[str, list[pa.Table]]:
    texts, labels = zip(*demo.reviews(DEMO_TRAIN + DEMO_TEST), strict=True)
    size = len(texts)
    columns = {
        "text": texts,
        "label": [IMDB_LABELS[label] for label in labels],
        "file": ["train"] * DEMO_TRAIN + ["test"] * DEMO_TEST,
        "row": [*range(1, DEMO_TRAIN + 1), *range(1, DEMO_TEST + 1)],
        "id": [None] * size,
    }
    table = pa.table(columns, schema=SCHEMA)
    return {"train": [table[:DEMO_TRAIN]], "test": [table[DEMO_TRAIN:]]}


def _resolve_hub(settings: FileSettings) -> Source:
    """Files of one revision: found in the cache, even without a connection, or downloaded by `load`."""
    texts = add_unlabelled({}, settings.texts)
    names = {"train": "train", "test": "test"}
    if settings.unlabelled is True:
        names["unlabelled"] = "unsupervised"
    key = fingerprint([HUB, REVISION, names, *_identify(texts, settings)])

    def load() -> Corpus:
        files = {split: _download(name) for split, name in names.items()}
        sets = {split: [FileSet((file,), ".parquet")] for split, file in files.items()}
        folder = files["train"].parent
        return _read_corpus(sets | texts, settings, folder, key, "data=imdb", IMDB_LABELS)

    return Source(key, load)


def _download(name: str) -> Path:
    name = f"plain_text/{name}-00000-of-00001.parquet"
    try:
        return Path(hf_hub_download(HUB, name, repo_type="dataset", revision=REVISION))
    except Exception as error:
        raise InputError(
            f"data=imdb: {HUB} cannot be downloaded from the Hub ({type(error).__name__}) and is "
            "not cached; name a local copy with data.path=DIR, or use data=demo"
        ) from error


def _resolve_files(settings: FileSettings, label_names: list[str] | None) -> Source:
    roots = settings.roots
    path = ", ".join(map(str, roots))
    is_folder = roots[0].is_dir()
    folder = roots[0] if is_folder else _find_common_folder(roots)
    try:
        sets = find_files(path, roots)
        has_test_set = "train" in sets
        texts = _find_beside(sets, folder) if settings.unlabelled is True else settings.texts
        sets = add_unlabelled(sets, texts)
        identity = _identify(sets, settings)
    except OSError as error:
        raise InputError(
            f"data.path={path}: {error.filename or path} cannot be read ({error.strerror})"
        ) from error
    if not has_test_set:
        identity += [settings.test_fraction, settings.split_seed]
    key = fingerprint(identity)

    def load() -> Corpus:
        corpus = _read_corpus(sets, settings, folder, key, path, label_names)
        if is_folder and (ignored := find_ignored(chain(*sets.values()), folder)):
            corpus.warnings.append(f"not read: {', '.join(ignored)}")
        return corpus

    train_files, test_files = (
        frozenset(Path(state.path) for found in sets[split] for state in found.states)
        for split in ("train" if has_test_set else "test", "test")
    )  # without training files, the test set is drawn from all rows
    return Source(key, load, has_test_set, "val" in sets, train_files, test_files)


def _find_common_folder(files: Sequence[Path]) -> Path:
    return Path(os.path.commonpath([file.absolute().parent for file in files]))


def _find_beside(sets: FileSets, top: Path) -> list[FileSet]:
    """Texts without a label in the folders between the training rows and the root, the nearest first."""
    file = sets.get("train", sets["test"])[0].files[0]
    folders = [folder for folder in file.parents if folder == top or top in folder.parents]
    if texts := find_unlabelled(folders):
        return texts
    raise InputError(
        f"data.unlabelled=true: {top} contains no unlabelled.* or unsupervised.* "
        f"({', '.join(READERS)}); add it, or name a file: data.unlabelled=FILE"
    )


def _identify(sets: FileSets, settings: FileSettings) -> list[Any]:
    """What a corpus of files depends on."""
    states = {
        split: [[found.label, found.states] for found in of_split]
        for split, of_split in sets.items()
    }
    mapping = sorted(map(str, settings.mapping.items()))
    return [states, *settings.options.cache_key, mapping, settings.empty]


def _read_corpus(
    sets: FileSets,
    settings: FileSettings,
    folder: Path,
    key: str,
    path: str,
    label_names: list[str] | None,
    tables: Mapping[str, list[pa.Table]] = {},
) -> Corpus:
    """Read files.

    Args:
        sets: the files of each split.
        settings: how to read them.
        folder: to which the names of labelled files are relative.
        key: the fingerprint of the corpus.
        path: of all, for messages.
        label_names: of IMDB, in place of those in the files.
        tables: of splits that are no files.
    """
    read, notes = dict(tables), []
    for split, of_split in sets.items():
        read[split] = []
        for found in of_split:
            options, root = settings.options, folder
            if split == "unlabelled":
                options = replace(options, label_column=None)
                root = found.files[0].parent if len(found.files) == 1 else found.files[0].parents[1]
            read[split].append(load_table(found, options, root))
            shown = "all rows" if split == "test" and "train" not in {*sets, *tables} else split
            notes.append(_describe(found, read[split][-1], shown))
    class_names = [
        name for table in chain(*read.values()) for name in get_metadata(table, "class_names")
    ]
    corpus = make_corpus(
        {split: pa.concat_tables(of_split) for split, of_split in read.items()},
        settings.mapping,
        list(dict.fromkeys(class_names)),
        settings.empty,
        key,
    )
    if "train" not in read and settings.test_fraction < 1:
        labelled = corpus.labels[corpus.labels >= 0]
        if len({*labelled.tolist()}) > 1:
            corpus = corpus.draw_test_set(settings.test_fraction, settings.split_seed)
        else:
            corpus = replace(corpus, train_rows=len(labelled))
    if corpus.train_rows:
        corpus.check_classes(path)
    if label_names and len(corpus.label_names) != len(label_names):
        raise InputError(
            f"{path}: {len(corpus.label_names)} classes, but IMDB has {len(label_names)}; use data=files"
        )
    return replace(
        corpus, label_names=label_names or corpus.label_names, notes=notes + corpus.notes
    )


def _describe(found: FileSet, table: pa.Table, split: str) -> str:
    """`train.csv (train): 8,000 rows, separated by tabs`."""
    file, *others = found.files
    name = f"{file.parent.name}/*.txt" if others else table["file"][0].as_py()
    label = [f"label {found.label}"] if found.label else []
    notes = get_metadata(table, "notes")
    if damaged := pc.sum(pc.match_substring(table["text"], "\ufffd")).as_py():
        notes.append(f"{damaged:,} of them with a character that could not be decoded (U+FFFD)")
    return ", ".join([f"{name} ({split}): {len(table):,} rows", *label, *notes])
