import html
import re
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from datasets import Dataset
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sentiment.analysis.explain.explanation import LayerTrace, Trace
from sentiment.analysis.figures.model import (
    plot_confusion_matrix,
    plot_gates,
    plot_reliability_diagram,
)
from sentiment.data.datamodule import ReviewDataModule
from sentiment.data.encoded.batching import PaddedReviews
from sentiment.data.encoded.store import EncodedReviews
from sentiment.data.text.tokenizers import Tokenizer
from sentiment.data.text.vocabulary import SPECIALS, TextEncoder, Vocabulary
from sentiment.model.gates import Gates
from sentiment.runtime.config import CONF_DIR
from sentiment.runtime.errors import InputError
from sentiment.training.diagnostics import (
    MAX_CHARS,
    EvaluatedSplit,
    escape_markdown,
    format_review,
    list_most_wrong,
    name_weight,
)
from sentiment.training.experiment import run_experiment
from tests.helpers import Compose

DIAGNOSTICS: Any = OmegaConf.load(CONF_DIR / "callbacks" / "default.yaml").diagnostics


def enable(cfg: DictConfig, *names: str) -> DictConfig:
    """Enable some diagnostics of the default configuration, all by default, for few words and reviews."""
    enabled = {
        name: settings if name in names or not names else None
        for name, settings in DIAGNOSTICS.items()
    }
    small = {"most_wrong": {"count": 3}, "projector": {"count": 20}}
    cfg.callbacks.diagnostics = enabled
    for name in names or small:
        cfg.callbacks.diagnostics[name].update(small.get(name, {}))
    return cfg


def read_events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), {"images": 0, "tensors": 0, "histograms": 0}).Reload()


@pytest.mark.slow
def test_tensorboard_shows_all_diagnostics(composed: Compose, tmp_path: Path) -> None:
    run_experiment(enable(composed("trainer.log_every_n_steps=5")))
    events = read_events(tmp_path)
    tags = events.Tags()
    gates = {
        f"test_gates/{name}, layer 1, forward"
        for name in ("confidently bad", "confidently good", "most wrong")
    }
    assert set(tags["images"]) == {"test/reliability", "test/confusion"} | gates
    assert len(events.Histograms("weights/embedding.weight")) == 2
    assert len(events.Scalars("train/gradient_norm")) == 4  # of 18 steps
    assert all(event.value > 0 for event in events.Scalars("train/gradient_norm"))
    assert len(events.Tensors("val/good")) == 2
    assert len(events.Tensors("test/good")) == 1
    (text,) = events.Tensors("test/most_wrong")
    entry = r"\*\*true label: (bad|good), p = 0\.[0-4]\d+; predicted: (?!\1)\w+, p = .*\*\* \(test&#46;csv, row \d+\): "
    assert len(re.findall(entry, text.tensor_proto.string_val[0].decode())) == 3
    (metadata,) = tmp_path.glob("*/words/metadata.tsv")
    header, *rows = metadata.read_text().splitlines()
    assert header.split("\t") == ["word", "rank", "polarity"]
    assert len(rows) == 20
    assert all(abs(float(row.split("\t")[2])) < 20 for row in rows)
    assert "sprite" in (tmp_path / "projector_config.pbtxt").read_text()
    steps = {event.step for tag in tags["scalars"] for event in events.Scalars(tag)}
    assert {event.step for tag in tags["images"] for event in events.Images(tag)} == {max(steps)}
    assert {event.step for event in events.Histograms("weights/embedding.weight")} <= steps


@pytest.mark.slow
@pytest.mark.parametrize("name", list(DIAGNOSTICS))
def test_each_diagnostic_can_be_enabled_alone(composed: Compose, tmp_path: Path, name: str) -> None:
    run_experiment(enable(composed("trainer.log_every_n_steps=5"), name))
    tags = read_events(tmp_path).Tags()
    shown = {
        "gradient_norm": "train/gradient_norm" in tags["scalars"],
        "histograms": bool(tags["histograms"]),
        "pr_curves": "val/good" in tags["tensors"],
        "reliability": "test/reliability" in tags["images"],
        "confusion": "test/confusion" in tags["images"],
        "most_wrong": "test/most_wrong" in tags["tensors"],
        "projector": (tmp_path / "projector_config.pbtxt").exists(),
        "gates": any(tag.startswith("test_gates/") for tag in tags["images"]),
    }
    assert shown == {other: other == name for other in DIAGNOSTICS}


@pytest.mark.slow
@pytest.mark.parametrize("test_ckpt", ["best", "null"])
def test_three_classes_two_directions_and_runs_without_test(
    composed: Compose, tmp_path: Path, run_of_three: Path, test_ckpt: str
) -> None:
    settings = [
        f"data.path={run_of_three}/reviews.csv",
        "model.bidirectional=true",
        "data.padding=post",
    ]
    run_experiment(enable(composed(*settings, f"test_ckpt={test_ckpt}")))
    tags = read_events(tmp_path).Tags()
    assert {"val/a", "val/b", "val/c"} <= set(tags["tensors"])
    assert ("test/a" in tags["tensors"]) == (test_ckpt == "best")
    assert ("test_gates/confidently b, layer 1, backward" in tags["images"]) == (
        test_ckpt == "best"
    )
    assert bool(tags["images"]) == (test_ckpt == "best")


@pytest.mark.slow
def test_diagnostics_change_no_result_of_the_run(composed: Compose, tmp_path: Path) -> None:
    objectives, predictions = [], []
    for name, configure in (("with", enable), ("without", lambda cfg: cfg)):
        folder = tmp_path / name
        folder.mkdir()
        objectives.append(run_experiment(configure(composed(folder=folder))).objective)
        predictions.append((folder / "test_predictions.csv").read_bytes())
    assert objectives[0] == objectives[1]
    assert predictions[0] == predictions[1]


def test_number_of_reviews_must_be_positive(composed: Compose) -> None:
    cfg = enable(composed(), "most_wrong")
    cfg.callbacks.diagnostics.most_wrong.count = 0
    with pytest.raises(
        InputError, match=r"^callbacks\.diagnostics\.most_wrong\.count=0: must be an integer >= 1$"
    ):
        run_experiment(cfg)


@pytest.fixture
def evaluated(datamodule: ReviewDataModule, monkeypatch: pytest.MonkeyPatch) -> EvaluatedSplit:
    """Four reviews, of which the second is classified wrongly, and the fourth even more so."""
    texts = ["good", "so-so <b>good</b>\n\x1bfilm", "bad", "WORST film"]
    places = {"file": ["a_b.csv"] * 4, "row": [1, 2, 3, 4]}
    monkeypatch.setattr(
        datamodule, "select_reviews", Dataset.from_dict({"text": texts} | places).select
    )
    reviews = EncodedReviews(
        np.zeros(4, np.int32), np.arange(5), np.array([1, 1, 0, 0]), np.arange(4)
    )
    datamodule.splits["test"] = PaddedReviews(reviews, datamodule.encoder)
    probabilities = np.array([[0.1, 0.9], [0.6, 0.4], [0.8, 0.2], [0.1, 0.9]], np.float32)
    return EvaluatedSplit(Mock(), 1, datamodule, Mock(), "test", np.arange(4), probabilities)


def test_most_wrong_reviews_are_wrong_and_shown_as_written(evaluated: EvaluatedSplit) -> None:
    heading, _, *entries = list_most_wrong(evaluated, 10).splitlines()
    assert heading.startswith("2 of 4 test reviews are classified wrongly. Listed: 2,")
    assert "the last 32 tokens" in heading
    first, second = map(html.unescape, entries)
    assert (
        first
        == "1. **true label: bad, p = 0.1000; predicted: good, p = 0.9000** (a_b.csv, row 4): WORST film"
    )
    assert second.endswith(r"(a_b.csv, row 2): so-so <b>good</b> \x1bfilm")
    assert "<b>" not in entries[1]
    assert len(list_most_wrong(evaluated, 1).splitlines()) == 3
    evaluated.probabilities[[1, 3]] = evaluated.probabilities[[1, 3], ::-1]
    assert list_most_wrong(evaluated, 10) == "None of the 4 test reviews is classified wrongly."


@pytest.mark.parametrize(
    ("tokenizer", "truncating", "maxlen", "expected"),
    [
        ("words", "pre", 2, "… slow film"),
        ("words", "post", 2, "a fine …"),
        ("words", "pre", 4, "A fine, slow film."),
        ("words_and_punctuation", "pre", 2, "… film ."),
        ("basic_english", "post", 3, "a fine , …"),
    ],
)
def test_of_a_long_review_the_tokens_that_the_model_reads_are_shown(
    tokenizer: str, truncating: str, maxlen: int, expected: str
) -> None:
    encoder = TextEncoder(Vocabulary(SPECIALS), Tokenizer(tokenizer), maxlen, "pre", truncating)
    assert html.unescape(format_review(encoder, "A fine,   slow film.")) == expected


@pytest.mark.parametrize("maxlen", [2, 10**6])
@pytest.mark.parametrize("truncating", ["pre", "post"])
def test_long_reviews_are_shortened(truncating: str, maxlen: int) -> None:
    encoder = TextEncoder(Vocabulary(SPECIALS), Tokenizer("words"), maxlen, "pre", truncating)
    shown = format_review(encoder, "first second " + "film " * 100_000 + "third fourth")
    assert re.search("third fourth$" if truncating == "pre" else "^first second", shown)
    assert len(shown) <= MAX_CHARS + 2


def test_plots_are_limited_to_the_most_frequent_classes(evaluated: EvaluatedSplit) -> None:
    evaluated.datamodule.label_names = [f"class {i}" for i in range(12)]
    evaluated.reviews.reviews.labels[:] = [11, 11, 10, 3]
    assert evaluated.shown_classes == [0, 1, 2, 3, 4, 5, 6, 7, 10, 11]
    evaluated.datamodule.label_names = ["bad", "good"]
    evaluated.reviews.reviews.labels[:] = 1
    assert evaluated.shown_classes == [0, 1]


@pytest.mark.parametrize("markup", ["<b>", "*a*", "[x](y)", "|", "&lt;", "`", "# x", "1."])
def test_markup_in_reviews_is_escaped(markup: str) -> None:
    assert not set(escape_markdown(markup)) & set("<>*[]()|`.")


def render(figure: Figure) -> list[str]:
    """Draw a figure and return its axis labels."""
    figure.draw_without_rendering()
    return [
        label for axis in figure.axes for label in (axis.get_xlabel(), axis.get_ylabel()) if label
    ]


@pytest.mark.parametrize(
    ("label_names", "name"),
    [(["bad", "$\\x$"], "$\\x$"), (["bad", "good", "$\\x$"], "the most probable class")],
)
def test_reliability_diagram_of_two_and_of_three_classes(label_names: list[str], name: str) -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, len(label_names), 200)
    probabilities = random.dirichlet(np.ones(len(label_names)), 200).astype(np.float32)
    figure = plot_reliability_diagram(labels, probabilities, label_names, 0.1)
    assert render(figure) == [
        f"observed frequency of {name}", f"predicted probability of {name}", "reviews",
    ]  # fmt: skip
    top, bottom = figure.axes
    shown = {line.get_label(): np.asarray(line.get_xydata()) for line in top.lines}["model"]
    (bars,) = bottom.containers
    counts = [int(bar.get_height()) for bar in bars if bar.get_height()]
    assert [text.get_text() for text in bottom.texts if text.get_text()] == [*map(str, counts)]
    observed, predicted = calibration_curve(
        labels == 1 if len(label_names) == 2 else labels == probabilities.argmax(1),
        probabilities[:, 1] if len(label_names) == 2 else probabilities.max(1),
        n_bins=15,
    )
    assert shown == pytest.approx(np.stack([predicted, observed], 1), abs=1e-6)
    (intervals,) = top.collections
    assert isinstance(intervals, LineCollection)
    for (p, frequency), interval, n in zip(shown, intervals.get_segments(), counts, strict=True):
        expected = binomtest(round(frequency * n), n).proportion_ci(method="wilson")
        assert interval == pytest.approx(np.array([[p, expected.low], [p, expected.high]]))


def test_confusion_matrix_shows_counts_fractions_and_accuracy() -> None:
    figure = plot_confusion_matrix(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), ["bad", "$\\x$"])
    assert {"predicted label", "true label"} < set(render(figure))
    axis = figure.axes[0]
    assert axis.get_title() == "accuracy 75.00 %, 4 reviews"
    assert [text.get_text() for text in axis.texts] == [
        "2\n66.7 %",
        "1\n33.3 %",
        "0\n0.0 %",
        "1\n100.0 %",
    ]


@pytest.mark.parametrize(("classes", "largest"), [(50, 13.5), (1000, 15)])
def test_confusion_matrix_of_many_classes_stays_small_and_without_numbers(
    classes: int, largest: float
) -> None:
    labels = np.arange(classes)
    figure = plot_confusion_matrix(labels, labels, [f"a long name of class {i}" for i in labels])
    assert max(figure.get_size_inches()) < largest
    assert not figure.axes[0].texts
    assert 50 <= len(figure.axes[0].get_xticklabels()) <= 60


def test_gates_of_four_classes_are_filled_from_chance_and_explained() -> None:
    state = torch.rand(1, 3, 2)
    gates = Gates(
        {"reset": torch.rand(1, 3, 2), "update": torch.rand(1, 3, 2)}, "hidden state", state, state
    )
    layers = [LayerTrace(f"layer {i}, forward", gates, np.arange(2)) for i in (1, 2)]
    traced = Trace(3, np.array([0.2, 0.3, 0.4], np.float32), layers)
    names = ["w", "x", "y", "$z$"]
    figure = plot_gates(["a", "b", "c"], traced, layers[1], names)
    figure.draw_without_rendering()
    above, below = (area.get_paths()[0].get_extents() for area in figure.axes[0].collections)
    assert (above.y0, above.y1, below.y0, below.y1) == pytest.approx((0.25, 0.4, 0.2, 0.25))
    assert figure.axes[0].lines[1].get_ydata() == [0.25, 0.25]
    legend = figure.axes[0].get_legend()
    assert legend is not None
    keys = [text.get_text() for text in legend.get_texts()]
    assert keys == ["above chance (0.25)", "below chance (0.25)"]
    panels = [axis.get_ylabel().replace("\n", " ") for axis in figure.axes[:4]]
    assert panels == [
        "p($z$) so far",
        "reset gate units",
        "update gate units",
        "hidden state units",
    ]
    reset = gates.activations["reset"]
    scale = figure.axes[1].images[0].get_clim()
    assert scale == pytest.approx((float(reset.min()), float(reset.max())))
    orders = [
        plot_gates(["a", "b", "c"], traced, layer, names).axes[3].get_xlabel().partition(" at ")[0]
        for layer in layers
    ]
    assert orders == ["units: the greatest mean state", "units: the greatest weight for $z$"]


def test_weights_are_named_by_layer_and_direction() -> None:
    assert name_weight("backward_layers.1.weight_ih_l0") == "layer 2, backward: weight_ih"
    assert name_weight("linear.bias") == "linear.bias"
