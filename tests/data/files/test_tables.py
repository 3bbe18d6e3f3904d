import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from sentiment.data.files.formats import ReadOptions
from sentiment.data.files.layout import FileSet, describe_files
from sentiment.data.files.tables import get_metadata, load_table
from sentiment.runtime.errors import InputError
from tests.helpers import write_csv


def load(path: Path, label: str | None = None, **options: Any) -> pa.Table:
    found = FileSet((path,), ".txt" if label else path.suffix, label)
    return load_table(found, ReadOptions(**options), path.parent)


def test_table_says_where_each_text_stands(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("id;text;label\n7;a;1\n8;;\n")
    assert load(tmp_path / "train.csv", id_column="id").to_pydict() == {
        "text": ["a", ""],
        "label": ["1", None],
        "file": ["train.csv"] * 2,
        "row": [1, 2],
        "id": ["7", "8"],
    }
    assert get_metadata(load(tmp_path / "train.csv"), "notes") == ["separated by semicolons"]


def test_texts_of_a_class_are_one_table(tmp_path: Path) -> None:
    folder = tmp_path / "pos"
    folder.mkdir()
    files = tuple(folder / f"{number}.txt" for number in range(3))
    for file in files:
        file.write_text(f"film {file.stem}")
    table = load_table(
        FileSet(files, ".txt", "pos"), ReadOptions(text_per=None), tmp_path
    ).to_pydict()
    assert table["text"] == ["film 0", "film 1", "film 2"]
    assert table["label"] == ["pos"] * 3
    assert table["file"] == ["pos/0.txt", "pos/1.txt", "pos/2.txt"]
    assert table["row"] == [1, 1, 1]

    files[1].write_text("two\nlines")
    with pytest.raises(
        InputError,
        match=r"1.txt: .*has several lines; type data.text_per=line .*data.text_per=file",
    ):
        load_table(FileSet(files, ".txt", "pos"), ReadOptions(text_per=None), tmp_path)
    found = FileSet(files, ".txt", "pos")
    by_line = load_table(found, ReadOptions(text_per="line"), tmp_path)
    assert by_line["text"].to_pylist() == ["film 0", "two", "lines", "film 2"]
    assert by_line["row"].to_pylist() == [1, 1, 2, 1]
    by_file = load_table(found, ReadOptions(text_per="file"), tmp_path)
    assert by_file["text"].to_pylist() == ["film 0", "two\nlines", "film 2"]


def test_empty_lines_at_the_end_of_a_text_are_no_texts(tmp_path: Path) -> None:
    files = tuple(tmp_path / f"{number}.txt" for number in range(4))
    for file, content in zip(
        files, ("film 0", "film 1\n\n", "film 2 \r\n \r\n\r\n", "\n\n"), strict=True
    ):
        file.write_bytes(content.encode())
    options = ReadOptions(text_per=None)
    table = load_table(FileSet(files, ".txt", "pos"), options, tmp_path)
    assert table["text"].to_pylist() == ["film 0", "film 1", "film 2 ", ""]
    files[3].write_text("\n" * 1030 + "another text")
    with pytest.raises(InputError, match=r"3\.txt: cannot be read as txt .has several lines"):
        load_table(FileSet(files, ".txt", "pos"), options, tmp_path)


def test_one_file_of_lines_is_a_text_per_line(tmp_path: Path) -> None:
    (tmp_path / "pos.txt").write_bytes("un café\nbon\n".encode("latin-1"))
    assert load(tmp_path / "pos.txt", "pos", encoding="latin-1")["text"].to_pylist() == [
        "un café",
        "bon",
    ]


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def empty(path: Path) -> None:
    os.truncate(path, 0)


@pytest.mark.parametrize("damage", [cut, empty, Path.unlink])
def test_damaged_cache_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None]
) -> None:
    monkeypatch.setenv("SENTIMENT_CACHE", str(tmp_path / "cache"))
    path = write_csv(tmp_path / "reviews.csv", [(f"film {i}", i % 2) for i in range(2000)])
    expected = load(path).to_pydict()
    (cached,) = (tmp_path / "cache").glob("tables/*.arrow")
    written = cached.read_bytes()
    damage(cached)
    assert load(path).to_pydict() == expected
    assert cached.read_bytes() == written


def test_cache_is_reused_until_the_file_or_the_options_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTIMENT_CACHE", str(tmp_path / "cache"))
    path = write_csv(tmp_path / "reviews.csv", [("a", "1"), ("b", "0")])
    load(path)
    with monkeypatch.context() as patch:
        patch.setattr("sentiment.data.files.tables.read_rows", None)  # nothing can be read
        assert load(path)["text"].to_pylist() == ["a", "b"]
    other = load(path, text_column="label", label_column="text")
    assert (other["text"].to_pylist(), other["label"].to_pylist()) == (["1", "0"], ["a", "b"])
    write_csv(path, [("a", "1"), ("c", "0")])
    assert load(path)["text"].to_pylist() == ["a", "c"]


def swap(path: Path) -> None:
    """Exchange the labels, as `rsync -t` does: another content of the same size and time."""
    stat = path.stat()
    path.write_bytes(path.read_bytes().translate(bytes.maketrans(b"01", b"10")))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def replace_by_copy(path: Path) -> None:
    shutil.copy2(path, other := path.with_name("other.csv"))
    swap(other)
    os.replace(other, path)


@pytest.mark.parametrize("change", [swap, replace_by_copy])
def test_changes_of_the_same_size_and_time_are_noticed(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    path = write_csv(tmp_path / "reviews.csv", [("a", "1"), ("b", "0")])
    assert load(path)["label"].to_pylist() == ["1", "0"]
    time.sleep(0.02)  # a tick of the kernel's clock
    change(path)
    assert load(path)["label"].to_pylist() == ["0", "1"]


def test_file_that_changes_after_it_was_found_is_not_cached(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "reviews.csv", [("a", "1"), ("b", "0")])
    found = FileSet((path,), ".csv")
    assert found.states == describe_files([path])
    time.sleep(0.02)
    swap(path)
    with pytest.raises(InputError, match=r"reviews\.csv: changed while it was read; start again$"):
        load_table(found, ReadOptions(), tmp_path)
    assert load(path)["label"].to_pylist() == ["0", "1"]


def test_failed_reading_leaves_no_table_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTIMENT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "x.jsonl").write_text(
        '{"text": "good", "label": 1}\n' * 3000 + '{"text": 3, "label": 1}'
    )
    with pytest.raises(InputError, match="row 3,001"):
        load(tmp_path / "x.jsonl")
    (tmp_path / "x.csv").write_text("text,label\n")
    with pytest.raises(InputError, match=r"x\.csv: contains no rows"):
        load(tmp_path / "x.csv")
    assert {path.suffix for path in (tmp_path / "cache" / "tables").iterdir()} == {".lock"}


def test_table_is_memory_mapped(tmp_path: Path) -> None:
    before = pa.total_allocated_bytes()
    table = load(write_csv(tmp_path / "x.csv", [("word " * 1000, i) for i in range(5000)]))
    assert table.nbytes > 25_000_000
    assert pa.total_allocated_bytes() - before < 1_000_000
    assert np.all(np.array(table["label"].to_pylist()).astype(int) == np.arange(5000))
