"""Texts without a label, which are added to a corpus: which files hold them, and how they are read."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from sentiment.data.corpus import Corpus, describe_part
from sentiment.data.formats import READERS, ReadOptions, find_format
from sentiment.data.layout import UNLABELLED, Part, find_texts, find_unlabelled
from sentiment.data.rows import READ_ERRORS
from sentiment.data.tables import FileState, describe_files, load_table
from sentiment.runtime.errors import InputError, shorten
from sentiment.runtime.files import fingerprint


@dataclass(frozen=True)
class UnlabelledTexts:
    """Texts that are found, but not read yet.

    Attributes:
        parts: their files.
        described: what `describe_files` returned for each part.
        options: how to read them; labels are ignored.
        empty: `drop` leaves out empty texts, `error` rejects them.
    """

    parts: Sequence[Part]
    described: Sequence[list[FileState]]
    options: ReadOptions
    empty: str

    @property
    def fingerprint(self) -> str:
        """Changes whenever the texts do."""
        return fingerprint([self.described, *self.options.settings, self.empty])

    @cached_property
    def files(self) -> frozenset[Path]:
        """All files, resolved."""
        return frozenset(Path(file.path) for part in self.described for file in part)

    def remove_from(self, parts: Mapping[str, Sequence[Part]]) -> dict[str, list[Part]]:
        """The labelled parts without a class of these texts, such as `unlabelled.txt` beside `pos.txt` and `neg.txt`.

        Raises:
            InputError: a file is among the labelled ones.
        """
        others = {
            split: [part for part in found if not self._holds(part) or part.label not in UNLABELLED]
            for split, found in parts.items()
        }
        if shared := next((part.files[0] for found in others.values() for part in found if self._holds(part)), None):
            raise InputError(f"data.unlabelled={shared}: is read as labelled rows too; name other files")
        return others

    def _holds(self, part: Part) -> bool:
        return any(file.resolve() in self.files for file in part.files)

    def add_to(self, corpus: Corpus) -> Corpus:
        """Read the texts and append them to a corpus.

        Raises:
            InputError: a file cannot be read or lacks the column of the texts; or no text is left.
        """
        tables = [self._load(part, described) for part, described in zip(self.parts, self.described, strict=True)]
        notes = [describe_part(part, table, "unlabelled") for part, table in zip(self.parts, tables, strict=True)]
        added = corpus.add_unlabelled(pa.concat_tables(tables), self.empty, self.fingerprint)
        return replace(added, notes=corpus.notes + notes)

    def _load(self, part: Part, described: list[FileState]) -> pa.Table:
        """Read a part, with the column of identifiers if it has one."""
        file, options = part.files[0], self.options
        root = file.parent if len(part.files) == 1 else file.parent.parent
        try:
            return load_table(part, options, root, described)
        except InputError:
            columns = _find_columns(file, options)
            if columns and options.text_column not in columns:
                raise InputError(
                    f"data.unlabelled={file}: has no column {options.text_column}, which data.text_column names; it "
                    f"has {', '.join(map(shorten, columns))}; rename that of the texts"
                ) from None
            if not columns or options.id_column in (None, *columns):
                raise
        return load_table(part, replace(options, id_column=None), root, described)


def _find_columns(file: Path, options: ReadOptions) -> Sequence[str]:
    """Names of the columns of a table; none if it cannot be read."""
    with suppress(*READ_ERRORS, LookupError):
        for chunk in READERS[find_format(file)](file, options, False):
            return [*chunk.names, *chunk.cells]
    return ()


def resolve_unlabelled(
    unlabelled: Any, folders: Sequence[Path], options: ReadOptions, empty: str
) -> UnlabelledTexts | None:
    """Find texts without a label, without reading them.

    Args:
        unlabelled: True for those in `folders`, or a file or folder, or a list of them; None for none.
        folders: where to look for files of their own names, the first that has some.
        options: how to read them; the column of the labels is ignored.
        empty: `drop` or `error`.

    Raises:
        InputError: there are none, or a path is named twice.
    """
    if unlabelled is None or unlabelled is False:
        return None
    parts = _find_beside(folders) if unlabelled is True else _find_named(unlabelled)
    described = [describe_files(part.files) for part in parts]
    return UnlabelledTexts(parts, described, replace(options, label_column=None), empty)


def _find_beside(folders: Sequence[Path]) -> list[Part]:
    if not folders:
        raise InputError("data.unlabelled=true: data=demo has no texts without a label; name a file of such texts")
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
            raise InputError(f"data.unlabelled={path}: contains no texts; add .txt files or tables, or name a file")
        parts += found
    files = [file.resolve() for part in parts for file in part.files]
    if len(set(files)) < len(files):
        raise InputError(f"data.unlabelled={', '.join(map(str, paths))}: names a file twice; remove one")
    return parts
