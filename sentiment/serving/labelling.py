"""A file that is sent, to be returned with a prediction for each row."""

import asyncio
import os
import re
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from sentiment.data.files.formats import ReadOptions, find_format
from sentiment.data.files.rows import READ_ERRORS
from sentiment.file_predictions import (
    TextChunk,
    format_csv,
    format_csv_header,
    make_read_options,
    read_file,
)
from sentiment.runtime.errors import InputError, one_line, shorten
from sentiment.serving.limits import Limits, check_limit
from sentiment.serving.served_model import ServedModel
from sentiment.serving.unpacking import MAX_COLUMNS, check_json, check_parquet, unpack

FLAGS = {"text_column": "column={}", "encoding": "", "header": "no_header=true"}


@contextmanager
def keep_file(
    name: str, model: ServedModel, limits: Limits, column: str | None, no_header: bool
) -> Iterator["FileToLabel"]:
    """Keep a file, of whose name only the suffixes are used, until its rows are labelled."""
    options = make_read_options(model.folder, not no_header, FLAGS, text_column=column)
    suffixes = re.sub(r"[^.\w]", "", "".join(Path(name.lower()).suffixes[-2:]), flags=re.ASCII)
    with tempfile.TemporaryDirectory(prefix="sentiment_") as folder:
        try:
            yield FileToLabel(
                Path(folder, f"sent{suffixes}"), shorten(name), model, limits, options
            )
        finally:
            for file in Path(folder).iterdir():
                os.truncate(file, 0)  # a thread that still reads it is at its end


class FileToLabel:
    """A file at `path` that is received, checked and labelled, and in messages called `name`."""

    def __init__(
        self, path: Path, name: str, model: ServedModel, limits: Limits, options: ReadOptions
    ) -> None:
        self._path, self._name = path, name
        self._model, self._limits, self._options = model, limits, options
        self._columns: dict[str, None] = {}  # in their order
        with self._in_words_of_the_client():
            find_format(path)

    def write(self, part: bytes) -> None:
        """Append bytes."""
        with self._path.open("ab") as file:
            file.write(part)

    def check(self, before_chunk: Callable[[], None]) -> tuple[int, int]:
        """Unpack the file, read it once, and count its rows and those without a text.

        Args:
            before_chunk: may raise an error to end the work.

        Raises:
            InputError: it cannot be read.
            HTTPException: something is above a limit.
        """
        with self._in_words_of_the_client():
            self._unpack()
        count = empty = 0
        for texts, cells, *_ in self._read():
            before_chunk()
            self._columns |= dict.fromkeys(cells)
            check_limit(len(self._columns), MAX_COLUMNS, "columns", self._name)
            for row, text in enumerate(texts, count + 1):
                name = f"{self._name}, row {row}"
                check_limit(len(text), self._limits.max_characters, "characters", name)
                empty += not text.strip()
            count += len(texts)
            check_limit(count, self._limits.max_rows, "rows", self._name)
        return count, empty

    def _unpack(self) -> None:
        suffix = find_format(self._path)
        if suffix == ".parquet":
            check_parquet(self._path, self._name, self._limits)
            return
        path = self._path.with_name(f"unpacked{suffix}")
        unpack(self._path, path, self._name, self._limits, has_lines=suffix != ".json")
        self._path = path
        if "json" in suffix:
            check_json(path, self._name)

    async def label(self) -> AsyncIterator[bytes]:
        """The rows as CSV, with a prediction each."""
        columns = [*self._columns]
        header = format_csv_header(columns, self._model.classifier.label_names)
        yield header.encode(errors="replace")
        chunks, loop = self._read(), asyncio.get_running_loop()
        while chunk := await loop.run_in_executor(None, next, chunks, None):
            predictions = [found for found, _ in await self._model.predict(chunk.texts)]
            yield format_csv(predictions, chunk.cells, columns).encode(errors="replace")

    def _read(self) -> Iterator[TextChunk]:
        with self._in_words_of_the_client():
            yield from read_file(self._path, self._options)

    @contextmanager
    def _in_words_of_the_client(self) -> Iterator[None]:
        """Name the file in errors as the client does, not as it is kept."""
        try:
            yield
        except READ_ERRORS as error:
            problem = one_line(error)
            if not isinstance(error, InputError):
                problem = f"{self._path}: cannot be read ({problem or type(error).__name__})"
            raise InputError(problem.replace(str(self._path), self._name)) from error


class LabelledFile(StreamingResponse):
    """An answer of CSV, at whose end `stack` is closed, also if the client leaves before its start."""

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
