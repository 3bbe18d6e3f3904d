"""Files that take thousands of times their size when they are read: archives, dictionaries, lists."""

from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.parquet import ParquetFile

from sentiment.data.files.compression import COMPRESSIONS, open_text
from sentiment.data.files.formats import CHUNK_SIZE
from sentiment.runtime.errors import InputError
from sentiment.serving.limits import Limits, check_limit

MAX_EXPANSION = 5  # times the limit of a body
MAX_VALUES = 1_000_000  # in the objects and lists of a file, which take up to 200 bytes each
MAX_COLUMNS = 1000
MAX_LINES = 10  # of a row, on average: all are parsed several times before the first row is known
BLOCK = 1 << 20  # bytes


def unpack(sent: Path, unpacked: Path, name: str, limits: Limits, has_lines: bool) -> None:
    """Copy a file, decompressed if it is compressed.

    If it is read line by line, `has_lines`, each line must be shorter than two blocks.
    """
    size = lines = 0
    with open_text(sent, "latin-1") as text, unpacked.open("wb") as copy:
        content = cast(BinaryIO, text.buffer)
        while block := content.read(BLOCK):
            if not size and block.startswith((*COMPRESSIONS, b"PK\x03\x04")):
                raise InputError(f"{name}: is compressed twice; unpack it once")
            size += len(block)
            _check_size(size, name, limits)
            ends = max(block.count(b"\n"), block.count(b"\r"))
            if has_lines and not ends:  # may have a million cells
                check_limit(len(block), BLOCK - 1, "bytes in a line", name)
            lines += ends
            check_limit(lines, MAX_LINES * limits.max_rows, "lines", name)
            copy.write(block)


def check_json(file: Path, name: str) -> None:
    """Count the values of a file of JSON, which is read as a whole, by the characters before them."""
    count = 0
    with file.open("rb") as content:
        while block := content.read(BLOCK):
            count += sum(map(block.count, (b"{", b"[", b",")))
    check_limit(count, MAX_VALUES, "values in objects and lists", name)


def check_parquet(file: Path, name: str, limits: Limits) -> None:
    """Check the sizes that a Parquet file states, and those of its texts, before any text is made."""
    size = values = 0
    with ParquetFile(file) as table:
        schema = table.schema
        check_limit(table.metadata.num_rows, limits.max_rows, "rows", name)
        for group in map(table.metadata.row_group, range(table.num_row_groups)):
            for i, leaf in enumerate(schema):
                chunk = group.column(i)
                size += max(chunk.total_uncompressed_size, chunk.num_values * (leaf.length or 8))
                values += chunk.num_values if leaf.max_repetition_level else 0
        texts = [leaf.path for leaf in schema if leaf.physical_type == "BYTE_ARRAY"]
    _check_size(size, name, limits)
    check_limit(values, MAX_VALUES, "values in objects and lists", name)
    size = 0
    with ParquetFile(file, read_dictionary=texts) as table:
        for batch in table.iter_batches(CHUNK_SIZE):
            size += sum(map(_measure, batch.columns))
            _check_size(size, name, limits)


def _check_size(size: int, name: str, limits: Limits) -> None:
    check_limit(size, MAX_EXPANSION * limits.max_bytes, "bytes when unpacked", name)


def _measure(array: pa.Array) -> int:
    """Bytes of an array without its dictionaries."""
    if pa.types.is_dictionary(array.type):
        lengths = pc.binary_length(array.dictionary).take(array.indices)
        return pc.sum(lengths.cast(pa.int64())).as_py() or 0
    if pa.types.is_struct(array.type):
        return sum(map(_measure, array.flatten()))
    if pa.types.is_list(array.type):
        return _measure(array.flatten())
    return int(array.nbytes)
