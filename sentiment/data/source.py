"""Where reviews come from: the Hub, a local copy of IMDB, the user's own files, or the built-in corpus.

Every source gives a `Corpus`: a memory-mapped `datasets.Dataset` of texts, and the class of each.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset
from huggingface_hub import hf_hub_download

from sentiment.data import demo
from sentiment.data.corpus import Corpus, describe_part, make_corpus
from sentiment.data.files.formats import ReadOptions
from sentiment.data.files.layout import Part, find_ignored, find_parts
from sentiment.data.files.tables import CLASS_NAMES, describe_files, load_table
from sentiment.data.files.unlabelled import find_texts_of_user, load_texts, remove_texts
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
        if self.labels is not None and not isinstance(self.labels, Mapping | list):
            raise InputError(
                f"data.labels={self.labels}: must map old labels to new ones, as in data.labels={{1:bad,2:good}}"
            )
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

    @property
    def key(self) -> list[Any]:
        """What labelled rows depend on besides their files."""
        return [*self.options.settings, sorted(map(str, self.mapping.items())), self.empty]

    @cached_property
    def roots(self) -> list[Path]:
        """Existing files, or one folder; empty without a path."""
        if self.path is None:
            return []
        paths = [self.path] if isinstance(self.path, str | int | Path) else list(self.path)
        roots = [Path(str(path)).expanduser() for path in paths]
        if not roots:
            raise InputError("data.path=[]: an empty list; name at least one file")
        if len({root.resolve() for root in roots}) < len(roots):
            raise InputError(
                f"data.path={', '.join(map(str, roots))}: names a file twice; remove one"
            )
        for root in roots:
            if not root.exists():
                raise InputError(
                    f"data.path={root}: no such file or folder; check the path, or try data=demo"
                )
            if not root.is_file() and (len(roots) > 1 or not root.is_dir()):
                raise InputError(
                    f"data.path={root}: is no regular file; name a file, or a single folder"
                )
        return roots


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
    if source == "demo":
        key = fingerprint(Path(demo.__file__).read_bytes().hex())
        return _add_texts(
            Source(key, _load_demo), find_texts_of_user(settings.unlabelled, []), settings
        )
    if settings.roots:
        return _resolve_files(settings, IMDB_LABELS if source == "imdb" else None)
    if source == "imdb":
        return _resolve_hub(settings)
    raise InputError(
        "data.path: not set; name a file of reviews, or a folder with train.* and test.*"
    )


def find_separator(name: Any) -> str | None:
    """The character that a user's name of a separator stands for."""
    if name is None:
        return None
    separator = SEPARATOR_NAMES.get(str(name), str(name))
    if len(separator) != 1:
        raise InputError(f"separator {name}: must be one character, or tab")
    return separator


def _resolve_hub(settings: FileSettings) -> Source:
    """Files of one revision: found in the cache, even without a connection, or downloaded by `load`."""

    def load() -> Corpus:
        parts = {split: [Part((_download(split),))] for split in ("train", "test")}
        folder = parts["train"][0].files[0].parent
        return _from_parts(parts, settings, folder, "data=imdb", IMDB_LABELS).load()

    def load_all() -> Corpus:
        return _add_texts(source, [Part((_download("unsupervised"),))], settings).load()

    source = Source(fingerprint([HUB, REVISION, settings.key]), load)
    if settings.unlabelled is True:
        return Source(fingerprint([source.fingerprint, "unsupervised"]), load_all)
    return _add_texts(source, find_texts_of_user(settings.unlabelled, []), settings)


def _download(split: str) -> Path:
    name = f"plain_text/{split}-00000-of-00001.parquet"
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
    folder = (
        roots[0]
        if is_folder
        else Path(os.path.commonpath([root.absolute().parent for root in roots]))
    )
    try:
        parts = find_parts(path, roots)
        texts = find_texts_of_user(settings.unlabelled, _find_folders(parts, roots[0]))
        parts = remove_texts(texts, parts)
        source = _add_texts(
            _from_parts(parts, settings, folder, path, label_names), texts, settings
        )
    except OSError as error:
        raise InputError(
            f"data.path={path}: {error.filename or path} cannot be read ({error.strerror})"
        ) from error

    def load() -> Corpus:
        corpus = source.load()
        read = [part for found in (*parts.values(), texts) for part in found]
        if is_folder and (ignored := find_ignored(read, folder)):
            corpus.warnings.append(f"not read: {', '.join(ignored)}")
        return corpus

    return replace(source, load=load)


def _find_folders(parts: Mapping[str, Sequence[Part]], root: Path) -> list[Path]:
    """The folders between the training rows and the root, nearest first."""
    (file, *_), _ = parts.get("train", parts["test"])[0]
    top = root if root.is_dir() else root.parent
    return [folder for folder in file.parents if folder == top or top in folder.parents]


def _from_parts(
    parts: Mapping[str, Sequence[Part]],
    settings: FileSettings,
    folder: Path,
    path: str,
    label_names: list[str] | None,
) -> Source:
    """The source of labelled rows.

    Args:
        parts: as `find_parts` returns them.
        settings: how to read them.
        folder: to which the names of the files are relative.
        path: of all, for messages.
        label_names: of IMDB, in place of those in the files.
    """
    described = {
        split: [describe_files(part.files) for part in found] for split, found in parts.items()
    }
    has_test_set = "train" in parts
    key: list[Any] = [described, settings.key]
    if not has_test_set:
        key += [settings.test_fraction, settings.split_seed]

    def load() -> Corpus:
        tables = {
            split: [
                load_table(part, settings.options, folder, states)
                for part, states in zip(found, described[split], strict=True)
            ]
            for split, found in parts.items()
        }
        metadata = [table.schema.metadata for found in tables.values() for table in found]
        class_names = [
            *dict.fromkeys(
                name for of_table in metadata for name in json.loads(of_table[CLASS_NAMES])
            )
        ]
        by_split = {split: pa.concat_tables(found) for split, found in tables.items()}
        corpus = make_corpus(
            by_split, settings.mapping, class_names, settings.empty, fingerprint(key)
        )
        if not has_test_set and settings.test_fraction < 1:
            if len(set(corpus.labels.tolist())) > 1:
                corpus = corpus.draw_test_set(settings.test_fraction, settings.split_seed)
            else:
                corpus = replace(corpus, train_rows=len(corpus.labels))
        if corpus.train_rows:
            corpus.check_classes(path)
        if label_names and len(corpus.label_names) != len(label_names):
            raise InputError(
                f"{path}: {len(corpus.label_names)} classes, but IMDB has {len(label_names)}; use data=files"
            )
        notes = [
            describe_part(part, table, split if has_test_set else "all rows")
            for split, found in parts.items()
            for part, table in zip(found, tables[split], strict=True)
        ]
        return replace(
            corpus, label_names=label_names or corpus.label_names, notes=notes + corpus.notes
        )

    files = {
        split: frozenset(Path(state.path) for states in found for state in states)
        for split, found in described.items()
    }
    train_files = files.get(
        "train", files["test"]
    )  # without training files, the test set is drawn from all rows
    return Source(fingerprint(key), load, has_test_set, "val" in parts, train_files, files["test"])


def _add_texts(source: Source, texts: Sequence[Part], settings: FileSettings) -> Source:
    """The source of the same reviews and texts without a label."""
    if not texts:
        return source
    options = replace(settings.options, label_column=None)
    described = [describe_files(part.files) for part in texts]
    key = fingerprint([source.fingerprint, described, *options.settings, settings.empty])

    def load() -> Corpus:
        corpus = source.load()
        tables = [
            load_texts(part, options, states) for part, states in zip(texts, described, strict=True)
        ]
        notes = [
            describe_part(part, table, "unlabelled")
            for part, table in zip(texts, tables, strict=True)
        ]
        corpus = corpus.add_unlabelled(pa.concat_tables(tables), settings.empty, key)
        return replace(corpus, notes=corpus.notes + notes)

    return replace(source, fingerprint=key, load=load)


def _load_demo() -> Corpus:
    texts, labels = zip(*demo.reviews(DEMO_TRAIN + DEMO_TEST), strict=True)
    files = ["train"] * DEMO_TRAIN + ["test"] * DEMO_TEST
    rows = [*range(1, DEMO_TRAIN + 1), *range(1, DEMO_TEST + 1)]
    reviews = Dataset.from_dict({"text": texts, "file": files, "row": rows})
    return Corpus(reviews, np.array(labels), DEMO_TRAIN, 0, IMDB_LABELS)
