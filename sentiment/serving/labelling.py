"""A file that is sent, to be returned with a prediction for each row."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

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
    with TemporaryDirectory(prefix="sentiment_", ignore_cleanup_errors=True) as folder:
        path = Path(folder, f"sent{suffixes}")
        try:
            yield FileToLabel(path, shorten(name), model, limits, options)
        finally:
            for file in path.parent.iterdir():
                os.truncate(file, 0)  # a thread that still reads it is at its end


@dataclass
class FileToLabel:
    """A file that is received, checked and labelled."""

    path: Path
    name: str  # for messages
    model: ServedModel
    limits: Limits
    options: ReadOptions
    columns: dict[str, None] = field(default_factory=dict)  # in their order

    def __post_init__(self) -> None:
        with self._in_words_of_the_client():
            find_format(self.path)

    def write(self, part: bytes) -> None:
        with self.path.open("ab") as file:
            file.write(part)

    def check(self, before_chunk: Callable[[], None]) -> tuple[int, int]:
        """Unpack the file, read it once, and count its rows and those without a text.

        Before each chunk of rows a function is called, which may raise an error to end the work.
        """
        with self._in_words_of_the_client():
            self._unpack()
        count = empty = 0
        for texts, cells, *_ in self._read():
            before_chunk()
            self.columns |= dict.fromkeys(cells)
            check_limit(len(self.columns), MAX_COLUMNS, "columns", self.name)
            for row, text in enumerate(texts, count + 1):
                name = f"{self.name}, row {row}"
                check_limit(len(text), self.limits.max_characters, "characters", name)
                empty += not text.strip()
            count += len(texts)
            check_limit(count, self.limits.max_rows, "rows", self.name)
        return count, empty

    def _unpack(self) -> None:
        suffix = find_format(self.path)
        if suffix == ".parquet":
            check_parquet(self.path, self.name, self.limits)
            return
        path = self.path.with_name(f"unpacked{suffix}")
        unpack(self.path, path, self.name, self.limits, has_lines=suffix != ".json")
        self.path = path
        if "json" in suffix:
            check_json(path, self.name)

    async def label(self) -> AsyncIterator[bytes]:
        """The rows as CSV, with a prediction each."""
        columns = [*self.columns]
        header = format_csv_header(columns, self.model.classifier.label_names)
        yield header.encode(errors="replace")
        chunks, loop = self._read(), asyncio.get_running_loop()
        while chunk := await loop.run_in_executor(None, next, chunks, None):
            predictions = [found for found, _ in await self.model.predict(chunk.texts)]
            yield format_csv(predictions, chunk.cells, columns).encode(errors="replace")

    def _read(self) -> Iterator[TextChunk]:
        with self._in_words_of_the_client():
            yield from read_file(self.path, self.options)

    @contextmanager
    def _in_words_of_the_client(self) -> Iterator[None]:
        """Name the file in errors as the client does, not as it is kept."""
        try:
            yield
        except READ_ERRORS as error:
            problem = one_line(error)
            if not isinstance(error, InputError):
                problem = f"{self.path}: cannot be read ({problem or type(error).__name__})"
            raise InputError(problem.replace(str(self.path), self.name)) from error


class LabelledFile(StreamingResponse):
    """An answer at whose end `stack` is closed, also if the client leaves before its start."""

    media_type = "text/csv"
    stack: AsyncExitStack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self.stack:
            await super().__call__(scope, receive, send)
