"""Predictions beside the columns of the file that the texts come from, as lines of JSON or CSV."""

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sentiment.classifier import Prediction
from sentiment.runtime.files import escape_csv_formula
from sentiment.runtime.run_folder import RunFolder

if TYPE_CHECKING:
    from sentiment.data.files.formats import ReadOptions

ANSWER = ("row", "label", "probabilities")  # columns of the output that are not the file's


class Texts(NamedTuple):
    """Texts to classify, and what stands beside them in their file.

    Attributes:
        texts: `N` texts.
        cells: values of every column of the file, in its order, and the number of each `row`; empty without a file.
        fraction: how much of the file has been read.
        notes: how the file was read, if that was a choice.
    """

    texts: Sequence[str]
    cells: Mapping[str, Sequence[Any]] = {}
    fraction: float = 0.0
    notes: Sequence[str] = ()


def read_file(file: Path, options: "ReadOptions") -> Iterator[Texts]:
    """Yield the texts of a file in chunks; columns that have the name of one of the output get the prefix `file_`.

    Raises:
        InputError: the file cannot be read, see `read_rows`.
    """
    from sentiment.data.files.rows import read_rows  # takes seconds

    for rows in read_rows(file, options, all_columns=True):
        cells: dict[str, Sequence[Any]] = {"row": range(rows.first, rows.first + len(rows.texts))}
        for name, values in rows.cells.items():
            free = name
            while (
                free in cells
                or (free != name and free in rows.cells)
                or free in ANSWER
                or free.startswith("p(")
            ):
                free = f"file_{free}"
            cells[free] = values
        yield Texts(rows.texts, cells, rows.fraction, rows.notes)


def make_read_options(
    run: RunFolder,
    column: str | None = None,
    no_header: bool = False,
    separator: str | None = None,
    encoding: str | None = None,
    encoding_errors: str | None = None,
    flags: Mapping[str, str] = {},
) -> "ReadOptions":
    """How to read a file: as the files of a run, unless the arguments say otherwise.

    Args:
        run: that of the model.
        column: of the texts; its number from 1 without a header.
        no_header: whether the first line is a row.
        separator: a character or `tab`.
        encoding: by the name of Python's codec.
        encoding_errors: see `ReadOptions`.
        flags: see `ReadOptions`.
    """
    from sentiment.data.files.formats import ReadOptions  # these take seconds
    from sentiment.data.source import find_separator

    cfg = run.read_config()
    of_run = cfg.data if cfg else {}
    by_number = column is None and of_run.get("header") is False
    return ReadOptions(
        text_column=str(column or of_run.get("text_column") or "text"),
        label_column=None,
        header=not (no_header or by_number),
        separator=find_separator(separator or of_run.get("separator")),
        encoding=str(encoding or of_run.get("encoding") or "utf-8"),
        encoding_errors=str(encoding_errors or of_run.get("encoding_errors") or "strict"),
        flags=flags,
    )


def format_predictions(
    predictions: Sequence[Prediction],
    cells: Mapping[str, Sequence[Any]],
    columns: Sequence[str],
    kind: str,
) -> str:
    """Lines of JSON, or of CSV if `kind` is `csv`.

    Args:
        predictions: `N` predictions.
        cells: what else to print of each text, `N` values by column.
        columns: of the CSV, before the prediction.
        kind: `jsonl` or `csv`.
    """
    lines = []
    for i, (label, probabilities) in enumerate(predictions):
        if kind == "csv":
            beside = [
                str(cells[name][i]) if name in cells and cells[name][i] is not None else ""
                for name in columns
            ]
            lines.append(
                format_csv_row([*beside, label, *(f"{p:.6f}" for p in probabilities.values())])
            )
        else:
            record: dict[str, Any] = {name: _to_json(values[i]) for name, values in cells.items()}
            record |= {
                "label": label,
                "probabilities": {name: round(p, 6) for name, p in probabilities.items()},
            }
            lines.append(json.dumps(record, ensure_ascii=False, default=str) + "\n")
    return "".join(lines)


def format_csv_header(columns: Sequence[str], label_names: Sequence[str]) -> str:
    """The first line of the CSV: columns of the file, then those of the prediction."""
    return format_csv_row([*columns, "label", *(f"p({name})" for name in label_names)])


def _to_json(value: Any) -> Any:
    """NaN and infinity, which JSON lacks, become null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def format_csv_row(cells: Sequence[str]) -> str:
    """One line of CSV, safe to open in a spreadsheet."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(map(escape_csv_formula, cells))
    return line.getvalue()
