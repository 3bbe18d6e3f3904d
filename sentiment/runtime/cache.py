"""The cache: what is computed from the data once and kept, each file by one process at a time."""

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

from sentiment.runtime.errors import InputError
from sentiment.runtime.files import check_writable, reason

Arrays = dict[str, Any]  # of NumPy arrays
T = TypeVar("T")

log = logging.getLogger(__name__)

_replacements: set[str] = set()  # temporary folders of this process


def cache_dir() -> Path:
    """The folder of the cache: `$SENTIMENT_CACHE`, by default `~/.cache/sentiment`.

    One that cannot be written is replaced by a temporary folder for this process and those that it
    starts; an `InputError` says that there is none either.
    """
    name = os.environ.get("SENTIMENT_CACHE") or "~/.cache/sentiment"
    try:
        return _make_folder(name)
    except (OSError, RuntimeError) as error:  # RuntimeError: no home directory
        _replace_cache(error, name)
        return cache_dir()


@functools.cache
def _make_folder(name: str) -> Path:
    folder = Path(name).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    check_writable(folder)
    return folder


def _replace_cache(error: Exception, name: str, file: str = "the cache") -> None:
    """Go on with a temporary folder, once; it is removed when this process ends."""
    what = file if name in _replacements else "the cache"
    cause = f"SENTIMENT_CACHE={name}: {what} cannot be written ({reason(error)})"
    try:
        folder = None if name in _replacements else tempfile.mkdtemp(prefix="sentiment-")
    except OSError as failure:
        folder, cause = None, f"{cause}, nor can a temporary folder ({reason(failure)})"
    if folder is None:
        message = f"{cause}; free some space or set SENTIMENT_CACHE to another folder"
        raise InputError(message) from error
    _replacements.add(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["SENTIMENT_CACHE"] = folder
    log.warning("%s; nothing is kept for other runs, set SENTIMENT_CACHE to another folder", cause)


def cached(name: str, read: Callable[[Path], T | None], write: Callable[[Path], object]) -> T:
    """What `read` finds in the file or folder `name` of the cache, else what `write` writes there, whole or not at all.

    `read` returns None if it is missing or damaged. A cache that is full is replaced by a temporary folder; an
    `InputError` says that this is full, too.
    """
    folder = cache_dir()
    try:
        return _read_or_write(folder / name, read, write)
    except OSError as error:
        if folder == cache_dir():  # else it was replaced meanwhile
            _replace_cache(error, str(folder), name)
    return cached(name, read, write)


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
    """Arrays in the file `name.npz` of the cache, computed first if need be, once, even if no disk has room."""
    computed: Arrays = {}

    def write(path: Path) -> None:
        computed.update(computed or compute())
        with open(path, "wb") as file:
            np.savez(file, **computed)

    try:
        return cached(name, read_arrays, write)
    except InputError as error:
        if not computed:
            raise
        log.warning("%s; goes on", error)
        return {key: np.asarray(value) for key, value in computed.items()}


def read_arrays(path: Path) -> Arrays | None:
    """Arrays in a file; None if it is missing or damaged."""
    try:
        with open(path, "rb") as file, np.load(file) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, BadZipFile):
        return None


def source_hash(definition: Any) -> str | None:
    """A hash of the file that defines a class or function; None without one, as in a notebook."""
    file = getattr(sys.modules.get(definition.__module__), "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else None
