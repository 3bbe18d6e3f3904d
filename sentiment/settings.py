"""The configuration: where it lies, how its objects are made, and how runs are told apart by it."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from sentiment.errors import InputError

CONF = next(folder for up in (0, 1) if (folder := Path(__file__).parents[up] / "conf").is_dir())  # wheel, checkout
LONGEST_NAME = 200  # characters of a job's folder; file systems take 255 bytes
QUIET = {
    "callbacks.progress": None,
    "callbacks.summary": None,
    "trainer.enable_progress_bar": False,  # else Lightning adds its own
    "trainer.enable_model_summary": False,
}
OBJECTIVES = ("val/accuracy", "val/loss")
CHANGE_NO_FIGURE = ("output_dir", "resume", "logger", "callbacks.inspection", *QUIET)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _folder_name(overrides: str) -> str:
    """A sweep's job by its overrides, without what Hydra's grammar and file systems trip over."""
    name = re.sub(r"[^\w.+-]+", "-", overrides).strip("-") or "run"
    if overrides in ("", name) and len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 17]}-{_digest(overrides)}"  # `a/b` and `a-b` are two


def _cuda_or_cpu() -> str:
    import torch  # takes seconds, and who only reads configurations needs none

    return "cuda" if torch.cuda.is_available() else "cpu"


OmegaConf.register_new_resolver("folder_name", _folder_name, replace=True)
OmegaConf.register_new_resolver("cuda_or_cpu", _cuda_or_cpu, replace=True)


def make(settings: DictConfig, **arguments: Any) -> Any:
    """Hydra's `instantiate`, where a refusal becomes an `InputError`."""
    try:
        return instantiate(settings, **arguments)
    except InstantiationException as error:
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from None
        key = settings._get_full_key(None)
        raise InputError(f"{key}: {' '.join(str(error.__cause__ or error).split())}") from error


def flat(cfg: DictConfig, resolve: bool = False) -> dict[str, Any]:
    """The settings under dotted keys; an object's own key bears its class: `optimizer: Adam`, `optimizer.lr: 0.001`."""
    settings: Any = OmegaConf.to_container(cfg, resolve=resolve)

    def leaves(node: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for name, value in node.items():
            key = f"{prefix}{name}"
            if name.startswith("_") or key in CHANGE_NO_FIGURE:
                continue
            if not isinstance(value, dict):
                yield key, value
                continue
            if "_target_" in value:
                yield key, value["_target_"].rpartition(".")[2]
            yield from leaves(value, f"{key}.")

    return dict(leaves(settings, ""))


def shown(value: Any) -> str:
    """A setting as a person writes it: `none`, `0.00123`."""
    return "none" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def parsed(overrides: Sequence[str]) -> list[Override]:
    """What a command line changes, as Hydra's grammar has it."""
    return OverridesParser.create().parse_overrides(list(overrides))


def identity(cfg: DictConfig) -> str:
    """The same for runs that must give the same figures."""
    return _digest(json.dumps(flat(cfg), sort_keys=True))


def hyperparameters(cfg: DictConfig) -> dict[str, Any]:
    """What TensorBoard's HParams tab shows of a run: all that makes the LSTM and its training, and what was varied."""
    settings = flat(cfg, resolve=True)
    groups = ("data.", "model.", "optimizer", "scheduler")
    shown = {key: settings[key] for key in settings if key.startswith(groups) or key in cfg.logger.first}
    shown["scheduler"] = shown["scheduler"] or "none"
    trainer = ("max_epochs", "precision", "gradient_clip_val", "limit_train_batches")
    return {"seed": cfg.seed} | {f"trainer.{key}": cfg.trainer[key] for key in trainer} | shown
