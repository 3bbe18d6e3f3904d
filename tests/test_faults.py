"""What goes wrong around a training: divergence, kills, Ctrl-C, full disks, folders that cannot be written."""

from pathlib import Path

import pytest

from sentiment.errors import DivergedError
from sentiment.train import train

from .conftest import Compose, metrics_of


@pytest.mark.parametrize(
    "settings", [["optimizer.lr=1e6"], ["optimizer.lr=inf"], ["optimizer=sgd", "optimizer.lr=1e30"]]
)
def test_a_diverging_training_stops_at_the_next_logging_step(
    composed: Compose, tmp_path: Path, settings: list[str]
) -> None:
    fast = ["trainer.max_epochs=9", "trainer.log_every_n_steps=4"]
    with pytest.raises(DivergedError, match=r"step 4: training diverged, the loss is .*; lower optimizer\.lr="):
        train(composed(*settings, *fast))
    assert metrics_of(tmp_path)["status"] == "failed"
    with pytest.raises(DivergedError, match="step 9: "):  # the end of an epoch
        train(composed(*settings, "trainer.max_epochs=9"))
    assert not list(tmp_path.glob("checkpoints/*"))
