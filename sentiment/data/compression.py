"""Text files, compressed or not."""

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from sentiment.runtime.errors import InputError

COMPRESSIONS: dict[bytes, Callable[[Any], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
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
