"""Files that are read as one table, and the state by which changes of them are noticed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple


class FileState(NamedTuple):
    """A file and its content, as far as the file system tells; times of change in nanoseconds.

    Programs can set the time of the content (`rsync -t`), but not that of the status, and a file that
    replaces another has its own inode. A change goes unnoticed only within one tick of the kernel's
    clock (some milliseconds), after the clock was set back, or on Windows with size and time kept.
    """

    path: str
    size: int
    content_changed: int
    status_changed: int
    inode: int


@dataclass(frozen=True)
class FileSet:
    """Files that are read as one table.

    Attributes:
        files: at least one.
        format: a key of `sentiment.data.files.formats.READERS`.
        label: the class of all their texts; None if they have a column of classes, or no classes.
    """

    files: tuple[Path, ...]
    format: str
    label: str | None = None

    @cached_property
    def states(self) -> list[FileState]:
        """The state of each file when this was first asked for; tables are found by it."""
        return describe_files(self.files)


def describe_files(files: Sequence[Path]) -> list[FileState]:
    """The state of each file, by its path without symbolic links."""
    folders = {folder: folder.resolve() for folder in {file.parent for file in files}}
    states = []
    for file in files:
        path = file.resolve() if file.is_symlink() else folders[file.parent] / file.name
        stat = path.stat()
        times = stat.st_mtime_ns, stat.st_ctime_ns
        states.append(FileState(str(path), stat.st_size, *times, stat.st_ino))
    return states
