"""What a training shows in the terminal."""

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
from pytorch_lightning.utilities.model_summary.model_summary import summarize
from rich.console import Console

from sentiment.model.module import SentimentModule
from sentiment.training import progress
from tests.helpers import QUICK, read_metrics


def test_summary_lists_the_layers_of_the_network(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = SentimentModule.load_from_checkpoint(run / "checkpoints" / "best.ckpt", weights_only=True)
    console = Console(width=80)
    monkeypatch.setattr(progress, "get_console", lambda: console)
    summary = summarize(module, max_depth=2)
    with console.capture() as text:
        progress.LayerSummary.summarize(summary._get_summary_data(), summary.total_parameters)
    names = [line.split()[0] for line in text.get().splitlines() if line.strip()]
    assert names[2:] == ["embedding", "forward_layers", "linear", "all"]
    assert f"{read_metrics(run)['parameters']:,}" in text.get()


@pytest.mark.slow
def test_terminal_of_80_columns_shows_a_progress_bar_of_one_line(small: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    shown = [setting for setting in QUICK if "progress" not in setting and "summary" not in setting]
    settings = [*shown, "trainer.max_epochs=12", "callbacks.early_stopping=null", f"data.path={small}"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "TERM": "xterm", "COLUMNS": "80"}
    with subprocess.Popen(
        [sys.executable, "-m", "sentiment.train", *settings],
        cwd=tmp_path,
        env=environment,
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
    plain = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", output.decode())
    lines = re.split(r"[\r\n]+", plain)
    bars = [line for line in lines if line.startswith("Epoch")]
    assert re.fullmatch(
        r"Epoch 12/12 ━+ 9/9 \d\d:\d\d train: \d\.\d{3} [\d.]+%, val: \d\.\d{3} [\d.]+%", bars[-1].strip()
    )
    assert all(len(bar.rstrip()) <= 80 for bar in bars)
    epochs = [line for line in lines if line.startswith("epoch ")]
    assert [line.split()[1] for line in epochs] == [f"{epoch}/12" for epoch in range(1, 13)]
    assert all(len(line) <= 80 and "accuracy" in line for line in epochs)
    assert "MetricCollection" not in plain
