"""Folders that a process makes and removes."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sentiment.runtime.errors import InputError
from sentiment.runtime.folders import make_unique_folder
from sentiment.runtime.run_folder import RunFolder


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
