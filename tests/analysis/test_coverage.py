import numpy as np
import pytest

from sentiment.analysis.coverage import Coverage


def test_coverage_counts_answers_that_are_at_least_so_probable() -> None:
    probabilities = np.array([[0.9, 0.1], [0.3, 0.7], [0.45, 0.55], [0.2, 0.8]], dtype=np.float32)
    coverage = Coverage(probabilities, np.array([0, 0, 1, 1]))
    assert coverage.at(0) == (1, 0.75)
    assert coverage.at(0.75) == (0.5, 1)
    assert coverage.at(0.6) == pytest.approx((0.75, 2 / 3))
    covered, accuracy = coverage.at(0.95)
    assert covered == 0
    assert np.isnan(accuracy)
    lines = coverage.format_table(0.75).splitlines()
    assert [line.split() for line in lines if line.startswith(("0.75", "0.95"))] == [
        ["0.75", "50.00", "100.00"],
        ["0.95", "0.00", "–"],
    ]
    (axis,) = coverage.draw(0.75).axes
    curve, point, line = axis.get_lines()
    expected = np.array([[25.0, 100], [50, 100], [75, 200 / 3], [100, 75]])
    assert np.allclose(curve.get_xydata(), expected)
    assert np.allclose(point.get_xydata(), np.array([[50.0, 100]]))
    assert line.get_ydata() == [75, 75]
