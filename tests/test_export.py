import json
import os
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from sentiment import export as tool
from sentiment.classifier import Classifier, load
from sentiment.errors import InputError
from sentiment.model.lstm import LSTMClassifier

TEXT = "not a good film at all but a convincing ending"


def test_the_file_alone_says_what_the_model_says(run: Path, masked_run: Path, tmp_path: Path) -> None:
    for folder in (run, masked_run):
        path = tmp_path / "model.onnx"
        assert tool.export(load(folder), path) <= 1e-4
        assert list(tmp_path.iterdir()) == [path]
        session = onnxruntime.InferenceSession(path)
        about = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
        assert about["tokenizer"] == "words"
        number = {word: id_ for id_, word in enumerate(about["words"])}
        ids = [
            number.get(word, 1)
            for word in ["not", "a", "good", "film", "at", "all", "but", "a", "convincing", "ending"]
        ]
        padding = [0] * (about["maxlen"] - len(ids))
        row = np.array([padding + ids if about["padding"] == "pre" else ids + padding])
        ((*probabilities,),) = session.run(None, {"ids": row})[0].tolist()
        (expected,) = load(folder).predict([TEXT])
        assert dict(zip(about["label_names"], probabilities, strict=True)) == pytest.approx(
            expected.probabilities, abs=1e-5
        )


@pytest.mark.parametrize("padding", ["pre", "post"])
@pytest.mark.parametrize("chunk", [None, 7])
@pytest.mark.parametrize("pooling", ["last", "max", "mean", "max_mean"])
def test_every_pooling_and_number_of_classes(tmp_path: Path, pooling: str, chunk: int | None, padding: str) -> None:
    words = ["<pad>", "<unk>", *map(str, range(28))]
    text = {"words": words, "label_names": list("abc"), "padding": padding, "truncating": "pre", "maxlen": 20}
    model = {"embedding_dim": 12, "units": 10, "pooling": pooling, "bidirectional": True, "chunk": chunk}
    classifier = Classifier(LSTMClassifier.of(text, model), text | {"tokenizer": "words"})
    assert tool.export(classifier, tmp_path / "model.onnx") <= 1e-4


def test_a_file_that_froze_its_sizes_is_no_success(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true_export = torch.onnx.export
    monkeypatch.setattr(torch.onnx, "export", lambda *a, **k: true_export(*a, **k | {"dynamic_axes": None}))
    with pytest.raises(InputError, match=r"model\.onnx: not written, it cannot read"):
        tool.export(load(run), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_a_file_that_computes_something_else_is_no_success(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool, "TOLERANCE", 1e-12)
    with pytest.raises(InputError, match="not written, its probabilities differ from PyTorch's by"):
        tool.export(load(run), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
    for target in (tmp_path / "absent" / "model.onnx", tmp_path, Path(os.devnull)):
        with pytest.raises(InputError, match=r"there is no folder|a folder or device"):
            tool.export(load(run), target)
