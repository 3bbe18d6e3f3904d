"""Where reviews come from: the Hub, a local copy of IMDB, the user's own files, or the built-in corpus."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from sentiment.data import demo, hub
from sentiment.data.corpus import Corpus, make_corpus
from sentiment.data.files.formats import READERS, ReadOptions
from sentiment.data.files.layout import (
    ALL_ROWS,
    SPLITS,
    FileSet,
    FileSets,
    add_unlabelled,
    find_files,
    find_ignored,
    find_split,
    find_texts,
)
from sentiment.data.files.rows import READ_ERRORS, has_labels
from sentiment.data.files.tables import SCHEMA, get_metadata, load_table
from sentiment.data.labels import read_mapping
from sentiment.data.relabelling import relabel
from sentiment.runtime.errors import (
    InputError,
    check_at_least,
    check_choice,
    check_fraction,
    prefix_key,
    shorten,
)
from sentiment.runtime.files import fingerprint

IMDB = "stanfordnlp/imdb"
REVISION = "e6281661ce1c48d982bc483cf8a173c1bbeb5d31"  # so that the reviews never change
IMDB_LABELS = ["negative", "positive"]
DEMO_TRAIN, DEMO_TEST = 6000, 2000


@dataclass
class FileSettings(ReadOptions):
    """Which files are read, and how: keys of `conf/data/default.yaml`, as they are typed."""

    path: Any = None
    unlabelled: Any = None
    labels: Any = None
    empty: str = "drop"
    train_rows: Any = None
    test_fraction: float = 0.2
    split_seed: int = 0
    labels_from: Any = None
    text_per: str | None = field(default=None, kw_only=True)
    # Of a data set of the Hub: keys of `conf/data/hub.yaml`.
    name: Any = None
    config: Any = None
    revision: Any = None
    splits: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        with prefix_key("data"):
            check_choice(("drop", "error"), empty=self.empty)
            if isinstance(self.train_rows, float):
                check_fraction(train_rows=self.train_rows)
            elif self.train_rows is not None:
                check_at_least(2, train_rows=self.train_rows)
        self.mapping = read_mapping(self.labels)
        # Existing files, or one folder; empty without a path.
        self.roots = [] if self.path is None else _find_paths("path", self.path)
        if self.labels_from is not None:
            _find_paths("labels_from", str(self.labels_from))


def _find_paths(key: str, named: Any) -> list[Path]:
    """The existing files and folders that a setting names."""
    names = named if isinstance(named, list | tuple) else [] if named is None else [named]
    paths = [Path(str(name)).expanduser() for name in names]
    missing = [path for path in paths if not path.is_file() and not path.is_dir()]
    if missing or not paths:
        problem = f"={missing[0]}: no such file or folder" if missing else ": not set"
        raise InputError(f"data.{key}{problem}; name a file of reviews, or a folder")
    return paths


@dataclass(frozen=True)
class Source:
    """A corpus that is identified, but not read yet."""

    settings: FileSettings
    sets: FileSets  # the files of each split, as far as they are known
    name: str  # for messages
    version: Sequence[Any] = ()  # of the other splits
    # Returns their tables, as `load_table` does.
    fetch: Callable[[], Mapping[str, Sequence[pa.Table]]] = dict
    fetched: Sequence[str] = ()  # those splits
    # To which file names in the corpus are relative; None: that of each file.
    folder: Path | None = None
    label_names: list[str] | None = None  # of IMDB, in place of those in the files
    to_label: Sequence[Path] = ()  # a test set without labels, as competitions give it

    @property
    def has_test_set(self) -> bool:
        """Whether the test set is given, and not drawn from all rows."""
        return ALL_ROWS not in (*self.sets, *self.fetched)

    @property
    def has_validation_set(self) -> bool:
        return "val" in (*self.sets, *self.fetched)

    def list_files(self, split: str) -> set[str]:
        """Known files with rows of `train` or `test`, without symbolic links."""
        found = self.sets.get(split if self.has_test_set else ALL_ROWS, [])
        return {state.path for files in found for state in files.states}

    @cached_property
    def fingerprint(self) -> str:
        """Changes whenever the reviews do (files: see `FileState`)."""
        settings = self.settings
        states = {
            split: [[found.label, found.states] for found in sets]
            for split, sets in self.sets.items()
        }
        drawn = [] if self.has_test_set else [settings.test_fraction, settings.split_seed]
        mapping = sorted(map(str, settings.mapping.items()))
        how = [*settings.cache_key, mapping, settings.empty, *drawn]
        if settings.train_rows is not None:
            how.append([settings.train_rows, settings.split_seed, bool(settings.unlabelled)])
        if settings.labels_from is not None:
            how.append(Path(settings.labels_from).expanduser().read_bytes().hex())
        return fingerprint([*self.version, states, *how])

    def load(self) -> Corpus:
        """Read the corpus."""
        settings = self.settings
        tables = {split: [*found] for split, found in self.fetch().items()}
        notes = []
        for split, found in self.sets.items():
            for files in found:
                table = self._load_table(files, split)
                notes.append(_describe(files, table, split))
                tables.setdefault(split, []).append(table)
        corpus = make_corpus(tables, settings.mapping, settings.empty, self.fingerprint)
        if not self.has_test_set:
            corpus = corpus.draw_test_set(settings.test_fraction, settings.split_seed)
        if self.folder and self.folder in settings.roots:
            labelled = [FileSet((file,), ".csv") for file in self.to_label]
            ignored = ", ".join(find_ignored(chain(labelled, *self.sets.values()), self.folder))
            corpus.warnings.extend([f"not read: {shorten(ignored, 500)}"] if ignored else [])
        if self.label_names and len(self.label_names) == len(corpus.label_names):
            corpus = replace(corpus, label_names=self.label_names)
        for file in self.to_label:
            drawn = "data.test_fraction of the training file is the test set"
            notes.append(f"{file.name}: has no labels and is labelled after the training; {drawn}")
        corpus = replace(corpus, notes=notes + corpus.notes)
        if settings.labels_from is not None:
            corpus = relabel(corpus, Path(settings.labels_from).expanduser())
        if "train" in corpus.splits:
            if settings.train_rows is not None:
                keep_texts = bool(settings.unlabelled)
                corpus = corpus.limit_train_rows(
                    settings.train_rows, settings.split_seed, keep_texts
                )
            corpus.check_classes(self.name)
        return corpus

    def _load_table(self, found: FileSet, split: str) -> pa.Table:
        file, *others = found.files
        folder = file.parents[1] if others else file.parent
        if split == "unlabelled":
            return load_table(found, replace(self.settings, label_column=None), folder)
        return load_table(found, self.settings, self.folder or folder)


def resolve_source(source: str, settings: FileSettings) -> Source:
    """Find `imdb` (the Hub's, or a copy at `settings.path`), `hub`, `files` or `demo`, without reading it."""
    label_names = IMDB_LABELS if source in ("imdb", "demo") else None
    if source == "files" or (source == "imdb" and settings.roots):
        return _find_files(settings, label_names)
    if source == "hub":
        return _find_hub(settings)
    if source == "demo":
        sets = add_unlabelled({}, _find_unlabelled(settings, []))
        code = [Path(demo.__file__).read_bytes().hex()]
        splits = ("train", "test")
        return Source(settings, sets, "data=demo", code, _make_demo, splits, None, label_names)
    of_imdb = {"train": "train", "test": "test", "unlabelled": "unsupervised"}
    sets = _add_texts(settings, of_imdb)
    version = [IMDB, REVISION, *of_imdb]  # known without loading it
    fetch = partial(_fetch_imdb, settings, of_imdb)
    return Source(settings, sets, "data=imdb", version, fetch, [*of_imdb], None, label_names)


def _find_hub(settings: FileSettings) -> Source:
    if not settings.name:
        raise InputError("data.name: not set; name a data set of the Hub: data.name=OWNER/NAME")
    found, version = hub.load_splits(settings.name, settings.config, settings.revision)
    splits = hub.assign_splits(settings.name, found, settings.splits)
    if "test" not in splits or hub.has_no_label(found[splits["test"]], settings):
        splits.pop("test", None)
        splits[ALL_ROWS] = splits.pop("train")
    sets = _add_texts(settings, splits)
    fetch = partial(_read_hub, settings, found, splits)
    name = f"data.name={settings.name}"
    return Source(settings, sets, name, [*version, splits], fetch, [*splits])


def _add_texts(settings: FileSettings, splits: dict[str, str]) -> FileSets:
    """The files of texts without a label, if they are not a split, which is removed if it is not asked for."""
    if settings.unlabelled is True and "unlabelled" in splits:
        return {}
    splits.pop("unlabelled", None)
    return add_unlabelled({}, _find_unlabelled(settings, []))


def _read_hub(
    settings: FileSettings, found: Mapping[str, Dataset], splits: Mapping[str, str]
) -> dict[str, list[pa.Table]]:
    """A table per split."""
    return {
        split: [hub.make_table(found[name], name, settings, split != "unlabelled")]
        for split, name in splits.items()
    }


def _fetch_imdb(settings: FileSettings, splits: Mapping[str, str]) -> dict[str, list[pa.Table]]:
    try:
        found, _ = hub.load_splits(IMDB, "plain_text", REVISION)
    except InputError as error:
        advice = "name a local copy with data.path=DIR, or use data=demo"
        raise InputError(f"data=imdb: {error}; {advice}") from error
    return _read_hub(settings, found, splits)


def _find_files(settings: FileSettings, label_names: list[str] | None) -> Source:
    roots = settings.roots or _find_paths("path", settings.path)
    path, top = ", ".join(map(str, roots)), roots[0]
    if top.is_dir():
        folder = top
    else:
        folder = Path(os.path.commonpath([root.absolute().parent for root in roots]))
        top = top.parent
    try:
        sets = find_files(path, roots)
        first = next(iter(sets.values()))[0].files[0]
        beside = [above for above in first.parents if above == top or top in above.parents]
        sets = add_unlabelled(sets, _find_unlabelled(settings, beside))
        to_label = _find_to_label(sets, settings)
    except OSError as error:
        raise InputError(
            f"data.path={path}: {error.filename or path} cannot be read ({error.strerror})"
        ) from error
    if to_label:
        sets[ALL_ROWS] = sets.pop("train")
        del sets["test"]
    return Source(settings, sets, path, folder=folder, label_names=label_names, to_label=to_label)


def _find_to_label(sets: FileSets, settings: FileSettings) -> list[Path]:
    """The files of a test set without labels, if the training set has some."""
    files = {split: [*chain(*(found.files for found in sets.get(split, [])))] for split in SPLITS}
    try:
        is_labelled = [has_labels(file, settings) for file in files["test"]]
        is_competition = (
            is_labelled and not any(is_labelled) and has_labels(files["train"][0], settings)
        )
    except READ_ERRORS:  # which reading the rows will tell
        is_competition = False
    return files["test"] if is_competition else []


def _find_unlabelled(settings: FileSettings, folders: Sequence[Path]) -> list[FileSet]:
    """Texts without a label: those that are named, or in the first of the folders with some."""
    named = settings.unlabelled
    if named is None or named is False:
        return []
    places = [None] if named is True else _find_paths("unlabelled", named)
    beside = filter(None, (find_split(folder, "unlabelled") for folder in folders))
    texts = [find_texts(place) if place else next(beside, []) for place in places]
    if [] in texts and not (named is True and settings.train_rows):
        place = (
            places[texts.index([])]
            or f"true: {folders[-1] if folders else settings.name or 'data=demo'}"
        )
        raise InputError(
            f"data.unlabelled={place} contains no texts without a label, such as unlabelled.* or "
            f"unsupervised.* ({', '.join(READERS)}); add them, or name a file: data.unlabelled=FILE"
        )
    return [*chain(*texts)]


def _make_demo() -> dict[str, list[pa.Table]]:
    texts, labels = zip(*demo.reviews(DEMO_TRAIN + DEMO_TEST), strict=True)
    columns = {
        "text": texts,
        "label": [IMDB_LABELS[label] for label in labels],
        "file": ["train"] * DEMO_TRAIN + ["test"] * DEMO_TEST,
        "row": [*range(1, DEMO_TRAIN + 1), *range(1, DEMO_TEST + 1)],
        "id": [None] * len(texts),
    }
    table = pa.table(columns, schema=SCHEMA)
    return {"train": [table[:DEMO_TRAIN]], "test": [table[DEMO_TRAIN:]]}


def _describe(found: FileSet, table: pa.Table, split: str) -> str:
    """`train.csv (train): 8,000 rows, separated by tabs`."""
    file, *others = found.files
    name = f"{file.parent.name}/*.txt" if others else table["file"][0].as_py()
    label = [f"label {found.label}"] if found.label else []
    notes = get_metadata(table, "notes")
    if damaged := pc.sum(pc.match_substring(table["text"], "\ufffd")).as_py():
        notes.append(f"{damaged:,} of them with a character that could not be decoded (U+FFFD)")
    return ", ".join([f"{name} ({split}): {len(table):,} rows", *label, *notes])
