"""Text files: their compression and their encoding."""

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from sentiment.runtime.errors import InputError

SAMPLE_SIZE = 1 << 20  # bytes by which an encoding is guessed
COMPRESSIONS: dict[bytes, Callable[[Any], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
DECOMPRESSION_ERRORS = (
    *(OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile),
    *(RuntimeError, NotImplementedError),  # of archives with a password or another compression
)
COMPRESSED = (".gz", ".bz2", ".xz", ".zip")


def find_uncompressed_name(file: Path) -> str:
    """Name of a file without the suffix of a compression, or of the file in a ZIP archive; in lower case.

    Raises:
        InputError: an archive holds several files.
    """
    name = file.name.lower()
    if name.endswith(".zip") and file.is_file() and zipfile.is_zipfile(file):
        name = _zipped(file).lower()
    for suffix in COMPRESSED:
        name = name.removesuffix(suffix)
    return name


def _zipped(file: Path) -> str:
    """Name of the only file in a ZIP archive."""
    with zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX")]
    if len(names) != 1:
        raise InputError(f"{file}: holds {len(names)} files ({', '.join(names[:5])}); extract the one to read")
    return names[0]


def _decompress(raw: BinaryIO, file: Path) -> BinaryIO:
    """Decompress an open file if its first bytes say that it is compressed."""
    start = raw.read(8)
    raw.seek(0)
    if start.startswith(b"PK\x03\x04"):
        return cast(BinaryIO, zipfile.ZipFile(raw).open(_zipped(file)))
    opener = next((opener for magic, opener in COMPRESSIONS.items() if start.startswith(magic)), None)
    return cast(BinaryIO, opener(raw)) if opener else raw


class TextStream(NamedTuple):
    """An open text file.

    Attributes:
        lines: decompressed and decoded; line ends are kept, a byte order mark is not.
        fraction: returns how much of the file has been read.
    """

    lines: io.TextIOWrapper
    fraction: Callable[[], float]


@contextmanager
def open_text(file: Path, encoding: str) -> Iterator[TextStream]:
    """Open a text file, compressed or not.

    Raises:
        LookupError: no such encoding.
    """
    codec = "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
    size = max(1, file.stat().st_size)
    with (
        file.open("rb") as raw,
        _decompress(raw, file) as stream,
        io.TextIOWrapper(stream, encoding=codec, newline="") as lines,
    ):
        yield TextStream(lines, lambda: raw.tell() / size)


def guess_encoding(file: Path) -> str | None:
    """The encoding of a text file by its first bytes; None if they are ASCII, or damaged."""
    try:
        with file.open("rb") as raw, _decompress(raw, file) as stream:
            start = stream.read(SAMPLE_SIZE)
    except DECOMPRESSION_ERRORS:
        return None
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    for encoding, zeros in (("utf-16-le", start[1::2]), ("utf-16-be", start[::2])):
        if zeros.count(0) > len(zeros) / 2:
            return encoding
    if start.isascii():
        return None
    valid = sum(not line.isascii() and _is_decodable(line, "utf-8") for line in start.split(b"\n"))
    if valid > sum(not _is_decodable(line, "utf-8") for line in start.split(b"\n")[:-1]):
        return "utf-8"
    return "cp1252" if _is_decodable(start, "cp1252") else "latin-1"


def find_undecodable_line(file: Path, encoding: str) -> int | None:
    """Number of the first line, from 1, that is not in an encoding with line ends as in ASCII."""
    with file.open("rb") as raw, _decompress(raw, file) as stream:
        return next((n for n, line in enumerate(stream, 1) if not _is_decodable(line, encoding)), None)


def _is_decodable(content: bytes, encoding: str) -> bool:
    try:
        content.decode(encoding)
    except UnicodeError:
        return False
    return True
