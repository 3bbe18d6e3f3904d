"""Labels that the user accepted in the `audit.csv` of `python -m sentiment.audit`."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from sentiment.data.corpus import Corpus
from sentiment.runtime.errors import InputError, one_line
from sentiment.runtime.files import unescape_csv_formula

COLUMNS = ["file", "row", "label", "suggested", "accept", "text"]
YES, NO = {"yes", "y", "x", "1", "true"}, {"", "no", "n", "0", "false"}


def relabel(corpus: Corpus, path: Path) -> Corpus:
    """The corpus with the suggested labels of the rows whose cell in the column `accept` says yes.

    A row is found by its file and number, and must have the label and the text that were audited.
    """
    try:
        options = {"dtype": str, "keep_default_na": False, "encoding": "utf-8-sig"}
        # A spreadsheet may have saved it with semicolons.
        table = pd.read_csv(path, sep=None, engine="python", **options)[COLUMNS]
    except (ValueError, KeyError, OSError) as error:
        problem = f"cannot be read ({one_line(error)})"
        advice = "name the audit.csv of python -m sentiment.audit"
        raise InputError(f"data.labels_from={path}: {problem}; {advice}") from error
    answers = table["accept"].str.strip().str.casefold()
    if len(unknown := answers[~answers.isin(YES | NO)]):
        problem = f"accept is {unknown.iloc[0]!r}; write yes, or leave it empty"
        raise InputError(f"data.labels_from={path}, row {unknown.index[0] + 1:,}: {problem}")
    accepted = table[answers.isin(YES)].map(unescape_csv_formula)
    places = corpus.reviews.select_columns(["file", "row"])[:]
    keys = zip(places["file"], map(str, places["row"]), strict=True)
    rows = {key: row for row, key in enumerate(keys)}
    labels = corpus.labels.copy()
    for number, (file, row, label, suggested, _, text) in accepted.iterrows():
        found = rows.get((file, row))
        is_same = found is not None and _is_same(corpus, found, label, text)
        if not is_same or suggested not in corpus.label_names:
            problem = f"{file} row {row} is not as it was audited; repeat the audit"
            raise InputError(f"data.labels_from={path}, row {number + 1:,}: {problem}")
        labels[found] = corpus.label_names.index(suggested)
    note = f"{path}: {len(accepted):,} of {len(table):,} suggested labels accepted"
    return replace(corpus, labels=labels, notes=[*corpus.notes, note])


def _is_same(corpus: Corpus, row: int, label: str, text: str) -> bool:
    """Whether a row has a label and, but for white space, which spreadsheets change, a text."""
    found: str = corpus.reviews[row]["text"]
    return corpus.label_names[corpus.labels[row]] == label and found.split() == text.split()
