"""Files that are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sentiment.errors import InputError


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Gives a path beside `path` to write to, which takes its place when the block ends well; else nothing is left."""
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def whole_as_named(path: Path) -> Iterator[Path]:
    """`whole`, for a file that a command line names.

    Raises:
        InputError: there is no such folder, `path` is no ordinary file, or it cannot be written.
    """
    target = path.resolve()  # a link stays one
    if not target.parent.is_dir():
        raise InputError(f"{path}: there is no folder {target.parent}; make it, or name another")
    if target.exists() and not target.is_file():
        raise InputError(f"{path}: a folder or device; name a file")
    try:
        with whole(target) as unfinished:
            yield unfinished
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); name another file") from error
