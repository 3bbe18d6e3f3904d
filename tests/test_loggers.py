"""What the HParams tab of TensorBoard shows."""

from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from sentiment.training.loggers import FINAL, CurvesLogger


@pytest.fixture
def described(tmp_path: Path) -> Any:
    """Logs two settings and a metric; returns what the HParams tab reads."""

    def describe(**options: Any) -> tuple[Any, Any]:
        logger = CurvesLogger(str(tmp_path), None, "", default_hp_metric=False, **options)
        logger.log_hyperparams({"data.maxlen": 32, "model.bidirectional": False, "optimizer.lr": 0.5}, {"epochs": 2}, 0)
        logger.finalize("")
        events = EventAccumulator(str(tmp_path)).Reload()
        experiment, session = (
            HParamsPluginData.FromString(events.SummaryMetadata(f"_hparams_/{name}").plugin_data.content)
            for name in ("experiment", "session_start_info")
        )
        return experiment.experiment, session.session_start_info.hparams

    return describe


def test_hparams_tab_shows_whole_numbers_and_names_of_metrics(described: Any) -> None:
    experiment, settings = described(highlight=["optimizer.lr"])
    assert settings["data.maxlen"].string_value == "32"
    assert settings["model.bidirectional"].string_value == "False"
    assert settings["optimizer.lr"].number_value == 0.5
    assert [(info.name.tag, info.display_name) for info in experiment.metric_infos] == [(f"{FINAL}epochs", "epochs")]
    differs = {info.name: info.differs for info in experiment.hparam_infos}
    assert differs == {"data.maxlen": False, "model.bidirectional": False, "optimizer.lr": True}


def test_hparams_tab_of_a_sweep_shows_only_what_is_swept(described: Any) -> None:
    experiment, settings = described(highlight=["data.maxlen", "data"], hide_fixed=True)
    assert [(info.name, info.differs) for info in experiment.hparam_infos] == [("data.maxlen", True)]
    assert len(settings) == 3
