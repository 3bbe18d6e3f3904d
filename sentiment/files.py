"""Files that are written whole or not at all, and folders that cannot be written."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from sentiment.errors import InputError, refuse

SETTINGS = 1 << 16  # bytes that Hydra's own files take at most


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


def cannot_be_written(error: OSError, place: Path) -> str:
    """A full disk, a folder that is read-only or gone: what to tell of it in one line."""
    return f"{error.filename or place}: cannot be written ({error.strerror}); make room or choose another folder"


class OutputFolder(Callback):
    """Refuses a folder for results that cannot be written, before Hydra trips over it."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Of one run."""
        _require_writable(Path(config.hydra.run.dir))

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Of a sweep."""
        _require_writable(Path(config.hydra.sweep.dir))


def _require_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder) as file:
            file.write(bytes(SETTINGS))
    except OSError as error:
        with suppress(OSError):
            folder.rmdir()  # unless something is in it
        refuse(cannot_be_written(error, folder))
