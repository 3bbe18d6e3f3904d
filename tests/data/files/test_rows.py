import bz2
import codecs
import csv
import gzip
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow.parquet import write_table

from sentiment.data.files.formats import CHUNK_SIZE, MAX_CELLS, READERS, ReadOptions, find_format
from sentiment.data.files.rows import read_rows
from sentiment.runtime.errors import InputError

TEXTS = [
    "Good, really.",
    'Not "good"',
    "null",
    "NA",
    "a film in\ntwo lines",
    "",
    "电影很好",
    "007",
    "a\tb",
] * 200
LABELS = ["007", "x", "true"] * 600
assert len(TEXTS) > CHUNK_SIZE
TABLE = "text,label\na,1\nb,0\n"
ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
}


def read(path: Path, **options: Any) -> dict[str, list[Any]]:
    chunks = list(read_rows(path, ReadOptions(**options)))
    texts = [text for chunk in chunks for text in chunk.texts]
    return {"text": texts, "label": [label for chunk in chunks for label in chunk.labels or []]}


def write(path: Path, table: pd.DataFrame) -> Path:
    match path.suffix:
        case ".csv":
            table.to_csv(path, index=False)
        case ".tsv":
            table.to_csv(path, index=False, sep="\t")
        case ".json":
            table.to_json(path, orient="records")
        case ".jsonl" | ".ndjson":
            table.to_json(path, orient="records", lines=True)
        case ".parquet":
            table.to_parquet(path)
    return path


@pytest.mark.parametrize("suffix", sorted(READERS.keys() - {".txt"}))
def test_texts_and_labels_are_read_as_written(tmp_path: Path, suffix: str) -> None:
    table = pd.DataFrame({"id": range(len(TEXTS)), "label": LABELS, "text": TEXTS})
    path = write(tmp_path / f"reviews{suffix}", table)
    assert read(path) == {"text": TEXTS, "label": LABELS}
    assert read(path, label_column=None) == {"text": TEXTS, "label": []}
    rows = list(read_rows(path, ReadOptions(label_column=None), all_columns=True))
    assert [
        row for chunk in rows for row in range(chunk.first, chunk.first + len(chunk.texts))
    ] == [*range(1, len(TEXTS) + 1)]
    assert [int(value) for chunk in rows for value in chunk.cells["id"]] == list(range(len(TEXTS)))
    assert list(rows[0].cells) == ["id", "label", "text"]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([3, -1, 3], ["3", "-1", "3"]),
        ([True, False, True], ["True", "False", "True"]),
        ([1.0, 2.5, float("nan")], ["1", "2.5", None]),
        (["a\u200b", " b\xa0", "\n"], ["a", "b", None]),
        (["NaN", "n/a", "007"], ["NaN", "n/a", "007"]),
    ],
)
def test_labels_of_any_type_are_text(
    tmp_path: Path, suffix: str, labels: list[Any], expected: list[str]
) -> None:
    path = write(
        tmp_path / f"reviews{suffix}", pd.DataFrame({"text": ["a", "b", "c"], "label": labels})
    )
    assert read(path)["label"] == expected


@pytest.mark.parametrize(
    "type_", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_every_string_type_of_parquet_is_read(tmp_path: Path, type_: pa.DataType) -> None:
    text = pa.array(["a", "b"]).cast(type_)
    write_table(
        pa.table({"text": text, "label": pa.array(["1", "0"]).cast(type_)}), tmp_path / "x.parquet"
    )
    assert read(tmp_path / "x.parquet") == {"text": ["a", "b"], "label": ["1", "0"]}


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("bom.csv", "\ufeff" + TABLE, {}),
        ("two_boms.csv", "\ufeff\ufeff" + TABLE, {}),
        ("bom.jsonl", '\ufeff{"text": "a", "label": "1"}\n{"text": "b", "label": "0"}\n', {}),
        ("crlf.csv", TABLE.replace("\n", "\r\n"), {}),
        ("cr.csv", TABLE.replace("\n", "\r"), {}),
        ("blank_lines.csv", "text,label\na,1\n\nb,0\n  \n", {}),
        (
            "blank_lines.jsonl",
            '{"text": "a", "label": "1"}\n\n{"text": "b", "label": "0", "more": {}}\n\n',
            {},
        ),
        (
            "dates_as_columns.jsonl",
            '{"text": "a", "label": "1", "2020": 1}\n{"text": "b", "label": "0"}\n',
            {},
        ),
        ("array.json", '\n[{"text": "a", "label": 1},\n {"text": "b", "label": 0}]', {}),
        (
            "nested.json",
            '[{"x": {"y": "a"}, "label": 1}, {"x": {"y": "b"}, "label": 0}]',
            {"text_column": "x.y"},
        ),
        ("space.csv", " text , label\na,1\nb,0\n", {}),
        (
            "numbers.csv",
            "1,a\n0,b\n".replace("1,a", '"1","a"'),
            {"header": False, "text_column": "2", "label_column": "1"},
        ),
        ("semicolon.csv", TABLE.replace(",", ";"), {}),
        ("bar.csv", TABLE.replace(",", "|"), {}),
        ("tab.csv", TABLE.replace(",", "\t"), {}),
        ("caret.csv", TABLE.replace(",", "^"), {"separator": "^"}),
    ],
)
def test_forms_of_one_table(
    tmp_path: Path, name: str, content: str, options: dict[str, Any]
) -> None:
    (tmp_path / name).write_bytes(content.encode())
    assert read(tmp_path / name, **options) == {"text": ["a", "b"], "label": ["1", "0"]}


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-8"])
@pytest.mark.parametrize("name", ["x.csv", "x.jsonl", "x.json", "x.txt"])
def test_encodings(tmp_path: Path, name: str, encoding: str) -> None:
    content = {"x.csv": "text,label\ncafé,é\n", "x.txt": "café\n"}.get(
        name, '{"text": "café", "label": "é"}\n'
    )
    (tmp_path / name).write_bytes(content.encode(encoding))
    label_column = None if name == "x.txt" else "label"
    options = {"label_column": label_column, "encoding": encoding}
    assert read(tmp_path / name, **options)["text"] == ["café"]
    if encoding == "cp1252":
        message = (
            rf"{name}: not in UTF-8 near b.*caf\\xe9.*; name its encoding: data.encoding=cp1252 "
        )
        with pytest.raises(InputError, match=message):
            read(tmp_path / name, label_column=label_column)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("mark", [codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE])
def test_byte_order_mark_goes_before_the_setting(
    tmp_path: Path, mark: bytes, encoding: str
) -> None:
    order = "utf-16-le" if mark == codecs.BOM_UTF16_LE else "utf-16-be"
    (tmp_path / "x.csv").write_bytes(mark + TABLE.encode(order))
    assert read(tmp_path / "x.csv", encoding=encoding)["text"] == ["a", "b"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_encoding_without_a_byte_order_mark_is_named(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "x.csv").write_bytes(TABLE.encode(encoding))
    with pytest.raises(InputError, match="UTF-16 without a mark; name utf-16-le or utf-16-be"):
        read(tmp_path / "x.csv")
    assert read(tmp_path / "x.csv", encoding=encoding)["text"] == ["a", "b"]


def test_wrong_encoding_is_reported(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes("text,label\ncafé,1\n".encode())
    with pytest.raises(InputError, match=r"x.csv: not in LATIN-1; type data.encoding=utf-8, or"):
        read(tmp_path / "x.csv", encoding="latin-1")


@pytest.mark.parametrize("encoding", ["gbk", "cp1251", "shift_jis"])
def test_other_encodings_are_not_taken_for_that_of_western_europe(
    tmp_path: Path, encoding: str
) -> None:
    text = {
        "gbk": "这部电影真的很好看",
        "cp1251": "Мне понравился",
        "shift_jis": "映画は面白かった",
    }
    (tmp_path / "x.csv").write_bytes(f"text,label\n{text[encoding]},1\n".encode(encoding))
    message = r"not in UTF-8 near .*; name its encoding: .*cp1251 \(Cyrillic\), gb18030 \(Chinese\)"
    with pytest.raises(InputError, match=message):
        read(tmp_path / "x.csv")
    assert read(tmp_path / "x.csv", encoding=encoding)["text"] == [text[encoding]]


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl", "x.txt"])
def test_damaged_bytes_are_named_or_replaced(tmp_path: Path, name: str) -> None:
    lines = {
        "x.csv": "text,label\ncafé,1\nthé,1\nit\x92s,0\n",
        "x.jsonl": "".join(f'{{"text": "{text}"}}\n' for text in ("café", "thé", "it\x92s")),
        "x.txt": "café\nthé\nit\x92s\n",
    }
    content = lines[name].encode().replace("\x92".encode(), b"\x92")
    (tmp_path / name).write_bytes(content)
    label_column = "label" if name == "x.csv" else None
    message = (
        rf"{name}: not in UTF-8 near .*it\\x92s.*; fix it, or type data.encoding_errors=replace "
    )
    with pytest.raises(InputError, match=message):
        read(tmp_path / name, label_column=label_column)
    found = read(tmp_path / name, label_column=label_column, encoding_errors="replace")
    assert found["text"] == ["café", "thé", "it\ufffds"]


def test_unknown_encoding_raises(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(TABLE)
    for encoding in ("utf-9", "base64", "\0"):
        with pytest.raises(
            InputError,
            match=rf"^data\.encoding={encoding} cannot be used .*; for example cp1252$",
        ):
            read(tmp_path / "x.csv", encoding=encoding)


@pytest.mark.parametrize("kind", [*ENCODERS, "zip"])
@pytest.mark.parametrize("name", ["x.csv.{}", "x.csv"])
def test_compressed_files(tmp_path: Path, kind: str, name: str) -> None:
    path = tmp_path / name.format(kind)
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("inner.csv", TABLE)
            archive.writestr("__MACOSX/._inner.csv", "x")
    else:
        path.write_bytes(ENCODERS[kind](TABLE.encode()))
    assert read(path) == {"text": ["a", "b"], "label": ["1", "0"]}


@pytest.mark.parametrize("column", ["date", "modified", "2019"])
def test_jsonl_values_are_not_converted(tmp_path: Path, column: str) -> None:
    (tmp_path / "x.jsonl").write_text(json.dumps({column: "2020-01-01"}))
    assert read(tmp_path / "x.jsonl", text_column=column, label_column=None)["text"] == [
        "2020-01-01"
    ]


def many_lines(last: str, rows: int = 3000) -> str:
    return '{"text": "good", "label": 1}\n' * rows + last


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.csv", None, "absent.csv: no such file; check the path"),
        (
            "x.xlsx",
            "x",
            r"x.xlsx: unknown format .xlsx; use .csv, .tsv, .jsonl, .json, .ndjson, .parquet, .txt",
        ),
        ("x", "x", r"x: unknown format \(no suffix\); use"),
        ("x.txt", "a\nb\n", r"x.txt: lines of text have no classes; put .* \(pos.txt, neg.txt\)"),
        ("x.csv", "", "x.csv: contains no rows; add some"),
        ("x.jsonl", "", "x.jsonl: contains no rows; add some"),
        (
            "x.csv",
            "review,stars\ngood film,1\nbad film,2\n",
            "^data.text_column=text: no such column in .*x.csv; it has review, stars; "
            "type data.text_column=NAME data.label_column=NAME, or data.header=false if that is a row$",
        ),
        (
            "x.csv",
            "Text,Label\ngood film,1\nbad film,2\n",
            "it has Text, Label; type data.text_column=NAME data.label_column=NAME, or",
        ),
        (
            "x.csv",
            "text,stars\naa,1\nbb,2\n",
            "^data.label_column=label: .*; it has text, stars; type data.label_column=NAME, or",
        ),
        (
            "x.csv",
            "1,a long text about a film\n2,another one about a film\n3,one more of them\n",
            "it has 1, a long text about a film; type .*, or data.header=false if that is a row$",
        ),
        (
            "x.json",
            '[{"data": {"review": "good film"}, "y": 1}, {"data": {"review": "bad"}, "y": 2}]',
            "it has data, y; type data.text_column=NAME data.label_column=NAME$",
        ),
        (
            "x.csv",
            "Id,Text,Label,Lang\n1,aa,5,en\n2,bb,4,de\n",
            "it has Id, Text, Label, Lang; type data.text_column=NAME data.label_column=NAME, or",
        ),
        (
            "x.csv",
            "id,text\n1,good\n2,bad\n3,dull\n",
            "^data.label_column=label: .*; it has id, text; type",
        ),
        (
            "x.jsonl",
            '{"texts": "a", "lable": 1}\n',
            "it has texts, lable; type data.text_column=NAME data.label_column=NAME$",
        ),
        ("x.csv", "text,label\na,1\ntext,label\n", "row 2 repeats the header; remove it"),
        ("x.json", '{"a": [{"text": "b"}], "c": 1}', "no such column in .*; it has a, c; type"),
        ("x.json", '{"a": {"text": "b"},\n "c": 1', "cannot be read as json .line 2: Expecting"),
        ("x.csv", "text,text,label\na,b,1\n", "2 columns are named text; rename all but one"),
        (
            "x.csv",
            "text,label\na, b,1\nc, d,0\n",
            r"cannot be read as csv \(line 2: 3 cells, but 2 in the first line\)",
        ),
        (
            "x.csv",
            "text,label\na,1\nb\n",
            r"cannot be read as csv \(line 3: 1 cells, but 2 in the first line\)",
        ),
        (
            "x.csv",
            'text,label\na,1\n"b, c" d,0\n',
            r"line 3: ',' expected after",
        ),
        ("x.csv", 'text,label\na,1\n"b, c,0\nd,1\n', r"line 3: unexpected end of data"),
        (
            "x.jsonl",
            '{"text": "a", "label": 1}\n{"text": 7, "label": 1}\n',
            "row 2, column text holds 7, not text",
        ),
        ("x.jsonl", '{"text": ["a"], "label": 1}\n', r"row 1, column text holds \['a'\], not text"),
        (
            "x.jsonl",
            '{"text": "a", "label": [1]}\n',
            r"row 1, column label holds \[1\], not text, a number or a boolean; fix it or",
        ),
        ("x.jsonl", '{"text": "a", "la', r"cannot be read as jsonl \(line 1: Unterminated string"),
        (
            "x.jsonl",
            many_lines('{"text"'),
            r"after row 2,048: cannot be read as jsonl \(line 3001: ",
        ),
        ("x.jsonl", many_lines('{"text": 3, "label": 1}'), "row 3,001, column text holds 3"),
        ("x.jsonl", "3\n", "row 1 is no JSON object"),
        ("x.json", "[3]\n", "row 1 is no JSON object"),
        ("x.csv", "\xd0\xcf\x11\xe0\xa1", "x.csv: not in UTF-8 near"),  # an Excel workbook
        ("x.jsonl", '{"text": "a", "label": ' + "[" * 100_000, "maximum recursion depth exceeded"),
        ("x.parquet", "PAR1 cut off", "x.parquet: cannot be read as parquet"),
        ("x.csv.gz", "\x1f\x8b cut off", "x.csv.gz: cannot be read as csv"),
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
        (pa.array([1, 2]), pa.array([1, 0]), "row 1, column text holds 1, not text"),
        (pa.array([b"a", b"b"]), pa.array([1, 0]), "row 1, column text holds b'a', not text"),
        (
            pa.array([b"a", b"\xff"]).view(pa.string()),
            pa.array([1, 0]),
            "x.parquet: .*can't decode byte 0xff",
        ),
        (
            pa.array(["a", "b"]),
            pa.array([b"1", b"0"]),
            "row 1, column label holds b'1', not text, a number",
        ),
    ],
)
def test_invalid_parquet_column_raises(
    tmp_path: Path, texts: pa.Array, labels: pa.Array, message: str
) -> None:
    write_table(pa.table({"text": texts, "label": labels}), tmp_path / "x.parquet")
    with pytest.raises(InputError, match=message):
        read(tmp_path / "x.parquet")


@pytest.mark.parametrize(("column", "all_columns"), [("text", False), ("text", True), ("id", True)])
def test_columns_of_one_name_in_parquet_raise(
    tmp_path: Path, column: str, all_columns: bool
) -> None:
    names = [column, column, "id" if column == "text" else "text"]
    write_table(pa.table([pa.array(["a"])] * 3, names=names), tmp_path / "x.parquet")
    options = ReadOptions(label_column=None)
    with pytest.raises(InputError, match=f"2 columns are named {column}; rename all but one"):
        list(read_rows(tmp_path / "x.parquet", options, all_columns))


def test_compressed_parquet_and_what_is_no_file_raise(tmp_path: Path) -> None:
    (tmp_path / "x.parquet.gz").write_bytes(gzip.compress(b"PAR1"))
    with pytest.raises(InputError, match=r"x.parquet.gz: cannot be read as parquet"):
        read(tmp_path / "x.parquet.gz")
    (tmp_path / "x.csv").mkdir()
    with pytest.raises(InputError, match=r"x.csv: no such file; check the path"):
        read(tmp_path / "x.csv")


def test_archive_with_several_files_raises(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("a.csv", "b.csv"):
            archive.writestr(name, TABLE)
    with pytest.raises(
        InputError, match=r"x.zip: holds 2 files \(a.csv, b.csv\); extract the one to read"
    ):
        read(tmp_path / "x.zip")


def test_flags_of_a_command_are_named_in_messages(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"text": 3}\n')
    for column, message in (
        ("review", "^--column review: no such .* it has text; type --column NAME$"),
        ("text", "another column with --column NAME"),
    ):
        with pytest.raises(InputError, match=message):
            read(
                tmp_path / "x.jsonl",
                text_column=column,
                label_column=None,
                flags={"text_column": "--column {}"},
            )


def test_encoding_that_cannot_be_set_is_not_advised(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"text\ncaf\xe9\n")
    with pytest.raises(InputError, match=r"x.csv: not in UTF-8 near .*; convert the file$"):
        read(tmp_path / "x.csv", label_column=None, flags={"encoding": ""})


def test_empty_cells_are_empty_texts_and_missing_labels(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("text,label\n,1\n\u200b , \nb,0\n")
    (tmp_path / "x.jsonl").write_text(
        '{"label": 1}\n{"text": "\\u200b ", "label": " "}\n{"text": "b", "label": 0}\n'
    )
    for name in ("x.csv", "x.jsonl"):
        assert read(tmp_path / name) == {"text": ["", "", "b"], "label": ["1", None, "0"]}


NESTED = [{"review": {"body": f"film {n}", "n": n}, "label": n % 2} for n in range(CHUNK_SIZE + 9)]


@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.parquet"])
def test_dotted_path_is_read_beside_all_columns(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, pd.DataFrame(NESTED))
    options = ReadOptions(text_column="review.body", label_column=None)
    chunks = list(read_rows(path, options, all_columns=True))
    assert [text for chunk in chunks for text in chunk.texts] == [
        f"film {n}" for n in range(len(NESTED))
    ]
    assert [*chunks[0].cells] == ["review", "label"]
    assert [cell for chunk in chunks for cell in chunk.cells["review"]] == [
        record["review"] for record in NESTED
    ]
    with pytest.raises(InputError, match=r"data.text_column=review\.bodi: no such column"):
        read(path, text_column="review.bodi")


def test_rows_without_the_key_are_empty(tmp_path: Path) -> None:
    content = '{"text": "good"}\n' * CHUNK_SIZE + '{"other": "bad"}\n'
    (tmp_path / "x.jsonl").write_text(content)
    for all_columns in (False, True):
        options = ReadOptions(label_column=None)
        *_, last = read_rows(tmp_path / "x.jsonl", options, all_columns)
        assert last.texts == [""]
    assert last.cells == {"other": ["bad"], "text": [None]}


@pytest.mark.parametrize("count", [1, 2])
def test_lines_that_start_with_a_list_of_objects_are_rows(tmp_path: Path, count: int) -> None:
    line = '{"tags": [{"a": 1}], "text": "good", "label": 1}\n'
    (tmp_path / "x.jsonl").write_text(line * count)
    assert read(tmp_path / "x.jsonl") == {"text": ["good"] * count, "label": ["1"] * count}


@pytest.mark.parametrize(
    "content", ['{{"text": "{}", "label": 1}}\n', '[{{"text": "{}", "label": 1}}]']
)
def test_lone_surrogate_is_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content.format(r"so \ud800, \ud83d\ude00"))
    assert read(tmp_path / "x.json")["text"] == ["so \ufffd, 😀"]


def test_every_column_has_a_name_of_its_own_in_all_chunks(tmp_path: Path) -> None:
    rows = "".join(f"{n},b,good film,d\n" for n in range(CHUNK_SIZE + 6))
    (tmp_path / "x.csv").write_text(f"column_2,,text,column_2\n{rows}")
    chunks = list(read_rows(tmp_path / "x.csv", ReadOptions(label_column=None), all_columns=True))
    assert len(chunks) == 2
    for chunk in chunks:
        assert [*chunk.cells] == ["column_1", "column_2_", "text", "column_4"]
    assert chunks[-1].cells["column_1"][-1] == str(CHUNK_SIZE + 5)


@pytest.mark.parametrize(
    ("archive", "member", "suffix"),
    [
        ("reviews.zip", "reviews", ".csv"),  # as pandas writes it
        ("reviews.csv.zip", "reviews", ".csv"),
        ("reviews.tsv.zip", "data", ".tsv"),
        ("reviews.zip", "data.jsonl", ".jsonl"),
    ],
)
def test_format_of_an_archive(tmp_path: Path, archive: str, member: str, suffix: str) -> None:
    with zipfile.ZipFile(tmp_path / archive, "w") as file:
        file.writestr(member, TABLE)
    assert find_format(tmp_path / archive) == suffix
    pd.DataFrame({"text": ["a", "b"], "label": [1, 0]}).to_csv(tmp_path / "reviews.zip")
    assert read(tmp_path / "reviews.zip") == {"text": ["a", "b"], "label": ["1", "0"]}


def test_very_wide_table_is_read_in_few_rows_at_a_time(tmp_path: Path) -> None:
    names = ["text", *(f"c{n}" for n in range(50_000))]
    cells = ",".join(["x"] * len(names))
    path = tmp_path / "wide.csv"
    path.write_text("\n".join([",".join(names), *[cells] * 50]))
    chunks = [*read_rows(path, ReadOptions(label_column=None), all_columns=True)]
    assert sum(len(rows.texts) for rows in chunks) == 50
    assert max(len(rows.texts) * len(names) for rows in chunks) <= MAX_CELLS
    assert [rows.first for rows in chunks] == [1, 21, 41]


def test_rows_do_not_depend_on_the_columns_that_are_read(tmp_path: Path) -> None:
    quotation = ['"I went to see it.', "a film", 'it was great fun."', "dull"] * 6
    lines = "".join(f"{n},{text},{n % 2}\n" for n, text in enumerate(quotation))
    (tmp_path / "x.csv").write_text(f"id,text,label\n{lines}")
    for label_column in ("label", None):
        for id_column in ("id", None):
            options = {"label_column": label_column, "id_column": id_column}
            assert read(tmp_path / "x.csv", **options)["text"] == quotation


def test_reading_works_with_any_limit_of_the_csv_module(tmp_path: Path) -> None:
    text = "good " * 100_000
    (tmp_path / "x.csv").write_text(f"text,label\n{text},1\n")
    before = csv.field_size_limit(131_072)
    try:
        assert read(tmp_path / "x.csv")["text"] == [text]
    finally:
        csv.field_size_limit(before)
