import ast
import json
import os
import textwrap
from argparse import Namespace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

from sentiment import export as export_command
from sentiment.classifier import load
from sentiment.data.text.tokenizers import Tokenizer
from sentiment.data.text.vocabulary import SPECIALS, TextEncoder, Vocabulary
from sentiment.model.network import Network, build_network
from sentiment.model.onnx_export import export_onnx
from sentiment.runtime.errors import InputError

WORDS = ["not", "a", "good", "film", "at", "all", "but", "a", "convincing", "ending"]


def export(run: Path, path: Path) -> float:
    """Export the model of a run."""
    classifier = load(run)
    return export_onnx(classifier.net, classifier.encoder, classifier.label_names, path)


def make_encoder(padding: str) -> TextEncoder:
    """An encoder of the words `0`, `1`, …, `27`."""
    return TextEncoder(
        Vocabulary([*SPECIALS, *map(str, range(28))]), Tokenizer("words"), 20, padding, "pre"
    )


def test_file_and_its_metadata_suffice_to_reproduce_predictions(
    run: Path, masked_run: Path, tmp_path: Path
) -> None:
    for folder in (run, masked_run):
        path = tmp_path / "model.onnx"
        assert export(folder, path) <= 1e-4
        assert list(tmp_path.iterdir()) == [path]
        session = onnxruntime.InferenceSession(path)
        metadata = {
            key: json.loads(value)
            for key, value in session.get_modelmeta().custom_metadata_map.items()
        }
        assert metadata["tokenizer"] == "words"
        word_ids = {word: id_ for id_, word in enumerate(metadata["vocabulary"])}
        ids = [word_ids.get(word, 1) for word in WORDS]
        padding = [0] * (metadata["maxlen"] - len(ids))
        row = np.array([padding + ids if metadata["padding"] == "pre" else ids + padding])
        ((*probabilities,),) = session.run(None, {"ids": row})[0].tolist()
        (expected,) = load(folder).predict([" ".join(WORDS)])
        found = dict(zip(metadata["label_names"], probabilities, strict=True))
        assert found == pytest.approx(expected.probabilities, abs=1e-5)


def test_example_in_the_docstring_reproduces_a_prediction(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    export_command.run(Namespace(checkpoint=run, trust=[], file=Path("model.onnx")))
    assert "model.onnx: written; at 1 x 3, 5 x 24, 3 x 400 tokens within" in capsys.readouterr().out
    example = (export_command.__doc__ or "").partition("the defaults:\n")[2]
    exec(textwrap.dedent(example), {})
    (expected,) = load(run).predict(["A slow start, but what an ending!"])
    assert ast.literal_eval(capsys.readouterr().out) == pytest.approx(
        expected.probabilities, abs=1e-5
    )


@pytest.mark.parametrize("padding", ["pre", "post"])
@pytest.mark.parametrize("chunk_length", [None, 7])
@pytest.mark.parametrize("pooling", ["last", "max", "mean", "max_mean"])
def test_every_pooling_and_three_classes_are_exported(
    tmp_path: Path, pooling: str, chunk_length: int | None, padding: str
) -> None:
    encoder = make_encoder(padding)
    model = {
        "_target_": "sentiment.model.recurrent.LSTMClassifier",
        "embedding_dim": 12,
        "units": 10,
    }
    model |= {"pooling": pooling, "bidirectional": True, "chunk_length": chunk_length}
    net = build_network(model, encoder, ["a", "b", "c"]).eval()
    assert export_onnx(net, encoder, ["a", "b", "c"], tmp_path / "model.onnx") <= 1e-4


@pytest.mark.parametrize("padding", ["pre", "post"])
def test_gru_is_exported(tmp_path: Path, padding: str) -> None:
    encoder = make_encoder(padding)
    model = {
        "_target_": "sentiment.model.recurrent.GRUClassifier",
        "bidirectional": True,
        "pooling": "max_mean",
    }
    net = build_network(model, encoder, ["a", "b"]).eval()
    assert export_onnx(net, encoder, ["a", "b"], tmp_path / "model.onnx") <= 1e-4


class Unsupported(Network):
    """A network of an operation that the exporter lacks."""

    def forward(self, ids: Tensor) -> Tensor:
        return ids.float().sum(1, keepdim=True).i0()


def test_network_that_torch_cannot_export_is_rejected(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    expected = r"model\.onnx: not written, Unsupported cannot be exported \(.*aten::i0.*\); .*use operations that torch"
    with pytest.raises(InputError, match=expected) as error:
        export_onnx(
            Unsupported(masked=False), make_encoder("pre"), ["a", "b"], tmp_path / "model.onnx"
        )
    assert "\n" not in str(error.value)
    assert "graph" not in capfd.readouterr().out
    assert not list(tmp_path.iterdir())


def test_file_with_constant_sizes_is_rejected(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_export = torch.onnx.export
    monkeypatch.setattr(
        torch.onnx, "export", lambda *a, **k: true_export(*a, **k | {"dynamic_axes": None})
    )
    with pytest.raises(
        InputError,
        match=r"model\.onnx: not written, .* cannot be exported \(.*\); .* at any batch size",
    ):
        export(run, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_file_that_computes_something_else_is_rejected(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentiment.model.onnx_export.TOLERANCE", 1e-12)
    with pytest.raises(InputError, match="not written, its probabilities differ from PyTorch's by"):
        export(run, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("target", ["absent/model.onnx", ".", os.devnull])
def test_paths_that_cannot_be_written_are_rejected(run: Path, tmp_path: Path, target: str) -> None:
    with pytest.raises(InputError, match=r"No such file or directory|is no regular file"):
        export(run, tmp_path / target)
