"""What a training shows in the terminal."""

import io
import logging
import os
import pty
import re
import struct
import subprocess
import sys
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

import pytest
from pytorch_lightning.callbacks import ModelSummary, ProgressBar
from pytorch_lightning.utilities.model_summary.model_summary import summarize
from rich import get_console
from rich.console import Console

from sentiment.model.module import SentimentModule
from sentiment.runtime.cli import ConsoleHandler
from sentiment.training import progress
from sentiment.training.trainer import make_callbacks, make_trainer
from tests.helpers import QUICK, ROOT, compose_config, read_metrics


def test_summary_lists_the_layers_of_the_network(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = SentimentModule.load_from_checkpoint(
        run / "checkpoints" / "best.ckpt", weights_only=True
    )
    console = Console(width=80)
    monkeypatch.setattr(progress, "get_console", lambda: console)
    summary = summarize(module, max_depth=2)
    with console.capture() as text:
        progress.LayerSummary.summarize(summary._get_summary_data(), summary.total_parameters)
    names = [line.split()[0] for line in text.get().splitlines() if line.strip()]
    assert names[2:] == ["embedding", "forward_layers", "linear", "all"]
    assert f"{read_metrics(run)['parameters']:,}" in text.get()


SHOWN = [setting for setting in QUICK if "progress" not in setting and "summary" not in setting]


def train_in_terminal(*arguments: str, cwd: Path, **environment: str) -> str:
    """Run `python -m sentiment.train` in a terminal of 80 columns; return what it shows."""
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    environment = {
        "PYTHONPATH": str(ROOT),
        "TERM": "xterm",
        "COLUMNS": "80",
    } | environment
    with subprocess.Popen(
        [sys.executable, "-m", "sentiment.train", *arguments],
        cwd=cwd,
        env=os.environ | environment,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        output = b""
        try:
            while part := os.read(ours, 1 << 16):
                output += part
        except OSError:  # the other end is closed
            os.close(ours)
    assert process.returncode == 0, output.decode()
    return re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", output.decode())


@pytest.mark.slow
def test_terminal_of_80_columns_shows_a_progress_bar_of_one_line(
    small: Path, tmp_path: Path
) -> None:
    settings = [
        *SHOWN,
        "trainer.max_epochs=12",
        "callbacks.early_stopping=null",
        f"data.path={small}",
    ]
    plain = train_in_terminal(*settings, cwd=tmp_path)
    lines = re.split(r"[\r\n]+", plain)
    bars = [line for line in lines if line.startswith("Epoch")]
    assert re.fullmatch(
        r"Epoch 12/12 ━+ 9/9 \d\d:\d\d train: \d\.\d{3} [\d.]+ %, val: \d\.\d{3} [\d.]+ %",
        bars[-1].strip(),
    )
    assert all(len(bar.rstrip()) <= 80 for bar in bars)
    epochs = [line for line in lines if line.startswith("epoch ")]
    assert [line.split()[1] for line in epochs] == [f"{epoch}/12" for epoch in range(1, 13)]
    assert all(len(line) <= 80 and "accuracy" in line for line in epochs)
    assert "MetricCollection" not in plain


@pytest.mark.slow
def test_quiet_run_prints_nothing_and_a_quiet_sweep_its_report(small: Path, tmp_path: Path) -> None:
    settings = [*SHOWN, f"data.path={small}", "baseline=logistic_regression", "quiet=true"]
    cache = str(tmp_path / "cache")  # so that the data is read
    assert (
        train_in_terminal(*settings, "hydra.run.dir=run", cwd=tmp_path, SENTIMENT_CACHE=cache) == ""
    )
    log = (tmp_path / "run" / "train.log").read_text()
    assert all(
        text in log for text in ("vocabulary", "epoch 2/2", "logistic_regression", "precision")
    )
    sweep = train_in_terminal("-m", *settings, "seed=1,2", "hydra.sweep.dir=sweep", cwd=tmp_path)
    lines = sweep.splitlines()
    assert ["folder", "accuracy", "accuracy", "seeds"] in [line.split() for line in lines]
    assert lines[-2:-1] == ["2 runs: 2 finished"]
    assert len(lines) < 12


@pytest.mark.parametrize(
    "settings",
    [
        ("callbacks.progress", "callbacks.summary", "null"),
        ("trainer.enable_progress_bar", "trainer.enable_model_summary", "false"),
    ],
)
def test_no_bar_and_no_table_of_layers_if_they_are_switched_off(
    settings: tuple[str, str, str], tmp_path: Path
) -> None:
    """Lightning would add its own."""
    *keys, off = settings
    cfg = compose_config(
        "trainer=cpu", "callbacks.diagnostics=null", *(f"{key}={off}" for key in keys)
    )
    cfg.output_dir = str(tmp_path)
    trainer = make_trainer(cfg, [], make_callbacks(cfg))
    assert trainer.progress_bar_callback is None
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    assert not [callback for callback in callbacks if isinstance(callback, ModelSummary)]


@pytest.mark.parametrize("quality", ["quiet", "is_jupyter"])
def test_quiet_runs_and_notebooks_have_no_bar(
    quality: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(get_console(), quality, True)
    cfg = compose_config("callbacks.diagnostics=null", "output_dir=run")
    before = cfg.copy()
    callbacks = make_callbacks(cfg)
    assert not [callback for callback in callbacks if isinstance(callback, ProgressBar)]
    has_table = any(isinstance(callback, ModelSummary) for callback in callbacks)
    assert has_table == (quality == "is_jupyter")
    assert cfg == before


def test_log_goes_to_what_stands_for_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    before, bar = io.StringIO(), io.StringIO()
    log = logging.getLogger("test")
    handler = ConsoleHandler(before)
    log.addHandler(handler)
    monkeypatch.setattr(log, "propagate", False)
    monkeypatch.setattr(sys, "stdout", bar)
    log.warning("epoch 1")
    log.removeHandler(handler)
    assert (before.getvalue(), bar.getvalue()) == ("", "epoch 1\n")
