import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow.parquet import write_table
from rich.progress import Progress

from sentiment.data.tables import CHUNK_SIZE, READERS, Columns, load_table, read_chunks
from sentiment.runtime.errors import InputError
from tests.helpers import write_csv

TEXTS = ["Good, really.", 'Not "good"', "null", "NA", "a film in\ntwo lines", "", "电影很好", "007", "a\tb"] * 200
LABELS = ["007", "NA", "null"] * 600
COLUMNS = Columns("text", "label")
assert len(TEXTS) > CHUNK_SIZE


def read(path: Path, columns: Columns = COLUMNS) -> dict[str, list[Any]]:
    chunks = read_chunks([path], columns, Progress(disable=True))
    cells: dict[str, list[Any]] = pa.Table.from_batches(chunks).to_pydict()
    return cells


def write(path: Path, table: pd.DataFrame) -> Path:
    match path.suffix:
        case ".csv":
            table.to_csv(path, index=False)
        case ".tsv":
            table.to_csv(path, index=False, sep="\t")
        case ".jsonl":
            table.to_json(path, orient="records", lines=True)
        case ".parquet":
            table.to_parquet(path)
    return path


@pytest.mark.parametrize("suffix", READERS)
def test_texts_and_labels_are_read_as_written(tmp_path: Path, suffix: str) -> None:
    table = pd.DataFrame({"id": range(len(TEXTS)), "label": LABELS, "text": TEXTS})
    path = write(tmp_path / f"reviews{suffix}", table)
    assert read(path) == {"text": TEXTS, "label": LABELS}
    assert read(path, Columns("text")) == {"text": TEXTS}


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize("labels", [[3, -1, 3], [True, False, True]])
def test_integers_and_booleans_are_labels(tmp_path: Path, suffix: str, labels: list[Any]) -> None:
    path = write(tmp_path / f"reviews{suffix}", pd.DataFrame({"text": ["a", "b", "c"], "label": labels}))
    assert read(path)["label"] == labels


@pytest.mark.parametrize("type_", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())])
def test_every_string_type_of_parquet_is_read(tmp_path: Path, type_: pa.DataType) -> None:
    write_table(pa.table({"text": pa.array(["a", "b"]).cast(type_), "label": [1, 0]}), tmp_path / "x.parquet")
    assert read(tmp_path / "x.parquet") == {"text": ["a", "b"], "label": [1, 0]}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bom.csv", "\ufefftext,label\na,1\nb,0\n"),
        ("bom.jsonl", '\ufeff{"text": "a", "label": "1"}\n{"text": "b", "label": "0"}\n'),
        ("crlf.csv", "text,label\r\na,1\r\nb,0\r\n"),
        ("blank_lines.csv", "text,label\na,1\n\nb,0\n\n"),
        ("blank_lines.jsonl", '{"text": "a", "label": "1"}\n\n{"text": "b", "label": "0", "more": {}}\n\n'),
        ("dates_as_columns.jsonl", '{"text": "a", "label": "1", "2020": 1}\n{"text": "b", "label": "0"}\n'),
    ],
)
def test_line_breaks_blank_lines_and_byte_order_marks(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_bytes(content.encode())
    assert read(tmp_path / name) == {"text": ["a", "b"], "label": ["1", "0"]}


@pytest.mark.parametrize("column", ["date", "modified", "2019"])
def test_jsonl_values_are_not_converted(tmp_path: Path, column: str) -> None:
    (tmp_path / "x.jsonl").write_text(json.dumps({column: "2020-01-01"}))
    assert read(tmp_path / "x.jsonl", Columns(column)) == {"text": ["2020-01-01"]}


def many_lines(last: str, rows: int = 3000) -> str:
    return '{"text": "good", "label": 1}\n' * rows + last


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.csv", None, "absent.csv: no such file; check the path"),
        ("x.xlsx", "x", r"x.xlsx: unknown format .xlsx; use .csv, .tsv, .jsonl or .parquet"),
        ("x", "x", r"x: unknown format \(no suffix\); use"),
        ("x.csv", "", "x.csv: is empty; it needs rows with text and label"),
        ("x.jsonl", "", "x.jsonl: is empty; it needs rows with text and label"),
        ("x.csv", "review,label\na,1\n", "^data.text_column=text: no such column in .*x.csv; it has review, label$"),
        ("x.csv", "text,stars\na,1\n", "^data.label_column=label: no such column in .*x.csv; it has text, stars$"),
        ("x.csv", "text,label\na,1\ncaf\xe9,1\n", "x.csv: cannot be read as csv in UTF-8 .*can't decode byte 0xe9"),
        ("x.csv", "text,label\na, b,1\nc, d,0\n", "rows have more cells than the header"),
        ("x.csv", "text,label\na,1\nc, d,0\n", "cannot be read as csv in UTF-8 .*Expected 2 fields in line 3, saw 3"),
        ("x.csv", "text,label\na,1\nb,\n", "x.csv: row 2, column label is empty; fix the file"),
        ("x.csv", "text,label\na,1\nb\n", "x.csv: row 2, column label is empty; fix the file"),
        ("x.jsonl", '{"text": "a", "label": 1}\n{"text": null}\n', "row 2, column text is empty"),
        ("x.jsonl", '{"text": "a", "label": 1}\n{"label": 1}\n', "row 2, column text is empty"),
        ("x.jsonl", '{"text": "a", "label": 1}\n{"text": "b", "label": ""}\n', "row 2, column label is empty"),
        ("x.jsonl", '{"text": "a", "label": 1}\n{"text": 7, "label": 1}\n', "row 2, column text holds 7, not text"),
        ("x.jsonl", '{"text": ["a"], "label": 1}\n', r"row 1, column text holds \['a'\], not text"),
        ("x.jsonl", '{"text": "a", "label": 0.5}\n', "row 1, column label holds 0.5; labels must be"),
        ("x.jsonl", '{"text": "a", "label": [1]}\n', r"row 1, column label holds \[1\]; labels must be"),
        ("x.jsonl", '{"text": "a", "label": 1}\n{"text": "b", "label": true}\n', "row 2, column label holds True"),
        ("x.jsonl", many_lines('{"text": "a", "label": "1"}'), "row 3,001, column label holds '1'; labels must be"),
        ("x.jsonl", '{"text": "a", "la', r"cannot be read as jsonl in UTF-8 \(line 1: Unterminated string"),
        ("x.jsonl", many_lines('{"text"'), r"cannot be read as jsonl in UTF-8 after row 2,048 \(line 3001: "),
        ("x.jsonl", '[{"text": "a", "label": 1}]', "line 1: not a JSON object"),
        ("x.jsonl", '{"text": "\\ud800", "label": 1}', "surrogates not allowed"),
        ("x.jsonl", '{"text": "a", "label": 99999999999999999999}', "too large"),
        ("x.jsonl", '{"text": "a", "label": ' + "[" * 100_000, "maximum recursion depth exceeded"),
        ("x.parquet", "PAR1 cut off", "x.parquet: cannot be read as parquet"),
    ],
)
def test_invalid_file_raises_one_line_that_names_the_place(
    tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content.encode("latin1"))
    with pytest.raises(InputError, match=message) as raised:
        read(tmp_path / name)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        (pa.array(["a", None]), pa.array([1, 0]), "row 2, column text is empty"),
        (pa.array([1, 2]), pa.array([1, 0]), "row 1, column text holds 1, not text"),
        (pa.array([b"a", b"b"]), pa.array([1, 0]), "row 1, column text holds b'a', not text"),
        (pa.array([b"a", b"\xff"]).view(pa.string()), pa.array([1, 0]), "cannot be read as parquet in UTF-8"),
        (pa.array(["a", "b"]), pa.array([1, None]), "row 2, column label is empty"),
        (pa.array(["a", "b"]), pa.array([1.0, 0.0]), "row 1, column label holds 1.0; labels must be"),
    ],
)
def test_invalid_parquet_column_raises(tmp_path: Path, texts: pa.Array, labels: pa.Array, message: str) -> None:
    write_table(pa.table({"text": texts, "label": labels}), tmp_path / "x.parquet")
    with pytest.raises(InputError, match=message):
        read(tmp_path / "x.parquet")


def test_options_of_a_command_are_named_in_messages(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"text": 3}\n')
    for column, message in (("review", "^--column review: no such"), ("text", "another column with --column NAME")):
        with pytest.raises(InputError, match=message):
            read(tmp_path / "x.jsonl", Columns(column, text_option="--column "))


def test_chunks_before_an_invalid_row_are_read(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(many_lines('{"text": 3, "label": 1}'))
    chunks = read_chunks([tmp_path / "x.jsonl"], COLUMNS, Progress(disable=True))
    assert [len(next(chunks)) for _ in range(2)] == [CHUNK_SIZE] * 2
    with pytest.raises(InputError, match="row 3,001"):
        next(chunks)


def test_files_of_a_split_are_one_table(tmp_path: Path) -> None:
    files = [tmp_path / "train-0.csv", tmp_path / "train-1.csv", tmp_path / "train-2.csv"]
    write_csv(files[0], [("a", "1")])
    write_csv(files[1], [])
    write_csv(files[2], [("0", "b")], columns=("label", "text"))
    assert load_table(files, COLUMNS).to_pydict() == {"text": ["a", "b"], "label": ["1", "0"]}


def test_files_without_rows_raise(tmp_path: Path) -> None:
    files = [write_csv(tmp_path / f"train-{i}.csv", []) for i in range(2)]
    with pytest.raises(InputError, match=f"{files[0]}: contains no rows"):
        load_table(files[:1], COLUMNS)
    with pytest.raises(InputError, match=f"{tmp_path}: contains no rows"):
        load_table(files, COLUMNS)


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
    expected = load_table([path], COLUMNS).to_pydict()
    (cached,) = (tmp_path / "cache").glob("tables/*.arrow")
    written = cached.read_bytes()
    damage(cached)
    assert load_table([path], COLUMNS).to_pydict() == expected
    assert cached.read_bytes() == written


def test_cache_is_reused_until_the_file_or_the_columns_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTIMENT_CACHE", str(tmp_path / "cache"))
    path = write_csv(tmp_path / "reviews.csv", [("a", "1"), ("b", "0")])
    load_table([path], COLUMNS)
    with monkeypatch.context() as patch:
        patch.setattr("sentiment.data.tables.READERS", {})  # nothing can be read
        assert load_table([path], COLUMNS).to_pydict() == {"text": ["a", "b"], "label": ["1", "0"]}
    assert load_table([path], Columns("label", "text")).to_pydict() == {"text": ["1", "0"], "label": ["a", "b"]}
    write_csv(path, [("a", "1"), ("c", "0")])
    assert load_table([path], COLUMNS).to_pydict() == {"text": ["a", "c"], "label": ["1", "0"]}


def test_failed_reading_leaves_no_table_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTIMENT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "x.jsonl").write_text(many_lines('{"text": 3, "label": 1}'))
    with pytest.raises(InputError, match="row 3,001"):
        load_table([tmp_path / "x.jsonl"], COLUMNS)
    assert [path.suffix for path in (tmp_path / "cache" / "tables").iterdir()] == [".lock"]


def test_error_of_the_cache_is_not_blamed_on_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SENTIMENT_CACHE", str(tmp_path / "file"))
    with pytest.raises(NotADirectoryError):
        load_table([write_csv(tmp_path / "x.csv", [("a", 1)])], COLUMNS)


def test_table_is_memory_mapped(tmp_path: Path) -> None:
    before = pa.total_allocated_bytes()
    table = load_table([write_csv(tmp_path / "x.csv", [("word " * 1000, i) for i in range(5000)])], COLUMNS)
    assert table.nbytes > 25_000_000
    assert pa.total_allocated_bytes() - before < 1_000_000
    assert np.all(np.array(table["label"].to_pylist()).astype(int) == np.arange(5000))
