"""Files that are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sentiment.errors import InputError


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Gives a path to write to, which takes the place of `path` when the block ends well; else nothing is left.

    Raises:
        InputError: there is no such folder, `path` is no ordinary file, or it cannot be written.
    """
    target = path.resolve()  # a link stays one
    if not target.parent.is_dir():
        raise InputError(f"{path}: there is no folder {target.parent}; make it, or name another")
    if target.exists() and not target.is_file():
        raise InputError(f"{path}: a folder or device; name a file")
    unfinished = target.with_name(target.name + ".unfinished")
    try:
        yield unfinished
        os.replace(unfinished, target)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); name another file") from error
    finally:
        unfinished.unlink(missing_ok=True)
