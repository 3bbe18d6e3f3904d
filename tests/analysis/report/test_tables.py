"""Tables of reports, in the terminal and in Markdown."""

import re
from io import StringIO

import pytest
from rich.cells import cell_len
from rich.console import Console

from sentiment.analysis.report.comparison import Comparison
from sentiment.analysis.report.tables import (
    NBSP,
    ReportTable,
    describe_baselines,
    format_markdown,
    make_comparison_table,
    make_result_table,
    print_table,
)
from tests.report_helpers import make_result


def render(table: ReportTable, width: int) -> list[str]:
    """The lines of a table in a terminal of some width."""
    file = StringIO()
    print_table(table, Console(file=file, width=width))
    return [line for line in file.getvalue().splitlines() if line.strip()]


def read_column(lines: list[str], start: int, stop: int) -> list[str]:
    """Heading and cells of a column, or the latter alone, of which rows were folded."""
    column = "".join(line[start:stop].strip() for line in lines)
    return [part for part in re.split("─+", column) if part]


def test_settings_are_folded_to_fit_into_the_terminal() -> None:
    settings: dict[str, object] = {f"model.setting_{name}": f"value_{name}" for name in "abcde"}
    results = [
        make_result(settings | {"data.maxlen": maxlen}, [0.8, 0.9], test__accuracy=0.8)
        for maxlen in (80, 200)
    ]
    table = make_result_table(results, "val/accuracy")
    wide, narrow = render(table, 300), render(table, 80)
    assert len(wide) == 5  # two lines of headings, rule, rows
    assert all(cell_len(line) <= 80 for line in narrow)
    assert read_column(narrow, 0, 8) == ["setting_a", "value_avalue_a"]
    assert all(text in "".join(narrow) for text in (" 80 ", " 200 "))
    assert sum("85.00 ± 7.07" in line.replace(NBSP, " ") for line in narrow) == 2


def test_headings_take_several_lines_before_figures_are_folded() -> None:
    results = [
        make_result({"data.maxlen": n}, [0.8], baseline__a_long_name__val_accuracy=n / 1e3)
        for n in (80, 200)
    ]
    lines = render(make_result_table(results, "val/accuracy"), 30)
    assert all(cell_len(line) <= 30 for line in lines)
    assert [line.split() for line in lines[-2:]] == [
        ["80", "80.00", "8.00"],
        ["200", "80.00", "20.00"],
    ]


@pytest.mark.parametrize("width", [20, 40])
def test_no_cell_is_cut_in_a_terminal_that_is_too_narrow(width: int) -> None:
    settings = {
        "optimizer": "RMSprop",
        "model.embedding_init": "/a/long/path/" * 9,
        "model.units": 64,
    }
    table = make_result_table([make_result(settings, [0.8, 0.9])], "val/accuracy")
    rows = render(table, width)[4:]  # below three lines of headings and a rule
    assert rows[0].endswith(f"64     85.00{NBSP}±{NBSP}7.07      2")
    assert read_column(rows, 0, 8) == ["RMSprop"]
    assert read_column(rows, 8, 16) == [table.columns["embedding_init"][0]]


def test_cells_are_no_markup() -> None:
    (*_, row) = render(make_result_table([make_result({"x": "[red]"}, [0.8])], "val/accuracy"), 80)
    assert "[red]" in row


def test_baselines_that_are_the_same_for_all_settings_are_no_column() -> None:
    results = [
        make_result(
            {"x": x},
            [0.8],
            test__accuracy=0.8,
            baseline__a_b__test_accuracy=0.5,
            baseline__c__test_accuracy=x,
        )
        for x in (0.1, 0.2)
    ]
    table = make_result_table(results, "val/accuracy")
    assert list(table.columns) == ["x", "val accuracy", "test accuracy", "test c"]
    assert describe_baselines(results) == ["Baselines, test accuracy: a b 50.00"]


def test_labels_of_the_comparison_are_those_of_all_results() -> None:
    comparison = Comparison(-0.5, -0.6, 0.4, 1e-9, 0.5, 2, 10)
    results = [make_result({"x": x}, [0.8]) for x in (0.12345, 0.12346)]
    table = make_comparison_table(results, {1: comparison})
    assert table.columns == {
        "x": ["0.12346"],
        "vs best": ["-50.00"],
        "95 % interval": [f"-60.00{NBSP}to{NBSP}+40.00"],
        "p": ["0.500"],
        "seeds": ["2"],
    }


def test_a_setting_named_like_a_column_keeps_its_key() -> None:
    results = [make_result({"model.folder": x}, [0.8, 0.9]) for x in "ab"]
    table = make_result_table(results, "val/accuracy", [["1", "2"], ["3"]])
    assert list(table.columns) == ["model.folder", "folder", "val accuracy", "seeds"]
    assert table.names == 2


def test_markdown_escapes_what_would_be_a_column() -> None:
    table = make_result_table([make_result({"x|y": "a|b"}, [0.8])], "val/accuracy")
    assert format_markdown(table).splitlines() == [
        r"| x\|y | val accuracy |",
        "| --- | --: |",
        r"| a\|b | 80.00 |",
    ]
