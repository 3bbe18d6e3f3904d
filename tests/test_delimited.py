import csv
import io
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentiment.data.delimited import Dialect, RowError, find_dialect, read_rows

ROWS = [("a film, or not", "1"), ('he said "hm"', "0"), ('ends with "', "1"), ("it's", "0")]


def read(
    content: str, columns: Sequence[str] = ("text", "label"), header: bool = True
) -> tuple[Dialect, list[list[str]]]:
    def open_lines() -> io.StringIO:
        return io.StringIO(content, newline="")

    dialect = find_dialect(open_lines, columns, header, None, ",")
    return dialect, list(read_rows(open_lines(), dialect))


def write(rows: Sequence[Sequence[str]], **dialect: str | int | bool | None) -> str:
    stream = io.StringIO(newline="")
    csv.writer(stream, **dialect).writerows([("text", "label"), *rows])  # type: ignore[arg-type]
    return stream.getvalue()


@pytest.mark.parametrize(
    ("dialect", "found"),
    [
        ({}, Dialect(",")),
        ({"delimiter": ";"}, Dialect(";")),
        ({"delimiter": "\t", "quoting": csv.QUOTE_ALL}, Dialect("\t")),
        ({"quotechar": "'", "quoting": csv.QUOTE_ALL}, Dialect(",", "'")),
        ({"doublequote": False, "escapechar": "\\", "quoting": csv.QUOTE_ALL}, Dialect(",", escapechar="\\")),
        ({"delimiter": "\t", "quoting": csv.QUOTE_NONE, "quotechar": None}, Dialect("\t")),
    ],
)
def test_dialects_are_found(dialect: dict[str, str | int | bool | None], found: Dialect) -> None:
    assert read(write(ROWS, **dialect)) == (found, [["text", "label"], *map(list, ROWS)])


@pytest.mark.parametrize("separator", ["\t", ";"])
@pytest.mark.parametrize("stray", [(3,), (3, 40), (3, 4), (1, 2, 30, 31, 77)])
def test_stray_quotes_swallow_no_row(separator: str, stray: tuple[int, ...]) -> None:
    texts = ['"' * (i in stray) + f"film {i}, or" for i in range(80)]
    content = f"text{separator}label\n" + "".join(f"{text}{separator}{i % 2}\n" for i, text in enumerate(texts))
    dialect, (_, *rows) = read(content)
    assert dialect == Dialect(separator, None)
    assert rows == [[text, str(i % 2)] for i, text in enumerate(texts)]
    assert dialect.notes(separator, None) == ("quotes are part of the text",)


@pytest.mark.parametrize("separator", [",", ";"])
def test_quotation_over_several_rows_swallows_none(separator: str) -> None:
    texts = ['"I went to see it.', "a film", 'it was great fun."', '"', "dull", '"']
    content = f"text{separator}label\n" + "".join(f"{text}{separator}{i % 2}\n" for i, text in enumerate(texts))
    dialect, (_, *rows) = read(content)
    assert dialect == Dialect(separator, None)
    assert [text for text, _ in rows] == texts


def test_only_backslashes_before_quotes_are_dropped() -> None:
    content = 'text,label\n"he said \\"hi\\"",1\n"C:\\new\\\\x, ""so""",0\n'
    assert read(content)[1][1:] == [['he said "hi"', "1"], ['C:\\new\\x, "so"', "0"]]


def test_blanks_before_quotes_are_dropped() -> None:
    for content in ('text, label\na film, "pos"\nanother, "neg"\n', 'label, text\npos, "good, yes"\nneg, "b"\n'):
        dialect, rows = read(content)
        assert dialect == Dialect(",", skipinitialspace=True)
        assert {"pos", "neg"} <= {cell for row in rows for cell in row}


def test_quoted_cells_may_have_line_breaks() -> None:
    rows = [('two\nlines, quoted "so"', "1"), ("one\r\n", "0")]
    assert read(write(rows))[1][1:] == [list(row) for row in rows]


def test_lines_before_the_header_and_columns_by_number() -> None:
    assert read("sep=;\ntext;label\na,b;1\n") == (Dialect(";", skipped_lines=1), [["text", "label"], ["a,b", "1"]])
    assert read("1|a, b\n2|c, d, e\n", ("2", "1"), header=False)[1] == [["1", "a, b"], ["2", "c, d, e"]]
    assert read("a film;pos\nanother;neg\n", ("1",), header=False)[0] == Dialect(";")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,label\na,1\nb\n", "line 3: has 1 cell, the first line 2"),
        ("text,label\n\na,1,2\n", "line 3: has 3 cells, the first line 2"),
        ("text,label\na,1\ntext,label\n", "line 3: repeats the header; remove it"),
        ('"text","label"\n"so "nice" it","1"\n"b","0"\n', "line 2: a quote inside a quoted cell is not doubled"),
        ('text,label\n"a\nb",1\n"c, d"e,0\n', "line 4: a quote inside a quoted cell is not doubled"),
        ('text,label\na,1\n"c, d,0\n', "line 3: a quoted cell does not end"),
    ],
)
def test_invalid_row_is_named(content: str, message: str) -> None:
    with pytest.raises(RowError, match=message):
        read(content)


texts = st.text(st.sampled_from('ab,;\t"\\\n é'), min_size=1, max_size=8).filter(lambda text: text[:2] != ' "')


@settings(max_examples=100, deadline=None)
@given(st.lists(texts, min_size=1, max_size=12), st.sampled_from([",", ";", "\t"]))
def test_what_the_csv_module_writes_is_read(found: list[str], separator: str) -> None:
    if separator == "\t":  # with tabs inside, quoted lines may be rows by themselves
        found = [text.replace("\t", " ") for text in found]
    rows = [(text, str(i % 2)) for i, text in enumerate(found)]
    assert read(write(rows, delimiter=separator))[1][1:] == [list(row) for row in rows]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.sampled_from("ab,\"' é"), min_size=1, max_size=8), min_size=1, max_size=12))
def test_every_line_of_an_unquoted_file_is_a_row(found: list[str]) -> None:
    lines = [f"{'x' * (i % 3)}{text}\t1\n" for i, text in enumerate(found)]
    _, rows = read("text\tlabel\n" + "".join(lines))
    assert len(rows) == len(found) + 1
