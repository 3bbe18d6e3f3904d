"""The folder of a run: its configuration, metrics, predictions and checkpoints."""

import csv
import json
import logging
import math
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from sentiment import __version__
from sentiment.runtime.config import format_override
from sentiment.runtime.errors import InputError
from sentiment.runtime.files import (
    atomic_write,
    escape_csv_formula,
    is_first_process,
    make_folder,
    reading,
    remove_if_empty,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from datasets import Dataset

CHUNK_SIZE = 1024  # reviews whose texts are in memory at a time
LOCK = ".sentiment.lock"  # a file `.lock` is of another program
RUN_LOG = "sentiment.training.experiment"  # logger of a run; a study silences its trials by it
LOG_FORMAT = "[%(asctime)s][%(name)s][%(levelname)s] - %(message)s"  # Hydra's
PACKAGES = (
    *("torch", "pytorch-lightning", "torchmetrics", "torchtext"),
    *("datasets", "scikit-learn", "numpy"),
)


class RunFolder:
    """Reads and writes the files of one run or evaluation; the folder need not exist yet."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config_file = self.path / ".hydra" / "config.yaml"
        self.predictions_file = self.path / "test_predictions.csv"
        self.metrics_file = self.path / "metrics.json"
        self.train_hashes_file = self.path / "checkpoints" / "train_hashes.npy"

    @classmethod
    def of(cls, path: Path) -> "RunFolder":
        """The run that is given by its folder or by one of its checkpoints."""
        return cls(path if path.is_dir() else path.resolve().parents[1])

    def __fspath__(self) -> str:
        """The folder, for `open`, `Path` and `load`."""
        return str(self.path)

    def checkpoint(self, name: str) -> Path:
        """Path of the `best` or `last` checkpoint."""
        return self.path / "checkpoints" / f"{name}.ckpt"

    def selected_checkpoint(self, test_ckpt: str | None) -> Path:
        """The checkpoint for a value of `test_ckpt`: the best one, unless the last one was tested."""
        return self.checkpoint("last" if test_ckpt == "last" else "best")

    @property
    def tested_checkpoint(self) -> Path:
        """The checkpoint that the run has tested, or would have."""
        cfg = self.read_config()
        return self.selected_checkpoint(cfg.get("test_ckpt") if cfg else None)

    def check_contains(self, file: Path) -> None:
        """Refuse a folder without a file that every run writes."""
        if not file.exists():
            missing = f"{file.relative_to(self.path)} is missing"
            raise InputError(f"{self.path}: not a run directory ({missing}); see outputs/runs")

    def read_config(self) -> DictConfig | None:
        """The configuration of the run; None if it is missing or that of something else."""
        if not self.config_file.exists():
            return None
        with reading(self.config_file):
            text = self.config_file.read_text(encoding="utf-8")
            if "*" in text and any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
                raise ValueError("aliases: ten lines of them may stand for a billion values")
            cfg = OmegaConf.create(text)
            is_run = isinstance(cfg, DictConfig) and OmegaConf.is_dict(cfg.get("data"))
        return cfg if is_run else None  # type: ignore[return-value]

    def write_config(self, cfg: DictConfig) -> None:
        """Write the configuration; a run may be moved, and resumed on a CPU without bfloat16."""
        self.config_file.parent.mkdir(parents=True, exist_ok=True)
        portable = OmegaConf.merge(cfg, {"output_dir": "${hydra:runtime.output_dir}"})
        if precision := OmegaConf.select(cfg, "trainer.precision"):
            portable.trainer.precision = precision
        with atomic_write(self.config_file) as temporary:
            OmegaConf.save(portable, temporary)

    def read_metrics(self) -> dict[str, Any]:
        """The contents of `metrics.json`, empty if it is missing."""
        if not self.metrics_file.exists():
            return {}
        with reading(self.metrics_file):
            metrics: dict[str, Any] = {} | json.loads(self.metrics_file.read_text())
        return metrics

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Write `metrics.json`; NaN and infinity become null."""
        finite = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in metrics.items()
        }
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

        The reviews have columns `file`, `row` and `text`, and perhaps `id`; labels are `(N,)`,
        probabilities `(N, classes)`.
        """
        places = [name for name in ("file", "row", "id") if name in reviews.column_names]
        numbers = [f"p({name})" for name in label_names]
        with (
            atomic_write(self.predictions_file) as temporary,
            open(temporary, "w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.writer(file)
            writer.writerow([*places, "label", "predicted", *numbers, "text"])
            for start in range(0, len(labels), CHUNK_SIZE):
                chunk = reviews[start : start + CHUNK_SIZE]
                rows = zip(*(chunk[name] for name in [*places, "text"]), strict=True)
                for i, (*place, text) in enumerate(rows, start):
                    p = probabilities[i]
                    names = label_names[labels[i]], label_names[int(p.argmax())]
                    before = map(escape_csv_formula, (*place, *names))
                    writer.writerow([*before, *map("{:.6f}".format, p), escape_csv_formula(text)])

    def write_train_hashes(self, hashes: "npt.NDArray[np.int64]") -> None:
        """Write the hashes of the training reviews `(N,)`, by which `evaluate` finds copies of them."""
        import numpy as np

        self.train_hashes_file.parent.mkdir(exist_ok=True)
        with atomic_write(self.train_hashes_file) as temporary, open(temporary, "wb") as file:
            np.save(file, hashes)

    @contextmanager
    def claim(self, new: bool = True) -> Iterator[None]:
        """Make the folder and keep other processes from writing to it.

        A new run refuses a folder that holds anything but hidden files. At the end the folder is
        removed if this process made it and left it empty.
        """
        try:
            if is_first_process():  # it holds the folder for all
                make_folder(self.path)
                with self._lock():
                    if new:
                        self._check_new()
                    yield
            else:
                yield
        finally:
            remove_if_empty(self.path)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        lock = FileLock(self.path / LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            message = f"{self.path}: another process writes to this folder; choose another one"
            raise InputError(message) from None
        try:
            yield
        finally:
            with suppress(OSError):  # of Windows
                (self.path / LOCK).unlink()  # before the release, while it is of this process
            lock.release()

    def _check_new(self) -> None:
        is_run = self.config_file.exists()
        if is_run or any(not path.name.startswith(".") for path in self.path.iterdir()):
            resume = f", or continue its run with {format_override('resume', self.path)}"
            advice = f"choose a new folder{resume if is_run else ''}"
            raise InputError(f"{self.path}: is not empty; {advice}")

    @contextmanager
    def log_to(self, name: str) -> Iterator[None]:
        """Also write what is logged to a file of the folder, which the first message makes."""
        if not is_first_process():
            yield
            return
        handler = logging.FileHandler(self.path / name, encoding="utf-8", delay=True)
        handler.setFormatter(logging.Formatter(LOG_FORMAT))
        logging.getLogger().addHandler(handler)
        try:
            yield
        finally:
            logging.getLogger().removeHandler(handler)
            handler.close()

    def clear(self) -> None:
        """Remove the figures and the checkpoints of an unfinished run; other files stay."""
        checkpoints = self.checkpoint("best"), self.checkpoint("last")
        history = self.path / "history.csv"
        for file in (self.metrics_file, self.predictions_file, history, *checkpoints):
            file.unlink(missing_ok=True)


def trial_path(study: Path, number: int) -> Path:
    """Folder of a trial in the folder of its study."""
    return study / f"trial_{number:04}"


def provenance() -> dict[str, Any]:
    """Versions and the commit: `-dirty` if files were changed, None outside a checkout."""
    checkout, commit = Path(__file__).parents[2], None
    if (checkout / ".git").exists():  # an installed package may be inside somebody else's checkout
        git = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        with suppress(OSError, subprocess.CalledProcessError):
            found = subprocess.run(git, cwd=checkout, capture_output=True, check=True, text=True)
            commit = found.stdout.strip()
    versions = {"sentiment": __version__, "python": platform.python_version()}
    versions |= {name: version(name) for name in PACKAGES}
    described = " ".join(f"{name}={number}" for name, number in versions.items())
    return {"git_commit": commit, "versions": described}
