"""The network, the callback and the tokenizer in `examples/`, used from their folder as a user would."""

import io
import shutil
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from sentiment import export, neighbors
from sentiment.analysis.explain.explanation import explain
from sentiment.analysis.explain.views import print_explanation, render_html
from sentiment.classifier import load
from tests.examples.cnn import CNN
from tests.examples.negation import JoinNegations
from tests.helpers import QUICK, command, read_metrics, write_csv

EXAMPLES = Path(__file__).parent / "examples"


@torch.no_grad()
def test_cnn_does_not_see_masked_padding_and_reads_short_texts() -> None:
    torch.manual_seed(0)
    net = CNN(30, 1, masked=True, embedding_dim=8, filters=6).eval()
    texts = [
        torch.randint(1, 30, (length,)) for length in (1, 2, 4, 9)
    ]  # the widest filter covers 5 tokens
    alone = torch.cat([net(text[None]) for text in texts])
    batch = nn.utils.rnn.pad_sequence(texts, batch_first=True)
    for logits in (net(batch), net(nn.functional.pad(batch, (0, 7)))):
        assert (logits - alone).abs().max() <= 1e-6
    assert alone.std() > 1e-3
    net.masked = False
    assert (net(batch)[:3] - alone[:3]).abs().min() > 1e-6  # padding is a token like any other
    assert net(batch[:, :1]).shape == (4, 1)


def test_tokenizer_joins_a_negation_and_the_word_after_it() -> None:
    assert JoinNegations()("Not good, it's NOT bad. No") == ["not_good", "it's", "not_bad", "no"]


@pytest.mark.slow
def test_network_and_callback_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, run, imported = tmp_path / "mine", tmp_path / "run", tmp_path / "imported"
    shutil.copytree(EXAMPLES, folder)
    with (folder / "cnn.py").open("a") as file:
        file.write(f"\nimport pathlib\npathlib.Path({str(imported)!r}).touch()\n")
    rows: list[tuple[str, object]] = [
        (f"the film {i} was {('dull', 'moving')[i % 2]}", ("bad", "good")[i % 2])
        for i in range(200)
    ]
    data = write_csv(tmp_path / "reviews.csv", rows)
    quick = [
        setting for setting in QUICK if not setting.startswith(("model.", "callbacks.diagnostics"))
    ]
    settings = [
        f"data.path={data}",
        "data.padding=post",
        "model.embedding_dim=16",
        "model.filters=16",
    ]
    chosen = [
        "--config-dir",
        "conf",
        "model=cnn",
        "callbacks=embedding_norm",
        f"hydra.run.dir={run}",
    ]
    trained = command(
        *chosen, *quick, *settings, "optimizer.lr=0.02", "trainer.max_epochs=4", cwd=folder
    )
    assert trained.returncode == 0, trained.stderr
    assert "CNN" in trained.stdout
    assert read_metrics(run)["test/accuracy"] == 1
    events = EventAccumulator(str(run)).Reload()
    assert len(events.Scalars("train/embedding_norm")) == 4
    assert "test/confusion" in events.Tags()["images"]
    assert not any("gates" in tag for tag in events.Tags()["images"])

    imported.unlink()
    refused = command(str(run), "film", cwd=folder, module="predict")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "names cnn.CNN, code that is not run unless you trust it" in refused.stderr
    assert not imported.exists()

    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "cnn", raising=False)
    classifier = load(run, trust=["cnn"])
    assert imported.exists()
    assert [p.label for p in classifier.predict(["moving", "a dull film"])] == ["good", "bad"]
    explanation = explain(classifier, "a moving film")
    console = Console(width=80, record=True, file=io.StringIO())
    print_explanation(explanation, console)
    assert "gates" not in console.export_text()
    assert "The CNN has no gates" in render_html(explanation)
    export.run(Namespace(checkpoint=run, trust=["cnn"], file=tmp_path / "model.onnx"))
    neighbors.run(Namespace(checkpoint=run, trust=["cnn"], word=["film"], count=3))
    assert "model.onnx: written" in (output := capsys.readouterr().out)
    assert "polarity (good)" in output
