"""Hostile texts, class names and checkpoints: valid probabilities, no code run, no markup, no wasted memory."""

import csv
import json
import multiprocessing
import os
import pickle
import string
import sys
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from rich.console import Console

from sentiment.analysis.explain.explanation import explain
from sentiment.analysis.explain.views import print_explanation, render_html
from sentiment.classifier import Classifier, load
from sentiment.data.text.tokenizers import TOKENIZERS
from sentiment.runtime.cli import escape_control_chars
from sentiment.runtime.errors import InputError
from tests.helpers import (
    FRAGMENTS,
    MASKED,
    QUICK,
    Bomb,
    command,
    peak_memory,
    time_limit,
    train_quick,
)

TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=())),
    st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join),
    st.lists(st.sampled_from([*FRAGMENTS, *string.ascii_letters, "good", "film"]), max_size=40).map(
        " ".join
    ),
)
EXAMPLES = int(os.environ.get("SENTIMENT_FUZZ", "100"))  # of every property
fuzz = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module", params=[*TOKENIZERS, pytest.param("bpe", marks=pytest.mark.slow)])
def classifier(
    request: pytest.FixtureRequest, small: Path, tmp_path_factory: pytest.TempPathFactory
) -> Classifier:
    """A model for each tokenizer."""
    folder = tmp_path_factory.mktemp(request.param)
    settings = [
        *MASKED,
        "model.num_layers=1",
        f"data.tokenizer={request.param}",
        "trainer.max_epochs=1",
    ]
    return load(train_quick(folder, small, *settings))


@given(st.lists(TEXTS, min_size=1, max_size=4))
@fuzz
def test_probabilities_of_any_text_are_valid(classifier: Classifier, texts: list[str]) -> None:
    for text in texts:
        ids = classifier.encoder.encode(text)
        assert min(ids) > 0
        assert max(ids) < len(classifier.encoder.vocabulary)
    assert classifier.logits(classifier.encode(texts)).isfinite().all()
    for prediction in classifier.predict(texts):
        values = list(prediction.probabilities.values())
        assert all(0 <= value <= 1 for value in values)
        assert sum(values) == pytest.approx(1, abs=1e-6)
        assert prediction.probabilities[prediction.label] == max(values)


@given(TEXTS)
@fuzz
def test_prediction_for_any_text_does_not_depend_on_the_others(
    classifier: Classifier, text: str
) -> None:
    alone = classifier.predict([text])[0].probabilities
    in_batch = classifier.predict([text, "good film " * 20])[0].probabilities
    assert list(alone.values()) == pytest.approx(list(in_batch.values()), abs=1e-6)


class TagCounter(HTMLParser):
    """Counts the tags of a page, and rejects attributes that could run or load something."""

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
                allowed = (
                    "alt",
                    "class",
                    "style",
                    "title",
                    "lang",
                    "charset",
                    "http-equiv",
                    "name",
                    "content",
                )
                assert name in allowed, name


@pytest.mark.slow
@given(TEXTS)
@settings(
    fuzz, max_examples=max(5, EXAMPLES // 20), phases=[Phase.generate]
)  # shrinking pages takes minutes
def test_explanation_of_any_text_contains_no_markup_or_control_chars(
    classifier: Classifier, text: str
) -> None:
    explanation = explain(classifier, text)
    page = render_html(explanation)
    tags = TagCounter(page).count
    assert "script" not in tags
    assert tags["img"] == 2
    assert tags["span"] == len(explanation.words) + bool(explanation.before) + bool(
        explanation.after
    )
    page.encode("utf-8", errors="replace")
    console = Console(width=80, force_terminal=False)
    with console.capture() as captured:
        print_explanation(explanation, console)
    output = captured.get().replace("\n", "")
    assert escape_control_chars(output) == output


@pytest.mark.slow
@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize(
    "piece", ["good ", "a", "1", "1/", ".", "!", "'", "n't", "<br", "é", "电", "👍", "\x00", "\n"]
)
def test_ten_megabytes_in_one_line_are_tokenized_in_20_seconds(tokenizer: str, piece: str) -> None:
    text = piece * (10_000_000 // len(piece.encode()))
    with time_limit(20):
        tokens = TOKENIZERS[tokenizer](text)
    assert sum(map(len, tokens)) <= 2 * len(text)


def test_ten_megabytes_in_one_line_are_classified_in_20_seconds(run: Path) -> None:
    classifier = load(run)
    with time_limit(20):
        (prediction,) = classifier.predict(["good " * 2_000_000])
    assert sum(prediction.probabilities.values()) == pytest.approx(1)


@pytest.mark.slow
def test_hostile_class_names_are_escaped_in_csv_and_terminal(tmp_path: Path) -> None:
    names = ["=HYPERLINK(0)", "@SUM", "-1", "+1", "-2+3", "<b>[/]\x1b[31m"]
    rows = [(f"film {i % 6}", names[i % 6]) for i in range(120)]
    data = tmp_path / "reviews.jsonl"
    data.write_text(
        "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)
    )
    done = command(
        *QUICK, f"data.path={data}", "trainer.max_epochs=1", "hydra.run.dir=run", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    with (tmp_path / "run" / "test_predictions.csv").open(newline="") as file:
        labels = {row["label"] for row in csv.DictReader(file)}
    assert labels == {"'=HYPERLINK(0)", "'@SUM", "-1", "+1", "'-2+3", "<b>[/]\x1b[31m"}
    done = command("run", "film", "--format", "csv", cwd=tmp_path, module="predict")
    assert done.returncode == 0, done.stderr
    assert not done.stdout.splitlines()[1].startswith(("=", "@", "-2"))
    for module in ("explain", "neighbors"):
        done = command("run", "film", cwd=tmp_path, module=module)
        assert done.returncode == 0, done.stderr
        assert "\x1b" not in done.stdout


def _resaved(change: Callable[[dict[str, Any]], object]) -> Callable[[Path, Path], object]:
    def save(valid: Path, path: Path) -> None:
        checkpoint = torch.load(valid)
        change(checkpoint)
        torch.save(checkpoint, path)

    return save


def _resaved_model(**changes: object) -> Callable[[Path, Path], object]:
    return _resaved(lambda checkpoint: checkpoint["hyper_parameters"]["model"].update(changes))


def _resaved_encoder(**changes: object) -> Callable[[Path, Path], object]:
    return _resaved(
        lambda checkpoint: checkpoint["hyper_parameters"]["text_encoder"].update(changes)
    )


def _resaved_weights(name: str, weights: torch.Tensor) -> Callable[[Path, Path], object]:
    return _resaved(lambda checkpoint: checkpoint["state_dict"].update({name: weights}))


def _zip_bomb(valid: Path, path: Path) -> None:
    """256 MB of zeros, compressed to a quarter of a megabyte, in place of the weights."""
    with (
        zipfile.ZipFile(valid) as archive,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for record in archive.namelist():
            bomb.writestr(
                record, bytes(1 << 28) if record.endswith("data/0") else archive.read(record)
            )


def _expand(checkpoint: dict[str, Any]) -> None:
    """Sizes that agree, of 6 GB in a file of some kilobytes."""
    units, weights = 20_000, checkpoint["state_dict"]
    checkpoint["hyper_parameters"]["model"]["units"] = units
    shapes: dict[str, tuple[int, ...]] = {
        "weight_ih_l0": (4 * units, 8),
        "weight_hh_l0": (4 * units, units),
    }
    shapes |= dict.fromkeys(("bias_ih_l0", "bias_hh_l0"), (4 * units,))
    zero = torch.zeros(1)
    weights |= {
        f"net.forward_layers.0.{name}": zero.expand(shape) for name, shape in shapes.items()
    }
    weights["net.linear.weight"] = zero.expand(1, units)


HOSTILE: dict[str, Callable[[Path, Path], object]] = {
    "code": _resaved(lambda checkpoint: checkpoint.update(more=Bomb(Path("exploded")))),
    "code in a pickle": lambda valid, path: path.write_bytes(pickle.dumps(Bomb(Path("exploded")))),
    "zip bomb": _zip_bomb,
    "truncated": lambda valid, path: path.write_bytes(valid.read_bytes()[:-1000]),
    "many units": _resaved_model(units=6000),  # 600 MB if they were allocated
    "impossibly many units": _resaved_model(units=1 << 20),
    "layers": _resaved_model(num_layers=1 << 40),
    "many n-grams": _resaved_model(max_ngram=2, num_ngrams=1 << 22),  # 500 MB
    "impossibly many n-grams": _resaved_model(max_ngram=2, num_ngrams=1 << 40),
    "long vocabulary": _resaved(
        lambda checkpoint: checkpoint["hyper_parameters"]["text_encoder"]["vocabulary"].append(
            "more"
        )
    ),
    "vocabulary of numbers": _resaved(
        lambda checkpoint: checkpoint["hyper_parameters"]["text_encoder"].update(
            vocabulary=list(range(9))
        )
    ),
    "long padding": _resaved_encoder(maxlen=10**12),
    "negative maxlen": _resaved_encoder(maxlen=-1),
    "maxlen of text": _resaved_encoder(maxlen="200"),
    "no tokenizer": _resaved_encoder(tokenizer=None),
    "negative units": _resaved_model(units=-6),
    "negative size of the embedding": _resaved_model(embedding_dim=-8),
    "negative n-grams": _resaved_model(max_ngram=2, num_ngrams=-1),
    "negative layers": _resaved_model(num_layers=-1),
    "layers of text": _resaved_model(num_layers="many"),
    "no network": _resaved_model(_target_="sentiment.data.text.vocabulary.Vocabulary"),
    "number as network": _resaved_model(_target_=7),
    "shape": _resaved_weights("net.linear.weight", torch.zeros(1, 9)),
    "expanded": _resaved_weights("net.linear.weight", torch.zeros(1, 1).expand(1 << 20, 1 << 20)),
    "expanded to sizes that agree": _resaved(_expand),
    "dtype": _resaved_weights("net.linear.bias", torch.zeros(1, dtype=torch.complex64)),
    "integers": _resaved_weights("net.linear.bias", torch.zeros(1, dtype=torch.int64)),
    "on no device": _resaved_weights("net.linear.bias", torch.zeros(1, device="meta")),
    "sparse": _resaved_weights("net.linear.bias", torch.zeros(1).to_sparse()),
    "text as weights": _resaved(
        lambda checkpoint: checkpoint["state_dict"].update({"net.linear.bias": "0"})
    ),
    "list of weights": _resaved(lambda checkpoint: checkpoint.update(state_dict=[])),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_checkpoint_is_rejected_without_running_code(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    HOSTILE[kind](run / "checkpoints" / "best.ckpt", tmp_path / "hostile.ckpt")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"hostile\.ckpt: ") as error:
        load(tmp_path / "hostile.ckpt")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("part", [i / 16 for i in range(16)])
def test_truncated_checkpoint_is_rejected_in_one_line(
    run: Path, tmp_path: Path, part: float
) -> None:
    valid = (run / "checkpoints" / "best.ckpt").read_bytes()
    (tmp_path / "hostile.ckpt").write_bytes(valid[: int(part * len(valid))])
    with pytest.raises(InputError, match=r"hostile\.ckpt: ") as error:
        load(tmp_path / "hostile.ckpt")
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def fresh_process() -> Iterator[ProcessPoolExecutor]:
    """A process whose memory is small, because it has not trained anything."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        yield executor


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_checkpoint_is_rejected_with_little_memory(
    run: Path, tmp_path: Path, fresh_process: ProcessPoolExecutor, kind: str
) -> None:
    HOSTILE[kind](run / "checkpoints" / "best.ckpt", tmp_path / "hostile.ckpt")
    assert fresh_process.submit(peak_memory, load, tmp_path / "hostile.ckpt").result() < 100  # MB


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_measured_memory_includes_a_freed_allocation(fresh_process: ProcessPoolExecutor) -> None:
    for megabytes in (300, 150):  # ru_maxrss would not notice the second one
        assert (
            fresh_process.submit(peak_memory, torch.ones, megabytes * 250_000).result()
            > 0.9 * megabytes
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("predict", ["run/checkpoints/last.ckpt", "film"]),
        ("predict", ["run", "--ensemble", "run/checkpoints/last.ckpt", "film"]),
        ("explain", ["run/checkpoints/last.ckpt", "film"]),
        ("neighbors", ["run/checkpoints/last.ckpt", "film"]),
        ("export", ["run/checkpoints/last.ckpt", "model.onnx"]),
        ("evaluate", ["checkpoint=run/checkpoints/last.ckpt", "data=demo"]),
        ("train", ["resume=run"]),
    ],
)
def test_every_command_rejects_a_hostile_checkpoint(
    run: Path, small: Path, tmp_path: Path, module: str, arguments: list[str]
) -> None:
    checkpoints = tmp_path / "run" / "checkpoints"
    train_quick(tmp_path / "run", small, "trainer.max_epochs=1")
    HOSTILE["code"](checkpoints / "best.ckpt", checkpoints / "last.ckpt")
    done = command(*arguments, module=module, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert ".ckpt: " in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert not done.stdout
    assert not (tmp_path / "exploded").exists()
