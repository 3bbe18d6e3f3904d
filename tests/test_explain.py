import dataclasses
import io
import itertools
import re
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from sentiment import explain as explain_command
from sentiment.analysis.explain.explanation import attribute, explain, log_odds, trace
from sentiment.analysis.explain.views import (
    attribution_colors,
    draw_area_chart,
    format_decomposition,
    print_explanation,
    rank_probabilities,
    render_html,
)
from sentiment.classifier import Classifier, load
from sentiment.data.text.tokenizers import Tokenizer
from sentiment.data.text.vocabulary import SPECIALS, TextEncoder, Vocabulary
from sentiment.model.network import Network
from sentiment.model.recurrent import GRUClassifier
from sentiment.runtime.errors import InputError
from tests.examples.cnn import CNN
from tests.helpers import train_net

TEXT = "not a good film, zorgblatt: a convincing ending"


class BagOfWords(Network):
    """A network without an embedding."""

    def __init__(self) -> None:
        super().__init__(masked=False)
        self.weights = nn.Parameter(torch.linspace(-1, 1, 30))

    def forward(self, ids: Tensor) -> Tensor:
        return self.weights[ids].sum(1, keepdim=True)


def make_classifier(net: Network, padding: str = "pre") -> Classifier:
    """A classifier of the words `0`, `1`, …, `27`."""
    vocabulary = Vocabulary([*SPECIALS, *map(str, range(28))])
    return Classifier(
        net, TextEncoder(vocabulary, Tokenizer("words"), 14, padding, "pre"), ["bad", "good"]
    )


@pytest.mark.parametrize(
    ("pooling", "bidirectional", "masked"),
    list(itertools.product(["last", "max", "mean"], [False, True], [False, True])),
)
def test_attributions_sum_to_the_difference_of_the_logits(
    pooling: str, bidirectional: bool, masked: bool
) -> None:
    net = train_net(pooling=pooling, bidirectional=bidirectional, masked=masked)
    ids = torch.randint(1, 30, (1, 14))
    ids[0, 10:] = 0
    attribution = attribute(net, ids, 1, max_steps=256)
    baseline = torch.zeros(1, 10 if masked else 14, 12)
    with torch.no_grad():
        difference = float(
            net(ids) - net.forward_embedded(baseline, torch.tensor([baseline.shape[1]]))
        )
    assert attribution.log_odds - attribution.baseline == pytest.approx(difference, abs=1e-5)
    total = attribution.attributions.sum() + attribution.convergence_delta
    assert total == pytest.approx(difference, abs=1e-4)
    # Max pooling over both directions may change almost like a step function, which no number of steps integrates.
    assert attribution.converged or (pooling == "max" and attribution.steps == 256)
    assert (attribution.attributions[10:] == 0).all() == masked


def test_steps_are_doubled_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    net = train_net()
    ids = torch.randint(1, 30, (1, 14))
    monkeypatch.setattr("sentiment.analysis.explain.explanation.MIN_STEPS", 1)
    converged = attribute(net, ids, 1)
    assert converged.steps in {2, 4, 8, 16, 32}
    limited = attribute(net, ids, 1, max_steps=converged.steps // 2)
    assert limited.steps == converged.steps // 2
    assert abs(limited.convergence_delta) > abs(converged.convergence_delta)


@pytest.mark.parametrize("padding", ["pre", "post"])
@pytest.mark.parametrize("network", ["LSTM", "CNN", "BagOfWords"])
def test_prefix_probabilities_are_those_of_the_prefixes_alone(network: str, padding: str) -> None:
    torch.manual_seed(0)
    masked = padding == "post"
    net = {
        "LSTM": lambda: train_net(
            bidirectional=True, pooling="max_mean", chunk_length=5, masked=masked
        ),
        "CNN": lambda: CNN(30, 1, masked),
        "BagOfWords": BagOfWords,
    }[network]()
    classifier = make_classifier(net, padding)
    words = [str(int(i)) for i in torch.randint(0, 28, (20,))]
    traced = trace(classifier, torch.from_numpy(classifier.encode([" ".join(words)]).pad()))
    read = words[-14:]
    alone = classifier.predict([" ".join(read[:end]) for end in range(1, 15)])
    expected = [prediction.probabilities["good"] for prediction in alone]
    assert traced.prefix_probabilities.tolist() == pytest.approx(expected, abs=1e-6)
    assert bool(traced.layers) == (network == "LSTM")
    assert max(expected) - min(expected) > 1e-3


def test_every_word_has_an_attribution_and_a_prefix_probability(
    run: Path, masked_run: Path
) -> None:
    for folder in (run, masked_run):
        explanation = explain(load(folder), TEXT)
        assert explanation.words == [
            "not",
            "a",
            "good",
            "film",
            "zorgblatt",
            "a",
            "convincing",
            "ending",
        ]
        assert explanation.in_vocabulary[2:5] == [True, True, False]
        assert (
            explanation.attributions.shape == explanation.trace.prefix_probabilities.shape == (8,)
        )
        assert explanation.target == "good"
        total = explanation.attributions.sum() + explanation.padding
        assert total == pytest.approx(explanation.attribution.attributions.sum(), abs=1e-5)
        assert (explanation.padding == 0) == (folder == masked_run)


def test_the_most_probable_of_three_classes_is_explained(run_of_three: Path) -> None:
    for name in "abc":
        explanation = explain(load(run_of_three), f"film {name}")
        assert explanation.target == explanation.label == name
        assert explanation.words[explanation.attributions.argmax()] == name


def test_log_odds_are_those_of_the_probability() -> None:
    logits = torch.tensor([[0.3, -1.2, 2.0], [1000.0, 0.0, -20.0]])
    for target in range(3):
        assert log_odds(logits, target)[0] == pytest.approx(
            float(logits[0].softmax(0)[target].logit()), abs=1e-5
        )
    assert log_odds(logits, 0)[1] == pytest.approx(1000)
    assert [float(log_odds(torch.tensor([[0.7]]), target)) for target in (0, 1)] == pytest.approx(
        [-0.7, 0.7]
    )


def test_another_class_can_be_explained(run_of_three: Path, run: Path) -> None:
    classifier = load(run_of_three)
    explanation = explain(classifier, "film a", "b")
    assert (explanation.label, explanation.target) == ("a", "b")
    assert explanation.probabilities["b"] == pytest.approx(
        explanation.trace.prefix_probabilities[-1], abs=1e-5
    )
    assert explanation.attributions[1] < 0  # the word a
    with pytest.raises(InputError, match=r"^class=x: must be one of a, b, c$"):
        explain(classifier, "film a", "x")
    good, bad = (explain(load(run), TEXT, name) for name in ("good", "bad"))
    assert bad.trace.prefix_probabilities == pytest.approx(
        1 - good.trace.prefix_probabilities, abs=1e-6
    )
    assert bad.attributions == pytest.approx(-good.attributions, abs=1e-6)
    assert bad.trace.layers[-1].order.tolist() == good.trace.layers[-1].order.tolist()[::-1]


def test_terminal_and_page_of_three_classes_name_the_explained_one(run_of_three: Path) -> None:
    explanation = explain(load(run_of_three), "film a", "b")
    console = Console(width=80, record=True, file=io.StringIO())
    print_explanation(explanation, console)
    text, page = console.export_text(), render_html(explanation)
    for name, probability in explanation.probabilities.items():
        assert f"\n{name} {probability:.3f} " in text
        assert f'<td>{name}<td class="number">{probability:.3f}' in page
    for part in (
        f"a, {100 * explanation.probabilities['a']:.1f} %",
        "explained class: b\n",
        "for b: ",
        "against b: a",
        "\nlog-odds of b -",
    ):
        assert part in text
    for part in (
        "log-odds of <b>b</b>",
        "the line is at 1/3, chance",
        '<tr class="explained"><td>b<',
    ):
        assert part in page


def test_most_probable_of_many_classes_are_listed(run_of_three: Path) -> None:
    explanation = explain(load(run_of_three), "film a")
    probabilities = {f"class {i}": i / 300 for i in range(25)}
    ranked = rank_probabilities(explanation._replace(probabilities=probabilities))
    assert [name for name, _ in ranked] == [*(f"class {i}" for i in range(24, 14, -1)), "15 others"]
    assert sum(probability for _, probability in ranked) == pytest.approx(1)


def test_words_beyond_maxlen_are_kept_apart(run: Path) -> None:
    explanation = explain(load(run), "before " * 5 + "film " * 32)
    assert (explanation.before, len(explanation.words), explanation.after) == (
        ["before"] * 5,
        32,
        [],
    )
    assert explain(load(run), "").words == ["<unk>"]


def test_terminal_output_has_words_chart_and_decomposition(run: Path) -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    explanation = explain(load(run), TEXT)
    print_explanation(explanation, console)
    text = console.export_text()
    label, p = explanation.label, explanation.probabilities[explanation.label]
    assert text.startswith(f"{label}, {100 * p:.1f} %")
    for name, probability in explanation.probabilities.items():
        assert f"\n{name} {probability:.3f}" in re.sub(" +", " ", text)
    assert "a good film zorgblatt a convincing" in text
    assert "explained class: good" in text
    assert "not in the vocabulary: zorgblatt" in text
    assert "1.0 │" in text
    assert re.search(
        r"log-odds of good [+-]\d\.\d{3} = baseline .*, words .*, padding .*,\s+convergence delta",
        text,
    )


def test_weak_words_stay_pale_and_padding_that_outweighs_them_is_told(run: Path) -> None:
    explanation = explain(load(run), TEXT)
    weak = explanation._replace(
        attributions=np.array([0.01, -0.02], np.float32), words=["a", "b"], padding=-4.0
    )
    assert weak.color_scale == 4.0
    assert all(
        min(int(c[i : i + 2], 16) for i in (1, 3, 5)) > 245 for c in attribution_colors(weak)
    )
    assert weak.warning == "The padding (-4.00) outweighs all words (-0.01)."
    strong = explanation._replace(attributions=np.array([3.0, -6.0], np.float32), padding=0.5)
    assert (strong.color_scale, strong.warning) == (6.0, None)


def test_decomposition_warns_if_the_attributions_did_not_converge(run: Path) -> None:
    explanation = explain(load(run), TEXT)
    assert "did not converge" not in format_decomposition(explanation)
    attribution = explanation.attribution._replace(convergence_delta=0.8, steps=2048)
    text = format_decomposition(explanation._replace(attribution=attribution))
    assert text.endswith("delta +0.8000 (integrated gradients, 2,048 steps); did not converge, the attributions are a "
                         "rough guide only")  # fmt: skip


def test_chart_shows_the_probabilities_and_fits_the_width() -> None:
    assert draw_area_chart(np.array([1, 0, 0.5], np.float32), 6, height=3) == [
        "1.0 │██",
        "    │██  ▄▄",
        "0.0 │██  ██",
    ]
    thinned = draw_area_chart(np.full(1000, 0.5, np.float32), 60)
    assert len(thinned) == 5
    assert thinned[1:4] == ["    │", "    │" + "▄" * 60, "    │" + "█" * 60]


def test_page_escapes_markup_and_loads_nothing(masked_run: Path) -> None:
    net, encoder, label_names = (
        load(masked_run).net,
        load(masked_run).encoder,
        load(masked_run).label_names,
    )
    classifier = Classifier(
        net, dataclasses.replace(encoder, tokenizer=Tokenizer("basic_english")), label_names
    )
    explanation = explain(
        classifier, "film <script>alert(1)</script> &amp; <img src=x onerror=y> 电影 $x$"
    )
    page = render_html(explanation)
    assert "default-src 'none'" in page
    assert "<script" not in page
    assert not re.search(r"<img(?! alt=\"gates)", page)
    assert not re.findall(r"(?:src|href)=\"(?!data:image/svg)", page)
    assert "&lt;script&gt;" in page
    assert "电影" in page
    assert page.count("data:image/svg") == 4  # two layers in two directions


@pytest.mark.parametrize(
    ("net", "sentence"),
    [
        (train_net, "every row is a unit of the LSTM: how far its input gate (new information is written to the cell), "
         "its forget gate (the old cell state is kept) and its output gate (the cell state is output) open at each "
         "word, and its cell state."),
        (lambda: GRUClassifier(30, 1, num_layers=2), "every row is a unit of the GRU: how far its reset gate (the "
         "candidate for the new hidden state depends on the old one) and its update gate (the old hidden state is kept "
         "rather than the candidate) open at each word, and its hidden state."),
        (lambda: CNN(30, 1, masked=False), "The CNN has no gates that could be shown."),
    ],
)  # fmt: skip
def test_page_describes_the_gates_of_the_network(net: Callable[[], Network], sentence: str) -> None:
    classifier = make_classifier(net())
    explanation = explain(classifier, "3 5 8 13")
    page = " ".join(render_html(explanation).split())
    assert page.count(sentence) == 1
    assert page.count("data:image/svg") == len(explanation.trace.layers)
    assert page.count("no gates") == (not explanation.trace.layers)


def test_attributions_need_forward_embedded() -> None:
    expected = "explain: BagOfWords has no forward_embedded, which attributions need; implement it, see sentiment.model"
    with pytest.raises(InputError, match=f"^{expected}"):
        explain(make_classifier(BagOfWords()), "3 5")


def test_command_writes_the_page_atomically(run: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    explain_command.run(Namespace(checkpoint=run, trust=[], text=TEXT, html=page, target=None))
    assert page.read_text().startswith("<!doctype html>")
    assert list(tmp_path.iterdir()) == [page]
    for path, message in (
        ("absent/page.html", "No such file or directory"),
        (".", "is no regular file"),
    ):
        with pytest.raises(InputError, match=message):
            explain_command.run(
                Namespace(checkpoint=run, trust=[], text=TEXT, html=tmp_path / path, target=None)
            )
    assert list(tmp_path.iterdir()) == [page]


@pytest.mark.parametrize("text", ["", "  \n", "?!"])
def test_command_refuses_a_text_without_a_token(run: Path, tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.html"
    with pytest.raises(InputError, match=r"^text: there is no token in it to explain; "):
        explain_command.run(Namespace(checkpoint=run, trust=[], text=text, html=page, target=None))
    assert not page.exists()
