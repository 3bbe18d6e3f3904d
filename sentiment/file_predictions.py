"""Texts of a file or of standard input, and predictions beside them, as lines of JSON or CSV."""

import csv
import io
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from sentiment.classifier import Classifier, Prediction
from sentiment.data.files.formats import ReadOptions
from sentiment.data.files.rows import read_rows
from sentiment.runtime.errors import InputError
from sentiment.runtime.files import escape_csv_formula, output_file
from sentiment.runtime.run_folder import RunFolder

OUTPUT_COLUMNS = ("row", "label", "probabilities")


class TextChunk(NamedTuple):
    """Texts to classify, and the `row` and all cells of each in its file, by column."""

    texts: Sequence[str]
    cells: Mapping[str, Sequence[Any]] = {}
    notes: Sequence[str] = ()  # how the file was read, if that was a choice


def read_file(file: Path, options: ReadOptions) -> Iterator[TextChunk]:
    """Yield the texts of a file in chunks; its columns with a name of the output get the prefix `file_`."""
    for rows in read_rows(file, options, all_columns=True):
        cells: dict[str, Sequence[Any]] = {"row": range(rows.first, rows.first + len(rows.texts))}
        for name, values in rows.cells.items():
            free = name
            while (
                free in cells
                or free in OUTPUT_COLUMNS
                or free.startswith("p(")
                or (free != name and free in rows.cells)
            ):
                free = f"file_{free}"
            cells[free] = values
        yield TextChunk(rows.texts, cells, rows.notes)


def read_lines(stream: BinaryIO) -> Iterator[list[str]]:
    """Yield the lines of standard input as they arrive, so that a slow pipe is answered at once."""
    assert isinstance(stream, io.BufferedReader)
    if stream.isatty():
        print("reading from the terminal; Ctrl-D ends it", file=sys.stderr)
    number, rest = 1, b""
    while block := stream.read1(1 << 20):
        *lines, rest = (rest + block).split(b"\n")
        if lines:
            yield [_decode(line, n) for n, line in enumerate(lines, number)]
        number += len(lines)
    if rest:
        yield [_decode(rest, number)]


def _decode(line: bytes, number: int) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r")
    except UnicodeDecodeError as error:
        problem = f"line {number} is not UTF-8 ({error.reason}); convert it"
        raise InputError(f"standard input: {problem}") from error


def write_predictions(
    classifier: Classifier, file: Path, options: ReadOptions, output: Path
) -> None:
    """Classify the texts of a file; write its columns and the predictions as CSV."""
    columns: list[str] = []
    with output_file(output) as temporary, temporary.open("w", encoding="utf-8") as lines:
        for texts, cells, _ in read_file(file, replace(options, label_column=None)):
            if not columns:
                columns = [*cells]
                lines.write(format_csv_header(columns, classifier.label_names))
            lines.write(format_csv(classifier.predict(texts), cells, columns))


def make_read_options(
    run: RunFolder, header: bool, flags: Mapping[str, str], **changes: str | None
) -> ReadOptions:
    """How to read a file: as the files of a run, but for changes of `ReadOptions`."""
    cfg = run.read_config()
    of_run = cfg.data if cfg else {}

    def choose(key: str, default: str | None) -> Any:
        return changes.get(key) or of_run.get(key) or default

    by_number = not changes.get("text_column") and of_run.get("header") is False
    return ReadOptions(
        text_column=choose("text_column", "text"),
        label_column=None,
        header=header and not by_number,
        separator=choose("separator", None),
        encoding=choose("encoding", "utf-8"),
        encoding_errors=choose("encoding_errors", "strict"),
        flags=flags,
    )


def format_csv(
    predictions: Sequence[Prediction], cells: Mapping[str, Sequence[Any]], columns: Sequence[str]
) -> str:
    """Lines of CSV: the cells of these columns, if there are any, then the predictions."""
    empty = [None] * len(predictions)
    beside = [cells.get(name, empty) for name in columns]
    rows = []
    for i, (label, probabilities) in enumerate(predictions):
        values = ("" if column[i] is None else str(column[i]) for column in beside)
        rows.append([*values, label, *(f"{p:.6f}" for p in probabilities.values())])
    return _to_csv(rows)


def format_csv_header(columns: Sequence[str], label_names: Sequence[str]) -> str:
    """The first line of CSV: columns of the file, then those of the prediction."""
    return _to_csv([[*columns, "label", *(f"p({name})" for name in label_names)]])


def _to_csv(rows: Sequence[Sequence[str]]) -> str:
    """Lines that are safe to open in a spreadsheet."""
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows(map(escape_csv_formula, row) for row in rows)
    return lines.getvalue()


def format_json(predictions: Sequence[Prediction], cells: Mapping[str, Sequence[Any]]) -> str:
    """Lines of JSON: all cells, then the predictions; NaN and infinity become null."""
    lines = []
    for i, (label, probabilities) in enumerate(predictions):
        record = {name: values[i] for name, values in cells.items()}
        for name, value in record.items():
            if isinstance(value, float) and not math.isfinite(value):
                record[name] = None
        rounded = {name: round(p, 6) for name, p in probabilities.items()}
        record |= {"label": label, "probabilities": rounded}
        lines.append(json.dumps(record, ensure_ascii=False, default=str) + "\n")
    return "".join(lines)
