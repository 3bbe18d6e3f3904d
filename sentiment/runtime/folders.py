"""Folders that this process makes. It removes no other, and only empty ones."""

import os
from contextlib import suppress
from pathlib import Path

_made: set[Path] = set()


def is_first_process() -> bool:
    """Whether this is not another rank of a run on several devices."""
    names = ("RANK", "LOCAL_RANK", "SLURM_PROCID")  # of torchrun, Lightning and srun
    return next((os.environ[name] for name in names if name in os.environ), "0") == "0"


def make_folder(path: Path, exist_ok: bool = True) -> None:
    """Make a folder and those above it, and remember which ones did not exist."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=exist_ok)
    _made.update(folder.resolve() for folder in missing)


def make_unique_folder(path: Path) -> Path:
    """Make a folder that no other process has: `path` or, if it exists, `path_2`, `path_3` and so on."""
    folder, number = path, 1
    while True:
        try:
            make_folder(folder, exist_ok=False)
            return folder
        except FileExistsError:
            number += 1
            folder = path.with_name(f"{path.name}_{number}")


def remove_if_empty(path: Path) -> None:
    """Remove a folder and those above it, as far as this process made them and they are empty."""
    with suppress(OSError):
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
