"""The line of advice after the test."""

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from sentiment.training.advice import advise
from tests.helpers import compose_config, labelled_reviews, prepare_datamodule, write_csv

NETWORK = np.arange(1000) % 10 > 1  # 80 %
BETTER, WORSE = np.arange(1000) % 10 > 0, np.arange(1000) % 10 > 2


@pytest.mark.parametrize(
    ("overrides", "baseline", "val", "expected"),
    [
        ([], BETTER, 0.8, r"^forest is more accurate than the LSTM \(p = .*\): try experiment=files$"),
        (["adversarial_epsilon=0.2"], BETTER, 0.8, "it may do, and needs no network"),
        (["adversarial_epsilon=0.2"], WORSE, 0.8, None),
        (["adversarial_epsilon=0.2", "data.maxlen=20"], WORSE, 0.8, "try data.maxlen=100"),
        (["adversarial_epsilon=0.2"], WORSE, 0.99, "validation is 19.0 points above the test"),
        (["adversarial_epsilon=0.2", "data.validate_on=test"], WORSE, 0.99, None),
        ([], WORSE, 0.8, "these are the settings of the article; experiment=files is for"),
        ([], NETWORK, 0.8, "these are the settings of the article"),
    ],
)  # fmt: skip
def test_advice(
    tmp_path: Path,
    overrides: list[str],
    baseline: npt.NDArray[np.bool_],
    val: float,
    expected: str | None,
) -> None:
    write_csv(tmp_path / "train.csv", labelled_reviews(300))
    write_csv(tmp_path / "test.csv", labelled_reviews(400)[300:])
    cfg = compose_config("data=files", f"data.path={tmp_path}", *overrides)
    settings = {"maxlen": cfg.data.maxlen, "validate_on": cfg.data.validate_on}
    data = prepare_datamodule(source="files", path=str(tmp_path), **settings)
    advice = advise(cfg, data, {"LSTM": NETWORK, "forest": baseline}, val)
    assert (advice is None) == (expected is None), advice
    assert advice is None or re.search(str(expected), advice)
