import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentiment.data.files.delimited import Dialect, DialectError, find_dialect, parse_rows

ROWS = [("a film, or not", "1"), ('he said "hm"', "0"), ('ends with "', "1"), ("it's", "0")]


def read(
    content: str, columns: Sequence[str] = ("text", "label"), header: bool = True
) -> tuple[Dialect, list[list[str]], tuple[str, ...]]:
    def open_lines() -> io.StringIO:
        return io.StringIO(content, newline="")

    dialect, notes = find_dialect(open_lines, columns, header, None, ",")
    return dialect, list(parse_rows(open_lines(), dialect)), notes


def write(
    rows: Sequence[Sequence[str]],
    header: Sequence[str] = ("text", "label"),
    **dialect: str | int | bool | None,
) -> str:
    stream = io.StringIO(newline="")
    csv.writer(stream, **dialect).writerows([header, *rows])  # type: ignore[arg-type]
    return stream.getvalue()


@pytest.mark.parametrize(
    ("dialect", "found"),
    [
        ({}, Dialect(",")),
        ({"delimiter": ";"}, Dialect(";")),
        ({"delimiter": "\t", "quoting": csv.QUOTE_ALL}, Dialect("\t")),
        (
            {"doublequote": False, "escapechar": "\\", "quoting": csv.QUOTE_ALL},
            Dialect(",", escapechar="\\"),
        ),
        ({"delimiter": "\t", "quoting": csv.QUOTE_NONE, "quotechar": None}, Dialect("\t")),
    ],
)
def test_dialects_are_found(dialect: dict[str, str | int | bool | None], found: Dialect) -> None:
    assert read(write(ROWS, ("text", "label"), **dialect))[:2] == (
        found,
        [["text", "label"], *map(list, ROWS)],
    )


@pytest.mark.parametrize("separator", ["\t", ";"])
@pytest.mark.parametrize("stray", [(3,), (3, 40), (3, 4), (1, 2, 30, 31, 77)])
def test_stray_quotes_swallow_no_row(separator: str, stray: tuple[int, ...]) -> None:
    texts = ['"' * (i in stray) + f"film {i}, or" for i in range(80)]
    content = f"text{separator}label\n" + "".join(
        f"{text}{separator}{i % 2}\n" for i, text in enumerate(texts)
    )
    dialect, (_, *rows), notes = read(content)
    assert dialect == Dialect(separator, None)
    assert rows == [[text, str(i % 2)] for i, text in enumerate(texts)]
    assert notes[-1] == "quotes are part of the text"


QUOTATIONS = ['"I went to see it.', "a film", 'it was great fun."', '"', "dull", '"'] * 4


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize(
    "row",
    [
        lambda n, text: [text, "pos" if n % 2 else "neg"],
        lambda n, text: [f"tt{n:07}", text],  # without a label, to be predicted
        lambda n, text: [text, "anna" if n % 2 else "", f"2026-01-{n + 1}"],
    ],
)
def test_quotation_over_several_rows_swallows_none(
    separator: str, row: Callable[[int, str], list[str]]
) -> None:
    rows = [row(n, text) for n, text in enumerate(QUOTATIONS)]
    names = [f"column {n}" for n in range(len(rows[0]))]
    content = "".join(f"{separator.join(cells)}\n" for cells in [names, *rows])
    for columns in (names, names[:1], names[1:]):  # whatever is read
        dialect, (_, *found), _ = read(content, columns)
        assert dialect == Dialect(separator, None)
        assert found == rows


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_lines_of_a_text_are_no_rows_though_each_has_all_cells(separator: str) -> None:
    rows = [
        [f"a film{separator} long\nor{separator} wide\nor fun", "1"],
        ["good", "1"],
        ["bad", "0"],
    ]
    _, (_, *found), notes = read(write(rows * 4, delimiter=separator))
    assert found == rows * 4
    assert notes[-1] == "rows over several lines (which could be rows): 4"


def test_texts_alone_may_have_line_breaks() -> None:
    _, (_, *rows), notes = read(write([("two\nlines",), ("one",)], header=["text"]), ("text",))
    assert rows == [["two\nlines"], ["one"]]
    assert notes == ("rows over several lines (which could be rows): 1",)


@pytest.mark.parametrize(
    ("content", "trials"),
    [
        ("text,label\na,1\n", 1),
        ('text,label\n"a\nb, c, d",1\n', 2),
        ('text,label\n"a,1\nb",0\nc,1\nd,0\n', 4),
        ('text,label\n"a" b,1\n', 3),
    ],
)
def test_a_file_is_read_once_per_trial(content: str, trials: int) -> None:
    opened = []

    @contextmanager
    def open_lines() -> Iterator[io.StringIO]:
        opened.append(content)
        yield io.StringIO(content, newline="")

    find_dialect(open_lines, ("text", "label"), True, ",", ",")
    assert len(opened) == trials


def test_only_backslashes_before_quotes_are_dropped() -> None:
    content = 'text,label\n"he said \\"hi\\"",1\n"C:\\new\\\\x, ""so""",0\n'
    assert read(content)[1][1:] == [['he said "hi"', "1"], ['C:\\new\\x, "so"', "0"]]


def test_quoted_cells_may_have_line_breaks() -> None:
    rows = [('two\nlines, quoted "so"', "1"), ("one\r\n", "0")]
    _, (_, *found), notes = read(write(rows))
    assert found == [list(row) for row in rows]
    assert notes == ("rows over several lines: 2",)


def test_separator_is_found_by_the_columns() -> None:
    assert read("text;a,b,c\nd;e,f,g\n", ("text",))[0] == Dialect(";")
    assert read('a,b\n",\n\n', ("1", "2"), header=False)[0] == Dialect(",", None)
    content = "1|a, b\n2|c, d, e\n"
    assert read(content, ("2", "1"), header=False)[1] == [["1", "a, b"], ["2", "c, d, e"]]
    assert read("a film;pos\nanother;neg\n", ("1",), header=False)[0] == Dialect(";")


@pytest.mark.parametrize("columns", [("1", "3"), ("1",)])
def test_separator_does_not_depend_on_the_columns_that_are_read(columns: Sequence[str]) -> None:
    assert read("a, b|c|1\nd, e|f|0\n", columns, header=False)[0] == Dialect("|")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,label\na,1\nb\n", "line 3: 1 cells, but 2 in the first line"),
        ("text,label\n\na,1,2\n", "line 3: 3 cells, but 2 in the first line"),
        (
            '"text","label"\n"so "nice" it","1"\n"b","0"\n',
            "line 2: ',' expected after '\"'",
        ),
        (
            'text,label\n"a\nb",1\n"c, d"e,0\n',
            "line 4: ',' expected after '\"'",
        ),
        ('text,label\na,1\n"c, d,0\n', "line 3: unexpected end of data"),
    ],
)
def test_invalid_row_is_named(content: str, message: str) -> None:
    with pytest.raises(DialectError, match=message):
        read(content)


texts = st.text(st.sampled_from('ab,;\t"\\\n é'), min_size=1, max_size=8).filter(
    lambda text: text[:2] != ' "'
)


@settings(max_examples=100, deadline=None)
@given(st.lists(texts, min_size=1, max_size=12), st.sampled_from([",", ";", "\t"]))
def test_what_the_csv_module_writes_is_read(found: list[str], separator: str) -> None:
    if separator == "\t":  # lines of a few texts with tabs inside may be rows by themselves
        found = [text.replace("\t", " ") for text in found]
    rows = [(text, str(i % 2)) for i, text in enumerate(found)]
    assert read(write(rows, delimiter=separator))[1][1:] == [list(row) for row in rows]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text(st.sampled_from("ab,\"' é"), min_size=1, max_size=8), min_size=1, max_size=12)
)
def test_every_line_of_an_unquoted_file_is_a_row(found: list[str]) -> None:
    lines = [f"{'x' * (i % 3)}{text}\t1\n" for i, text in enumerate(found)]
    _, rows, _ = read("text\tlabel\n" + "".join(lines))
    assert len(rows) == len(found) + 1
