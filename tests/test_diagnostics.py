import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sentiment.analysis.model_figures import plot_confusion_matrix, plot_reliability_diagram
from sentiment.data.batching import PaddedReviews
from sentiment.data.encoding import EncodedReviews
from sentiment.data.text import TextEncoder, Vocabulary
from sentiment.runtime.config import CONF_DIR
from sentiment.runtime.errors import InputError
from sentiment.training.experiment import train
from sentiment.training.prediction_diagnostics import escape_markdown, format_as_markdown
from tests.helpers import Compose

DIAGNOSTICS: Any = OmegaConf.load(CONF_DIR / "callbacks" / "default.yaml").diagnostics


def enable(cfg: DictConfig, *names: str) -> DictConfig:
    """Enable some diagnostics of the default configuration, all by default, for few words and reviews."""
    enabled = {name: settings if name in names or not names else None for name, settings in DIAGNOSTICS.items()}
    small = {"most_wrong": {"count": 3}, "projector": {"count": 20}}
    cfg.callbacks.diagnostics = enabled
    for name in names or small:
        cfg.callbacks.diagnostics[name].update(small.get(name, {}))
    return cfg


def read_events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), {"images": 0, "tensors": 0, "histograms": 0}).Reload()


def test_tensorboard_shows_all_diagnostics(composed: Compose, tmp_path: Path) -> None:
    train(enable(composed("trainer.log_every_n_steps=5")))
    events = read_events(tmp_path)
    tags = events.Tags()
    gates = {f"gates/{name}, layer 1, forward" for name in ("confidently bad", "confidently good", "most wrong")}
    assert set(tags["images"]) == {"test/reliability", "test/confusion"} | gates
    assert len(events.Histograms("weights/net.embedding.weight")) == 2
    assert len(events.Scalars("gradients/norm")) == 4  # of 18 steps
    assert all(event.value > 0 for event in events.Scalars("gradients/norm"))
    assert len(events.Tensors("val/good")) == 2
    assert len(events.Tensors("test/good")) == 1
    (text,) = events.Tensors("test/most_wrong/text_summary")
    entry = r"\*\*true label: (bad|good), predicted p\(\1\) = 0\.\d{4}\*\* \(row \d+\): "
    assert len(re.findall(entry, text.tensor_proto.string_val[0].decode())) == 3
    (metadata,) = tmp_path.glob("*/words/metadata.tsv")
    header, *rows = metadata.read_text().splitlines()
    assert header.split("\t") == ["word", "rank", "polarity"]
    assert len(rows) == 20
    assert all(abs(float(row.split("\t")[2])) < 20 for row in rows)
    assert (tmp_path / "projector_config.pbtxt").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", list(DIAGNOSTICS))
def test_each_diagnostic_can_be_enabled_alone(composed: Compose, tmp_path: Path, name: str) -> None:
    train(enable(composed("trainer.log_every_n_steps=5"), name))
    tags = read_events(tmp_path).Tags()
    shown = {
        "gradient_norm": "gradients/norm" in tags["scalars"],
        "histograms": bool(tags["histograms"]),
        "pr_curves": "val/good" in tags["tensors"],
        "reliability": "test/reliability" in tags["images"],
        "confusion": "test/confusion" in tags["images"],
        "most_wrong": "test/most_wrong/text_summary" in tags["tensors"],
        "projector": (tmp_path / "projector_config.pbtxt").exists(),
        "gates": any(tag.startswith("gates/") for tag in tags["images"]),
    }
    assert shown == {other: other == name for other in DIAGNOSTICS}


@pytest.mark.slow
@pytest.mark.parametrize("test_ckpt", ["best", "null"])
def test_three_classes_two_directions_and_runs_without_test(
    composed: Compose, tmp_path: Path, run_of_three: Path, test_ckpt: str
) -> None:
    settings = [f"data.path={run_of_three}/reviews.csv", "model.bidirectional=true", "data.padding=post"]
    train(enable(composed(*settings, f"test_ckpt={test_ckpt}")))
    tags = read_events(tmp_path).Tags()
    assert {"val/a", "val/b", "val/c"} <= set(tags["tensors"])
    assert ("test/a" in tags["tensors"]) == (test_ckpt == "best")
    assert ("gates/confidently c, layer 1, backward" in tags["images"]) == (test_ckpt == "best")
    assert bool(tags["images"]) == (test_ckpt == "best")


@pytest.mark.slow
def test_diagnostics_change_no_result_of_the_run(composed: Compose, tmp_path: Path) -> None:
    objectives, predictions = [], []
    for name, configure in (("with", enable), ("without", lambda cfg: cfg)):
        folder = tmp_path / name
        folder.mkdir()
        objectives.append(train(configure(composed(folder=folder))))
        predictions.append((folder / "test_predictions.csv").read_bytes())
    assert objectives[0] == objectives[1]
    assert predictions[0] == predictions[1]


def test_number_of_reviews_must_be_positive(composed: Compose) -> None:
    cfg = enable(composed(), "most_wrong")
    cfg.callbacks.diagnostics.most_wrong.count = 0
    with pytest.raises(InputError, match=r"^callbacks\.diagnostics\.most_wrong\.count=0: must be an integer >= 1$"):
        train(cfg)


@pytest.mark.parametrize(
    ("maxlen", "truncating", "expected"),
    [
        (10, "pre", r"\*w192 .* w691\* w692 .* w701"),
        (10, "post", r"w2 .* w11 \*w12 .* w511\*"),
        (700, "pre", r"w2 w3 [^*]* w701"),
    ],
)
def test_most_wrong_reviews_show_cut_tokens_in_italics_and_500_of_them_at_most(
    maxlen: int, truncating: str, expected: str
) -> None:
    words = ["<pad>", "<unk>", *(f"w{i}" for i in range(2, 702))]
    encoder = TextEncoder(Vocabulary(words), "words", maxlen, "pre", truncating)
    ids = np.arange(2, 702, dtype=np.int32)
    reviews = PaddedReviews(EncodedReviews(ids, np.array([0, 700]), np.array([0]), np.array([0])), encoder)
    assert re.fullmatch(expected, format_as_markdown(reviews, 0, words))


@pytest.mark.parametrize("markup", ["<b>", "*a*", "[x](y)", "|", "&lt;", "`", "# x", "1."])
def test_markup_in_reviews_is_escaped(markup: str) -> None:
    assert not set(escape_markdown(markup)) & set("<>*[]()|`.")


def render(figure: Figure) -> list[str]:
    """Draw a figure and return its axis labels."""
    figure.canvas.draw()
    return [label for axis in figure.axes for label in (axis.get_xlabel(), axis.get_ylabel()) if label]


@pytest.mark.parametrize(
    ("label_names", "expected"),
    [
        (["bad", "$\\x$"], {"predicted probability of $\\x$", "observed frequency of $\\x$", "reviews"}),
        (["bad", "good", "$\\x$"], {"confidence", "accuracy", "reviews"}),
    ],
)
def test_reliability_diagram_of_two_and_of_three_classes(label_names: list[str], expected: set[str]) -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, len(label_names), 200)
    probabilities = random.dirichlet(np.ones(len(label_names)), 200).astype(np.float32)
    assert set(render(plot_reliability_diagram(labels, probabilities, label_names, 0.1))) == expected


def test_confusion_matrix_shows_counts_fractions_and_accuracy() -> None:
    figure = plot_confusion_matrix(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), ["bad", "$\\x$"])
    assert {"predicted label", "true label"} < set(render(figure))
    axis = figure.axes[0]
    assert axis.get_title() == "accuracy 75.00%, 4 reviews"
    assert [text.get_text() for text in axis.texts] == ["2\n66.7%", "1\n33.3%", "0\n0.0%", "1\n100.0%"]
