"""Text files: their compression and their encoding."""

import bz2
import codecs
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from sentiment.runtime.errors import InputError

SAMPLE_SIZE = 1 << 20  # bytes by which UTF-8 is recognized
COMPRESSIONS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}
COMPRESSED = (".gz", ".bz2", ".xz", ".zip")
DECOMPRESSION_ERRORS = (
    *(OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile),
    *(RuntimeError, NotImplementedError),  # of archives with a password or another compression
)
BYTE_ORDER_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@contextmanager
def open_text(file: Path, encoding: str, errors: str = "strict") -> Iterator[io.TextIOWrapper]:
    """The lines of a text file, with their ends, compressed or not. A byte order mark of UTF-16 goes before UTF-8."""
    with _open_bytes(file) as stream:
        start = stream.peek(2)[:2]  # type: ignore[attr-defined]
        codec = codecs.lookup(encoding).name
        if start in BYTE_ORDER_MARKS and codec in ("utf-8", "utf-16-le", "utf-16-be"):
            codec = "utf-16"
        elif codec == "utf-8" and b"\0" in start:
            raise UnicodeError("UTF-16 without a mark; name utf-16-le or utf-16-be as its encoding")
        codec = "utf-8-sig" if codec == "utf-8" else codec
        with io.TextIOWrapper(stream, codec, errors, newline="") as lines:
            yield lines


@contextmanager
def _open_bytes(file: Path) -> Iterator[BinaryIO]:
    """Open the content of a file, decompressed if its first bytes say that it is compressed."""
    with file.open("rb") as raw:
        start = raw.peek(8)
        if start.startswith(b"PK\x03\x04"):
            with zipfile.ZipFile(raw) as archive, archive.open(_find_member(file)) as member:
                yield cast(BinaryIO, member)
            return
        opener = next((o for magic, o in COMPRESSIONS.items() if start.startswith(magic)), None)
        with opener(raw) if opener else raw as stream:
            yield stream


def find_uncompressed_name(file: Path) -> str:
    """The name without the suffix of a compression, in lower case; that of a file in a ZIP archive if it has one."""
    name = file.name.lower()
    if name.endswith(".zip") and file.is_file() and zipfile.is_zipfile(file):
        inner = _find_member(file).lower()
        name = inner if Path(inner).suffix else name
    for suffix in COMPRESSED:
        name = name.removesuffix(suffix)
    return name


def _find_member(file: Path) -> str:
    """Name of the only file in a ZIP archive."""
    with zipfile.ZipFile(file) as archive:
        files = [name for name in archive.namelist() if not name.endswith("/")]
    names = [name for name in files if not name.startswith("__MACOSX")]
    if len(names) != 1:
        listed = ", ".join(names[:5])
        raise InputError(f"{file}: holds {len(names)} files ({listed}); extract the one to read")
    return names[0]


def looks_like_utf8(file: Path) -> bool:
    """Whether a file has characters beyond ASCII and most of them are UTF-8."""
    start = b""
    with suppress(*DECOMPRESSION_ERRORS), _open_bytes(file) as stream:
        start = stream.read(SAMPLE_SIZE)
    text = start.decode("utf-8", "replace")
    return text.count("\ufffd") < sum(not character.isascii() for character in text) / 2
