"""Which files of a folder hold the rows of each split."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sentiment.data.files.file_set import FileSet
from sentiment.data.files.formats import READERS, find_format
from sentiment.runtime.errors import InputError

UNLABELLED = ("unlabelled", "unlabeled", "unsupervised", "unsup")  # the last ones are IMDB's
SPLITS = {  # names of files and folders; in a corpus, their rows are in this order
    "train": ("train",),
    "val": ("validation", "valid", "val", "dev"),
    "test": ("test",),
    "unlabelled": UNLABELLED,
}
PART = re.compile(r"-(?P<number>\d+)(-of-(?P<count>\d+))?(-[0-9a-f]{16})?")  # -00000-of-00002
DOCUMENT = re.compile(
    r"(readme|licen[cs]e|copying|changelog)(\.\w+)?|citation(\.(cff|bib|md))?", re.IGNORECASE
)
MAX_CLASS_FILES = 100  # of a text file each
SHOWN_NAMES = 20  # of files that are not read

FileSets = dict[str, list[FileSet]]


def find_files(path: str, roots: Sequence[Path]) -> FileSets:
    """Find the files of each split of labelled rows.

    A folder may hold `train.csv`, or parts such as `train-00000-of-00002.parquet`, beside `test.csv`
    and perhaps one of `validation.csv`, `valid.csv`, `val.csv` and `dev.csv`, also in a subfolder; or
    folders of these names. A folder per class (`pos/`, `neg/`) or a file of lines per class
    (`pos.txt`, `neg.txt`) gives the classes. Other files and folders, and names that start with a dot
    or an underscore, are ignored, see `find_ignored`.

    Args:
        path: as the user wrote it, for messages.
        roots: existing files, or one folder.

    Returns:
        The files of `train`, `test` and perhaps `val`; or all of them as `test`, if there are no splits.

    Raises:
        InputError: files are missing or ambiguous, or of an unknown format.
    """
    if len(roots) > 1 or roots[0].is_file():
        return {"test": _to_sets(roots)}
    root = roots[0]
    if splits := _find_splits(root):
        return splits
    inside = {
        folder: splits
        for folder in _list_visible(root)
        if folder.is_dir() and (splits := _find_splits(folder))
    }
    if len(inside) == 1:
        return next(iter(inside.values()))
    if not inside and (classes := _find_classes(root)):
        return {"test": classes}
    files = [file.name for file in _list_visible(root) if file.is_file()]
    if inside:
        names = ", ".join(folder.name for folder in inside)
        problem = f"several folders hold train files ({names}); type data.path={root}/NAME"
    else:
        holds = (
            f"; it holds {', '.join(files[:5])}{', …' if len(files) > 5 else ''}" if files else ""
        )
        problem = (
            f"contains no train.* ({', '.join(READERS)}){holds}; add or rename it, or name one file: "
            "data.path=FOLDER/FILE"
        )
    raise InputError(f"data.path={path}: {problem}")


def find_unlabelled(folders: Iterable[Path]) -> list[FileSet]:
    """Find `unlabelled.*` or `unsupervised.*`, or a folder of such a name, in the first folder with one."""
    return next((found for folder in folders if (found := _find_split(folder, "unlabelled"))), [])


def find_texts(path: Path) -> list[FileSet]:
    """Texts without a label: an existing file, or the tables, or else the `.txt` files, of a folder."""
    if path.is_file():
        return _to_sets([path])
    texts = tuple(
        file for file in _list_visible(path) if _is_text(file) and not DOCUMENT.fullmatch(file.name)
    )
    return _find_tables(path) or ([FileSet(texts, ".txt")] if texts else [])


def add_unlabelled(splits: Mapping[str, list[FileSet]], texts: list[FileSet]) -> FileSets:
    """The splits and texts without a label, which may be beside the files of the classes.

    Raises:
        InputError: a file is there twice.
    """
    unlabelled = {state.path for found in texts for state in found.states}
    sets = {
        split: [
            found
            for found in of_split
            if found.label not in UNLABELLED or found.states[0].path not in unlabelled
        ]
        for split, of_split in splits.items()
    }
    sets |= {"unlabelled": texts} if texts else {}
    paths = [s.path for of_split in sets.values() for found in of_split for s in found.states]
    if len({*paths}) < len(paths):
        [(twice, _)] = Counter(paths).most_common(1)
        raise InputError(
            f"{twice}: is read twice; name it once, in data.path or in data.unlabelled"
        )
    return sets


def find_ignored(sets: Iterable[FileSet], root: Path) -> list[str]:
    """Files and folders of rows that stand beside those of the sets and are not read.

    Returns:
        At most `SHOWN_NAMES` names, relative to the root, and then the number of the others.
    """
    root = root.resolve()
    files = {file for found in sets for file in found.files}
    holding = {folder: folder.resolve() for folder in {file.parent for file in files}}
    read = {holding[file.parent] / file.name for file in files}
    above = {above for folder in holding.values() for above in (folder, *folder.parents)}
    folders = {root, *(folder for folder in above if root in folder.parents)}
    entries = {entry for folder in folders for entry in folder.iterdir()} - read - folders
    ignored = sorted(entry for entry in entries if _holds_rows(entry))
    names = [f"{entry.relative_to(root)}{os.sep if entry.is_dir() else ''}" for entry in ignored]
    others = len(names) - SHOWN_NAMES
    return [*names[:SHOWN_NAMES], f"{others:,} others"] if others > 0 else names


def _holds_rows(path: Path) -> bool:
    """Whether a path is a file of a known format or a folder of such files, and not hidden."""
    if path.name.startswith("."):
        return False
    if path.is_dir():
        files = [file for file in _list_visible(path) if file.is_file()]
        return any(_holds_rows(file) or _is_text(file) for file in files)
    return path.is_file() and _is_known(path)


def _find_splits(folder: Path) -> FileSets:
    """The labelled splits that files or subfolders of a folder hold; empty without training rows."""
    found = {split: _find_split(folder, split) for split in SPLITS if split != "unlabelled"}
    if found["train"] and not found["test"]:
        train = found["train"][0].files[0]
        raise InputError(
            f"{folder}: contains no test.* beside {train.name}; add it, or name one file, of which "
            f"data.test_fraction becomes the test set: data.path={train}"
        )
    return {split: sets for split, sets in found.items() if sets} if found["train"] else {}


def _find_split(folder: Path, split: str) -> list[FileSet]:
    """The sets of a split, by the names of files, or of a subfolder of tables or text files."""
    pattern = re.compile(rf"({'|'.join(SPLITS[split])})({PART.pattern})?", re.IGNORECASE)
    visible = _list_visible(folder)
    named = [
        file for file in visible if file.is_file() and pattern.fullmatch(file.name.split(".")[0])
    ]
    files = [file for file in named if _is_known(file)] or named
    find_inside = find_texts if split == "unlabelled" else _find_tables_or_classes
    subfolders = [path for path in visible if path.is_dir() and path.name.lower() in SPLITS[split]]
    inside = {path: found for path in subfolders if (found := find_inside(path))}
    _check_parts(folder, split, files, [*inside])
    return _to_sets(files) or next(iter(inside.values()), [])


def _check_parts(
    folder: Path, split: str, files: Sequence[Path], subfolders: Sequence[Path]
) -> None:
    """Raise `InputError` unless there is at most one file or subfolder, or all parts of one file."""
    parts = [match for file in files if (match := PART.search(file.name))]
    numbers = sorted(int(part["number"]) for part in parts)
    kinds = {
        (part["count"], *Path(part.string).suffixes) for part in parts
    }  # parts of one file are alike
    are_parts = len({*numbers}) == len(files) and len(kinds) == 1
    listed = ", ".join(path.name for path in (*files, *subfolders))
    if len(subfolders) + bool(files) > 1 or (len(files) > 1 and not are_parts):
        raise InputError(f"{folder}: several sets of {split} rows ({listed}); remove all but one")
    if numbers:
        count = int(parts[0]["count"] or len(numbers))
        if numbers != [*range(numbers[0], numbers[0] + count)]:
            raise InputError(
                f"{folder}: parts of {split} are missing ({listed}); add the others, or rename these"
            )


def _to_sets(files: Iterable[Path]) -> list[FileSet]:
    return [FileSet((file,), find_format(file)) for file in files]


def _find_tables(folder: Path) -> list[FileSet]:
    return _to_sets(
        file
        for file in _list_visible(folder)
        if file.is_file() and file.suffix != ".txt" and _is_known(file)
    )


def _find_tables_or_classes(folder: Path) -> list[FileSet]:
    return _find_tables(folder) or _find_classes(folder)


def _find_classes(folder: Path) -> list[FileSet]:
    """At least two classes."""
    return _find_class_folders(folder) or _find_class_files(folder)


def _find_class_folders(folder: Path) -> list[FileSet]:
    """A folder of text files per class."""
    classes: dict[Path, tuple[tuple[Path, ...], list[Path]]] = {}
    for path in _list_visible(folder):
        if path.is_dir() and path.name != "unsup":  # IMDB's texts without a label
            contents = _list_visible(path)
            texts = tuple(file for file in contents if _is_text(file))
            classes |= {path: (texts, contents)} if texts else {}
    if len(classes) < 2:
        return []
    for path, (texts, contents) in classes.items():
        if others := sorted({*contents} - {*texts}, key=_natural_order):
            listed = ", ".join(file.name for file in others[:3])
            raise InputError(
                f"{path}: {len(others)} are no .txt files ({listed}); rename or remove them"
            )
    return [FileSet(texts, ".txt", path.name) for path, (texts, _) in classes.items()]


def _find_class_files(folder: Path) -> list[FileSet]:
    """A file of lines per class, beside no others but documents."""
    files = [
        file
        for file in _list_visible(folder)
        if file.is_file() and not DOCUMENT.fullmatch(file.name)
    ]
    if len(files) < 2 or any(file.suffix.lower() != ".txt" for file in files):
        return []
    if len(files) > MAX_CLASS_FILES:
        raise InputError(
            f"{folder}: {len(files):,} text files would be as many classes; put the texts of each "
            "class into a folder of their own, such as pos and neg"
        )
    return [FileSet((file,), ".txt", file.stem) for file in files]


def _is_text(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in ("", ".txt", ".text")


def _is_known(file: Path) -> bool:
    try:
        find_format(file)
    except InputError:
        return False
    return True


def _list_visible(folder: Path) -> list[Path]:
    """Files and folders that are not hidden, in natural order: `2_7.txt` before `10_7.txt`."""
    return sorted(
        (path for path in folder.iterdir() if not path.name.startswith((".", "_"))),
        key=_natural_order,
    )


def _natural_order(path: Path) -> list[tuple[int, str]]:
    return [
        (int(piece), "") if piece.isdecimal() else (-1, piece)
        for piece in re.split(r"(\d+)", path.name)
        if piece
    ]
