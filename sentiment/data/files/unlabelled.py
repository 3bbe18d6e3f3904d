"""Texts without a label, which are added to a corpus: which files hold them, and how they are read."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from sentiment.data.files.formats import READERS, ReadOptions, find_format
from sentiment.data.files.layout import UNLABELLED, Part, find_texts, find_unlabelled
from sentiment.data.files.rows import READ_ERRORS
from sentiment.data.files.tables import FileState, load_table
from sentiment.runtime.errors import InputError, shorten


def find_texts_of_user(unlabelled: Any, folders: Sequence[Path]) -> list[Part]:
    """Find texts without a label, without reading them.

    Args:
        unlabelled: True for those in `folders`, or a file or folder, or a list of them; None for none.
        folders: where to look for files of their own names, the first that has some.

    Raises:
        InputError: there are none, or a path is named twice.
    """
    if unlabelled is None or unlabelled is False:
        return []
    return _find_beside(folders) if unlabelled is True else _find_named(unlabelled)


def remove_texts(
    texts: Sequence[Part], parts: Mapping[str, Sequence[Part]]
) -> dict[str, list[Part]]:
    """The labelled parts without a class of these texts, such as `unlabelled.txt` beside `pos.txt` and `neg.txt`.

    Raises:
        InputError: a file is among the labelled ones.
    """
    files = {file.resolve() for part in texts for file in part.files}

    def is_shared(part: Part) -> bool:
        return bool(files) and any(file.resolve() in files for file in part.files)

    kept = {
        split: [part for part in found if part.label not in UNLABELLED or not is_shared(part)]
        for split, found in parts.items()
    }
    if shared := next(
        (part.files[0] for found in kept.values() for part in found if is_shared(part)), None
    ):
        raise InputError(
            f"data.unlabelled={shared}: is read as labelled rows too; name other files"
        )
    return kept


def load_texts(part: Part, options: ReadOptions, described: Sequence[FileState]) -> pa.Table:
    """Read a part as `load_table` does, with the column of identifiers if it has one.

    Raises:
        InputError: the files cannot be read or lack the column of the texts.
    """
    file = part.files[0]
    columns = _find_columns(file, options)
    if columns and options.text_column not in columns:
        raise InputError(
            f"data.unlabelled={file}: has no column {options.text_column}, which "
            f"data.text_column names; it has {', '.join(map(shorten, columns))}; rename that of the texts"
        )
    if columns and options.id_column not in columns:
        options = replace(options, id_column=None)
    root = file.parent if len(part.files) == 1 else file.parent.parent
    return load_table(part, options, root, described)


def _find_columns(file: Path, options: ReadOptions) -> Sequence[str]:
    """Names of the columns of a table; none if it cannot be read, also in its encoding."""
    with suppress(*READ_ERRORS, LookupError):
        for chunk in READERS[find_format(file)](file, options, False):
            names = [*chunk.names, *chunk.cells]
            return [] if any("\0" in name for name in names) else names
    return []


def _find_beside(folders: Sequence[Path]) -> list[Part]:
    if not folders:
        raise InputError(
            "data.unlabelled=true: data=demo has no texts without a label; name a file of such texts"
        )
    if found := next((parts for folder in folders if (parts := find_unlabelled(folder))), None):
        return found
    raise InputError(
        f"data.unlabelled=true: {folders[-1]} contains no unlabelled.* or unsupervised.* ({', '.join(READERS)}); add "
        "it, or name a file: data.unlabelled=FILE"
    )


def _find_named(unlabelled: Any) -> list[Part]:
    names = [unlabelled] if isinstance(unlabelled, str | int | Path) else list(unlabelled)
    paths = [Path(str(name)).expanduser() for name in names]
    if not paths:
        raise InputError("data.unlabelled=[]: an empty list; name at least one file, or type null")
    parts = []
    for path in paths:
        if not path.is_file() and not path.is_dir():
            raise InputError(f"data.unlabelled={path}: no such file or folder; check the path")
        if not (found := find_texts(path)):
            raise InputError(
                f"data.unlabelled={path}: contains no texts; add .txt files or tables, or name a file"
            )
        parts += found
    files = [file.resolve() for part in parts for file in part.files]
    if len(set(files)) < len(files):
        raise InputError(
            f"data.unlabelled={', '.join(map(str, paths))}: names a file twice; remove one"
        )
    return parts
