"""What to try next, in one line, where the test supports it."""

from collections.abc import Mapping

import numpy as np
from omegaconf import DictConfig

from sentiment.analysis.evaluation_tables import Correct, mcnemar_p_value
from sentiment.data.datamodule import ReviewDataModule

SHORT = 100  # tokens of a text, for which experiment=files is meant


def advise(
    cfg: DictConfig, datamodule: ReviewDataModule, correct: Mapping[str, Correct], val: float
) -> str | None:
    """The most important advice on a tested network, the first in `correct`; `val` is its validation accuracy."""
    (name, network), *baselines = correct.items()
    lengths = datamodule.splits["train"].reviews.lengths
    experiment = f"experiment={'files' if np.median(lengths) <= SHORT else 'best'}"
    is_plain = not cfg.adversarial_epsilon and not cfg.model.get("embedding_init")
    best, rows = max(baselines, key=lambda pair: pair[1].mean())
    p_value = mcnemar_p_value(rows, network)
    if rows.mean() > network.mean() and p_value < 0.05:
        advice = f"try {experiment}" if is_plain else "it may do, and needs no network"
        return f"{best} is more accurate than the {name} (p = {p_value:.2g}): {advice}"
    if is_plain and cfg.data.source in ("files", "hub"):
        return f"these are the settings of the article; {experiment} is for your own texts"
    cut = 1 - np.minimum(lengths, datamodule.encoder.maxlen).sum() / lengths.sum()
    if cut > 0.5:
        longer = int(np.ceil(np.quantile(lengths, 0.9) / 100) * 100)
        return f"{100 * cut:.0f} % of the tokens are not read: try data.maxlen={longer}"
    gap, count = val - network.mean(), len(datamodule.splits["val"])
    is_drawn = datamodule.source.has_test_set and not datamodule.source.has_validation_set
    margin = 2 * (network.var() / len(network) + val * (1 - val) / count) ** 0.5
    if is_drawn and cfg.data.validate_on == "train" and gap > max(margin, 0.02):
        like = "are more like the training rows than the test rows are"
        return f"validation is {100 * gap:.1f} points above the test: its rows {like}; try data.val_split=tail"
    return None
