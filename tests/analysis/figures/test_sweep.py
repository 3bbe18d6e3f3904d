import numpy as np
import pytest
from matplotlib.patches import Rectangle

from sentiment.analysis.figures.sweep import plot_sweep
from tests.report_helpers import PATH, check_texts, grid, make_result


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
    figure = plot_sweep(grid(1, **values), "val/accuracy")
    assert len(figure.axes) == panels
    for axis in figure.axes:
        assert len(axis.containers) == lines  # an errorbar per value
        assert axis.get_xlabel() == x
    check_texts(figure)


def test_values_of_different_types_have_places_of_their_own() -> None:
    results = grid(data__label_column=[None, "None", 1, "1"])
    (axis,) = plot_sweep(results, "val/accuracy").axes
    (errorbar,) = axis.containers
    assert list(errorbar[0].get_xdata()) == [0, 1, 2, 3]
    assert len({label.get_text() for label in axis.get_xticklabels()}) == 4


def test_sweep_figure_shows_the_best_result_over_the_other_settings() -> None:
    results = grid(
        pooling=["max", "last"], data__maxlen=[80, 200], model__units=[8], optimizer=["Adam"]
    )
    (axis,) = plot_sweep(results, "val/accuracy").axes
    (errorbar,) = axis.containers
    assert list(errorbar[0].get_ydata()) == pytest.approx([90, 89])  # of pooling=max


def test_sweep_figure_shows_the_runs_behind_a_mean() -> None:
    (axis,) = plot_sweep(grid(seeds=3, data__maxlen=[80, 200]), "val/accuracy").axes
    runs = [list(np.asarray(line.get_ydata())) for line in axis.lines if line.get_marker() == "."]
    assert runs == [pytest.approx([90, 90.1, 90.2]), pytest.approx([89, 89.1, 89.2])]


def test_figure_of_seeds_shows_each_with_mean_and_standard_deviation() -> None:
    figure = plot_sweep([make_result({}, [0.8, 0.82, 0.9])], "val/accuracy")
    (axis,) = figure.axes
    assert axis.get_xlabel() == "seed"
    (errorbar,) = axis.containers
    assert list(errorbar[0].get_ydata()) == pytest.approx([80, 82, 90])
    assert errorbar[0].get_linestyle() == "None"  # nothing is between two seeds
    mean = next(line for line in axis.lines if line.get_label() == "mean")
    assert np.asarray(mean.get_ydata())[0] == pytest.approx(84)
    (band,) = axis.patches
    assert isinstance(band, Rectangle)
    assert band.get_height() == pytest.approx(2 * np.std([80, 82, 90], ddof=1))
    assert figure._suptitle.get_text() == "val/accuracy 84.00 ± 5.29 %, 3 seeds"  # type: ignore[attr-defined]
    check_texts(figure)
