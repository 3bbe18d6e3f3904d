"""What a run leaves behind: metrics.json, the test rows' probabilities, and the result table."""

import contextlib
import csv
import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from sentiment.errors import InputError, refuse
from sentiment.files import cannot_be_written, whole

PACKAGES = ("torch", "pytorch-lightning", "torchmetrics", "torchtext", "datasets", "scikit-learn", "numpy")

Correct = npt.NDArray[np.bool_]


def provenance() -> dict[str, Any]:
    """What was run: the commit (with `-dirty` where files were changed; None outside a checkout) and versions."""
    checkout = Path(__file__).parents[1]
    commit = None
    if (checkout / ".git").exists():  # an installed package may lie inside somebody else's checkout
        git = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    packages = " ".join(f"{name}={version(name)}" for name in PACKAGES)
    return {"git_commit": commit, "versions": f"python={platform.python_version()} {packages}"}


def discard(folder: Path) -> None:
    """Removes the folder of a refused start, unless it holds anything but what such a start leaves."""
    left = (".hydra", ".hydra/*.yaml", "train.log", "evaluate.log", "metrics.json", "hparams.yaml", "events.out.*")
    if not set(folder.rglob("*")) - {path for pattern in left for path in folder.glob(pattern)}:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def refusing(folder: Path) -> Iterator[None]:
    """Tells wrong input and full disks in one line and discards the folder of a start that came to nothing.

    With `HYDRA_FULL_ERROR` the traceback is left.
    """
    try:
        yield
    except (InputError, OSError) as error:
        if "HYDRA_FULL_ERROR" in os.environ:
            raise
        discard(folder)
        refuse(cannot_be_written(error, folder) if isinstance(error, OSError) else error)


def write_metrics(folder: Path, metrics: Mapping[str, Any]) -> None:
    """Writes `metrics.json`, whole or not at all; a figure that is not finite becomes null."""
    finite = {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in metrics.items()}
    with whole(folder / "metrics.json") as unfinished:
        unfinished.write_text(json.dumps(finite, indent=2, sort_keys=True) + "\n")


def read_metrics(folder: Path) -> dict[str, Any]:
    """What `write_metrics` wrote, or nothing."""
    path = folder / "metrics.json"
    metrics: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return metrics


def cell(value: Any) -> Any:
    """A value for a CSV file, whose text no spreadsheet takes for a formula: `=1+1` with a quote in front."""
    formula = isinstance(value, str) and re.match(r"[=@\t\r]|[+-](?![0-9.]+$)", value)
    return f"'{value}" if formula else value


def write_predictions(
    path: Path,
    rows: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float32],
    label_names: Sequence[str],
) -> None:
    """Writes a CSV line per review: its row in the source, its label, what was predicted, and every probability."""
    with whole(path) as unfinished, open(unfinished, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "label", "predicted", *(f"p({name})" for name in label_names)])
        for row, label, probability in zip(rows, labels, probabilities, strict=True):
            names = label_names[label], label_names[int(probability.argmax())]
            writer.writerow([row, *map(cell, names), *(f"{p:.6f}" for p in probability)])


def result_table(title: str, correct: Mapping[str, Correct], seconds: Mapping[str, float]) -> str:
    """Compares models on the same rows.

    Args:
        title: what the rows are.
        correct: which rows each model got right, bool `(rows,)`; the first is what the others are compared with.
        seconds: training time of each model; empty leaves that column out.

    Returns:
        A line per model: accuracy in per cent with its 95 % interval (Wilson 1927), and the exact McNemar test
        (McNemar 1947) of the rows that it and the first model disagree on.
    """
    from scipy.stats import binomtest  # half a second, which a start need not wait for

    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    (reference, first), *_ = correct.items()
    table.add_column("model", no_wrap=True)
    compared = [f"vs {reference}", "McNemar p"] if len(correct) > 1 else []
    for heading in ("accuracy", "95 % interval", *compared, *(["seconds"] if seconds else [])):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, right in correct.items():
        interval = binomtest(int(right.sum()), len(right)).proportion_ci(method="wilson")
        difference = p_value = ""
        if name != reference:
            better, worse = int((right & ~first).sum()), int((first & ~right).sum())
            p = binomtest(better, better + worse).pvalue if better + worse else 1.0
            difference = f"{100 * (right.mean() - first.mean()):+.2f}"
            p_value = "< 0.001" if p < 0.001 else f"{p:.3f}"
        table.add_row(
            name,
            f"{100 * right.mean():.2f}",
            f"{100 * interval.low:.2f} – {100 * interval.high:.2f}",
            *([difference, p_value] if compared else []),
            *([f"{seconds[name]:.0f}"] if seconds else []),
        )
    plain = Console(force_terminal=False, width=80)  # for a log file too
    with plain.capture() as text:
        plain.print(title, table, highlight=False, markup=False, soft_wrap=True)
    return text.get()
