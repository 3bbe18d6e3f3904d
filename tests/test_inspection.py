import re
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sentiment.callbacks.inspection import _as_markdown, _plain
from sentiment.data.batching import PaddedReviews
from sentiment.data.encoding import Reviews
from sentiment.train import train

from .conftest import Compose

ALL = "callbacks.inspection={_target_: sentiment.callbacks.inspection.Inspection, projector: 20, most_wrong: 3}"
NONE = {"histograms": "false", "gradient_norm": "false", "pr_curves": "false", "reliability": "false",
        "confusion": "false", "most_wrong": "0", "projector": "0", "gates": "false"}  # fmt: skip


def shown(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), {"images": 0, "tensors": 0, "histograms": 0}).Reload()


def test_tensorboard_gets_every_part(composed: Compose, tmp_path: Path) -> None:
    train(composed(ALL, "trainer.log_every_n_steps=5"))
    events = shown(tmp_path)
    tags = events.Tags()
    gates = {f"gates/{name}, layer 1, forwards" for name in ("surely bad", "surely good", "most wrong")}
    assert set(tags["images"]) == {"test/reliability", "test/confusion"} | gates
    assert len(events.Histograms("weights/net.embedding.weight")) == 2
    assert len(events.Scalars("gradients/norm")) == 4  # of 18 steps
    assert all(event.value > 0 for event in events.Scalars("gradients/norm"))
    assert len(events.Tensors("val/good")) == 2
    assert len(events.Tensors("test/good")) == 1
    (text,) = events.Tensors("test/most_wrong/text_summary")
    assert text.tensor_proto.string_val[0].decode().count("said with p = ") == 3
    (metadata,) = tmp_path.glob("*/words/metadata.tsv")
    header, *rows = metadata.read_text().splitlines()
    assert header.split("\t") == ["word", "rank", "polarity"]
    assert len(rows) == 20
    assert all(abs(float(row.split("\t")[2])) < 20 for row in rows)
    assert (tmp_path / "projector_config.pbtxt").exists()


@pytest.mark.parametrize("part", list(NONE))
def test_each_part_can_be_had_alone(composed: Compose, tmp_path: Path, part: str) -> None:
    off = ", ".join(f"{name}: {value}" for name, value in NONE.items() if name != part)
    train(composed(f"callbacks.inspection={{_target_: sentiment.callbacks.inspection.Inspection, {off}}}"))
    tags = shown(tmp_path).Tags()
    found = {
        "histograms": bool(tags["histograms"]),
        "gradient_norm": "gradients/norm" in tags["scalars"],
        "pr_curves": "val/good" in tags["tensors"],
        "reliability": "test/reliability" in tags["images"],
        "confusion": "test/confusion" in tags["images"],
        "most_wrong": "test/most_wrong/text_summary" in tags["tensors"],
        "projector": (tmp_path / "projector_config.pbtxt").exists(),
        "gates": any(tag.startswith("gates/") for tag in tags["images"]),
    }
    assert found == {name: name == part for name in NONE}


def test_three_classes_both_directions_and_no_test(composed: Compose, tmp_path: Path, run_of_three: Path) -> None:
    settings = [f"data.path={run_of_three}/reviews.csv", "model.bidirectional=true", "data.padding=post"]
    for test in ("best", "false"):
        folder = tmp_path / test
        folder.mkdir()
        train(composed(ALL, *settings, f"test={test}", folder=folder))
    tags = shown(tmp_path / "best").Tags()
    assert {"test/a", "test/b", "test/c"} < set(tags["tensors"])
    assert "gates/surely c, layer 1, backwards" in tags["images"]
    tags = shown(tmp_path / "false").Tags()
    assert not tags["images"]
    assert "val/a" in tags["tensors"]


def test_it_changes_no_figure_of_the_run(composed: Compose, tmp_path: Path) -> None:
    results = {}
    for name, inspection in (("with", ALL), ("without", "callbacks.inspection=null")):
        (tmp_path / name).mkdir()
        results[name] = train(composed(inspection, folder=tmp_path / name))
    assert results["with"] == results["without"]
    assert (tmp_path / "with" / "test_predictions.csv").read_bytes() == (
        tmp_path / "without" / "test_predictions.csv"
    ).read_bytes()


def test_what_is_cut_off_stands_in_italics_and_of_very_long_reviews_only_some() -> None:
    ids = np.arange(2, 702, dtype=np.int32)
    reviews = Reviews(ids, np.array([0, 700]), np.array([0]), np.array([0]))
    words = [f"w{i}" for i in range(702)]
    for truncating, shown in (("pre", "*w192 .* w691* w692 .* w701"), ("post", "w2 .* w11 *w12 .* w511*")):
        text = _as_markdown(PaddedReviews(reviews, 1000, 10, "pre", truncating), 0, words)
        assert re.fullmatch(shown.replace("*w", r"\*w").replace("691*", r"691\*").replace("511*", r"511\*"), text)
    assert _as_markdown(PaddedReviews(reviews, 1000, 700, "pre", "pre"), 0, words) == " ".join(words[2:])


def test_reviews_are_shown_as_text_whatever_they_hold() -> None:
    for markup in ("<b>", "*a*", "[x](y)", "|", "&lt;", "`", "# x", "1."):
        assert not set(_plain(markup)) & set("<>*[]()|`")
