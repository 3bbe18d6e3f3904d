"""A file that is sent, to be returned with a prediction for each row."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from typing import Self

from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from sentiment.analysis.file_predictions import (
    Texts,
    format_csv_header,
    format_predictions,
    make_read_options,
    read_file,
)
from sentiment.data.files.compression import COMPRESSED
from sentiment.data.files.formats import find_format
from sentiment.runtime.errors import InputError, shorten
from sentiment.serving.limits import Limits
from sentiment.serving.served_model import ServedModel
from sentiment.serving.unpacking import check_columns, check_json, check_parquet, check_rows, unpack

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".txt")
FLAGS = {"text_column": "column={}", "encoding": "", "header": "no_header=true"}


class FileToLabel:
    """Keeps the bytes of a file until its rows are labelled; a context manager, which forgets them at its end.

    Args:
        name: of the file, of which only the suffixes are used.
        model: that labels it.
        limits: of the file and its texts.
        column: of the texts; by default as in the files of the model's run.
        no_header: whether the first line is a row.

    Raises:
        InputError: the suffix is that of no known format.
    """

    def __init__(
        self, name: str, model: ServedModel, limits: Limits, column: str | None, no_header: bool
    ) -> None:
        suffixes = [
            suffix
            for suffix in Path(name.lower()).suffixes[-2:]
            if suffix in (*SUFFIXES, *COMPRESSED)
        ]
        if Path(name.lower()).suffix not in suffixes:
            known = ", ".join((*SUFFIXES, *COMPRESSED))
            raise InputError(f"name: {shorten(name)} is of no known format; use {known}")
        self._name = shorten(name)
        self._model = model
        self._limits = limits
        self._options = make_read_options(model.folder, column, no_header, flags=FLAGS)
        self._stack = ExitStack()
        self._folder = Path(
            self._stack.enter_context(tempfile.TemporaryDirectory(prefix="sentiment_"))
        )
        self._path = self._make_file(f"sent{''.join(suffixes)}")
        self._sent = self._stack.enter_context(self._path.open("wb"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _make_file(self, name: str) -> Path:
        """A file that the system removes when this process ends, even if it is killed; what stays is a dead link."""
        path = self._folder / name
        descriptors = Path(f"/proc/{os.getpid()}/fd")
        if descriptors.exists():
            file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115, closed by the stack
            self._stack.enter_context(file)
            self._stack.callback(file.truncate, 0)  # a thread that still reads it is at its end
            path.symlink_to(descriptors / str(file.fileno()))
        return path

    def write(self, part: bytes) -> None:
        """Append bytes.

        Raises:
            HTTPException: the disk is full.
        """
        try:
            self._sent.write(part)
        except OSError as error:
            raise HTTPException(
                503, f"{self._name}: the server cannot keep it ({error.strerror})"
            ) from error

    def check(self, before_chunk: Callable[[], None]) -> tuple[int, int]:
        """Unpack the file and read it once.

        Args:
            before_chunk: may raise an error to end the work.

        Returns:
            The number of its rows, and of those without a text.

        Raises:
            InputError: it cannot be read, or a text is too long.
            HTTPException: it has too many rows, or unpacked it would be too large.
        """
        self._sent.close()
        with self._rename():
            self._unpack()
        count = empty = 0
        for texts in self._read():
            before_chunk()
            check_columns(len(texts.cells), self._name)
            for row, text in enumerate(texts.texts, count + 1):
                if len(text) > self._limits.max_characters:
                    raise InputError(
                        f"{self._name}, row {row}: {len(text):,} characters; at most "
                        f"{self._limits.max_characters:,} are allowed"
                    )
                empty += not text.strip()
            count += len(texts.texts)
            check_rows(count, self._name, self._limits)
        return count, empty

    def _unpack(self) -> None:
        suffix = find_format(self._path)
        if suffix == ".parquet":
            check_parquet(self._path, self._name, self._limits)
            return
        path = self._make_file(f"unpacked{suffix}")
        with path.open("wb") as unpacked:
            unpack(self._path, unpacked, self._name, self._limits, has_lines=suffix != ".json")
        self._path = path
        if suffix.startswith(".json"):
            check_json(path, self._name)

    async def label(self) -> AsyncIterator[bytes]:
        """The rows as CSV, with a prediction each."""
        columns: list[str] | None = None
        chunks, loop = self._read(), asyncio.get_running_loop()
        while texts := await loop.run_in_executor(None, next, chunks, None):
            predictions = [prediction for prediction, _ in await self._model.predict(texts.texts)]
            if columns is None:
                columns = list(texts.cells)
                yield format_csv_header(columns, self._model.classifier.label_names).encode(
                    errors="replace"
                )
            yield format_predictions(predictions, texts.cells, columns, "csv").encode(
                errors="replace"
            )

    def _read(self) -> Iterator[Texts]:
        with self._rename():
            yield from read_file(self._path, self._options)

    @contextmanager
    def _rename(self) -> Iterator[None]:
        """Name the file in errors as the client does."""
        try:
            yield
        except InputError as error:
            raise InputError(str(error).replace(str(self._path), self._name)) from error


class LabelledFile(StreamingResponse):
    """An answer of CSV.

    Args:
        content: the lines.
        rows: of the file.
        empty: those of them without a text.
        stack: is closed at the end of the answer, also if the client leaves before its start.
    """

    def __init__(
        self, content: AsyncIterator[bytes], rows: int, empty: int, stack: AsyncExitStack
    ) -> None:
        headers = {"X-Rows": str(rows), "X-Empty": str(empty)}
        headers["Content-Disposition"] = "attachment; filename=labelled.csv"
        super().__init__(content, media_type="text/csv; charset=utf-8", headers=headers)
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        async with self._stack:
            await super().__call__(scope, receive, send)
