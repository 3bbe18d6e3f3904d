"""A corpus: reviews with numbered classes, and which of them are the training, validation and test rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from sklearn.model_selection import train_test_split

from sentiment.data import Integers
from sentiment.data.files.layout import ALL_ROWS, SPLITS
from sentiment.data.files.tables import get_metadata
from sentiment.data.labels import (
    DROPPED_LABEL,
    MISSING_LABEL,
    NO_TEXT,
    Numbered,
    check_classes,
    find_closest,
    find_similar,
    number_classes,
    suggest_mapping,
)
from sentiment.runtime.errors import InputError, one_line, shorten

SHOWN_ROWS = 5  # of a kind in a message


@dataclass(frozen=True)
class Corpus:
    """Reviews with numbered classes, in the order of their files."""

    # Columns `text`, `file`, `row` (its number in that file, from 1) and perhaps `id`.
    reviews: Dataset
    labels: Integers  # class of each row, int64 `(rows,)`; `MISSING_LABEL` without one
    splits: dict[
        str, Integers
    ]  # row numbers of those that the files have, see `SPLITS` and `ALL_ROWS`
    label_names: list[str]
    notes: list[str] = field(default_factory=list)  # what was read, line by line, for the user
    warnings: list[str] = field(default_factory=list)  # what may be wrong with it, line by line

    def draw_test_set(self, fraction: float, seed: int) -> "Corpus":
        """The corpus with `fraction` of all rows, in proportion to the classes, as the test set, or 1 for all."""
        splits = dict(self.splits)
        rows = splits.pop(ALL_ROWS)
        if fraction == 1:
            return replace(self, splits=splits | {"test": rows})
        train, test = self.draw(rows, fraction, seed, "data.test_fraction")
        return replace(self, splits=splits | {"train": train, "test": test})

    def limit_train_rows(self, size: float, seed: int, keep_texts: bool) -> "Corpus":
        """The corpus with `size` training rows, or that fraction of them, in proportion to the classes.

        Fewer rows are among more. With `keep_texts` the others become texts without a label.
        """
        rows = self.splits["train"]
        count = round(size * len(rows)) if isinstance(size, float) else size
        if not 1 < count <= len(rows):
            problem = f"{count:,} of {len(rows):,} labelled rows"
            raise InputError(f"data.train_rows={size}: {problem}; choose from 2 to all of them")
        shuffled = np.random.default_rng(seed).permutation(rows)
        place = np.empty(len(rows))  # in its class, from 0 to 1
        for label in np.unique(self.labels[rows]):
            members = np.flatnonzero(self.labels[shuffled] == label)
            place[members] = (np.arange(len(members)) + 0.5) / len(members)
        chosen, others = np.split(shuffled[np.argsort(place, kind="stable")], [count])
        splits, labels = self.splits | {"train": np.sort(chosen)}, self.labels
        note = f"data.train_rows: {count:,} of {len(rows):,} labelled rows"
        if keep_texts and len(others):
            splits["unlabelled"] = np.sort(np.append(splits.get("unlabelled", []), others))
            splits["unlabelled"] = splits["unlabelled"].astype(np.int64)
            labels = labels.copy()
            labels[others] = MISSING_LABEL
            note += "; the others are among the texts without a label"
        return replace(self, labels=labels, splits=splits, notes=[*self.notes, note])

    def split(
        self, validate_on: str, val_fraction: float, val_split: str, seed: int
    ) -> dict[str, Integers]:
        """Row numbers of `train`, `val`, `test` and perhaps `unlabelled`, by the keys of `conf/data/default.yaml`."""
        splits, train = dict(self.splits), self.splits["train"]
        if validate_on == "test":
            splits["val"] = splits["test"]
        elif "val" not in splits and val_split == "random":
            drawn = self.draw(train, val_fraction, seed, "data.val_fraction")
            splits["train"], splits["val"] = drawn
        elif "val" not in splits:
            splits["train"], splits["val"] = self._take_last(train, val_fraction)
        return splits

    def draw(
        self, rows: Integers, fraction: float, seed: int, key: str
    ) -> tuple[Integers, Integers]:
        """The remaining rows, and a `fraction` of them, drawn in proportion to their classes; both in order."""
        labels = self.labels[rows]
        try:
            drawn = train_test_split(rows, test_size=fraction, stratify=labels, random_state=seed)
        except ValueError as error:
            classes, counts = np.unique(labels, return_counts=True)
            rarest = shorten(self.label_names[classes[counts.argmin()]])
            reason = one_line(error).partition(". ")[0]  # then all rare classes
            raise InputError(
                f"{key}={fraction}: {reason}; of {len(classes):,} classes, {rarest} is the rarest; add "
                "rows, merge or drop classes with data.labels, or name another data.label_column"
            ) from error
        rest, held_out = map(np.sort, drawn)
        return rest, held_out

    def _take_last(self, rows: Integers, fraction: float) -> tuple[Integers, Integers]:
        """As `draw`, with the last rows of each class."""
        labels, held_out = self.labels[rows], np.zeros(len(rows), dtype=bool)
        for members in (np.flatnonzero(labels == label) for label in np.unique(labels)):
            count = round(fraction * len(members))
            if not 0 < count < len(members):
                problem = f"{count} of {len(members)} rows of a class; change it or add rows"
                raise InputError(f"data.val_fraction={fraction}: {problem}")
            held_out[members[-count:]] = True
        return rows[~held_out], rows[held_out]

    def check_classes(self, path: str) -> None:
        """Raise `InputError` unless the training set has two classes or more and all those of the other sets."""
        trained, *others = [self.labels[r] for s, r in self.splits.items() if s != "unlabelled"]
        classes, only_others = np.unique(trained), np.setdiff1d(np.concatenate(others), trained)
        known = [self.label_names[number] for number in classes]
        if len(known) > 1 and not only_others.size:
            return
        problem = f"every label is {known[0]}; a classifier needs two classes or more"
        if len(known) > 1:
            name = self.label_names[only_others[0]]
            similar = find_closest(name, known)
            advice = f", {similar} in train; type" if similar else "; fix it, or drop its rows with"
            problem = f"label {shorten(name)} occurs in the test or validation set only{advice}"
            problem += f" {suggest_mapping({name: similar})}"
        raise InputError(f"{path}: {problem}")


def make_corpus(
    tables: Mapping[str, Sequence[pa.Table]],
    mapping: Mapping[str, str | None],
    empty: str,
    fingerprint: str,
) -> Corpus:
    """Number the classes of tables, see `number_classes`, and drop rows without a text or a label.

    The tables are by split, as `load_table` returns them. With `empty="error"`, a row to drop raises an
    `InputError`. The fingerprint is that of the reviews.
    """
    splits = [split for split in (ALL_ROWS, *SPLITS) if split in tables]
    ordered = [table for split in splits for table in tables[split]]
    table = pa.concat_tables(ordered)
    sizes = [sum(map(len, tables[split])) for split in splits]
    split_of = np.repeat(np.arange(len(splits)), sizes)
    needs_label = np.array(splits)[split_of] != "unlabelled"
    has_text = pc.greater(pc.binary_length(table["text"]), 0)
    of_texts = pc.if_else(has_text, table["label"], pa.scalar(None, pa.large_string()))
    class_names = list(dict.fromkeys(chain(*(get_metadata(t, "class_names") for t in ordered))))
    numbered = number_classes(of_texts, mapping, class_names)
    check_classes(numbered.names, int(needs_label.sum()))
    labels = np.where(has_text.to_numpy(), numbered.labels, NO_TEXT)
    without_label = (labels == MISSING_LABEL) & needs_label
    rows = np.flatnonzero((labels >= MISSING_LABEL) & ~without_label)
    warnings = [
        _leave_out(table, np.flatnonzero(is_kind), kind, empty)
        for is_kind, kind in ((labels == NO_TEXT, "an empty text"), (without_label, "no label"))
        if is_kind.any()
    ]
    kept = {split: np.flatnonzero(split_of[rows] == n) for n, split in enumerate(splits)}
    if unfilled := [split for split in splits if not len(kept[split])]:
        needed = "a text" if unfilled[0] == "unlabelled" else "both a text and a label"
        raise InputError(
            f"{tables[unfilled[0]][0]['file'][0].as_py()}: no row has {needed}; fix it, or check the "
            "columns and data.labels"
        )
    has_ids = table["id"].null_count < len(table)
    columns = ["text", "file", "row", *(["id"] if has_ids else [])]
    reviews = Dataset(table.select(columns), fingerprint=fingerprint)
    if len(rows) < len(table):
        reviews = reviews.select(rows)
    dropped = np.sum(labels == DROPPED_LABEL)
    note = f"left out: {dropped:,} rows whose label data.labels maps to null"
    return Corpus(
        reviews,
        labels[rows],
        kept,
        numbered.names,
        [note] if dropped else [],
        [*warnings, *_find_doubtful_labels(numbered)],
    )


def _find_doubtful_labels(numbered: Numbered) -> Iterator[str]:
    if numbered.missing:
        kept = suggest_mapping({label: label for label in numbered.missing})
        listed = ", ".join(numbered.missing)
        yield f"{listed} counts as no label; to make it a class, type {kept}"
    if numbered.unused:
        yield f"data.labels: no row has the label {', '.join(numbered.unused)}"
    if groups := find_similar(numbered.names):
        listed = "; ".join(" and ".join(group) for group in groups)
        merged = {name: group[-1] for group in groups for name in group[:-1]}
        advice = f"to merge them type {suggest_mapping(merged)}"
        yield f"labels that may mean the same: {listed}; {advice}"


def _leave_out(table: pa.Table, rows: Integers, kind: str, empty: str) -> str:
    """A warning of the rows that are left out since they have "an empty text", or an `InputError`."""
    shown = table.select(["file", "row"]).take(rows[:SHOWN_ROWS]).to_pylist()
    places = ", ".join(f"{row['file']} row {row['row']:,}" for row in shown)
    more = ", …" if len(rows) > SHOWN_ROWS else ""
    problem = f"{len(rows):,} with {kind} ({places}{more})"
    if empty == "error":
        raise InputError(f"{problem}; fix the file, or leave such rows out with data.empty=drop")
    return f"left out: {problem}"
