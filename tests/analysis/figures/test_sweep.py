import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from scipy.stats import ttest_1samp

from sentiment.analysis.figures.sweep import MIN_HEIGHT, plot_sweep
from sentiment.analysis.results import Result
from tests.report_helpers import PATH, check_texts, grid, make_result


def plot(results: list[Result]) -> Figure:
    return plot_sweep(results, "val/accuracy", [None] * len(results))


@pytest.mark.parametrize(
    ("values", "panels", "lines", "x"),
    [
        ({"model__units": [8, 16], "data__maxlen": [80, 200, 400], "optimizer": ["Adam", "SGD"]}, 2, 2, "maxlen"),
        ({"model__units": [8, 16], "optimizer__lr": [0.0001, 0.01]}, 1, 2, "units"),
        ({"optimizer": ["Adam", "SGD", "RMSprop"]}, 1, 1, "optimizer"),
        (
            {"data__maxlen": [80, 200], "model__units": [8, 16], "pooling": ["max", "last"], "optimizer": ["a", "b"],
             "model__embedding_init": [None, PATH, "ppmi"]},
            3, 2, "maxlen",
        ),
        ({"optimizer__betas": [[0.9, 0.99], [0.8, 0.99]]}, 1, 1, "betas"),
        ({"tokenizer": ["words", "words_and_punctuation"], "embedding_init": [PATH, PATH[:-1]]}, 1, 2, "tokenizer"),
        ({"units": [1, 2], "lr": [0.1 / 1.5**i for i in range(14)], "optimizer": list("abcde")}, 5, 2, "lr"),
        ({"units": [1, 2], "vectors": [PATH], "other_vectors": [PATH], "a_third_setting": [PATH]}, 1, 1, "units"),
        ({}, 1, 1, ""),
    ],
)  # fmt: skip
def test_sweep_figure_has_a_panel_and_a_line_per_value(
    values: dict[str, list[object]], panels: int, lines: int, x: str
) -> None:
    figure = plot(grid(1, **values))
    assert len(figure.axes) == panels
    for axis in figure.axes:
        assert len(axis.containers) == lines  # an errorbar per value
        assert axis.get_xlabel() == x
    check_texts(figure)


def test_values_of_different_types_have_places_of_their_own() -> None:
    results = grid(data__label_column=[None, "None", 1, "1"])
    (axis,) = plot(results).axes
    (errorbar,) = axis.containers
    assert list(errorbar[0].get_xdata()) == [0, 1, 2, 3]
    assert len({label.get_text() for label in axis.get_xticklabels()}) == 4


def test_sweep_figure_shows_the_best_result_over_the_other_settings() -> None:
    results = grid(
        pooling=["max", "last"], data__maxlen=[80, 200], model__units=[8], optimizer=["Adam"]
    )
    (axis,) = plot(results).axes
    (errorbar,) = axis.containers
    assert list(errorbar[0].get_ydata()) == pytest.approx([90, 89])  # of pooling=max


def test_sweep_figure_shows_the_runs_behind_a_mean() -> None:
    (axis,) = plot(grid(seeds=3, data__maxlen=[80, 200])).axes
    runs = [list(np.asarray(line.get_ydata())) for line in axis.lines if line.get_marker() == "."]
    assert runs == [pytest.approx([90, 90.1, 90.2]), pytest.approx([89, 89.1, 89.2])]


def test_seeds_alone_are_one_point_with_the_interval_of_their_mean() -> None:
    accuracies = np.array([80, 82, 90])
    figure = plot([make_result({}, list(accuracies / 100))])
    (axis,) = figure.axes
    (errorbar,) = axis.containers
    assert list(errorbar[0].get_ydata()) == pytest.approx([84])
    ((bottom, top),) = [segment[:, 1] for segment in errorbar[2][0].get_segments()]
    interval = ttest_1samp(accuracies, 0).confidence_interval()
    assert (bottom, top) == pytest.approx((interval.low, interval.high))
    assert figure.get_suptitle().splitlines() == [
        "val/accuracy 84.00 ± 5.29 %", "3 seeds per point; bars: 95 % intervals",
    ]  # fmt: skip
    check_texts(figure)


def test_hollow_marks_show_the_test_beside_the_validation() -> None:
    results = [
        make_result({"units": n}, [0.9, 0.91][: n // 8], test__accuracy=0.85) for n in (16, 8)
    ]
    figure = plot_sweep(results, "val/accuracy", [(0.8, 0.9), None])
    (axis,) = figure.axes
    (hollow,) = [line for line in axis.lines if str(line.get_markerfacecolor()) == "white"]
    assert np.asarray(hollow.get_ydata()) == pytest.approx([85, 85])
    assert np.asarray(hollow.get_xdata()) == pytest.approx([0.12, 1.12])
    intervals = [
        segment.ravel().tolist()
        for lines in axis.collections
        if isinstance(lines, LineCollection)
        for segment in lines.get_segments()
    ]
    assert pytest.approx([1.12, 80, 1.12, 90]) in [ends for ends in intervals if ends]
    title = figure.get_suptitle().replace("\n", " ")
    assert title.endswith("1 – 2 seeds per point; hollow: test; bars: 95 % intervals")
    check_texts(figure)


@pytest.mark.parametrize("values", [[0.9, 0.9], [0.5, 0.512], [1.0, 0.99]])
def test_the_axis_does_not_exaggerate(values: list[float]) -> None:
    results = [make_result({"units": i}, [value]) for i, value in enumerate(values)]
    (axis,) = plot(results).axes
    low, high = axis.get_ylim()
    assert -1 <= low <= 100 * min(values) <= 100 * max(values) <= high <= 101
    assert high - low >= MIN_HEIGHT / 2


def test_lines_have_contrast_with_the_paper() -> None:
    (axis,) = plot(grid(model__units=[8, 16], optimizer__lr=list(range(1, 9)))).axes
    for errorbar in axis.containers:
        red, green, blue = np.array(to_rgb(errorbar[0].get_color())) ** 2.2
        assert 1.05 / (0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05) >= 3
