"""Classify texts: one line of JSON, or of CSV, per text, in their order.

python -m sentiment.predict outputs/runs/2026-01-31_12-00-00 "A slow start, but what an ending!"
python -m sentiment.predict RUN < reviews.txt                      # one text per line
python -m sentiment.predict RUN --file reviews.csv --column text --format csv > predicted.csv
python -m sentiment.predict RUN --ensemble RUN2 --ensemble RUN3 "Not bad at all."     # averages their probabilities

A file may be CSV, TSV, JSON, Parquet or .txt (a text per line), of any size: it is read in chunks. Its columns and the
number of each row are printed beside the predictions; its own columns row, label and probabilities become file_row,
file_label and file_probabilities.
"""

import csv
import io
import json
import math
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from sentiment.runtime.cli import CommandParser
from sentiment.runtime.errors import InputError
from sentiment.runtime.files import escape_csv_formula

if TYPE_CHECKING:
    from sentiment.classifier import Prediction
    from sentiment.data.formats import ReadOptions


ANSWER = ("row", "label", "probabilities")  # columns of the output that are not the file's


class Texts(NamedTuple):
    """Texts to classify, and what stands beside them in their file.

    Attributes:
        texts: `N` texts.
        cells: values of every column of the file, in its order, and the number of each `row`; empty without a file.
        fraction: how much of the file has been read.
    """

    texts: Sequence[str]
    cells: Mapping[str, Sequence[Any]] = {}
    fraction: float = 0.0


def run(arguments: Namespace) -> None:
    """Classify the texts of a command line, a file or standard input, and print the predictions."""
    if arguments.file and arguments.text:
        raise InputError(f"--file {arguments.file}: texts are given too; pass one or the other")

    from rich.console import Console  # these take seconds
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

    from sentiment.classifier import Ensemble, load

    classifier = Ensemble([load(path, arguments.trust) for path in [arguments.checkpoint, *arguments.ensemble]])
    show_progress = sys.stderr.isatty() and not sys.stdout.isatty()
    bar = (BarColumn(), TaskProgressColumn(show_speed=False), TimeRemainingColumn(elapsed_when_finished=True))
    answer = ["label", *(f"p({name})" for name in classifier.label_names)]
    columns: list[str] | None = None  # of the file
    empty = 0
    with Progress(*bar, console=Console(stderr=True), redirect_stdout=False, disable=not show_progress) as progress:
        task = progress.add_task("", total=1)
        for texts in read_texts(arguments):
            header = ""
            if columns is None:
                columns = list(texts.cells)
                header = format_csv_row([*columns, *answer]) if arguments.format == "csv" else ""
            if arguments.format == "csv" and (left_out := [name for name in texts.cells if name not in columns]):
                raise InputError(f"{arguments.file}: the first rows have no column {left_out[0]}; use --format jsonl")
            predictions = classifier.predict(texts.texts)
            sys.stdout.write(header + format_predictions(predictions, texts.cells, columns, arguments.format))
            sys.stdout.flush()
            empty += sum(not text for text in texts.texts)
            progress.update(task, completed=texts.fraction)
    if columns is None and arguments.format == "csv":
        sys.stdout.write(format_csv_row(answer))
    problems = classifier.find_problems()
    if empty and arguments.file:
        problems.append(f"{empty:,} texts are empty; the predictions for them mean nothing")
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)


def read_texts(arguments: Namespace) -> Iterator[Texts]:
    """Yield the texts in chunks.

    Raises:
        InputError: the file or standard input cannot be read.
    """
    if arguments.file:
        from sentiment.data.rows import read_rows

        for rows in read_rows(arguments.file, _read_options(arguments), all_columns=True):
            cells: dict[str, Sequence[Any]] = {"row": range(rows.first, rows.first + len(rows.texts))}
            for name, values in rows.cells.items():
                free = name
                while free in cells or (free != name and free in rows.cells) or free in ANSWER or free.startswith("p("):
                    free = f"file_{free}"
                cells[free] = values
            yield Texts(rows.texts, cells, rows.fraction)
    elif arguments.text:
        yield Texts(arguments.text)
    else:
        if sys.stdin.isatty():
            print("reading one text per line from the terminal; Ctrl-D ends it", file=sys.stderr)
        yield from map(Texts, read_lines(sys.stdin.buffer))


def _read_options(arguments: Namespace) -> "ReadOptions":
    """How to read the file: as the files of the run, unless the command line says otherwise."""
    from sentiment.data.formats import ReadOptions
    from sentiment.data.sources import find_separator
    from sentiment.runtime.run_folder import RunFolder

    path: Path = arguments.checkpoint
    cfg = RunFolder(path if path.is_dir() else path.resolve().parents[1]).read_config()
    of_run = {key: cfg.data.get(key) for key in ("text_column", "header", "separator", "encoding")} if cfg else {}
    by_number = arguments.column is None and of_run.get("header") is False
    return ReadOptions(
        text_column=str(arguments.column or of_run.get("text_column") or "text"),
        label_column=None,
        header=not (arguments.no_header or by_number),
        separator=find_separator(arguments.separator or of_run.get("separator")),
        encoding=arguments.encoding or of_run.get("encoding") or "utf-8",
        flags={"text_column": "--column {}", "encoding": "--encoding {}", "header": "--no-header"},
    )


def read_lines(stream: BinaryIO) -> Iterator[list[str]]:
    """Yield the lines of a stream as they arrive, so that a slow pipe is answered at once.

    Raises:
        InputError: a line is not UTF-8.
    """
    assert isinstance(stream, io.BufferedReader)
    number, rest = 0, b""
    while block := stream.read1(1 << 20):
        *lines, rest = (rest + block).split(b"\n")
        if lines:
            yield _decode(lines, number)
        number += len(lines)
    if rest:
        yield _decode([rest], number)


def _decode(lines: Sequence[bytes], lines_before: int) -> list[str]:
    texts = []
    for number, line in enumerate(lines, lines_before + 1):
        try:
            texts.append(line.decode().rstrip("\r"))
        except UnicodeDecodeError as error:
            raise InputError(f"standard input: line {number} is not UTF-8 ({error.reason}); convert it") from error
    return texts


def format_predictions(
    predictions: "Sequence[Prediction]", cells: Mapping[str, Sequence[Any]], columns: Sequence[str], kind: str
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
            beside = [str(cells[name][i]) if name in cells and cells[name][i] is not None else "" for name in columns]
            lines.append(format_csv_row([*beside, label, *(f"{p:.6f}" for p in probabilities.values())]))
        else:
            record: dict[str, Any] = {name: _to_json(values[i]) for name, values in cells.items()}
            record |= {"label": label, "probabilities": {name: round(p, 6) for name, p in probabilities.items()}}
            lines.append(json.dumps(record, ensure_ascii=False, default=str) + "\n")
    return "".join(lines)


def _to_json(value: Any) -> Any:
    """NaN and infinity, which JSON lacks, become null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def format_csv_row(cells: Sequence[str]) -> str:
    """One line of CSV, safe to open in a spreadsheet."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(map(escape_csv_formula, cells))
    return line.getvalue()


def main() -> None:
    """Parse the command line and run the command."""
    parser = CommandParser("predict", __doc__)
    parser.add_argument("checkpoint", type=Path, help="run directory or checkpoint")
    parser.add_argument(
        "text", nargs="*", default=[], help="texts; lines of standard input if omitted, unless --file is given"
    )
    parser.add_argument("--file", type=Path, help="CSV, TSV, JSON, Parquet or .txt file of texts")
    of_run = "default: as in the files of the run"
    parser.add_argument("--column", help=f"column of the texts in the file; its number with --no-header ({of_run})")
    parser.add_argument("--no-header", action="store_true", help="the first line of the file is a row")
    parser.add_argument("--separator", help=f"of CSV or TSV: a character or tab ({of_run})")
    parser.add_argument("--encoding", help=f"of the file, such as cp1252 ({of_run})")
    parser.add_argument("--format", choices=["jsonl", "csv"], default="jsonl", help="of the output (default: jsonl)")
    ensemble = "another model, whose probabilities are averaged with those of the first; may be repeated"
    parser.add_argument("--ensemble", type=Path, action="append", default=[], metavar="CHECKPOINT", help=ensemble)
    parser.add_trust()
    parser.run(run)


if __name__ == "__main__":
    main()
