"""Lightning's Trainer and its callbacks, made from the configuration; its errors in the words of the configuration."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelSummary, ProgressBar, Timer
from pytorch_lightning.loggers import Logger
from pytorch_lightning.profilers import PassThroughProfiler
from rich import get_console

from sentiment.runtime.config import instantiate_checked
from sentiment.runtime.errors import InputError, one_line
from sentiment.training.checkpoint_io import AtomicCheckpointIO


def make_callbacks(cfg: DictConfig) -> list[Callback]:
    """The callbacks of a configuration, without those that print if nothing is to be printed.

    A notebook has no progress bar either: rich could not redraw it there.
    """
    console, disabled = get_console(), list[type[Callback]]()
    if console.quiet or console.is_jupyter or not cfg.trainer.enable_progress_bar:
        disabled.append(ProgressBar)
    if console.quiet or not cfg.trainer.enable_model_summary:
        disabled.append(ModelSummary)
    return [
        callback
        for callback in _instantiate(cfg.callbacks, "callbacks")
        if not isinstance(callback, tuple(disabled))
    ]


def _instantiate(cfg: DictConfig, group: str) -> list[Callback]:
    """The callbacks of a group and its subgroups, in their order; null disables a callback or a subgroup."""
    callbacks: list[Callback] = []
    for name, settings in cfg.items():
        if settings is None:
            continue
        key = ".".join((group, str(name)))
        if not OmegaConf.is_dict(settings):
            raise InputError(f"{key}={settings}: is no callback; null disables one")
        if "_target_" not in settings:
            callbacks += _instantiate(settings, key)
            continue
        callbacks.append(instantiate_checked(settings, key))
        if not isinstance(callbacks[-1], Callback):
            raise InputError(
                f"{key}._target_={settings._target_}: not a pytorch_lightning.Callback; derive it"
            )
    return callbacks


def make_trainer(
    cfg: DictConfig, loggers: Sequence[Logger], callbacks: Sequence[Callback]
) -> Trainer:
    """The trainer; `max_time` and `overfit_batches` are not its own.

    A `Timer` among the callbacks limits the time, and the data module repeats batches: Lightning would replace its
    sampler, and validate on training rows.
    """
    arguments: dict[str, Any] = {"max_time": None, "overfit_batches": 0}
    for key, kind in (("enable_progress_bar", ProgressBar), ("enable_model_summary", ModelSummary)):
        arguments[key] = any(
            isinstance(callback, kind) for callback in callbacks
        )  # else Lightning adds its own
    if cfg.trainer.profiler is None:
        arguments["profiler"] = _NoProfiler()
    if cfg.trainer.overfit_batches:
        arguments["limit_train_batches"] = cfg.trainer.overfit_batches
    trainer: Trainer = instantiate_checked(
        cfg.trainer,
        "trainer",
        callbacks=[*callbacks],
        logger=[*loggers],
        plugins=[AtomicCheckpointIO()],
        **arguments,
    )
    return trainer


class _NoProfiler(PassThroughProfiler):
    """Does nothing, 220 times per step, in a third of the time that Lightning's takes for it."""

    _NOTHING = contextlib.nullcontext()

    def profile(self, action_name: str) -> AbstractContextManager[Any]:  # type: ignore[override]
        return self._NOTHING


class TrainingTimer(Timer):
    """Times the training and all of its validations; Lightning's timer knows only the last one."""

    _validation_seconds = 0.0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_validation_end(trainer, pl_module)
        if not trainer.sanity_checking:
            self._validation_seconds += self.time_elapsed("validate")

    @property
    def training_seconds(self) -> float:
        """Seconds of training in this process, without validations."""
        start, end = self.start_time("train") or 0.0, self.end_time("train") or 0.0
        return end - start - self._validation_seconds


def make_timer(cfg: DictConfig) -> TrainingTimer:
    """The timer, which ends the training after `trainer.max_time`."""
    try:
        return TrainingTimer(cfg.trainer.max_time)
    except (ValueError, TypeError, AttributeError, MisconfigurationException) as error:
        raise InputError(
            f"trainer.max_time={cfg.trainer.max_time}: type days:hours:minutes:seconds"
        ) from error


def device_name(trainer: Trainer) -> str:
    """The name of the device that trains: `cpu`, `NVIDIA H100`."""
    device = trainer.strategy.root_device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


@contextlib.contextmanager
def translate_lightning_errors() -> Iterator[None]:
    """Turn Lightning's SystemExit on Ctrl-C into KeyboardInterrupt, its configuration errors into InputError."""
    try:
        yield
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise
    except (MisconfigurationException, RuntimeError, ValueError) as error:
        if "could not create a primitive" in str(error):  # message of oneDNN
            message = "trainer.precision: this CPU has no bf16 kernel for the network; use trainer.precision=32-true"
            raise InputError(message) from error
        if "'fused' optimizer" in str(error):
            message = (
                "trainer.gradient_clip_val: with mixed precision it needs optimizer.fused=false"
            )
            raise InputError(message) from error
        if not isinstance(error, MisconfigurationException) and not re.search(
            "conditioned on metric|`val_check_", str(error)
        ):
            raise
        raise InputError(f"trainer or callbacks: {one_line(error)}") from error
