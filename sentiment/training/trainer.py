"""Lightning's Trainer and its callbacks, made from the configuration; its errors in the words of the configuration."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelSummary, ProgressBar, Timer
from pytorch_lightning.loggers import Logger
from pytorch_lightning.profilers import PassThroughProfiler, Profiler
from pytorch_lightning.utilities.exceptions import SIGTERMException
from rich import get_console

from sentiment.runtime.config import instantiate_checked
from sentiment.runtime.errors import InputError, check_kind, one_line, quote_errors
from sentiment.runtime.files import atomic_write

INFERENCE_KEYS = (  # of a checkpoint; the rest, such as the state of the optimizer, is for resuming
    *("state_dict", "hyper_parameters", "metrics", "epoch", "global_step", "temperature"),
    "pytorch-lightning_version",
)
_ADVICE = {  # by a part of the message of oneDNN or Lightning
    "could not create a primitive": (
        "trainer.precision: this CPU has no bf16 kernel for the network; "
        "use trainer.precision=32-true"
    ),
    "'fused' optimizer": (
        "trainer.gradient_clip_val: with mixed precision it needs optimizer.fused=false"
    ),
}


def make_callbacks(cfg: DictConfig) -> list[Callback]:
    """Those of the configuration and a timer; without progress bar in notebooks, where rich could not redraw it."""
    console, disabled = get_console(), list[type[Callback]]()
    if console.quiet or console.is_jupyter or not cfg.trainer.enable_progress_bar:
        disabled.append(ProgressBar)
    if console.quiet or not cfg.trainer.enable_model_summary:
        disabled.append(ModelSummary)
    configured = _instantiate(cfg.callbacks, "callbacks")
    with quote_errors("trainer.max_time"):
        timer = TrainingTimer(cfg.trainer.max_time)
    return [*(c for c in configured if not isinstance(c, tuple(disabled))), timer]


def _instantiate(group: DictConfig, name: str) -> Iterator[Callback]:
    """The callbacks of a group and its subgroups, in their order; null disables a callback or a subgroup."""
    for key, settings in group.items():
        path = f"{name}.{key!s}"
        if OmegaConf.is_dict(settings) and "_target_" not in settings:
            yield from _instantiate(settings, path)
        elif settings is not None:
            callback = instantiate_checked(settings, path)
            check_kind(Callback, **{path: callback})
            yield callback


def make_trainer(
    cfg: DictConfig, loggers: Sequence[Logger], callbacks: Sequence[Callback], **changed: Any
) -> Trainer:
    """The trainer; `changed` are arguments that differ from the configuration."""
    # The timer among the callbacks limits the time, and the data module repeats batches: Lightning
    # would replace its sampler, and validate on training rows.
    arguments: dict[str, Any] = {"max_time": None, "overfit_batches": 0}
    for key, kind in (("enable_progress_bar", ProgressBar), ("enable_model_summary", ModelSummary)):
        arguments[key] = any(isinstance(c, kind) for c in callbacks)  # else Lightning adds its own
    if cfg.trainer.profiler is None:
        arguments["profiler"] = _NoProfiler()
    if cfg.trainer.overfit_batches:
        arguments["limit_train_batches"] = cfg.trainer.overfit_batches
    objects = {"callbacks": [*callbacks], "logger": [*loggers], "plugins": [AtomicCheckpointIO()]}
    arguments |= objects | changed
    trainer: Trainer = instantiate_checked(cfg.trainer, "trainer", **arguments)
    check_kind(Trainer, trainer=trainer)
    check_kind(Profiler, **{"trainer.profiler": trainer.profiler})  # type: ignore[attr-defined]  # set outside the Trainer's __init__
    return trainer


class _NoProfiler(PassThroughProfiler):
    """Does nothing, 220 times per step, in a third of the time that Lightning's takes for it."""

    _NOTHING = contextlib.nullcontext()

    def profile(self, action_name: str) -> AbstractContextManager[Any]:  # type: ignore[override]
        return self._NOTHING


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes whole checkpoints or none; only `last.ckpt` gets what resuming needs."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.stem != "last":
            checkpoint = {key: checkpoint[key] for key in INFERENCE_KEYS if key in checkpoint}
        try:
            with atomic_write(target) as temporary, open(temporary, "wb") as file:
                torch.save(checkpoint, file)
        except RuntimeError as error:  # behind which torch hides the error of the disk
            cause = error.__context__
            raise cause if isinstance(cause, OSError) else error from None


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


def find_timer(trainer: Trainer) -> TrainingTimer:
    """The timer that `make_callbacks` has added."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]  # set outside the Trainer's __init__
    return next(callback for callback in callbacks if isinstance(callback, TrainingTimer))


@contextlib.contextmanager
def translate_lightning_errors() -> Iterator[None]:
    """Turn Lightning's exit on Ctrl-C or SIGTERM into KeyboardInterrupt, its configuration errors into InputError."""
    try:
        yield
    except SystemExit as error:
        is_signal = isinstance(error, SIGTERMException)
        is_signal |= isinstance(error.__context__, KeyboardInterrupt)
        raise KeyboardInterrupt if is_signal else error from None
    except (MisconfigurationException, RuntimeError, ValueError) as error:
        advice = next((advice for part, advice in _ADVICE.items() if part in str(error)), None)
        is_configuration = isinstance(error, MisconfigurationException) or re.search(
            "conditioned on metric|`val_check_", str(error)
        )
        if not advice and not is_configuration:
            raise
        raise InputError(advice or f"trainer or callbacks: {one_line(error)}") from error
