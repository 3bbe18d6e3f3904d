import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sentiment.data.datamodule import ReviewDataModule
from sentiment.runtime.cache import cache_dir, cached, cached_arrays, read_arrays, source_hash
from sentiment.runtime.errors import InputError
from tests.helpers import ROOT


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; a temporary folder may replace it."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("SENTIMENT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def read(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def fails_in(folder: Path, error: OSError) -> Any:
    """Writes `x`, but fails in the folder, with a part of a file or folder written."""

    def write(path: Path) -> None:
        path.write_text("x")
        if path.is_relative_to(folder):
            raise error

    return write


@pytest.mark.parametrize(
    ("name", "home", "cause"),
    [
        ("", "/dev/null", "Not a directory"),
        ("", None, "Could not determine home directory."),
        ("/dev/null/cache", None, "Not a directory"),
    ],
)
def test_cache_that_cannot_be_written_is_replaced_and_named(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    home: str | None,
    cause: str,
) -> None:
    monkeypatch.setenv("SENTIMENT_CACHE", name)
    if home is None:
        monkeypatch.delenv("HOME")
        monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # an unknown user
    else:
        monkeypatch.setenv("HOME", home)
    replacement = cache_dir()
    assert cache_dir() == replacement == Path(os.environ["SENTIMENT_CACHE"])
    assert replacement.parent == folder.parent / "tmp"
    place = f"SENTIMENT_CACHE={name or '~/.cache/sentiment'}"
    assert caplog.messages == [
        f"{place}: the cache cannot be written ({cause}); nothing is kept for other runs, set SENTIMENT_CACHE to "
        "another folder"
    ]


def test_missing_temporary_folder_is_reported_with_the_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SENTIMENT_CACHE", "/dev/null/cache")
    monkeypatch.setattr("tempfile.tempdir", "/dev/null")
    message = r"^SENTIMENT_CACHE=/dev/null/cache: .* \(Not a directory\), "
    message += r"nor can a temporary folder \(Not a directory\)"
    with pytest.raises(InputError, match=message):
        cache_dir()


def test_other_processes_get_the_replacement_and_the_first_one_removes_it(tmp_path: Path) -> None:
    script = """
import os, subprocess, sys
from sentiment.runtime.cache import cache_dir
child = "from sentiment.runtime.cache import cache_dir; print(cache_dir(), flush=True)"
print(cache_dir(), os.path.isdir(cache_dir()), flush=True)
subprocess.run([sys.executable, "-c", child])
"""
    environment = os.environ | {"SENTIMENT_CACHE": "/dev/null/x", "TMPDIR": str(tmp_path)}
    captured: dict[str, Any] = {
        "capture_output": True,
        "text": True,
        "cwd": ROOT,
    }
    done = subprocess.run([sys.executable, "-c", script], env=environment, check=True, **captured)
    first, second = done.stdout.splitlines()
    assert first == f"{second} True"
    assert done.stderr.count("nothing is kept") == 1
    assert not [*tmp_path.iterdir()]


def test_cached_value_is_written_once_and_again_if_it_is_damaged(folder: Path) -> None:
    assert cached("a/b", read, lambda path: path.write_text("x")) == "x"
    assert cached("a/b", read, lambda path: path.write_text("y")) == "x"
    (folder / "a" / "b").unlink()
    (folder / "a" / "b.unfinished").mkdir()
    (folder / "a" / "b.unfinished" / "part").touch()  # of a process that was killed
    assert cached("a/b", read, lambda path: path.write_text("y")) == "y"
    assert {path.name for path in (folder / "a").iterdir()} == {"b", "b.lock"}


def test_cache_that_fills_up_is_replaced(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert cached("a/b", read, fails_in(folder, full)) == "x"
    assert [path.name for path in (folder / "a").iterdir()] == ["b.lock"]
    assert (cache_dir() / "a" / "b").is_relative_to(folder.parent / "tmp")
    (message,) = caplog.messages
    assert message.startswith(
        f"SENTIMENT_CACHE={folder}: the cache cannot be written (No space left on device)"
    )


def test_full_disk_is_named_if_the_replacement_is_full_too(folder: Path) -> None:
    full = OSError("9 requested and 1 written")  # of numpy
    with pytest.raises(InputError) as failed:
        cached("a/b", read, fails_in(folder.parent, full))
    message = f"SENTIMENT_CACHE={cache_dir()}: a/b cannot be written (9 requested and 1 written); free some space"
    assert str(failed.value).startswith(message)
    assert cache_dir() != folder


def test_reviews_of_a_cache_that_fills_up_are_encoded_elsewhere(
    folder: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datamodule = ReviewDataModule(source="files", path=str(small), maxlen=8)
    save = np.save

    def fill_up(file: Any, array: Any) -> None:
        if Path(file).is_relative_to(folder) and Path(file).name == "hashes.npy":
            raise OSError(errno.ENOSPC, "No space left on device")
        save(file, array)

    monkeypatch.setattr(np, "save", fill_up)
    datamodule.prepare_data()
    datamodule.setup()
    assert datamodule.folder == cache_dir() / "reviews" / datamodule.folder.name
    assert not datamodule.folder.is_relative_to(folder)
    assert len(datamodule.splits["test"]) == 100


def test_arrays_that_cannot_be_written_are_computed_and_not_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", fail)
        assert cached_arrays("a/b.npz", lambda: {"x": [1, 2]})["x"].tolist() == [1, 2]
    assert [path.name for path in (folder / "a").iterdir()] == ["b.npz.lock"]
    assert caplog.messages[0].startswith(
        f"SENTIMENT_CACHE={folder}: the cache cannot be written (No space left"
    )
    assert caplog.messages[1].endswith("; goes on")
    assert cached_arrays("a/b.npz", lambda: {"x": [3]})["x"].tolist() == [3]
    found = read_arrays(cache_dir() / "a/b.npz")
    assert found
    assert found["x"].tolist() == [3]


def test_hash_of_a_definition_is_that_of_its_file() -> None:
    assert source_hash(cached) == source_hash(cache_dir) != source_hash(InputError)
