"""Helpers of the tests: commands as subprocesses, quick configurations and runs, small files and nets."""

import contextlib
import copy
import csv
import ctypes
import functools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn import functional as F

from sentiment.analysis.evaluation import evaluate
from sentiment.data.datamodule import ReviewDataModule
from sentiment.data.demo import reviews
from sentiment.model.recurrent import LSTMClassifier
from sentiment.runtime.config import CONF_DIR
from sentiment.runtime.errors import InputError
from sentiment.runtime.run_folder import RunFolder
from sentiment.training.experiment import run_experiment

ROOT = Path(__file__).parents[1]
Compose = Callable[..., DictConfig]

# Settings of a run that takes seconds; data.path is missing.
QUICK = ["data=files", "data.maxlen=32", "model.embedding_dim=8", "model.units=6", "trainer=cpu",
         "trainer.max_epochs=2", "trainer.enable_progress_bar=false", "trainer.enable_model_summary=false",
         "callbacks.progress=null", "callbacks.summary=null", "callbacks.diagnostics=null",
         "baseline=none"]  # fmt: skip
# Model settings that differ from the article's: masked padding, two bidirectional layers, chunks, n-grams.
MASKED = ["data.padding=post", "model.bidirectional=true", "model.num_layers=2", "model.pooling=max_mean",
          "model.chunk_length=7", "model.max_ngram=3", "model.min_ngram_count=3"]  # fmt: skip


# Of hostile texts.
FRAGMENTS = ["<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\" onmouseover=\"alert(1)", "</p>", "<br />",
             "<!--", "]]>", "&lt;", "&#60;", "{{ 7*7 }}", "{% raw %}", "%s", "$\\frac$", "$x", "[bold]", "[/]",
             "=1+1", "@SUM(A1)", "\x00", "\x1b[31m", "\x1b]0;title\x07", "\x85", "\u2028", "\u202e", "\u2066", "\ufeff",
             "\ud800", "\udfff", "שלום", "مرحبا", "👨‍👩‍👧", "🏳️‍🌈", "电影", "e\u0301" * 9, "ß", "İ", "ǆ", "n't", "''''",
             "8/10", "1/" * 9, "9" * 99, "!!!!", "....", ":-)", "'s", "<unk>", "<pad>", "\n", ","]  # fmt: skip


def command(
    *arguments: str,
    cwd: Path,
    module: str = "train",
    preexec_fn: Callable[[], None] | None = None,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """Run `python -m sentiment.train`, or another command of the package, and wait for its end."""
    captured: dict[str, Any] = {"capture_output": True, "text": True}
    return subprocess.run(
        _command_line(module, arguments),
        cwd=cwd,
        env=_environment(environment),
        preexec_fn=preexec_fn,
        **captured,
    )


def background(
    *arguments: str, cwd: Path, module: str = "train", **environment: str
) -> subprocess.Popen[str]:
    """Start a command without waiting; its stdout and stderr come line by line on one pipe."""
    piped: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    environment = {"PYTHONUNBUFFERED": "1"} | environment
    return subprocess.Popen(
        _command_line(module, arguments),
        cwd=cwd,
        env=_environment(environment),
        preexec_fn=_default_sigint,
        **piped,
    )


def _default_sigint() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs ignore it


def _command_line(module: str, arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", f"sentiment.{module}", *arguments]


def _environment(changes: dict[str, str]) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | changes


def read_metrics(folder: Path) -> dict[str, Any]:
    """The contents of `metrics.json`, which must exist."""
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return metrics


def snapshot(folder: Path) -> dict[Path, bytes]:
    """The contents of all files of a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def without_times(metrics: dict[str, Any]) -> dict[str, Any]:
    """The metrics that a repeated run must reproduce to the last bit; somebody may commit between the two."""
    return {
        name: value
        for name, value in metrics.items()
        if "second" not in name and name != "git_commit"
    }


def load_weights(folder: Path, name: str = "last") -> dict[str, Tensor]:
    """The weights in the `best` or `last` checkpoint of a run."""
    weights: dict[str, Tensor] = torch.load(folder / "checkpoints" / f"{name}.ckpt")["state_dict"]
    return weights


def weights_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Whether two state dicts are bit-identical."""
    return all(torch.equal(first[name], second[name]) for name in first | second)


def labelled_reviews(count: int) -> list[tuple[str, object]]:
    """Reviews of the built-in corpus, with the classes `bad` and `good`."""
    return [(text, ("bad", "good")[label]) for text, label in reviews(count)]


def write_csv(
    path: Path, rows: list[tuple[str, object]], columns: tuple[str, str] = ("text", "label")
) -> Path:
    """Write a CSV file with a header."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
    return path


def compose_config(*overrides: str, name: str = "config") -> DictConfig:
    """Compose `conf/<name>.yaml`; a copy, since composing takes a third of a second and is done once."""
    return copy.deepcopy(_compose(overrides, name))


@functools.cache
def _compose(overrides: tuple[str, ...], name: str) -> DictConfig:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return compose(name, list(overrides))


def compose_hydra_config() -> DictConfig:
    """Compose a configuration with the group `hydra`, which `HydraConfig` holds while a command runs."""
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return compose("config", return_hydra_config=True)


def compose_quick(folder: Path, data: Path, *overrides: str) -> DictConfig:
    """Compose the configuration of a quick run in `folder`; `overrides` win over `QUICK`."""
    cfg = compose_config(*QUICK, f"data.path={data}", *overrides)
    cfg.output_dir = str(folder)
    return cfg


def train_quick(folder: Path, data: Path, *overrides: str) -> Path:
    """Train a quick run and write its configuration as the command line does."""
    cfg = compose_quick(folder, data, *overrides)
    run_experiment(cfg)
    RunFolder(folder).write_config(cfg)
    return folder


def evaluate_quick(folder: Path, *overrides: str) -> dict[str, float]:
    """Evaluate as the command line does, where every evaluation has a new folder."""
    folder.mkdir(exist_ok=True)
    (folder / "metrics.json").unlink(missing_ok=True)
    cfg = compose_config(f"output_dir={folder}", *overrides, name="evaluate")
    return evaluate(cfg, [override.partition("=")[0] for override in overrides])


def prepare_datamodule(**settings: Any) -> ReviewDataModule:
    """A data module whose splits are ready."""
    datamodule = ReviewDataModule(**settings)
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule


@torch.enable_grad()
def train_net(**settings: Any) -> LSTMClassifier:
    """A net after some optimizer steps: the initial forget bias of 1 and zero biases would hide errors of padding."""
    torch.manual_seed(0)
    net = LSTMClassifier(30, 1, embedding_dim=12, units=10, **settings)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.03)
    ids, labels = torch.randint(1, 30, (64, 20)), torch.randint(0, 2, (64,)).float()
    for _ in range(30):
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(net(ids)[:, 0], labels)
        torch.autograd.backward(loss)
        optimizer.step()
    return net.eval()


def has_bfloat16_lstm() -> bool:
    """Whether torch has a kernel for this CPU."""
    try:
        with torch.autocast("cpu", torch.bfloat16):
            nn.LSTM(4, 4)(torch.zeros(2, 1, 4))
    except RuntimeError:
        return False
    return True


def peak_memory(function: Callable[..., object], *arguments: object) -> float:
    """Peak growth of the memory of this process while `function` runs, in MB; an `InputError` ends it. Linux only.

    `ru_maxrss` would not do: it is the peak since the start of the process.
    """
    ctypes.CDLL(None).malloc_trim(0)  # else memory that was freed before is used again
    Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM to the current size
    before = _high_water_mark()
    with contextlib.suppress(InputError):
        function(*arguments)
    return _high_water_mark() - before


def _high_water_mark() -> float:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024 / 1e6


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `TimeoutError` if the block takes longer. Main thread only."""

    def fail(*_: object) -> None:
        raise TimeoutError(f"took longer than {seconds} s")

    previous = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


class Bomb:
    """An object that creates a directory when it is unpickled.

    Args:
        path: of the directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        """Have pickle call `os.mkdir`."""
        return os.mkdir, (str(self.path),)
