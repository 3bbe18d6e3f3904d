import numpy as np

from sentiment.analysis.statistics import format_result_table


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
    table = format_result_table("", {"lstm": correct, "forest": ~correct}, {"lstm": 12.4, "forest": 3.0})
    lstm, forest = (line.split() for line in table.splitlines()[4:6])
    assert lstm == ["lstm", "100.00", "96.30", "–", "100.00", "12"]
    assert forest[-4:] == ["-100.00", "<", "0.001", "3"]


def test_result_table_of_one_model_has_no_comparison() -> None:
    table = format_result_table("", {"lstm": np.array([True, False])}, {})
    assert "50.00" in table
    assert "McNemar" not in table
