"""Checkpoints, read without running anything in them."""

import pickle
import warnings
from pathlib import Path
from typing import Any

import torch

from sentiment.errors import InputError


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint of `SentimentModule`, tensors and plain values only.

    Raises:
        InputError: it is missing, damaged, of another kind, or holds more than tensors and plain values.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint; name a run's checkpoints/best.ckpt or last.ckpt")
    with open(path, "rb") as file:
        if file.read(1) not in (b"P", b"\x80"):  # of an archive, as torch writes it, or of a pickle
            raise InputError(f"{path}: no checkpoint; name a run's checkpoints/best.ckpt or last.ckpt")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old formats, which are refused below
            checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(f"{path}: refused, it holds more than tensors and plain values; nothing was run") from error
    except Exception as error:
        raise InputError(f"{path}: damaged or no checkpoint ({type(error).__name__}); take another one") from error
    settings = checkpoint.get("hyper_parameters") if isinstance(checkpoint, dict) else None
    if not isinstance(settings, dict) or not {"text", "model"} <= settings.keys():
        raise InputError(f"{path}: a checkpoint of another program; name one that sentiment.train wrote")
    return checkpoint


def require_unmoved(path: Path) -> None:
    """Raises `InputError` if the run was moved since it wrote `path`: Lightning would forget its best checkpoint."""
    for state in read_checkpoint(path)["callbacks"].values():
        home = Path(state.get("dirpath", path.parent))
        if home != path.parent:
            raise InputError(f"resume={path.parents[1]}: was moved; put it back to {home.parent}")
