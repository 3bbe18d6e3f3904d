"""Classifies texts: a line of JSON, or of CSV, for each, in their order.

python -m sentiment.predict outputs/runs/2026-01-31_12-00-00 "A slow start, but what an ending!"
python -m sentiment.predict RUN < reviews.txt                      # a text per line
python -m sentiment.predict RUN --file reviews.csv --column text --format csv > predicted.csv
python -m sentiment.predict RUN --ensemble RUN2 --ensemble RUN3 "Not bad at all."     # the mean of their probabilities

A file may be CSV, TSV, JSONL or Parquet, of any size: it is read as it is classified.
"""

import csv
import io
import json
import sys
import warnings
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd
from pandas.errors import ParserWarning
from pyarrow.parquet import ParquetFile
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

from sentiment.classifier import Ensemble, Prediction, load
from sentiment.errors import InputError, Parser
from sentiment.results import cell

CHUNK = 1024  # texts that are in memory at a time


def predict(arguments: Namespace) -> None:
    """Classifies the texts of a command line and writes the results to standard output."""
    if arguments.file and arguments.text:
        raise InputError(f"--file {arguments.file}: texts are given too; take one of the two")
    classifier = Ensemble([load(path) for path in [arguments.checkpoint, *arguments.ensemble]])
    write = {"jsonl": _json_lines, "csv": _csv}[arguments.format]
    header = _csv_line(["label", *(f"p({name})" for name in classifier.label_names)])
    due = header if arguments.format == "csv" else ""  # once the first texts could be read
    shown = sys.stderr.isatty() and not sys.stdout.isatty()
    columns = (BarColumn(), TaskProgressColumn(show_speed=False), TimeRemainingColumn(elapsed_when_finished=True))
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as progress:
        if arguments.file:
            texts = read(arguments.file, arguments.column, progress)
        elif arguments.text:
            texts = iter([arguments.text])
        else:
            if sys.stdin.isatty():
                print("reading a text per line from the terminal; Ctrl-D ends it", file=sys.stderr)
            texts = lines(sys.stdin.buffer)
        for chunk in texts:
            sys.stdout.write(due + write(classifier.predict(chunk)))
            sys.stdout.flush()
            due = ""
        sys.stdout.write(due)


def read(path: Path, column: str, progress: Progress) -> Iterator[list[str]]:
    """The texts of a table, some at a time.

    Raises:
        InputError: the file cannot be read, the column is missing, or a text in it is none.
    """
    readers = {".csv": _csv_tables, ".tsv": _csv_tables, ".jsonl": _json_tables, ".parquet": _parquet_tables}
    if path.suffix.lower() not in readers:
        known = ", ".join(readers)
        raise InputError(f"{path}: cannot read {path.suffix or 'a file without suffix'}; use {known}, or < for lines")
    if path.is_file() and not path.stat().st_size:
        raise InputError(f"{path}: empty; it needs a column {column}")
    row = 0
    tables = readers[path.suffix.lower()](path, column, progress)
    while True:
        try:
            table = next(tables)
        except StopIteration:
            return
        except FileNotFoundError as error:
            raise InputError(f"{path}: no such file; check the path") from error
        except (OSError, ValueError, ParserWarning) as error:  # decoding, parsing, Arrow's own
            reason = str(error).strip().splitlines()[0]
            where = f" after row {row:,}" if row else ""
            raise InputError(f"{path}: cannot be read as {path.suffix[1:]}{where} ({reason}); repair it") from error
        if column not in table:
            raise InputError(f"--column {column}: no such column in {path}; it has {', '.join(map(str, table))}")
        texts = table[column].tolist()
        for number, text in enumerate(texts, row + 1):
            if not isinstance(text, str):
                held = "nothing" if pd.isna(text) else f"{text!r}, not text"
                raise InputError(f"{path}: row {number}, column {column} holds {held}; mend it")
        row += len(texts)
        yield texts


def _csv_tables(path: Path, column: str, progress: Progress) -> Iterator[pd.DataFrame]:
    options: dict[str, Any] = {"sep": "\t" if path.suffix.lower() == ".tsv" else ",", "dtype": str}
    with warnings.catch_warnings(), progress.open(path, "rb") as file:
        warnings.simplefilter("error", ParserWarning)  # of a row with more cells than there are columns
        yield from pd.read_csv(file, chunksize=CHUNK, keep_default_na=False, index_col=False, **options)


def _json_tables(path: Path, column: str, progress: Progress) -> Iterator[pd.DataFrame]:
    with progress.open(path, "r", encoding="utf-8") as file:
        yield from pd.read_json(file, lines=True, chunksize=CHUNK, dtype=False)


def _parquet_tables(path: Path, column: str, progress: Progress) -> Iterator[pd.DataFrame]:
    with ParquetFile(path, pre_buffer=False, buffer_size=1 << 16) as file:
        task = progress.add_task("", total=file.metadata.num_rows)
        wanted = [column] if column in file.schema_arrow.names else None
        for batch in file.iter_batches(CHUNK, columns=wanted):
            yield batch.to_pandas()
            progress.advance(task, len(batch))


def lines(stream: BinaryIO) -> Iterator[list[str]]:
    """The lines of a stream, as many at a time as have come, so that a slow pipe is answered at once.

    Raises:
        InputError: a line is not UTF-8.
    """
    number, rest = 0, b""
    assert isinstance(stream, io.BufferedReader)
    while block := stream.read1(1 << 20):
        *whole, rest = (rest + block).split(b"\n")
        if whole:
            yield _decoded(whole, number)
        number += len(whole)
    if rest:
        yield _decoded([rest], number)


def _decoded(lines: Sequence[bytes], before: int) -> list[str]:
    texts = []
    for number, line in enumerate(lines, before + 1):
        try:
            texts.append(line.decode().rstrip("\r"))
        except UnicodeDecodeError as error:
            raise InputError(f"standard input: line {number} is not UTF-8 ({error.reason}); convert it") from error
    return texts


def _json_lines(predictions: Sequence[Prediction]) -> str:
    def record(prediction: Prediction) -> dict[str, Any]:
        rounded = {name: round(p, 6) for name, p in prediction.probabilities.items()}
        return {"label": prediction.label, "probabilities": rounded}

    return "".join(json.dumps(record(prediction), ensure_ascii=False) + "\n" for prediction in predictions)


def _csv(predictions: Sequence[Prediction]) -> str:
    return "".join(_csv_line([p.label, *(f"{value:.6f}" for value in p.probabilities.values())]) for p in predictions)


def _csv_line(cells: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(map(cell, cells))
    return line.getvalue()


if __name__ == "__main__":
    parser = Parser("predict", __doc__)
    parser.add_argument("checkpoint", type=Path, help="a run's folder or a checkpoint")
    parser.add_argument(
        "text", nargs="*", default=[], help="texts; without any, and without --file, lines of standard input"
    )
    parser.add_argument("--file", type=Path, help="a table of texts")
    parser.add_argument("--column", default="text", help="its column of texts (default: text)")
    parser.add_argument("--format", choices=["jsonl", "csv"], default="jsonl", help="of the results (default: jsonl)")
    more = "another model, whose probabilities are averaged with the first's; may be given again"
    parser.add_argument("--ensemble", type=Path, action="append", default=[], metavar="CHECKPOINT", help=more)
    parser.run(predict)
