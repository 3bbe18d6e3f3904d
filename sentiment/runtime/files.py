"""Files that are written whole or not at all, folders, and errors of the file system."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

from sentiment.runtime.errors import InputError, one_line, shorten

_FORMULA = r"[=@\t\r]|[+-](?![0-9.]+$)"


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path` that replaces it on success and is removed on error."""
    temporary = path.with_name(f"{path.name}.{token_hex(4)}.unfinished")  # others may write it, too
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def output_file(path: Path) -> Iterator[Path]:
    """Yield a path in a new folder, whose file replaces `path`, which the user names, on success."""
    target = path.resolve()  # replaces what a symbolic link points to, not the link
    check_regular(path)
    try:
        with TemporaryDirectory(prefix=".", dir=target.parent) as folder:
            temporary = Path(folder) / target.name
            yield temporary
            if target.exists():
                shutil.copymode(target, temporary)  # a private file stays private
            os.replace(temporary, target)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({reason(error)}); choose another") from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong while a file of a run is read into an `InputError`."""
    check_regular(path)
    try:
        yield
    except Exception as error:  # of JSON, YAML and OmegaConf, which have many
        why = shorten(one_line(error) or type(error).__name__, 200)
        raise InputError(f"{path}: cannot be read ({why}); remove it or repeat the run") from error


def check_regular(path: Path) -> None:
    """Refuse a pipe, a device or a folder in place of a file that is to be read or replaced."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: is no regular file; move it away or choose another")


def check_writable(folder: Path) -> None:
    """Fail with an `OSError` unless 64 KiB, more than a configuration, can be written."""
    with TemporaryFile(dir=folder) as file:
        file.write(bytes(1 << 16))


def describe_write_error(error: OSError, path: Path) -> str:
    """One line about a disk that is full or a directory that is read-only or missing."""
    name = os.fsdecode(error.filename or path)  # TensorBoard's are bytes
    return f"{name}: cannot be written ({reason(error)}); free some space or choose another folder"


def reason(error: Exception) -> str:
    """Why a file cannot be written; NumPy's errors have a message alone."""
    return getattr(error, "strerror", None) or one_line(error)


def fingerprint(value: Any) -> str:
    """Hash of a JSON value, 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def escape_csv_formula(value: Any) -> Any:
    """Put an apostrophe before text that a spreadsheet would evaluate, such as `=1+1`.

    Text that looks escaped gets one more, so that `unescape_csv_formula` returns every text.
    """
    return f"'{value}" if isinstance(value, str) and re.match(f"'*({_FORMULA})", value) else value


def unescape_csv_formula(text: str) -> str:
    """The text before `escape_csv_formula`."""
    return text[1:] if re.match(f"'+({_FORMULA})", text) else text


_made: set[Path] = set()  # by this process, which removes no other, and only empty ones


def is_first_process() -> bool:
    """Whether this is not another rank of a run on several devices."""
    names = ("RANK", "LOCAL_RANK", "SLURM_PROCID")  # of torchrun, Lightning and srun
    return next((os.environ[name] for name in names if name in os.environ), "0") == "0"


def make_folder(path: Path, exist_ok: bool = True) -> None:
    """Make a folder and those above it, and remember which ones did not exist."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=exist_ok)
    _made.update(folder.resolve() for folder in missing)


def make_unique_folder(path: Path) -> Path:
    """Make a folder that no other process has: `path` or, if it exists, `path_2`, `path_3` and so on."""
    folder, number = path, 1
    while True:
        try:
            make_folder(folder, exist_ok=False)
            return folder
        except FileExistsError:
            number += 1
            folder = path.with_name(f"{path.name}_{number}")


def remove_if_empty(path: Path) -> None:
    """Remove a folder and those above it, as far as this process made them and they are empty."""
    with suppress(OSError):
        for folder in (path, *path.parents):
            if folder.resolve() not in _made:
                break
            folder.rmdir()


def remove_sweep_folder() -> None:
    """Remove the folder of a sweep that this process made and that holds Hydra's record alone."""
    for folder in [*_made]:
        record = folder / "multirun.yaml"
        if record.exists() and [*folder.iterdir()] == [record]:
            record.unlink()
        remove_if_empty(folder)
