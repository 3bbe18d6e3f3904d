"""Tables of one test set and of reports, in the terminal and for LaTeX."""

import re
from io import StringIO

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from sentiment.analysis.report.comparison import Comparison, Difference
from sentiment.analysis.report.tables import (
    NBSP,
    ReportTable,
    describe_baselines,
    format_class_table,
    format_latex,
    format_markdown,
    format_result_table,
    make_comparison_table,
    make_result_table,
    print_table,
)
from tests.report_helpers import make_result

NASTY = r"50%_of&#{x}~^\$|<a>"


def render(table: ReportTable, width: int) -> list[str]:
    """The lines of a table in a terminal of some width."""
    file = StringIO()
    print_table(table, Console(file=file, width=width))
    return [line for line in file.getvalue().splitlines() if line.strip()]


def read_column(lines: list[str], start: int, stop: int) -> list[str]:
    """Heading and cells of a column, or the latter alone, of which rows were folded."""
    column = "".join(line[start:stop].strip() for line in lines)
    return [part for part in re.split("─+", column) if part]


def test_result_table_has_wilson_intervals_and_exact_mcnemar_p_values() -> None:
    lstm = np.arange(20) < 16  # 80 %: Wilson's interval is 58.40 to 91.93
    worse = lstm & (np.arange(20) >= 6)  # six disagreements, all in favour of the LSTM: p = 2 / 2^6
    table = format_result_table("20 rows", {"lstm": lstm, "worse [x]": worse, "same": lstm}, {})
    title, _, heading, _, *rows = (line.split() for line in table.splitlines())
    assert title == ["20", "rows"]
    assert heading == ["model", "accuracy", "95", "%", "interval", "vs", "lstm", "McNemar", "p"]
    assert rows[0] == ["lstm", "80.00", "58.40", "–", "91.93"]
    assert rows[1] == ["worse", "[x]", "50.00", "29.93", "–", "70.07", "-30.00", "0.031"]
    assert rows[2] == ["same", "80.00", "58.40", "–", "91.93", "+0.00", "1.000"]


def test_result_table_shows_small_p_values_as_a_bound_and_training_times() -> None:
    correct = np.ones(100, bool)
    table = format_result_table(
        "", {"lstm": correct, "forest": ~correct}, {"lstm": 12.4, "forest": 3.0}
    )
    lstm, forest = (line.split() for line in table.splitlines()[4:6])
    assert lstm == ["lstm", "100.00", "96.30", "–", "100.00", "12"]
    assert forest[-4:] == ["-100.00", "<", "0.001", "3"]


def test_result_table_fits_into_80_columns() -> None:
    correct = np.ones(25_000, bool)
    names = [
        "LSTM",
        "random_forest_counts",
        "majority class (negative)",
        f"majority class ({'very ' * 9}long)",
    ]
    table = format_result_table("", dict.fromkeys(names, correct), {"LSTM": 12_345.0})
    assert all(len(line) <= 80 for line in table.splitlines())
    assert "majority class (negative)" in table
    seconds = [line.split()[-1] for line in table.splitlines() if "100.00  99.98" in line]
    assert seconds == ["12345", "1.000", "1.000", "1.000"]  # the others were not trained


def test_class_table_shows_precision_recall_and_f1_and_a_dash_if_undefined() -> None:
    labels, predicted = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 0, 1])
    table = format_class_table(labels, predicted, ["good [x]", "bad", "missed", "absent"])
    rows = [line.split() for line in table.splitlines()[4:]]
    assert rows[0] == ["good", "[x]", "3", "66.67", "66.67", "66.67"]
    assert rows[1] == ["bad", "2", "33.33", "50.00", "40.00"]
    assert rows[2] == ["missed", "1", "0.00", "0.00", "0.00"]
    assert rows[3] == ["absent", "0", "–", "–", "–"]
    one_class = format_class_table(np.array([1, 1]), np.array([1, 0]), ["bad", "good"])
    assert [line.split() for line in one_class.splitlines()[4:]] == [
        ["bad", "0", "0.00", "–", "0.00"],
        ["good", "2", "100.00", "50.00", "66.67"],
    ]


def test_result_table_of_one_model_has_no_comparison() -> None:
    table = format_result_table("", {"lstm": np.array([True, False])}, {})
    assert "50.00" in table
    assert "McNemar" not in table


def test_names_in_log_tables_are_no_markup() -> None:
    correct = np.ones(4, bool)
    table = format_result_table("", {"[bold]a": correct, "[/]b": ~correct}, {})
    assert "[bold]a" in table
    assert "vs [bold]a" in table
    assert "[/]b" in table
    assert "[red]" in format_class_table(np.array([0, 1]), np.array([0, 1]), ["[red]", "b"])


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
    assert read_column(rows, 8, 16) == [table.cells["embedding_init"][0]]


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
    assert list(table.cells) == ["x", "val accuracy", "test accuracy", "test c"]
    assert describe_baselines(results) == ["Baselines, test accuracy: a b 50.00"]


def test_labels_of_the_comparison_are_those_of_all_results() -> None:
    comparison = Comparison(Difference(-0.5, -0.6, 0.4, 1e-9), 0.5, 2, 10)
    results = [make_result({"x": x}, [0.8]) for x in (0.12345, 0.12346)]
    table = make_comparison_table(results, {1: comparison})
    assert table.cells.values.tolist() == [
        ["0.12346", "-50.00", f"-60.00{NBSP}to{NBSP}+40.00", "0.500", "2"]
    ]
    assert list(table.cells) == ["x", "vs best", "95 % interval", "p", "seeds"]


def test_markdown_escapes_what_would_be_a_column() -> None:
    table = make_result_table([make_result({"x|y": "a|b"}, [0.8])], "val/accuracy")
    assert format_markdown(table).splitlines() == [
        r"| x\|y | val accuracy |",
        "| --- | --: |",
        r"| a\|b | 80.00 |",
    ]


def test_latex_escapes_what_latex_would_obey() -> None:
    comparison = Comparison(Difference(-0.5, -0.6, 0.4, 1e-9), 1e-9, 2, 10)
    results = [
        make_result({"model.word_dropout": value}, [0.8, 0.9]) for value in ("x", NASTY, "a" * 99)
    ]
    latex = format_latex(make_result_table(results, "val/accuracy"))
    header, first, second, third = re.findall(r"(.*) \\\\\n", latex)
    assert latex.startswith("\\begin{tabular}{lrr}\n\\toprule\n")
    assert latex.endswith("\\bottomrule\n\\end{tabular}\n")
    assert header == r"word\_dropout & val accuracy & seeds"
    assert first == r"x & 85.00~$\pm$~7.07 & 2"
    assert second == (
        r"50\%\_of\&\#\{x\}\textasciitilde \textasciicircum \textbackslash \$$|$$<$a$>$ & 85.00~$\pm$~7.07 & 2"
    )
    assert r"aaa\dots{}aaa" in third
    compared = format_latex(make_comparison_table(results, {1: comparison, 2: comparison}))
    assert r"vs best & 95 \% interval & p (Holm) & seeds \\" in compared
    assert r"& $-$50.00 & $-$60.00~to~+40.00 & $<$~0.001 & 2 \\" in compared
