"""Classify texts: one line of JSON, or of CSV, per text, in their order.

python -m sentiment.predict outputs/runs/2026-01-31_12-00-00 "A slow start, but what an ending!"
python -m sentiment.predict RUN < reviews.txt                      # one text per line
python -m sentiment.predict RUN --file reviews.csv --column text --format csv > predicted.csv
python -m sentiment.predict RUN --ensemble RUN2 --ensemble RUN3 "Not bad at all."     # averages their probabilities

A file may be CSV, TSV, JSON, Parquet or .txt (a text per line), of any size: it is read in chunks. Its columns and the
number of each row are printed beside the predictions; its own columns row, label and probabilities become file_row,
file_label and file_probabilities.
"""

import os
import stat
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from sentiment.runtime.cli import UNSURE_HELP, CommandParser
from sentiment.runtime.errors import InputError, check_probability

if TYPE_CHECKING:
    from sentiment.file_predictions import TextChunk

FLAGS = {  # instead of the keys of a configuration, in messages
    "text_column": "--column {}",
    "encoding": "--encoding {}",
    "encoding_errors": "--encoding-errors {}",
    "header": "--no-header",
}


def run(arguments: Namespace) -> None:
    check_probability(**{"--min-probability": arguments.min_probability})
    if arguments.file and arguments.text:
        raise InputError(f"--file {arguments.file}: texts are given too; pass one or the other")

    from rich.console import Console  # these take seconds
    from rich.progress import Progress

    from sentiment.classifier import Ensemble, count_words, find_problems, load
    from sentiment.file_predictions import TextChunk, format_csv, format_csv_header, format_json

    if not arguments.text:
        _check_output(arguments.file or 0)
    paths = [arguments.checkpoint, *arguments.ensemble]
    ensemble = Ensemble([load(path, arguments.trust) for path in paths])
    chunks = read_chunks(arguments)
    first = next(chunks, TextChunk([]))
    columns = list(first.cells)
    as_csv = arguments.format == "csv"
    if as_csv:
        sys.stdout.write(format_csv_header(columns, ensemble.label_names))
    if first.notes:
        print(f"note: {arguments.file}: {', '.join(first.notes)}", file=sys.stderr)

    counts: Counter[str] = Counter()
    hidden = sys.stdout.isatty() or not sys.stderr.isatty()
    with Progress(console=Console(stderr=True), redirect_stdout=False, disable=hidden) as progress:
        task = progress.add_task("", total=None)
        for texts, cells, _ in chain([first], chunks):
            if as_csv and (added := [name for name in cells if name not in first.cells]):
                problem = f"the first rows have no column {added[0]}; use --format jsonl"
                raise InputError(f"{arguments.file}: {problem}")
            reviews = ensemble.encode(texts)
            found = ensemble.classify(reviews, arguments.min_probability)
            lines = format_csv(found, cells, columns) if as_csv else format_json(found, cells)
            sys.stdout.write(lines)
            sys.stdout.flush()
            counts += count_words(reviews[0])
            counts["damaged"] += sum("\ufffd" in text for text in texts)
            progress.advance(task, len(texts))
    problems = find_problems(counts, ensemble.members[0].encoder)
    if damaged := counts["damaged"]:
        problems.append(f"{damaged:,} texts have a character that could not be decoded (U+FFFD)")
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)


def _check_output(source: Path | int) -> None:
    """Refuse to write the predictions to the file of the texts, which might never end."""
    with suppress(OSError):  # no such file, or standard output is closed
        found = os.stat(source)
        if stat.S_ISREG(found.st_mode) and os.path.samestat(found, os.stat(1)):
            name = f"--file {source}" if source else "standard input"
            advice = "write the predictions to another file"
            raise InputError(f"{name}: is standard output too; {advice}")


def read_chunks(arguments: Namespace) -> Iterator["TextChunk"]:
    from sentiment.file_predictions import TextChunk, make_read_options, read_file, read_lines
    from sentiment.runtime.run_folder import RunFolder

    if arguments.file:
        names = ("separator", "encoding", "encoding_errors")
        changes = {name: getattr(arguments, name) for name in names}
        changes["text_column"] = arguments.column
        run = RunFolder.of(arguments.checkpoint)
        options = make_read_options(run, not arguments.no_header, FLAGS, **changes)
        yield from read_file(arguments.file, options)
    elif arguments.text:
        yield TextChunk(arguments.text)
    else:
        yield from map(TextChunk, read_lines(sys.stdin.buffer))


def main() -> None:
    of_run = "default: as in the files of the run"
    errors = f"replace reads bytes that are not in the encoding as U+FFFD ({of_run})"
    ensemble = "another model, with which probabilities are averaged; may be repeated"
    parser = CommandParser("predict", __doc__)
    add = parser.add_argument
    parser.add_checkpoint()
    texts = "texts; without --file and texts, lines of standard input"
    add("text", nargs="*", default=[], help=texts)
    add("--file", type=Path, help="CSV, TSV, JSON, Parquet or .txt file of texts")
    add("--column", help=f"column of the texts; its number with --no-header ({of_run})")
    add("--no-header", action="store_true", help="the first line of the file is a row")
    add("--separator", help=f"of CSV or TSV: a character or tab ({of_run})")
    add("--encoding", help=f"of the file, such as cp1252 ({of_run})")
    add("--encoding-errors", choices=["strict", "replace"], help=errors)
    add("--min-probability", type=float, default=0.0, metavar="P", help=UNSURE_HELP)
    add("--format", choices=["jsonl", "csv"], default="jsonl", help="default: jsonl")
    add("--ensemble", type=Path, action="append", default=[], metavar="CHECKPOINT", help=ensemble)
    parser.run(run)


if __name__ == "__main__":
    main()
