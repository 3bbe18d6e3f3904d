"""Classify texts: one line of JSON, or of CSV, per text, in their order.

python -m sentiment.predict outputs/runs/2026-01-31_12-00-00 "A slow start, but what an ending!"
python -m sentiment.predict RUN < reviews.txt                      # one text per line
python -m sentiment.predict RUN --file reviews.csv --column text --format csv > predicted.csv
python -m sentiment.predict RUN --ensemble RUN2 --ensemble RUN3 "Not bad at all."     # averages their probabilities

A file may be CSV, TSV, JSONL or Parquet, of any size: it is read in chunks.
"""

import csv
import io
import json
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sentiment.runtime.cli import CommandParser
from sentiment.runtime.errors import InputError
from sentiment.runtime.files import escape_csv_formula

if TYPE_CHECKING:
    from rich.progress import Progress

    from sentiment.classifier import Prediction


def run(arguments: Namespace) -> None:
    """Classify the texts of a command line, a file or standard input, and print the predictions."""
    if arguments.file and arguments.text:
        raise InputError(f"--file {arguments.file}: texts are given too; pass one or the other")

    from rich.console import Console  # these take seconds
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

    from sentiment.classifier import Ensemble, load

    classifier = Ensemble([load(path) for path in [arguments.checkpoint, *arguments.ensemble]])
    header = ""
    if arguments.format == "csv":
        header = format_csv_row(["label", *(f"p({name})" for name in classifier.label_names)])
    show_progress = sys.stderr.isatty() and not sys.stdout.isatty()
    bar = (BarColumn(), TaskProgressColumn(show_speed=False), TimeRemainingColumn(elapsed_when_finished=True))
    console = Console(stderr=True)
    with Progress(*bar, console=console, redirect_stdout=False, disable=not show_progress) as progress:
        for texts in read_texts(arguments, progress):
            sys.stdout.write(header + format_predictions(classifier.predict(texts), arguments.format))
            sys.stdout.flush()
            header = ""
    sys.stdout.write(header)  # if there are no texts


def read_texts(arguments: Namespace, progress: "Progress") -> Iterator[list[str]]:
    """Yield the texts in chunks.

    Raises:
        InputError: the file or standard input cannot be read.
    """
    if arguments.file:
        from sentiment.data.tables import Columns, read_chunks  # imports pandas

        columns = Columns(arguments.column, text_option="--column ")
        for chunk in read_chunks([arguments.file], columns, progress):
            yield chunk["text"].to_pylist()
    elif arguments.text:
        yield arguments.text
    else:
        if sys.stdin.isatty():
            print("reading one text per line from the terminal; Ctrl-D ends it", file=sys.stderr)
        yield from read_lines(sys.stdin.buffer)


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


def format_predictions(predictions: "Sequence[Prediction]", kind: str) -> str:
    """Lines of JSON, or of CSV if `kind` is `csv`."""
    lines = []
    for label, probabilities in predictions:
        if kind == "csv":
            lines.append(format_csv_row([label, *(f"{p:.6f}" for p in probabilities.values())]))
        else:
            rounded = {name: round(p, 6) for name, p in probabilities.items()}
            lines.append(json.dumps({"label": label, "probabilities": rounded}, ensure_ascii=False) + "\n")
    return "".join(lines)


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
    parser.add_argument("--file", type=Path, help="CSV, TSV, JSONL or Parquet file of texts")
    parser.add_argument("--column", default="text", help="column of the texts in the file (default: text)")
    parser.add_argument("--format", choices=["jsonl", "csv"], default="jsonl", help="of the output (default: jsonl)")
    ensemble = "another model, whose probabilities are averaged with those of the first; may be repeated"
    parser.add_argument("--ensemble", type=Path, action="append", default=[], metavar="CHECKPOINT", help=ensemble)
    parser.run(run)


if __name__ == "__main__":
    main()
