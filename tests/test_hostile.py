"""Hostile texts and checkpoints: no crash, nothing executed, no markup that runs, probabilities that are some."""

import csv
import json
import os
import pickle
import resource
import string
import zipfile
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from rich.console import Console

from sentiment.classifier import Classifier, load
from sentiment.data.text import TOKENIZERS
from sentiment.errors import InputError, printable
from sentiment.explain import as_page, in_terminal
from sentiment.explanation import explain

from .conftest import command, trained
from .test_checkpoint import Bomb

FRAGMENTS = ["<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\" onmouseover=\"alert(1)", "</p>", "<br />",
             "<!--", "]]>", "&lt;", "&#60;", "{{ 7*7 }}", "{% raw %}", "%s", "$\\frac$", "$x", "[bold]", "[/]",
             "=1+1", "@SUM(A1)", "\x00", "\x1b[31m", "\x1b]0;title\x07", "\x85", "\u2028", "\u202e", "\u2066", "\ufeff",
             "\ud800", "\udfff", "שלום", "مرحبا", "👨‍👩‍👧", "🏳️‍🌈", "电影", "e\u0301" * 9, "ß", "İ", "ǆ", "n't", "''''",
             "8/10", "1/" * 9, "9" * 99, "!!!!", "....", ":-)", "'s", "<unk>", "<pad>", "\n", ","]  # fmt: skip
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=())),
    st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join),
    st.lists(st.sampled_from([*FRAGMENTS, *string.ascii_letters, "good", "film"]), max_size=40).map(" ".join),
)
EXAMPLES = int(os.environ.get("SENTIMENT_FUZZ", "100"))  # of every property
fuzz = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module", params=list(TOKENIZERS))
def reader(request: pytest.FixtureRequest, small: Path, tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    """A model for each tokenizer, with all that the article's net has not."""
    model = ["data.padding=post", "model.bidirectional=true", "model.pooling=max_mean", "model.chunk=7",
             "model.ngrams=3", "model.ngram_rows=500"]  # fmt: skip
    folder = tmp_path_factory.mktemp(request.param)
    return load(trained(folder, small, f"data.tokenizer={request.param}", "trainer.max_epochs=1", *model))


@given(st.lists(TEXTS, min_size=1, max_size=4))
@fuzz
def test_any_text_gets_probabilities(reader: Classifier, texts: list[str]) -> None:
    ids = [reader.vocabulary.encode(reader.split(text)[0]) for text in texts]
    assert all(min(of_text) > 0 and max(of_text) < len(reader.vocabulary) for of_text in ids)
    assert reader.logits(reader.encode(texts)).isfinite().all()
    for prediction in reader.predict(texts):
        values = list(prediction.probabilities.values())
        assert all(0 <= value <= 1 for value in values)
        assert sum(values) == pytest.approx(1, abs=1e-6)
        assert prediction.probabilities[prediction.label] == max(values)


@given(TEXTS)
@fuzz
def test_a_text_says_the_same_beside_any_other(reader: Classifier, text: str) -> None:
    alone = reader.predict([text])[0].probabilities
    beside = reader.predict([text, "good film " * 20])[0].probabilities
    assert list(alone.values()) == pytest.approx(list(beside.values()), abs=1e-6)


class Tags(HTMLParser):
    """Counts a page's tags, and the attributes that could run or load something."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.count: dict[str, int] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        for name, value in attrs:
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href"):
                assert str(value).startswith("data:image/svg+xml;base64,")
            else:
                assert name in ("alt", "class", "style", "title", "lang", "charset", "http-equiv", "content"), name


@given(TEXTS)
@settings(fuzz, max_examples=max(10, EXAMPLES // 20), phases=[Phase.generate])  # shrinking pages takes minutes
def test_a_page_runs_nothing_and_a_terminal_obeys_nothing(reader: Classifier, text: str) -> None:
    explanation = explain(reader, text)
    page = as_page(explanation)
    tags = Tags(page).count
    assert "script" not in tags
    assert tags["img"] == 2
    assert tags["span"] == len(explanation.words) + bool(explanation.before) + bool(explanation.after)
    page.encode("utf-8", errors="replace")
    console = Console(width=80, force_terminal=False)
    with console.capture() as told:
        in_terminal(explanation, console)
    assert printable(told.get().replace("\n", "")) == told.get().replace("\n", "")


@pytest.mark.slow
@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("piece", ["good ", "a", "1", "1/", ".", "!", "'", "n't", "<br", "é", "电", "👍", "\x00", "\n"])
def test_ten_megabytes_in_one_line_are_split_in_seconds(tokenizer: str, piece: str) -> None:
    text = piece * (10_000_000 // len(piece.encode()))
    assert sum(map(len, TOKENIZERS[tokenizer](text))) <= 2 * len(text)


def test_ten_megabytes_in_one_line_are_classified(run: Path) -> None:
    (prediction,) = load(run).predict(["good " * 2_000_000])
    assert sum(prediction.probabilities.values()) == pytest.approx(1)


@pytest.mark.slow
def test_classes_with_hostile_names_make_no_formula_markup_or_command(tmp_path: Path) -> None:
    names = ["=HYPERLINK(0)", "@SUM", "-1", "+1", "-2+3", "<b>[/]\x1b[31m"]
    rows = [(f"film {i % 6}", names[i % 6]) for i in range(120)]
    data = tmp_path / "reviews.jsonl"
    data.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
    settings = ["data=files", f"data.path={data}", "data.maxlen=8", "trainer=cpu", "trainer.max_epochs=1"]
    told = command(*settings, "model.units=4", "baseline=none", "hydra.run.dir=run", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    folder = tmp_path / "run"
    with (folder / "test_predictions.csv").open(newline="") as file:
        labels = {row["label"] for row in csv.DictReader(file)}
    assert labels == {"'=HYPERLINK(0)", "'@SUM", "-1", "+1", "'-2+3", "<b>[/]\x1b[31m"}
    for module in ("predict", "explain", "neighbors"):
        told = command(
            str(folder), "film", *(["--format", "csv"] if module == "predict" else []), cwd=tmp_path, module=module
        )
        assert told.returncode == 0, told.stderr
        if module == "predict":
            assert not told.stdout.splitlines()[1].startswith(("=", "@", "-2"))
        else:
            assert "\x1b" not in told.stdout


def _resaved(change: Callable[[dict[str, Any]], object]) -> Callable[[Path, Path], object]:
    def save(whole: Path, path: Path) -> None:
        checkpoint = torch.load(whole)
        change(checkpoint)
        torch.save(checkpoint, path)

    return save


def _packed(whole: Path, path: Path) -> None:
    """A gigabyte of zeros in a megabyte, in the place of the weights."""
    with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        for record in archive.namelist():
            bomb.writestr(record, bytes(1 << 30) if record.endswith("data/0") else archive.read(record))


HOSTILE: dict[str, Callable[[Path, Path], object]] = {
    "code": _resaved(lambda checkpoint: checkpoint.update(more=Bomb(Path("was_here")))),
    "old_code": lambda whole, path: path.write_bytes(pickle.dumps(Bomb(Path("was_here")))),
    "packed": _packed,
    "cut": lambda whole, path: path.write_bytes(whole.read_bytes()[:-1000]),
    "units": _resaved(lambda checkpoint: checkpoint["hyper_parameters"]["model"].update(units=1 << 20)),
    "layers": _resaved(lambda checkpoint: checkpoint["hyper_parameters"]["model"].update(num_layers=1 << 40)),
    "ngrams": _resaved(lambda checkpoint: checkpoint["hyper_parameters"]["model"].update(ngrams=2, ngram_rows=1 << 40)),
    "vocabulary": _resaved(lambda checkpoint: checkpoint["hyper_parameters"]["text"]["words"].append("more")),
    "words": _resaved(lambda checkpoint: checkpoint["hyper_parameters"]["text"].update(words=list(range(9)))),
    "shape": _resaved(lambda checkpoint: checkpoint["state_dict"].update({"net.linear.weight": torch.zeros(1, 9)})),
    "expanded": _resaved(
        lambda checkpoint: checkpoint["state_dict"].update(
            {"net.linear.weight": torch.zeros(1, 1).expand(1 << 20, 1 << 20)}
        )
    ),
    "kind": _resaved(
        lambda checkpoint: checkpoint["state_dict"].update({"net.linear.bias": torch.zeros(1, dtype=torch.complex64)})
    ),
    "no_dictionary": _resaved(lambda checkpoint: checkpoint.update(state_dict=[])),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_checkpoint_is_refused_before_anything_is_run_or_much_memory_taken(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    HOSTILE[kind](run / "checkpoints" / "best.ckpt", tmp_path / "hostile.ckpt")
    monkeypatch.chdir(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"hostile\.ckpt: ") as refused:
        load(tmp_path / "hostile.ckpt")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "was_here").exists()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["code", "vocabulary"])
def test_every_tool_refuses_a_hostile_checkpoint(small: Path, tmp_path: Path, kind: str) -> None:
    """Tries predict, its ensemble, explain, neighbors, export, evaluate and a resumed run."""
    run = tmp_path / "run"
    run.mkdir()
    trained(run, small, "trainer.max_epochs=1")
    hostile = run / "checkpoints" / "last.ckpt"
    HOSTILE[kind](run / "checkpoints" / "best.ckpt", hostile)
    for module, arguments in (
        ("predict", [str(hostile), "film"]),
        ("predict", [str(run), "--ensemble", str(hostile), "film"]),
        ("explain", [str(hostile), "film"]),
        ("neighbors", [str(hostile), "film"]),
        ("export", [str(hostile), "model.onnx"]),
        ("evaluate", [f"checkpoint={hostile}", "data=demo"]),
        ("train", [f"resume={run}"]),
    ):
        told = command(*arguments, module=module, cwd=tmp_path)
        assert told.returncode == 2, (module, told.stderr)
        assert ".ckpt: " in told.stderr
        assert len(told.stderr.splitlines()) == 1, told.stderr
        assert not told.stdout
        assert not (tmp_path / "was_here").exists()
