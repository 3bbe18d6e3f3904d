import io
import itertools
import re
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from sentiment import explain as tool
from sentiment.classifier import load
from sentiment.errors import InputError
from sentiment.explanation import attribute, explain

from .test_lstm import trained

TEXT = "not a good film, zorgblatt: a convincing ending"


@pytest.mark.parametrize(
    ("pooling", "bidirectional", "masked"),
    list(itertools.product(["last", "max", "mean"], [False, True], [False, True])),
)
def test_the_shares_add_up_to_the_difference_of_the_logits(pooling: str, bidirectional: bool, masked: bool) -> None:
    net = trained(pooling=pooling, bidirectional=bidirectional, masked=masked)
    ids = torch.randint(1, 30, (1, 14))
    ids[0, 10:] = 0
    found = attribute(net, ids, 0)
    zeros = torch.zeros(1, 10 if masked else 14, 12)
    with torch.no_grad():
        difference = float(net(ids) - net.logits(zeros, torch.tensor([zeros.shape[1]])))
    assert found.logit - found.baseline == pytest.approx(difference, abs=1e-5)
    assert found.shares.sum() + found.residual == pytest.approx(difference, abs=1e-4)
    # Max pooling over both directions may switch almost like a step, which no number of steps integrates.
    assert abs(found.residual) <= max(0.01 * abs(difference), 0.01) or (pooling == "max" and found.steps == 2048)
    assert (found.shares[10:] == 0).all() == masked  # what is not read has no share


def test_steps_are_doubled_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    net = trained()
    ids = torch.randint(1, 30, (1, 14))
    monkeypatch.setattr("sentiment.explanation.FIRST_STEPS", 1)
    found = attribute(net, ids, 0)
    assert found.steps in {2, 4, 8, 16, 32}
    monkeypatch.setattr("sentiment.explanation.MOST_STEPS", found.steps // 2)
    fewer = attribute(net, ids, 0)
    assert fewer.steps == found.steps // 2
    assert abs(fewer.residual) > abs(found.residual)


def test_every_word_has_a_share_and_a_probability(run: Path, masked_run: Path) -> None:
    for folder in (run, masked_run):
        explanation = explain(load(folder), TEXT)
        assert explanation.words == ["not", "a", "good", "film", "zorgblatt", "a", "convincing", "ending"]
        assert explanation.known[4] is False
        assert explanation.shares.shape == explanation.reading.running.shape == (8,)
        assert explanation.toward == "good"
        parts = explanation.shares.sum() + explanation.padding
        assert parts == pytest.approx(explanation.attribution.shares.sum(), abs=1e-5)
        assert (explanation.padding == 0) == (folder == masked_run)


def test_of_three_classes_the_likeliest_is_followed(run_of_three: Path) -> None:
    for name in "abc":
        explanation = explain(load(run_of_three), f"film {name}")
        assert explanation.toward == explanation.label == name
        assert explanation.words[explanation.shares.argmax()] == name


def test_words_that_are_cut_off_are_told_from_those_that_are_read(run: Path) -> None:
    explanation = explain(load(run), "before " * 5 + "film " * 32)
    assert (explanation.before, len(explanation.words), explanation.after) == (["before"] * 5, 32, [])
    assert explain(load(run), "").words == ["<unk>"]


def test_the_terminal_shows_the_words_the_line_and_the_sum(run: Path) -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    explanation = explain(load(run), TEXT)
    tool.in_terminal(explanation, console)
    shown = console.export_text()
    assert f"p(good) = {explanation.reading.running[-1]:.4f}" in shown
    assert "zorgblatt" in shown
    assert "not in the vocabulary" in shown
    assert "1.0 ┤" in shown
    assert "residual" in shown


def test_the_line_runs_from_left_to_right_through_the_probabilities() -> None:
    assert tool.chart([1.0, 0.0, 0.5], 6, height=3) == ["1.0 ┤──╮", "0.5 ┤  │ ╭─", "0.0 ┤  ╰─╯"]
    thinned = tool.chart([0.5] * 1000, 60)
    assert len(thinned) == 9
    assert thinned[4] == "0.5 ┤" + "─" * 60


def test_the_page_loads_nothing_runs_nothing_and_shows_markup_as_text(run: Path, masked_run: Path) -> None:
    classifier = load(masked_run)
    classifier.text = {**classifier.text, "tokenizer": "basic_english"}
    explanation = explain(classifier, "film <script>alert(1)</script> &amp; <img src=x onerror=y> 电影 $x$")
    page = tool.as_page(explanation)
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert not re.search(r"<img(?! alt=\"gates)", page)
    assert not re.findall(r"(?:src|href)=\"(?!data:image/svg)", page)
    assert "&lt;script&gt;" in page
    assert "电影" in page
    assert page.count("data:image/svg") == 4


def test_the_tool_writes_the_page_whole_or_not_at_all(run: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    tool.run(Namespace(checkpoint=run, text=TEXT, html=page))
    assert page.read_text().startswith("<!doctype html>")
    assert list(tmp_path.iterdir()) == [page]
    for target, message in (("absent/page.html", "there is no folder"), (".", "a folder or device")):
        with pytest.raises(InputError, match=message):
            tool.run(Namespace(checkpoint=run, text=TEXT, html=tmp_path / target))
    assert list(tmp_path.iterdir()) == [page]


def test_a_sum_that_does_not_add_up_is_told(run: Path) -> None:
    explanation = explain(load(run), TEXT)
    assert "rough guide" not in tool.sums(explanation)
    poor = explanation._replace(attribution=explanation.attribution._replace(residual=0.8, steps=2048))
    assert "the shares do not add up and are a rough guide only" in tool.sums(poor)
