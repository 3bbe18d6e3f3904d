"""The cache: what is computed from the data once and kept between runs, each file by one process at a time."""

import atexit
import functools
import hashlib
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np
from filelock import FileLock

from sentiment.runtime.errors import InputError, one_line
from sentiment.runtime.files import atomic_write

PROBE_SIZE = 1 << 16  # bytes that must fit into the cache

Arrays = dict[str, Any]  # of NumPy arrays
T = TypeVar("T")

log = logging.getLogger(__name__)


def cache_dir() -> Path:
    """The folder of the cache: `$SENTIMENT_CACHE`, by default `~/.cache/sentiment`.

    One that cannot be written is replaced by a temporary folder for this process and those that it starts.

    Raises:
        InputError: there is no temporary folder either.
    """
    name = os.environ.get("SENTIMENT_CACHE") or "~/.cache/sentiment"
    try:
        return _probe(name)
    except (OSError, RuntimeError) as error:  # RuntimeError: no home directory
        _replace_cache(error, name)
        return cache_dir()


@functools.cache
def _probe(name: str) -> Path:
    folder = Path(name).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(PROBE_SIZE))
    return folder


def _replace_cache(error: OSError | RuntimeError, name: str) -> None:
    """Go on with a temporary folder, which is removed when this process ends."""
    cause = f"SENTIMENT_CACHE={name}: the cache cannot be written ({_describe(error)})"
    try:
        folder = tempfile.mkdtemp(prefix="sentiment-")
        _probe(folder)
    except OSError as failure:
        message = f"{cause}, nor can a temporary folder ({_describe(failure)})"
        raise InputError(f"{message}; set SENTIMENT_CACHE to another folder") from error
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["SENTIMENT_CACHE"] = folder
    log.warning("%s; nothing is kept for other runs, set SENTIMENT_CACHE to another folder", cause)


def _describe(error: Exception) -> str:
    return getattr(error, "strerror", None) or one_line(
        error
    )  # numpy's errors have a message alone


def cached(name: str, read: Callable[[Path], T | None], write: Callable[[Path], object]) -> T:
    """What `read` finds in the cache, which is written first if need be.

    A cache that is full is replaced by a temporary folder.

    Args:
        name: path in the cache, of a file or a folder.
        read: returns None if it is missing or damaged.
        write: writes it to another path, from which it is moved when it is complete.

    Raises:
        InputError: it cannot be written to the temporary folder either.
    """
    folder = cache_dir()
    try:
        return _read_or_write(folder / name, read, write)
    except OSError as error:
        if folder == cache_dir():  # else it was replaced meanwhile
            _replace_cache(error, str(folder))
    try:
        return _read_or_write(cache_dir() / name, read, write)
    except OSError as error:
        message = f"SENTIMENT_CACHE={cache_dir()}: {name} cannot be written ({_describe(error)})"
        raise InputError(
            f"{message}; free some space or set SENTIMENT_CACHE to another folder"
        ) from error


def _read_or_write(
    path: Path, read: Callable[[Path], T | None], write: Callable[[Path], object]
) -> T:
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        found = read(path)
        if found is None:
            unfinished = path.with_name(path.name + ".unfinished")
            _remove(unfinished)  # of a process that was killed
            try:
                write(unfinished)
                _remove(path)  # what is damaged
                os.replace(unfinished, path)
            finally:
                _remove(unfinished)
            found = read(path)
        assert found is not None
        return found


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def cached_arrays(name: str, compute: Callable[[], Mapping[str, Any]]) -> Arrays:
    """Arrays in the cache, which are computed first if need be; they are returned if they cannot be written, too.

    Args:
        name: path in the cache, of a file `.npz`.
        compute: returns the arrays.
    """
    path = cache_dir() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        found = read_arrays(name)
        if found is None:
            found = {key: np.asarray(value) for key, value in compute().items()}
            try:
                with atomic_write(path) as temporary, open(temporary, "wb") as file:
                    np.savez(file, **found)
            except OSError as error:
                log.warning(
                    "SENTIMENT_CACHE=%s: %s cannot be written (%s), goes on",
                    cache_dir(),
                    name,
                    _describe(error),
                )
        return found


def read_arrays(name: str) -> Arrays | None:
    """Arrays in the cache; None if the file is missing or damaged."""
    try:
        with open(cache_dir() / name, "rb") as file, np.load(file) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, BadZipFile):
        return None


def source_hash(definition: Any) -> str | None:
    """A hash of the file that defines a class or function; None without one, as in a notebook."""
    file = getattr(sys.modules.get(definition.__module__), "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else None
