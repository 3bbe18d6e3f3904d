from typing import Any

import numpy as np
import optuna
import pytest

from sentiment.analysis.figures.training import plot_study
from tests.report_helpers import PATH, check_texts


@pytest.mark.parametrize(
    ("direction", "best"), [("maximize", [80, 90, 90, 90]), ("minimize", [80, 80, 70, 70])]
)
def test_study_figure_shows_the_best_value_so_far(direction: Any, best: list[float]) -> None:
    space: dict[str, Any] = {
        "model.units": optuna.distributions.IntDistribution(1, 100),
        "model.embedding_init": optuna.distributions.CategoricalDistribution([PATH]),
        **{
            f"optimizer.a_rather_long_name_{i}": optuna.distributions.CategoricalDistribution(
                ["x" * 15]
            )
            for i in "abcd"
        },
    }
    study = optuna.create_study(direction=direction)
    study.set_user_attr("objective", "val/accuracy")
    for units, value in ((8, 0.8), (16, 0.9), (32, 0.7)):
        params = dict.fromkeys(space, "x" * 15) | {
            "model.units": units,
            "model.embedding_init": PATH,
        }
        study.add_trial(optuna.create_trial(params=params, distributions=space, value=value))
    figure = plot_study(study)
    (axis,) = figure.axes
    assert np.asarray(axis.lines[-1].get_ydata()) == pytest.approx(best)
    check_texts(figure)
