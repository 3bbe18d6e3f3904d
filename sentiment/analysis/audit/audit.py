"""The audit of a data set: its findings as tables in the terminal, CSV files and an HTML page."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from datasets import Dataset
from jinja2 import Environment, PackageLoader, StrictUndefined
from omegaconf import DictConfig

from sentiment.analysis.audit.copies import find_copies
from sentiment.analysis.audit.doubts import find_telling_words, judge_labels
from sentiment.analysis.audit.features import count_words
from sentiment.analysis.evaluation_tables import format_columns
from sentiment.data import Integers
from sentiment.data.datamodule import ReviewDataModule
from sentiment.data.encoded.store import EncodedReviews, read_array, read_vocabulary
from sentiment.data.summary import find_problems
from sentiment.runtime.cli import escape_control_chars
from sentiment.runtime.config import instantiate_checked
from sentiment.runtime.errors import shorten
from sentiment.runtime.files import atomic_write, escape_csv_formula
from sentiment.runtime.run_folder import RunFolder

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
SAMPLE, MAX_TOKEN_LENGTH = 1000, 15  # texts, characters for each token of theirs
TELLING_NOTE = "Share of the reviews with the word that have the label; lift: how many times as many as of all."
TERMINAL_ROWS, PAGE_ROWS = 10, 200  # of a table


class Section(NamedTuple):
    """A table of findings; its first column holds names or texts."""

    title: str
    table: pd.DataFrame
    note: str = ""


@dataclass(frozen=True)
class Findings:
    """What was found in the rows of `train`, `val` and `test`, in this order."""

    rows: pd.DataFrame  # split, tokens, label, suggested, probability, doubt; label as a class
    copies: pd.DataFrame  # as `find_copies` returns it
    telling: pd.DataFrame  # as `find_telling_words` returns it
    problems: list[str]  # one line each


def audit(cfg: DictConfig) -> Findings:
    """Look at the data; print what is found, and write it to `cfg.output_dir`."""
    data: ReviewDataModule = instantiate_checked(cfg.data, "data")
    data.prepare_data()
    data.setup()
    names = [name for name in SPLITS if name != "val" or data.validate_on != "test"]
    reviews = data.splits["train"].reviews
    parts = [data.splits[name].reviews.rows for name in names]
    reviews = EncodedReviews(reviews.ids, reviews.offsets, reviews.labels, np.concatenate(parts))
    split = np.repeat(names, [*map(len, parts)])
    findings = find(data, reviews, reviews.labels[reviews.rows], split)
    output, texts = RunFolder(cfg.output_dir), data.select_reviews(reviews.rows)
    sample = texts.select(range(min(len(texts), SAMPLE)))["text"]
    if sum(map(len, sample)) > MAX_TOKEN_LENGTH * findings.rows.tokens[: len(sample)].sum():
        advice = "for a language without spaces type data.tokenizer=characters"
        findings.problems.append(f"tokens are very long; {advice}")
    doubtful = _list_doubtful(findings, texts, data.label_names)
    _write_csv(doubtful, output.path / "audit.csv")
    copies = _list_copies(findings, texts, data.label_names)
    _write_csv(copies, output.path / "copies.csv")
    sections = [
        _summarize_splits(findings),
        _summarize_classes(findings, data.label_names),
        Section("Words that give the label away", _format_telling(findings.telling), TELLING_NOTE),
        _show_copies(copies),
        _show_doubtful(doubtful),
    ]
    title = f"Audit of {data.source.name}"
    page = _render(title, sections, findings.problems)
    with atomic_write(output.path / "audit.html") as temporary:
        temporary.write_text(page, encoding="utf-8", errors="replace")
    for section in sections:
        shown = section.table.head(TERMINAL_ROWS).map(lambda cell: shorten(cell, 60))
        columns = {name: [*map(escape_control_chars, shown[name])] for name in shown}
        log.info(format_columns(section.title, columns) if len(shown) else section.title + ": none")
        if len(shown) and section.note:
            log.info("%s\n", fill(section.note, 80))
    for problem in findings.problems:
        log.warning(problem)
    log.info(
        "all findings: %s, audit.csv and copies.csv", os.path.relpath(output.path / "audit.html")
    )
    return findings


def find(
    data: ReviewDataModule, reviews: EncodedReviews, labels: Integers, split: npt.NDArray[np.str_]
) -> Findings:
    """Look at reviews with these labels and names of splits, each `(N,)`."""
    counts = count_words(reviews)
    hashes = np.asarray(read_array(data.folder, "hashes"))[reviews.rows]
    suggested, probability, doubt = judge_labels(counts.matrix, labels, hashes)
    words = read_vocabulary(data.folder)
    telling = find_telling_words(counts, labels, words, data.label_names)
    rows = pd.DataFrame({"split": split, "tokens": reviews.lengths, "label": labels})
    rows = rows.assign(suggested=suggested, probability=probability, doubt=doubt)
    labels_of_text = rows.groupby(hashes)["label"].transform("nunique")
    rows["contradicts"] = (labels_of_text > 1) & (hashes != 0)
    copies = find_copies(hashes, counts)
    copies["split"], copies["of"] = split[copies.row], split[copies.other]
    return Findings(rows, copies, telling, _find_problems(data, rows, copies, telling))


def _find_problems(
    data: ReviewDataModule, rows: pd.DataFrame, copies: pd.DataFrame, telling: pd.DataFrame
) -> list[str]:
    problems = find_problems(data)
    if count := rows.contradicts.sum():
        problems.append(
            f"{count:,} reviews have a text that also has another label; see copies.csv"
        )
    across = copies[copies.split != copies.of]
    for (split, other), found in across.groupby(["split", "of"], sort=False):
        near = (found.similarity < 1).sum()
        kinds = f"{split} has copies of reviews in {other}: {len(found) - near:,}, near copies: {near:,}"
        problems.append(f"{kinds}; they flatter its figures, see copies.csv")
    numbers = telling[telling.word.astype(str).str.contains(r"[\d_]")]
    if len(numbers):
        listed = ", ".join(shorten(word) for word in numbers.word[:5])
        problems.append(
            f"numbers that give the label away, perhaps ratings or identifiers: {listed}"
        )
    unjudged = rows[rows.suggested < 0]
    if len(unjudged):
        names = ", ".join(data.label_names[label] for label in np.unique(unjudged.label))
        advice = "add rows, or drop them with data.labels"
        problems.append(
            f"{len(unjudged):,} labels of rare classes ({names}) were not judged; {advice}"
        )
    return problems


def _summarize_splits(findings: Findings) -> Section:
    lines = []
    for split, rows in findings.rows.groupby("split", sort=False):
        copies = findings.copies[findings.copies.split == split]
        exact = copies.similarity == 1
        counts = {
            "reviews": len(rows),
            "median": rows.tokens.median(),
            "95 %": rows.tokens.quantile(0.95),
            "max": rows.tokens.max(),
            "copies": (exact & (copies.of == split)).sum(),
            "across": (exact & (copies.of != split)).sum(),
            "near": (~exact).sum(),
            "conflict": rows.contradicts.sum(),
            "doubtful": (rows.doubt > 0).sum(),
        }
        lines.append({"split": split} | {name: f"{n:,.0f}" for name, n in counts.items()})
    note = (
        "Tokens of a review: median, 95 % and the most. Copies: of an earlier review of the split; across: of "
        "one in an earlier split; near: near copies of any earlier review; conflict: reviews whose text also "
        "has another label; doubtful: see below."
    )
    return Section("Splits", pd.DataFrame(lines), note)


def _summarize_classes(findings: Findings, label_names: Sequence[str]) -> Section:
    rows = findings.rows
    counts = pd.crosstab(rows.label, rows.split)[[*dict.fromkeys(rows.split)]]
    counts["doubtful"] = rows[rows.doubt > 0].groupby("label").size()
    table = counts.fillna(0).map("{:,.0f}".format)
    table.insert(0, "class", [label_names[label] for label in table.index])
    return Section("Classes", table)


def _format_telling(telling: pd.DataFrame) -> pd.DataFrame:
    shown = telling.head(PAGE_ROWS).copy()
    shown["reviews"] = shown.reviews.map("{:,}".format)
    shown["share"] = shown.share.map("{:.1%}".format)
    shown["lift"] = shown.lift.map("{:.2f}".format)
    return shown


def _list_doubtful(
    findings: Findings, reviews: Dataset, label_names: Sequence[str]
) -> pd.DataFrame:
    rows = findings.rows[findings.rows.doubt > 0].sort_values("doubt", ascending=False)
    texts = reviews.select(rows.index).to_pandas()
    columns = {name: texts[name] for name in ("file", "row", "id") if name in texts}
    columns |= {"split": [*rows.split], "label": [label_names[label] for label in rows.label]}
    columns |= {"suggested": [label_names[label] for label in rows.suggested]}
    columns |= {"probability": [*map("{:.4f}".format, rows.probability)], "accept": ""}
    return pd.DataFrame(columns | {"text": texts["text"]})


def _show_doubtful(doubtful: pd.DataFrame) -> Section:
    shown = doubtful.head(PAGE_ROWS)
    place = [f"{file} row {row}" for file, row in shown[["file", "row"]].values]
    columns = {"text": shown.text, "label": shown.label, "suggested": shown.suggested}
    columns |= {"p": shown.probability, "place": place}
    note = (
        f"{len(doubtful):,} labels that linear models contradict, each fitted on other rows; the most "
        "doubtful first. p: probability of the suggested label. audit.csv has all of them."
    )
    return Section("Doubtful labels", pd.DataFrame(columns), note)


def _list_copies(findings: Findings, reviews: Dataset, label_names: Sequence[str]) -> pd.DataFrame:
    """Those with different labels first, then those across splits."""
    found = findings.copies
    labels = findings.rows.label.to_numpy()
    is_same = labels[found.row] == labels[found.other]
    found = found.iloc[np.lexsort((found.row, found.split == found.of, is_same))]
    columns: dict[str, object] = {}
    for prefix, rows, split in (("", found.row, found.split), ("other_", found.other, found.of)):
        texts = reviews.select(rows).to_pandas()
        columns |= {prefix + name: texts[name] for name in ("file", "row")}
        columns |= {f"{prefix}split": [*split]}
        columns |= {f"{prefix}label": [label_names[n] for n in labels[rows]]}
    columns["similarity"] = [*map("{:.3f}".format, found.similarity)]
    return pd.DataFrame(columns | {"text": reviews.select(found.row).to_pandas()["text"]})


def _show_copies(copies: pd.DataFrame) -> Section:
    shown = copies.head(PAGE_ROWS)
    columns = {"text": shown.text, "similarity": shown.similarity}
    for heading, prefix in (("copy", ""), ("of", "other_")):
        cells = shown[[f"{prefix}split", f"{prefix}row", f"{prefix}label"]].values
        columns[heading] = [f"{split} row {row}: {label}" for split, row, label in cells]
    note = (
        "Those with different labels first, then those across splits. copies.csv has all of them."
    )
    return Section("Copies and near copies", pd.DataFrame(columns), note)


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    with atomic_write(path) as temporary:
        table.map(escape_csv_formula).to_csv(temporary, index=False, lineterminator="\r\n")


def _render(title: str, sections: Sequence[Section], problems: Sequence[str]) -> str:
    """A page without scripts or external resources."""
    loader = PackageLoader(__package__, "")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    template = environment.get_template("audit.html")
    return template.render(title=title, sections=sections, problems=problems)
