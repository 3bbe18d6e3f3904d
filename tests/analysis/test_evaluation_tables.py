"""Tables of one test set."""

import numpy as np

from sentiment.analysis.evaluation_tables import (
    format_class_table,
    format_p_value,
    format_result_table,
)


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


def test_p_values_are_shown_with_a_bound() -> None:
    assert [format_p_value(p) for p in (1.0, 0.0305, 0.001, 0.00099)] == [
        "1.000",
        "0.030",
        "0.001",
        "< 0.001",
    ]
