"""Which files of a folder hold the training, validation and test rows, and which the texts without a label."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from sentiment.data.files.formats import READERS, find_format
from sentiment.runtime.errors import InputError

SPLIT_NAMES = {"train": ("train",), "val": ("validation", "valid", "val", "dev"), "test": ("test",)}
PART = re.compile(
    r"-(?P<number>\d+)(-of-(?P<count>\d+))?(-[0-9a-f]{16})?"
)  # such as train-00000-of-00002
UNLABELLED = (
    "unlabelled",
    "unlabeled",
    "unsupervised",
    "unsup",
)  # unsupervised.parquet, train/unsup/: IMDB's
DOCUMENT = re.compile(
    r".*\.readme|(readme|licen[cs]e|copying|changelog)(\.\w+)?|citation(\.(cff|bib|md))?",
    re.IGNORECASE,
)
MAX_CLASS_FILES = 100  # of a text file each
SHOWN_NAMES = 20  # of files that are not read
FORMATS = ", ".join(READERS)


class Part(NamedTuple):
    """Files that are read as one table.

    Attributes:
        files: at least one.
        label: the class of all their texts; None if they have a column of classes.
    """

    files: tuple[Path, ...]
    label: str | None = None


def find_parts(path: str, roots: Sequence[Path]) -> dict[str, list[Part]]:
    """Find the files of each split.

    A folder may hold `train.csv`, or parts such as `train-00000-of-00002.parquet`, beside
    `test.csv` and perhaps one of `validation.csv`, `valid.csv`, `val.csv` and `dev.csv`, also in a
    subfolder; or folders of these names. A folder per class (`pos/`, `neg/`) or a file of lines per
    class (`pos.txt`, `neg.txt`, or `polarity.pos`, `polarity.neg`) gives the classes. Other files
    and folders, and names that start with a dot or an underscore, are ignored, see `find_ignored`.

    Args:
        path: as the user wrote it, for messages.
        roots: existing files, or one folder.

    Returns:
        The parts of `train`, `test` and perhaps `val`; or all of them as `test`, if the files have no sets.

    Raises:
        InputError: files are missing or ambiguous, or of an unknown format.
    """
    if len(roots) > 1 or roots[0].is_file():
        for file in roots:
            find_format(file)
        return {"test": [Part((file,)) for file in roots]}
    root = roots[0]
    if splits := _find_splits(root):
        return splits
    candidates = {
        folder.name: found
        for folder in _visible(root)
        if folder.is_dir() and (found := _find_splits(folder))
    }
    if len(candidates) > 1:
        names = ", ".join(candidates)
        raise InputError(
            f"data.path={path}: several folders hold train files ({names}); type data.path={root}/NAME"
        )
    if candidates:
        return next(iter(candidates.values()))
    if classes := _find_classes(root):
        return {"test": classes}
    files = [path.name for path in _visible(root) if path.is_file()]
    if renamed := next((name for name in files if name.lower().startswith("train")), None):
        raise InputError(
            f"data.path={path}: contains no train.*; rename {renamed} to train{Path(renamed).suffix}"
        )
    holds = f"; it holds {', '.join(files[:5])}{', …' if len(files) > 5 else ''}" if files else ""
    raise InputError(
        f"data.path={path}: contains no train.* ({FORMATS}){holds}; add it, or name one file: data.path=FOLDER/FILE"
    )


def find_ignored(parts: Iterable[Part], root: Path) -> list[str]:
    """Files and folders of rows that stand beside those of the parts and are not read.

    Returns:
        At most `SHOWN_NAMES` names, relative to the root, and then the number of the others.
    """
    root = root.resolve()
    files = {file for part in parts for file in part.files}
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
        return any(_holds_rows(file) or _is_text(file) for file in _visible(path) if file.is_file())
    return path.is_file() and _is_known(path)


def find_unlabelled(folder: Path) -> list[Part]:
    """The parts of `unlabelled.*` or `unsupervised.*`, or of such a folder (or `unsup/`) of texts; empty without any.

    Raises:
        InputError: there are several sets, or parts are missing.
    """
    parts = _find_split(folder, UNLABELLED[0], UNLABELLED, find_texts)
    return [part if part.label else find_texts(part.files[0])[0] for part in parts]


def find_texts(path: Path) -> list[Part]:
    """The parts of an existing file, or of a folder of tables or else of `.txt` files, whose texts have no label.

    Files of texts get a label that means nothing, since `load_table` reads those of a class.

    Raises:
        InputError: the file is of an unknown format.
    """
    if path.is_file():
        return [Part((path,), UNLABELLED[0] if find_format(path) == ".txt" else None)]
    if tables := _find_tables(path):
        return [Part((table,)) for table in tables]
    texts = tuple(
        file for file in _visible(path) if _is_text(file) and not DOCUMENT.fullmatch(file.name)
    )
    return [Part(texts, UNLABELLED[0])] if texts else []


def _find_splits(folder: Path) -> dict[str, list[Part]]:
    """The parts of each split that files or subfolders of a folder hold; empty without training rows."""
    splits = {split: _find_split(folder, split, names) for split, names in SPLIT_NAMES.items()}
    if not splits["train"]:
        return {}
    if not splits["test"]:
        train = splits["train"][0].files[0]
        raise InputError(
            f"{folder}: contains no test.* beside {train.name}; add it, or name one file, of which "
            f"data.test_fraction becomes the test set: data.path={train}"
        )
    return {split: parts for split, parts in splits.items() if parts}


def _find_tables_or_classes(folder: Path) -> list[Part]:
    return [Part((file,)) for file in _find_tables(folder)] or _find_classes(folder)


def _find_split(
    folder: Path,
    split: str,
    names: Iterable[str],
    find_inside: Callable[[Path], list[Part]] = _find_tables_or_classes,
) -> list[Part]:
    """The parts that files or a subfolder of these names hold; `find_inside` gives those of a folder."""
    pattern = re.compile(rf"({'|'.join(names)})({PART.pattern})?", re.IGNORECASE)
    named = [
        file
        for file in _visible(folder)
        if file.is_file() and pattern.fullmatch(file.name.split(".")[0])
    ]
    files = [file for file in named if _is_known(file)] or named
    _check_parts(files, split)
    for file in files:
        find_format(file)
    subfolders = [path for path in _visible(folder) if path.is_dir() and path.name.lower() in names]
    sets = {path: parts for path in subfolders if (parts := find_inside(path))}
    if len(sets) + bool(files) > 1:
        listed = ", ".join(path.name for path in (*files, *sets))
        raise InputError(f"{folder}: several sets of {split} rows ({listed}); remove all but one")
    return [Part((file,)) for file in files] or next(iter(sets.values()), [])


def _find_tables(folder: Path) -> list[Path]:
    return [
        path
        for path in _visible(folder)
        if path.is_file() and path.suffix != ".txt" and _is_known(path)
    ]


def _check_parts(files: Sequence[Path], split: str) -> None:
    """Raise `InputError` unless there is at most one file, or the files are all parts of one set."""
    found = [PART.search(file.name) for file in files]
    if not files or (len(files) == 1 and not found[0]):
        return
    numbers = sorted(int(part["number"]) for part in found if part)
    counts = {part["count"] for part in found if part}
    suffixes = {"".join(file.suffixes) for file in files}
    listed = ", ".join(file.name for file in files)
    if (
        len(numbers) < len(files)
        or len(set(numbers)) < len(numbers)
        or len(counts) > 1
        or len(suffixes) > 1
    ):
        raise InputError(
            f"{files[0].parent}: several sets of {split} rows ({listed}); remove all but one"
        )
    if (count := counts.pop()) and len(files) != int(count):
        raise InputError(
            f"{files[0].parent}: {len(files)} of {int(count)} parts of {split} ({listed}); add the others"
        )
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        raise InputError(
            f"{files[0].parent}: parts of {split} are missing ({listed}); add the others, or rename these"
        )


def _find_classes(folder: Path) -> list[Part]:
    """The parts of at least two classes: folders of text files, text files, or files that differ in their suffixes."""
    folders = [
        path for path in _visible(folder) if path.is_dir() and path.name != "unsup"
    ]  # IMDB's
    contents = {path.name: _visible(path) for path in folders}
    texts = {name: [path for path in found if _is_text(path)] for name, found in contents.items()}
    if len(classes := {name: files for name, files in texts.items() if files}) > 1:
        for name, files in classes.items():
            if others := sorted({*contents[name]} - {*files}, key=_natural_order):
                listed = ", ".join(path.name for path in others[:3])
                raise InputError(
                    f"{folder / name}: {len(others)} are no .txt files ({listed}); rename or remove them"
                )
        return [Part(tuple(files), name) for name, files in classes.items()]
    files = [
        path for path in _visible(folder) if path.is_file() and not DOCUMENT.fullmatch(path.name)
    ]
    if len(lines := [file for file in files if file.suffix.lower() == ".txt"]) > 1 and len(
        lines
    ) == len(files):
        if len(lines) > MAX_CLASS_FILES:
            raise InputError(
                f"{folder}: {len(lines):,} text files would be as many classes; put the texts of each "
                "class into a folder of their own, such as pos and neg"
            )
        return [Part((file,), file.stem) for file in lines]
    stems = Counter(file.stem for file in files)
    same_stem = [file for file in files if stems[file.stem] > 1 and not _is_known(file)]
    if len(same_stem) > 1 and len({file.stem for file in same_stem}) == 1:
        return [Part((file,), file.suffix[1:]) for file in same_stem]
    return []


def _is_text(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in ("", ".txt", ".text")


def _visible(folder: Path) -> list[Path]:
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


def _is_known(file: Path) -> bool:
    try:
        find_format(file)
    except InputError:
        return False
    return True
