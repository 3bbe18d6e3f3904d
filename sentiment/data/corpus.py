"""A corpus: reviews with numbered classes, and which of them are the training, validation and test rows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, concatenate_datasets

from sentiment.data import Integers
from sentiment.data.files.layout import Part
from sentiment.data.files.tables import NOTES
from sentiment.data.labels import (
    DROPPED_LABEL,
    MISSING_LABEL,
    Numbered,
    check_classes,
    find_closest,
    find_similar,
    number_classes,
    suggest_mapping,
)
from sentiment.data.splits import stratified_split, tail_split
from sentiment.runtime.errors import InputError, shorten

SHOWN_ROWS = 5  # of a kind in a message
NO_TEXT = -3  # instead of the number of a class, as `MISSING_LABEL`


@dataclass(frozen=True)
class Corpus:
    """Labelled reviews with their training, validation and test sets, and perhaps texts without a label.

    Attributes:
        reviews: columns `text`, `file` (where it stands), `row` (its number in that file, from 1) and perhaps `id`; the
            rows of the training set come first, then those of the validation set, then those of the test set, then the
            texts without a label.
        labels: class of each row, int64 `(rows,)`; `MISSING_LABEL` without one.
        train_rows: size of the training set; 0 if all rows are tested.
        val_rows: size of the validation set; 0 if it is to be drawn from the training set.
        label_names: names of the classes.
        notes: what was read, for the user.
        warnings: what may be wrong with it, for the user.
        unlabelled_rows: number of texts without a label.
    """

    reviews: Dataset
    labels: Integers
    train_rows: int
    val_rows: int
    label_names: list[str]
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    unlabelled_rows: int = 0

    def draw_test_set(self, fraction: float, seed: int) -> "Corpus":
        """The corpus with `fraction` of its rows, in proportion to the classes, as the test set."""
        rows = np.arange(len(self.labels))
        train, test = stratified_split(
            rows, self.labels, fraction, seed, "data.test_fraction", self.label_names
        )
        order = np.concatenate([train, test])
        reviews = self.reviews.select(order)
        return replace(self, reviews=reviews, labels=self.labels[order], train_rows=len(train))

    def add_unlabelled(self, table: pa.Table, empty: str, fingerprint: str) -> "Corpus":
        """The corpus with further rows, whose labels are not read.

        Args:
            table: as `load_table` returns it.
            empty: `drop` or `error`.
            fingerprint: of the table.

        Raises:
            InputError: there are rows without a text and `empty` is `error`; or there are no others.
        """
        without_text = _without_text(table)
        warnings = (
            [_leave_out(table, without_text, "an empty text", empty)] if without_text.any() else []
        )
        if without_text.all():
            raise InputError(
                f"data.unlabelled: no row of {table['file'][0].as_py()} has a text; name other files"
            )
        columns = table.select(self.reviews.column_names).cast(self.reviews.features.arrow_schema)
        texts = Dataset(columns, fingerprint=fingerprint)
        if warnings:
            texts = texts.select(np.flatnonzero(~without_text))
        return replace(
            self,
            reviews=concatenate_datasets([self.reviews, texts]),
            labels=np.append(self.labels, np.full(len(texts), MISSING_LABEL)),
            warnings=self.warnings + warnings,
            unlabelled_rows=len(texts),
        )

    def split(
        self, validate_on: str, val_fraction: float, val_split: str, seed: int
    ) -> dict[str, Integers]:
        """Row numbers of `train`, `val`, `test` and perhaps `unlabelled`.

        Args:
            validate_on: `test` for the test rows as validation rows; `train` for those of the validation set, drawn
                from the training rows if there is none.
            val_fraction: fraction of the training rows that is drawn.
            val_split: `random` or `tail`.
            seed: draws them.

        Raises:
            InputError: too few rows of some class.
        """
        train_end = self.train_rows
        val_end = train_end + self.val_rows
        test_end = len(self.labels) - self.unlabelled_rows
        rows = np.arange(len(self.labels))
        train, val, test, unlabelled = np.split(rows, [train_end, val_end, test_end])
        if validate_on == "test":
            val = test
        elif not self.val_rows:
            labels, key = self.labels[train], "data.val_fraction"
            if val_split == "random":
                train, val = stratified_split(
                    train, labels, val_fraction, seed, key, self.label_names
                )
            else:
                train, val = tail_split(train, labels, val_fraction, key)
        splits = {"train": train, "val": val, "test": test}
        return splits | ({"unlabelled": unlabelled} if self.unlabelled_rows else {})

    def check_classes(self, path: str) -> None:
        """Raise `InputError` unless the training set has two classes or more and all those of the other sets."""
        trained, others = np.split(self.labels, [self.train_rows])
        names = self.label_names
        classes = np.unique(trained)
        if len(classes) == 1:
            raise InputError(
                f"{path}: every label is {names[classes[0]]}; a classifier needs two classes or more"
            )
        for label in np.setdiff1d(others, classes):
            name, known = names[label], [names[number] for number in classes]
            place = f"{path}: label {shorten(name)} occurs in the test or validation set only"
            similar = find_closest(name, known)
            advice = suggest_mapping({name: similar})
            if similar is not None:
                raise InputError(f"{place}, {similar} in train; type {advice}")
            raise InputError(f"{place}; fix the split, or drop its rows with {advice}")


def make_corpus(
    tables: Mapping[str, pa.Table],
    mapping: Mapping[str, str | None],
    class_names: Sequence[str],
    empty: str,
    fingerprint: str,
) -> Corpus:
    """Number the classes of tables and drop rows without a text or a label.

    Args:
        tables: by split, as `load_table` returns them: `train`, perhaps `val`, and `test`; or all
            rows as `test`.
        mapping: see `number_classes`.
        class_names: see there.
        empty: `drop` or `error`.
        fingerprint: of the reviews.

    Raises:
        InputError: there are rows without a text or a label and `empty` is `error`; no row is
            left; or the labels are measurements.
    """
    splits = [split for split in ("train", "val", "test") if split in tables]
    table = pa.concat_tables([tables[split] for split in splits])
    without_text = _without_text(table)
    of_texts = pc.if_else(
        pa.array(without_text), pa.scalar(None, pa.large_string()), table["label"]
    )
    numbered = number_classes(of_texts, mapping, class_names)
    labels = np.where(without_text, NO_TEXT, numbered.labels)
    check_classes(numbered.names, len(table))
    warnings = [
        _leave_out(table, labels == code, kind, empty)
        for code, kind in ((NO_TEXT, "an empty text"), (MISSING_LABEL, "no label"))
        if np.any(labels == code)
    ]
    notes = []
    if dropped := int(np.sum(labels == DROPPED_LABEL)):
        notes.append(f"left out: {dropped:,} rows whose label data.labels maps to null")
    for key, merged in numbered.merged.items():
        notes.append(f"data.labels: {key} also stands for {', '.join(merged)}")
    rows = np.flatnonzero(labels >= 0)
    ends = np.searchsorted(rows, np.cumsum([len(tables[split]) for split in splits]))
    sizes = dict(zip(splits, np.diff(ends, prepend=0).tolist(), strict=True))
    if unfilled := [split for split in splits if not sizes[split]]:
        file = tables[unfilled[0]]["file"][0].as_py()
        raise InputError(
            f"{file}: no row has both a text and a label; fix it, or check the columns and data.labels"
        )
    has_ids = table["id"].null_count < len(table)
    columns = ["text", "file", "row", *(["id"] if has_ids else [])]
    reviews = Dataset(table.select(columns), fingerprint=fingerprint)
    if len(rows) < len(table):
        reviews = reviews.select(rows)
    sets = sizes.get("train", 0), sizes.get("val", 0)
    warnings += _find_doubtful_labels(numbered)
    return Corpus(reviews, labels[rows], *sets, numbered.names, notes, warnings)


def _find_doubtful_labels(numbered: Numbered) -> list[str]:
    warnings = []
    if numbered.missing:
        listed = ", ".join(numbered.missing)
        kept = suggest_mapping({label: label for label in numbered.missing})
        warnings.append(f"{listed} counts as no label; to make it a class, type {kept}")
    if numbered.unused:
        warnings.append(f"data.labels: no row has the label {', '.join(numbered.unused)}")
    if groups := find_similar(numbered.names):
        listed = "; ".join(" and ".join(group) for group in groups)
        merged = {name: group[-1] for group in groups for name in group[:-1]}
        advice = f"to merge them type {suggest_mapping(merged)}"
        warnings.append(f"labels that may mean the same: {listed}; {advice}")
    return warnings


def describe_part(part: Part, table: pa.Table, split: str) -> str:
    """`train.csv (train): 8,000 rows, separated by tabs`."""
    name = (
        table["file"][0].as_py() if len(part.files) == 1 else f"{part.files[0].parent.name}/*.txt"
    )
    label = [] if part.label is None or split == "unlabelled" else [f"label {part.label}"]
    notes = json.loads(table.schema.metadata[NOTES])
    if damaged := pc.sum(pc.match_substring(table["text"], "\ufffd")).as_py():
        notes.append(f"{damaged:,} of them with a character that could not be decoded (U+FFFD)")
    return ", ".join([f"{name} ({split}): {len(table):,} rows", *label, *notes])


def _without_text(table: pa.Table) -> npt.NDArray[np.bool_]:
    """Whether each text is empty."""
    is_empty: npt.NDArray[np.bool_] = pc.equal(pc.binary_length(table["text"]), 0).to_numpy()
    return is_empty


def _leave_out(table: pa.Table, is_kind: npt.NDArray[np.bool_], kind: str, empty: str) -> str:
    """A warning of the rows that are left out since they have "an empty text", or an `InputError`."""
    places = _describe_rows(table, np.flatnonzero(is_kind))
    if empty == "error":
        raise InputError(
            f"{places} {kind}; fix the file, or leave such rows out with data.empty=drop"
        )
    return f"left out: {places} {kind}"


def _describe_rows(table: pa.Table, rows: Integers) -> str:
    """`3 rows (train.csv 5, 17; test.csv 2) have`."""
    shown = table.select(["file", "row"]).take(rows[:SHOWN_ROWS]).to_pylist()
    by_file: dict[str, list[str]] = {}
    for row in shown:
        by_file.setdefault(row["file"], []).append(f"{row['row']:,}")
    places = "; ".join(f"{file} row {', '.join(numbers)}" for file, numbers in by_file.items())
    more = ", …" if len(rows) > SHOWN_ROWS else ""
    return f"{len(rows):,} rows ({places}{more}) have" if len(rows) > 1 else f"1 row ({places}) has"
