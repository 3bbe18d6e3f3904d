"""The folder of a run: its configuration, metrics, predictions and checkpoints."""

import contextlib
import csv
import json
import math
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from sentiment import __version__
from sentiment.runtime.cli import exit_with_error
from sentiment.runtime.errors import InputError
from sentiment.runtime.files import atomic_write, describe_write_error, escape_csv_formula

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from datasets import Dataset

CHUNK_SIZE = 1024  # reviews whose texts are in memory at a time
PACKAGES = ("torch", "pytorch-lightning", "torchmetrics", "torchtext", "datasets", "scikit-learn", "numpy")
# What a command leaves before it finds its settings invalid.
_ABORTED = (
    *(".hydra", ".hydra/*.yaml", "train.log", "evaluate.log", "metrics.json", "hparams.yaml", "events.out.*"),
    *("checkpoints", "checkpoints/train_hashes.npy", "csv", "csv/*", "csv/*/*"),
)


class RunFolder:
    """Reads and writes the files of one run or evaluation.

    Args:
        path: the folder, which need not exist yet.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config_file = self.path / ".hydra" / "config.yaml"
        self.predictions_file = self.path / "test_predictions.csv"
        self.metrics_file = self.path / "metrics.json"
        self.train_hashes_file = self.path / "checkpoints" / "train_hashes.npy"

    def checkpoint(self, name: str) -> Path:
        """Path of the `best` or `last` checkpoint."""
        return self.path / "checkpoints" / f"{name}.ckpt"

    def selected_checkpoint(self, test_ckpt: str | None) -> Path:
        """Path of the checkpoint for a value of `test_ckpt`: the best one, unless the last one was tested."""
        return self.checkpoint("last" if test_ckpt == "last" else "best")

    def check_contains(self, file: Path) -> None:
        """Raise `InputError` if a file that every run writes is missing."""
        if not file.exists():
            missing = file.relative_to(self.path)
            raise InputError(f"{self.path}: not a run directory ({missing} is missing); see outputs/runs")

    def read_config(self) -> DictConfig | None:
        """The configuration of the run, or None if it is missing.

        Raises:
            InputError: the file cannot be read.
        """
        if not self.config_file.exists():
            return None
        try:
            cfg = OmegaConf.load(self.config_file)
        except Exception as error:  # of YAML and OmegaConf, which have many
            message = f"{self.config_file}: cannot be read ({type(error).__name__}); repair or remove it"
            raise InputError(message) from error
        return cfg if isinstance(cfg, DictConfig) and "data" in cfg else None

    def write_config(self, cfg: DictConfig) -> None:
        """Write the configuration to the file in which Hydra keeps it, without the folder, which may be moved."""
        self.config_file.parent.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(OmegaConf.merge(cfg, {"output_dir": "${hydra:runtime.output_dir}"}), self.config_file)

    def read_metrics(self) -> dict[str, Any]:
        """The contents of `metrics.json`, empty if it is missing."""
        metrics: dict[str, Any] = json.loads(self.metrics_file.read_text()) if self.metrics_file.exists() else {}
        return metrics

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Write `metrics.json` atomically; NaN and infinity become null."""
        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in metrics.items()}
        with atomic_write(self.metrics_file) as temporary:
            temporary.write_text(json.dumps(finite, indent=2, sort_keys=True) + "\n")

    def write_predictions(
        self,
        reviews: "Dataset",
        labels: "npt.NDArray[np.int64]",
        probabilities: "npt.NDArray[np.float32]",
        label_names: Sequence[str],
    ) -> None:
        """Write `test_predictions.csv`, one line per review.

        Args:
            reviews: columns `file`, `row` and `text`, and perhaps `id`.
            labels: true classes, `(N,)`.
            probabilities: of the classes, `(N, classes)`.
            label_names: names of the classes.
        """
        with atomic_write(self.predictions_file) as temporary, open(temporary, "w", newline="", encoding="utf-8") as f:
            writer = csv.writer(f)
            places = [name for name in ("file", "row", "id") if name in reviews.column_names]
            writer.writerow([*places, "label", "predicted", *(f"p({name})" for name in label_names), "text"])
            for start in range(0, len(labels), CHUNK_SIZE):
                chunk = reviews[start : start + CHUNK_SIZE]
                for i, text in enumerate(chunk["text"]):
                    probability = probabilities[start + i]
                    names = label_names[labels[start + i]], label_names[int(probability.argmax())]
                    cells = [*(chunk[name][i] for name in places), *names]
                    numbers = (f"{p:.6f}" for p in probability)
                    writer.writerow([*map(escape_csv_formula, cells), *numbers, escape_csv_formula(text)])

    def write_train_hashes(self, hashes: "npt.NDArray[np.int64]") -> None:
        """Write the hashes of the training reviews, int64 `(N,)`, by which `evaluate` finds copies of them."""
        import numpy as np

        self.train_hashes_file.parent.mkdir(exist_ok=True)
        with atomic_write(self.train_hashes_file) as temporary, open(temporary, "wb") as file:
            np.save(file, hashes)

    def remove_if_aborted(self) -> None:
        """Remove the folder if it holds nothing but what an aborted command leaves."""
        left = {path for pattern in _ABORTED for path in self.path.glob(pattern)}
        if not set(self.path.rglob("*")) - left:
            shutil.rmtree(self.path, ignore_errors=True)

    @contextmanager
    def exit_on_user_error(self) -> Iterator[None]:
        """Exit with code 2 and one line for invalid input and full disks; remove the folder of an aborted command."""
        try:
            yield
        except (InputError, OSError) as error:
            self.remove_if_aborted()
            exit_with_error(describe_write_error(error, self.path) if isinstance(error, OSError) else error)


def make_unique_folder(path: Path) -> Path:
    """Make a folder that no other process has: `path` or, if it exists, `path_2`, `path_3` and so on.

    Raises:
        OSError: the folder cannot be made.
    """
    folder, number = path, 1
    while True:
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            number += 1
            folder = path.with_name(f"{path.name}_{number}")


def trial_path(study: Path, number: int) -> Path:
    """Folder of a trial in the folder of its study."""
    return study / f"trial_{number:04}"


def provenance() -> dict[str, Any]:
    """Commit and versions; the commit ends in `-dirty` if files were changed and is None outside a checkout."""
    checkout = Path(__file__).parents[2]
    commit = None
    if (checkout / ".git").exists():  # an installed package may be inside somebody else's checkout
        git = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    versions = {"sentiment": __version__, "python": platform.python_version()} | {p: version(p) for p in PACKAGES}
    return {"git_commit": commit, "versions": " ".join(f"{name}={number}" for name, number in versions.items())}
