"""The folder of a run: its configuration, metrics, predictions and checkpoints."""

import contextlib
import csv
import json
import logging
import math
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml  # type: ignore[import-untyped]
from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sentiment import __version__
from sentiment.runtime.cli import exit_with_error
from sentiment.runtime.config import format_override
from sentiment.runtime.errors import InputError, one_line
from sentiment.runtime.files import (
    atomic_write,
    check_regular,
    describe_write_error,
    escape_csv_formula,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from datasets import Dataset

CHUNK_SIZE = 1024  # reviews whose texts are in memory at a time
PACKAGES = (
    "torch",
    "pytorch-lightning",
    "torchmetrics",
    "torchtext",
    "datasets",
    "scikit-learn",
    "numpy",
)
LOG_FORMAT = "[%(asctime)s][%(name)s][%(levelname)s] - %(message)s"  # Hydra's

LOCK = ".sentiment.lock"  # a file `.lock` is of another program

_made: set[Path] = set()  # folders that this process made; it removes no other


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
        """Path of the checkpoint for a value of `test_ckpt`: the best one, unless the last one was tested."""
        return self.checkpoint("last" if test_ckpt == "last" else "best")

    def check_contains(self, file: Path) -> None:
        """Raise `InputError` if a file that every run writes is missing."""
        if not file.exists():
            missing = file.relative_to(self.path)
            raise InputError(
                f"{self.path}: not a run directory ({missing} is missing); see outputs/runs"
            )

    def read_config(self) -> DictConfig | None:
        """The configuration of the run, or None if it is missing.

        Raises:
            InputError: the file cannot be read.
        """
        if not self.config_file.exists():
            return None
        check_regular(self.config_file)
        try:
            text = self.config_file.read_text(encoding="utf-8")
            if "*" in text and any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
                raise ValueError  # ten lines of them may stand for a billion values
            cfg = OmegaConf.create(text)
            return (
                cfg if isinstance(cfg, DictConfig) and OmegaConf.is_dict(cfg.get("data")) else None
            )
        except Exception as error:  # of YAML and OmegaConf, which have many
            message = (
                f"{self.config_file}: cannot be read ({type(error).__name__}); repair or remove it"
            )
            raise InputError(message) from error

    def write_config(self, cfg: DictConfig) -> None:
        """Write the configuration to the file in which Hydra would keep it.

        It holds no `output_dir`, since a run may be moved.
        """
        self.config_file.parent.mkdir(parents=True, exist_ok=True)
        portable = OmegaConf.merge(cfg, {"output_dir": "${hydra:runtime.output_dir}"})
        with atomic_write(self.config_file) as temporary:
            OmegaConf.save(portable, temporary)

    def read_metrics(self) -> dict[str, Any]:
        """The contents of `metrics.json`, empty if it is missing.

        Raises:
            InputError: the file cannot be read.
        """
        check_regular(self.metrics_file)
        try:
            metrics: dict[str, Any] = {} | json.loads(self.metrics_file.read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, RecursionError) as error:
            message = f"{self.metrics_file}: cannot be read ({one_line(error)})"
            raise InputError(f"{message}; remove it or repeat the run") from error
        return metrics

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Write `metrics.json` atomically; NaN and infinity become null."""
        finite = {
            k: None if isinstance(v, float) and not math.isfinite(v) else v
            for k, v in metrics.items()
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

        Args:
            reviews: columns `file`, `row` and `text`, and perhaps `id`.
            labels: true classes, `(N,)`.
            probabilities: of the classes, `(N, classes)`.
            label_names: names of the classes.
        """
        with (
            atomic_write(self.predictions_file) as temporary,
            open(temporary, "w", newline="", encoding="utf-8") as f,
        ):
            writer = csv.writer(f)
            places = [name for name in ("file", "row", "id") if name in reviews.column_names]
            writer.writerow(
                [*places, "label", "predicted", *(f"p({name})" for name in label_names), "text"]
            )
            for start in range(0, len(labels), CHUNK_SIZE):
                chunk = reviews[start : start + CHUNK_SIZE]
                for i, text in enumerate(chunk["text"]):
                    probability = probabilities[start + i]
                    names = label_names[labels[start + i]], label_names[int(probability.argmax())]
                    cells = [*(chunk[name][i] for name in places), *names]
                    numbers = (f"{p:.6f}" for p in probability)
                    writer.writerow(
                        [*map(escape_csv_formula, cells), *numbers, escape_csv_formula(text)]
                    )

    def write_train_hashes(self, hashes: "npt.NDArray[np.int64]") -> None:
        """Write the hashes of the training reviews, int64 `(N,)`, by which `evaluate` finds copies of them."""
        import numpy as np

        self.train_hashes_file.parent.mkdir(exist_ok=True)
        with atomic_write(self.train_hashes_file) as temporary, open(temporary, "wb") as file:
            np.save(file, hashes)

    @contextmanager
    def claim(self, new: bool = True) -> Iterator[None]:
        """Make the folder and keep other processes from writing to it.

        At the end it is removed if this process made it and left it empty.

        Args:
            new: reject a folder that holds anything but hidden files.

        Raises:
            InputError: another process writes to the folder, or it is not empty.
            OSError: it cannot be made.
        """
        if not is_first_process():  # the first one holds the folder for all
            try:
                yield
            finally:
                remove_if_empty(self.path)
            return
        make_folder(self.path)
        lock = FileLock(self.path / LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            message = f"{self.path}: another process writes to this folder; choose another one"
            raise InputError(message) from None
        try:
            if new and (self.config_file.exists() or any(map(_is_visible, self.path.iterdir()))):
                message = f"{self.path}: is not empty; choose a new folder"
                if self.config_file.exists():
                    message += f", or continue its run with {format_override('resume', self.path)}"
                raise InputError(message)
            yield
        finally:
            with contextlib.suppress(OSError):  # of Windows
                (self.path / LOCK).unlink()  # before the release, while it is of this process
            lock.release()
            remove_if_empty(self.path)

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
        checkpoints = [self.checkpoint("best"), self.checkpoint("last")]
        history = self.path / "history.csv"
        for file in (self.metrics_file, self.predictions_file, history, *checkpoints):
            file.unlink(missing_ok=True)


@contextmanager
def exit_on_user_error(path: str) -> Iterator[None]:
    """Exit with code 2 and one line for invalid input and disks that are full.

    Args:
        path: the output folder, for errors that name no file.
    """
    try:
        yield
    except InputError as error:
        exit_with_error(error)
    except OmegaConfBaseException as error:  # a setting that is read is missing, or refers to one
        exit_with_error(f"{error.full_key}: {str(error).partition(chr(10))[0]}")
    except OSError as error:
        exit_with_error(describe_write_error(error, Path(path)))


def is_first_process() -> bool:
    """Whether this is not another rank of a run on several devices."""
    names = ("RANK", "LOCAL_RANK", "SLURM_PROCID")  # of torchrun, Lightning and srun
    return next((os.environ[name] for name in names if name in os.environ), "0") == "0"


def make_folder(path: Path, exist_ok: bool = True) -> None:
    """Make a folder and those above it, and remember which ones did not exist."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=exist_ok)
    _made.update(folder.resolve() for folder in missing)


def remove_if_empty(path: Path) -> None:
    """Remove a folder and those above it, as far as this process made them and they are empty."""
    with contextlib.suppress(OSError):
        for folder in (path, *path.parents):
            if folder.resolve() not in _made:
                break
            folder.rmdir()


def remove_sweep_folder() -> None:
    """Remove the folder of a sweep that this process made and that holds Hydra's record alone."""
    for folder in [*_made]:
        record = folder / "multirun.yaml"
        if record.exists() and [*folder.iterdir()] == [record]:
            record.unlink()
        remove_if_empty(folder)


def _is_visible(path: Path) -> bool:
    return not path.name.startswith(".")


def make_unique_folder(path: Path) -> Path:
    """Make a folder that no other process has: `path` or, if it exists, `path_2`, `path_3` and so on.

    Raises:
        OSError: the folder cannot be made.
    """
    folder, number = path, 1
    while True:
        try:
            make_folder(folder, exist_ok=False)
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
        git = [
            "git",
            "-C",
            str(checkout),
            "describe",
            "--always",
            "--dirty",
            "--abbrev=40",
            "--exclude=*",
        ]
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    versions = {"sentiment": __version__, "python": platform.python_version()} | {
        p: version(p) for p in PACKAGES
    }
    return {
        "git_commit": commit,
        "versions": " ".join(f"{name}={number}" for name, number in versions.items()),
    }
