"""Files that are written whole, and cells that a spreadsheet would evaluate."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sentiment.runtime.errors import InputError
from sentiment.runtime.files import (
    atomic_write,
    describe_write_error,
    escape_csv_formula,
    make_unique_folder,
    output_file,
    unescape_csv_formula,
)
from sentiment.runtime.run_folder import RunFolder


@pytest.mark.parametrize(
    "text",
    ["=1+1", "'=1+1", "''=1+1", "'quoted'", "'", "-5", "-5 stars", "'-5", "@x", "\rx", "", "a=1"],
)
def test_apostrophe_before_formulas_is_undone_exactly(text: str) -> None:
    escaped = escape_csv_formula(text)
    assert escaped[:1] not in ("=", "@", "\r")
    assert unescape_csv_formula(escaped) == text


def test_two_writers_of_a_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    with atomic_write(file) as first, atomic_write(file) as second:
        first.write_text("first")
        second.write_text("second")
    assert file.read_text() == "first"
    assert [*tmp_path.iterdir()] == [file]


def test_errors_of_bytes_paths_are_readable(tmp_path: Path) -> None:
    error = FileNotFoundError(2, "No such file or directory", b"run/events")
    assert describe_write_error(error, tmp_path).startswith(
        "run/events: cannot be written (No such file"
    )
    numpy = OSError("9 requested and 1 written")  # which has neither a number nor a name
    assert f"{tmp_path}: cannot be written (9 requested" in describe_write_error(numpy, tmp_path)


def test_replaced_file_keeps_its_permissions(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.touch(0o600)
    with output_file(page) as temporary:
        temporary.write_text("new")
    assert (page.read_text(), page.stat().st_mode & 0o777) == ("new", 0o600)


def test_each_caller_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "2026-01-31_12-00-00"
    with ThreadPoolExecutor(8) as pool:
        folders = [*pool.map(make_unique_folder, [path] * 8)]
    assert {folder.name for folder in folders} == {
        path.name,
        *(f"{path.name}_{number}" for number in range(2, 9)),
    }
    assert {*path.parent.iterdir()} == {*folders}


def test_only_folders_that_were_made_and_left_empty_are_removed(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for folder in (theirs, theirs / "made" / "run", tmp_path / "made" / "run"):
        with pytest.raises(InputError), RunFolder(folder).claim():
            raise InputError("invalid")
    assert [path.name for path in tmp_path.rglob("*")] == ["theirs"]
    with RunFolder(tmp_path / "made").claim():
        (tmp_path / "made" / "file").touch()
    assert (tmp_path / "made" / "file").exists()
