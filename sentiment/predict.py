"""Classify texts: one line of JSON, or of CSV, per text, in their order.

python -m sentiment.predict outputs/runs/2026-01-31_12-00-00 "A slow start, but what an ending!"
python -m sentiment.predict RUN < reviews.txt                      # one text per line
python -m sentiment.predict RUN --file reviews.csv --column text --format csv > predicted.csv
python -m sentiment.predict RUN --ensemble RUN2 --ensemble RUN3 "Not bad at all."     # averages their probabilities

A file may be CSV, TSV, JSON, Parquet or .txt (a text per line), of any size: it is read in chunks. Its columns and the
number of each row are printed beside the predictions; its own columns row, label and probabilities become file_row,
file_label and file_probabilities.
"""

import io
import os
import stat
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sentiment.runtime.cli import CommandParser
from sentiment.runtime.errors import InputError

if TYPE_CHECKING:
    from sentiment.analysis.file_predictions import Texts

FLAGS = {  # instead of the keys of a configuration, in messages
    "text_column": "--column {}",
    "encoding": "--encoding {}",
    "encoding_errors": "--encoding-errors {}",
    "header": "--no-header",
}


def run(arguments: Namespace) -> None:
    """Classify the texts of a command line, a file or standard input, and print the predictions."""
    if arguments.file and arguments.text:
        raise InputError(f"--file {arguments.file}: texts are given too; pass one or the other")

    from rich.console import Console  # these take seconds
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

    from sentiment.analysis.file_predictions import Texts, format_csv_header, format_predictions
    from sentiment.classifier import Ensemble, TextCheck, load

    if not arguments.text:
        _check_output(arguments.file or 0)
    paths = [arguments.checkpoint, *arguments.ensemble]
    classifier = Ensemble([load(path, arguments.trust) for path in paths])
    chunks = read_texts(arguments)
    first = next(chunks, Texts([]))
    columns = list(first.cells)
    if arguments.format == "csv":
        sys.stdout.write(format_csv_header(columns, classifier.label_names))
    if first.notes:
        print(f"note: {arguments.file}: {', '.join(first.notes)}", file=sys.stderr)

    check = TextCheck(classifier.members[0].encoder)
    damaged = 0
    show_progress = sys.stderr.isatty() and not sys.stdout.isatty()
    time_left = TimeRemainingColumn(elapsed_when_finished=True)
    bar = (BarColumn(), TaskProgressColumn(show_speed=False), time_left)
    console = Console(stderr=True)
    with Progress(
        *bar, console=console, redirect_stdout=False, disable=not show_progress
    ) as progress:
        task = progress.add_task("", total=1)
        for texts in chain([first], chunks):
            added = [name for name in texts.cells if name not in first.cells]
            if added and arguments.format == "csv":
                raise InputError(
                    f"{arguments.file}: the first rows have no column {added[0]}; use --format jsonl"
                )
            predictions = classifier.predict(texts.texts, check)
            lines = format_predictions(predictions, texts.cells, columns, arguments.format)
            sys.stdout.write(lines)
            sys.stdout.flush()
            damaged += sum("\ufffd" in text for text in texts.texts)
            progress.update(task, completed=texts.fraction)
    problems = check.find_problems()
    if damaged:
        count = f"{damaged:,} texts have a character"
        problems.append(f"{count} that could not be decoded (U+FFFD)")
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)


def _check_output(source: Path | int) -> None:
    """Raise `InputError` if the predictions go to the file of the texts, which might never end.

    Args:
        source: the file or the descriptor of standard input.
    """
    with suppress(OSError):  # no such file, or standard output is closed
        found = os.stat(source)
        if stat.S_ISREG(found.st_mode) and os.path.samestat(found, os.stat(1)):
            name = f"--file {source}" if source else "standard input"
            advice = "write the predictions to another file"
            raise InputError(f"{name}: is standard output too; {advice}")


def read_texts(arguments: Namespace) -> Iterator["Texts"]:
    """Yield the texts in chunks.

    Raises:
        InputError: the file or standard input cannot be read.
    """
    from sentiment.analysis.file_predictions import Texts, make_read_options, read_file
    from sentiment.runtime.run_folder import RunFolder

    if arguments.file:
        path: Path = arguments.checkpoint
        run = RunFolder(path if path.is_dir() else path.resolve().parents[1])
        options = make_read_options(
            run,
            arguments.column,
            arguments.no_header,
            arguments.separator,
            arguments.encoding,
            arguments.encoding_errors,
            FLAGS,
        )
        yield from read_file(arguments.file, options)
    elif arguments.text:
        yield Texts(arguments.text)
    else:
        if sys.stdin.isatty():
            print("reading one text per line from the terminal; Ctrl-D ends it", file=sys.stderr)
        yield from map(Texts, read_lines(sys.stdin.buffer))


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
        codec = "utf-8-sig" if number == 1 else "utf-8"
        try:
            texts.append(line.decode(codec).rstrip("\r"))
        except UnicodeDecodeError as error:
            raise InputError(
                f"standard input: line {number} is not UTF-8 ({error.reason}); convert it"
            ) from error
    return texts


def main() -> None:
    """Parse the command line and run the command."""
    parser = CommandParser("predict", __doc__)
    parser.add_argument("checkpoint", type=Path, help="run directory or checkpoint")
    parser.add_argument(
        "text",
        nargs="*",
        default=[],
        help="texts; lines of standard input if omitted, unless --file is given",
    )
    parser.add_argument("--file", type=Path, help="CSV, TSV, JSON, Parquet or .txt file of texts")
    of_run = "default: as in the files of the run"
    parser.add_argument(
        "--column", help=f"column of the texts in the file; its number with --no-header ({of_run})"
    )
    parser.add_argument(
        "--no-header", action="store_true", help="the first line of the file is a row"
    )
    parser.add_argument("--separator", help=f"of CSV or TSV: a character or tab ({of_run})")
    parser.add_argument("--encoding", help=f"of the file, such as cp1252 ({of_run})")
    errors = f"replace reads bytes that are not in the encoding as U+FFFD ({of_run})"
    parser.add_argument("--encoding-errors", choices=["strict", "replace"], help=errors)
    parser.add_argument(
        "--format", choices=["jsonl", "csv"], default="jsonl", help="of the output (default: jsonl)"
    )
    ensemble = (
        "another model, whose probabilities are averaged with those of the first; may be repeated"
    )
    parser.add_argument(
        "--ensemble", type=Path, action="append", default=[], metavar="CHECKPOINT", help=ensemble
    )
    parser.add_trust()
    parser.run(run)


if __name__ == "__main__":
    main()
