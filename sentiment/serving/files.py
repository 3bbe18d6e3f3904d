"""A file that is sent, to be returned with a prediction for each row."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from sentiment.analysis.file_predictions import (
    Texts,
    format_csv_header,
    format_predictions,
    make_read_options,
    read_file,
)
from sentiment.runtime.errors import InputError, shorten
from sentiment.serving.limits import Limits
from sentiment.serving.models import ServedModel

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".txt")
FLAGS = {"text_column": "column={}", "encoding": "", "header": "no_header=true"}


class FileToLabel:
    """Keeps the bytes of a file in a temporary folder and labels its rows.

    Args:
        name: of the file, of which only the suffix is used.
        model: that labels it.
        limits: of the characters of a text.
        column: of the texts; by default as in the files of the model's run.
        no_header: whether the first line is a row.

    Raises:
        InputError: the suffix is that of no known format.
    """

    def __init__(self, name: str, model: ServedModel, limits: Limits, column: str | None, no_header: bool) -> None:
        suffix = Path(name).suffix.lower()
        if suffix not in SUFFIXES:
            raise InputError(f"name: {shorten(name)} is of no known format; use {', '.join(SUFFIXES)}")
        self._name = shorten(name)
        self._model = model
        self._limits = limits
        self._options = make_read_options(model.folder, column, no_header, flags=FLAGS)
        self._folder = tempfile.TemporaryDirectory(prefix="sentiment_")
        self._path = Path(self._folder.name) / f"file{suffix}"
        self._file = self._path.open("wb")  # closed by `check` and `close`

    def write(self, part: bytes) -> None:
        """Append bytes."""
        self._file.write(part)

    def close(self) -> None:
        """Remove the file."""
        self._file.close()
        self._folder.cleanup()

    def check(self) -> int:
        """Read the whole file once.

        Returns:
            The number of its rows.

        Raises:
            InputError: it cannot be read, or a text is too long.
        """
        self._file.close()
        count = 0
        for texts in self._read():
            for row, text in enumerate(texts.texts, count + 1):
                if len(text) > self._limits.max_characters:
                    raise InputError(
                        f"{self._name}, row {row}: {len(text):,} characters; at most "
                        f"{self._limits.max_characters:,} are allowed"
                    )
            count += len(texts.texts)
        return count

    async def label(self) -> AsyncIterator[bytes]:
        """The rows as CSV, with a prediction each; the file is removed after the last one."""
        columns: list[str] | None = None
        try:
            chunks, loop = self._read(), asyncio.get_running_loop()
            while texts := await loop.run_in_executor(None, next, chunks, None):
                predictions = await self._model.predict(texts.texts)
                if columns is None:
                    columns = list(texts.cells)
                    yield format_csv_header(columns, self._model.classifier.label_names).encode(errors="replace")
                yield format_predictions(predictions, texts.cells, columns, "csv").encode(errors="replace")
        finally:
            self.close()

    def _read(self) -> Iterator[Texts]:
        try:
            yield from read_file(self._path, self._options)
        except InputError as error:
            raise InputError(str(error).replace(str(self._path), self._name)) from error
