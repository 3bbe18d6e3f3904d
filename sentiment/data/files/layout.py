"""Which files of a folder hold the rows of each split, and the state by which changes of them are noticed."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from sentiment.data.files.formats import READERS, find_format
from sentiment.runtime.errors import InputError

UNLABELLED = ("unlabelled", "unlabeled", "unsupervised", "unsup")  # the last ones are IMDB's
SPLITS = {  # names of files and folders; in a corpus, their rows are in this order
    "train": ("train",),
    "val": ("validation", "valid", "val", "dev"),
    "test": ("test",),
    "unlabelled": UNLABELLED,
}
ALL_ROWS = "all rows"  # in place of the labelled splits: files from which the test set is drawn
PART = re.compile(r"-(?P<number>\d+)(-of-(?P<count>\d+))?(-[0-9a-f]{16})?")  # -00000-of-00002
DOCUMENT = re.compile(
    r"(readme|licen[cs]e|copying|changelog)(\.\w+)?|citation(\.(cff|bib|md))?", re.IGNORECASE
)
MAX_CLASS_FILES = 100  # of a text file each


class FileState(NamedTuple):
    """A file and its content, as far as the file system tells; times of change in nanoseconds.

    `rsync -t` sets the time of the content, but not that of the status; a file that replaces another has its own inode.
    """

    path: str  # without symbolic links
    size: int
    content_changed: int
    status_changed: int
    inode: int


@dataclass(frozen=True)
class FileSet:
    """Files that are read as one table, at least one."""

    files: tuple[Path, ...]
    format: str  # a key of `READERS`
    label: str | None = None  # of all their texts; None if they have a column of labels, or none

    @cached_property
    def states(self) -> list[FileState]:
        """The state of each file when this was first asked for; tables are found by it."""
        return describe_files(self.files)


FileSets = dict[str, list[FileSet]]


def describe_files(files: Sequence[Path]) -> list[FileState]:
    folders = {folder: folder.resolve() for folder in {file.parent for file in files}}
    states = []
    for file in files:
        path = file.resolve() if file.is_symlink() else folders[file.parent] / file.name
        stat = path.stat()
        times = stat.st_mtime_ns, stat.st_ctime_ns
        states.append(FileState(str(path), stat.st_size, *times, stat.st_ino))
    return states


def find_files(path: str, roots: Sequence[Path]) -> FileSets:
    """Find the files of each split of labelled rows.

    A folder has files or folders with the names in `SPLITS`, or parts such as
    `train-00000-of-00002.parquet`, also in a subfolder. The classes are a column of the files, or
    folders (`pos/`, `neg/`), or files of lines (`pos.txt`, `neg.txt`). Names that start with a dot or
    an underscore are ignored.

    The roots are existing files, or one folder, which the user wrote as `path`. Without splits, all
    files are those of `ALL_ROWS`.
    """
    if len(roots) > 1 or roots[0].is_file():
        return {ALL_ROWS: _to_sets(roots)}
    root = roots[0]
    visible = _list_visible(root)
    if splits := _find_splits(root):
        return splits
    folders = filter(Path.is_dir, visible)
    inside = {folder.name: splits for folder in folders if (splits := _find_splits(folder))}
    if len(inside) == 1:
        return next(iter(inside.values()))
    if not inside and (classes := _find_classes(root)):
        return {ALL_ROWS: classes}
    if inside:
        listed = ", ".join(inside)
        problem = f"several folders hold train files ({listed}); type data.path={root}/NAME"
    else:
        files = ", ".join([file.name for file in visible if file.is_file()][:5])
        problem = (
            f"contains no train.* ({', '.join(READERS)}){f'; it holds {files}' if files else ''}; "
            "add or rename it, or name one file: data.path=FOLDER/FILE"
        )
    raise InputError(f"data.path={path}: {problem}")


def find_texts(path: Path) -> list[FileSet]:
    """Texts without a label: an existing file, or the tables, or else the `.txt` files, of a folder."""
    if path.is_file():
        return _to_sets([path])
    texts = tuple(file for file in _list_visible(path) if _is_text(file) and not _is_document(file))
    return _find_tables(path) or ([FileSet(texts, ".txt")] if texts else [])


def add_unlabelled(splits: Mapping[str, list[FileSet]], texts: list[FileSet]) -> FileSets:
    """The splits and texts without a label, which may be beside the files of the classes, each once."""
    unlabelled = {state.path for found in texts for state in found.states}
    sets = {
        split: [
            found
            for found in of_split
            if found.label not in UNLABELLED or found.states[0].path not in unlabelled
        ]
        for split, of_split in splits.items()
    } | ({"unlabelled": texts} if texts else {})
    paths = Counter(s.path for found in chain(*sets.values()) for s in found.states)
    if repeated := [path for path, count in paths.items() if count > 1]:
        advice = "name it once, in data.path or in data.unlabelled"
        raise InputError(f"{repeated[0]}: is read twice; {advice}")
    return sets


def find_ignored(sets: Iterable[FileSet], root: Path) -> list[str]:
    """Names of files and folders of rows beside those of the sets."""
    root = root.absolute()
    read = {file.absolute() for found in sets for file in found.files}
    above = {
        folder for parent in {file.parent for file in read} for folder in (parent, *parent.parents)
    }
    folders = {root, *(folder for folder in above if root in folder.parents)}
    entries = {entry for folder in folders for entry in folder.iterdir()} - read - folders
    return [
        f"{entry.relative_to(root)}{os.sep if entry.is_dir() else ''}"
        for entry in sorted(entries)
        if not entry.name.startswith(".")
        and (_is_known(entry) or (entry.is_dir() and any(map(_holds_rows, _list_visible(entry)))))
    ]


def _find_splits(folder: Path) -> FileSets:
    """The labelled splits that files or subfolders of a folder hold; empty without training rows."""
    found = {split: find_split(folder, split) for split in SPLITS if split != "unlabelled"}
    if found["train"] and not found["test"]:
        train = found["train"][0].files[0]
        raise InputError(
            f"{folder}: contains no test.* beside {train.name}; add it, or name one file, of which "
            f"data.test_fraction becomes the test set: data.path={train}"
        )
    return {split: sets for split, sets in found.items() if sets} if found["train"] else {}


def find_split(folder: Path, split: str) -> list[FileSet]:
    """The sets of a split, by the names of files, or of a subfolder of tables or text files."""
    pattern = re.compile(rf"({'|'.join(SPLITS[split])})({PART.pattern})?", re.IGNORECASE)
    visible = _list_visible(folder)
    named = [
        file for file in visible if file.is_file() and pattern.fullmatch(file.name.split(".")[0])
    ]
    files = [file for file in named if _is_known(file)] or named
    find_inside = (
        find_texts
        if split == "unlabelled"
        else lambda path: _find_tables(path) or _find_classes(path)
    )
    subfolders = [path for path in visible if path.is_dir() and path.name.lower() in SPLITS[split]]
    inside = {path: found for path in subfolders if (found := find_inside(path))}
    parts = [match for file in files if (match := PART.search(file.name))]
    numbers = {int(part["number"]) for part in parts}
    kinds = {(part["count"], *Path(part.string).suffixes) for part in parts}
    are_parts = len(numbers) == len(files) and len(kinds) == 1  # of one file
    problem = None
    if len(inside) + bool(files) > 1 or (len(files) > 1 and not are_parts):
        problem = f"several sets of {split} rows ({{}}); remove all but one"
    elif numbers:
        span = max(numbers) - min(numbers) + 1
        if not span == int(parts[0]["count"] or span) == len(numbers):
            problem = f"parts of {split} are missing ({{}}); add the others, or rename these"
    if problem:
        listed = ", ".join(path.name for path in (*files, *inside))
        raise InputError(f"{folder}: {problem.format(listed)}")
    return _to_sets(files) or next(iter(inside.values()), [])


def _to_sets(files: Iterable[Path]) -> list[FileSet]:
    return [FileSet((file,), find_format(file)) for file in files]


def _find_tables(folder: Path) -> list[FileSet]:
    return _to_sets(
        file for file in _list_visible(folder) if file.suffix != ".txt" and _is_known(file)
    )


def _find_classes(folder: Path) -> list[FileSet]:
    """At least two classes: folders of text files; or files of lines, beside no others but documents."""
    visible = _list_visible(folder)
    contents = {
        path.name: _list_visible(path) for path in visible if path.is_dir() and path.name != "unsup"
    }
    texts = {name: tuple(filter(_is_text, files)) for name, files in contents.items()}
    sets = [FileSet(files, ".txt", name) for name, files in texts.items() if files]
    problem = None
    if len(sets) > 1:
        for found in sets:
            name = str(found.label)
            if others := sorted({*contents[name]} - {*found.files}):
                count = f"{len(others)} in {name} are no .txt files, such as {others[0].name}"
                problem = f"{count}; rename or remove them"
    else:
        files = [file for file in visible if file.is_file() and not _is_document(file)]
        are_classes = len(files) > 1 and all(file.suffix.lower() == ".txt" for file in files)
        sets = [FileSet((file,), ".txt", file.stem) for file in files if are_classes]
        if len(sets) > MAX_CLASS_FILES:
            advice = "put the texts of each class into a folder of their own, such as pos and neg"
            problem = f"{len(sets):,} text files would be as many classes; {advice}"
    if problem:
        raise InputError(f"{folder}: {problem}")
    return sets


def _is_document(file: Path) -> bool:
    return DOCUMENT.fullmatch(file.name) is not None


def _is_text(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in ("", ".txt", ".text")


def _holds_rows(path: Path) -> bool:
    return _is_text(path) or _is_known(path)


def _is_known(path: Path) -> bool:
    try:
        return path.is_file() and bool(find_format(path))
    except InputError:
        return False


def _list_visible(folder: Path) -> list[Path]:
    """Files and folders that are not hidden, in natural order: `2_7.txt` before `10_7.txt`."""

    def natural_order(path: Path) -> list[tuple[int, str]]:
        pieces = filter(None, re.split(r"(\d+)", path.name))
        return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in pieces]

    visible = (path for path in folder.iterdir() if not path.name.startswith((".", "_")))
    return sorted(visible, key=natural_order)
