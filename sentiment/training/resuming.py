"""How a run is resumed: where it continues, which settings may change, and which data it needs."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig
from pytorch_lightning import Callback, LightningModule, Trainer

from sentiment.data.datamodule import ReviewDataModule
from sentiment.model.checkpoint import check_resumable, read_checkpoint, restore_model
from sentiment.model.module import takes_total_steps
from sentiment.runtime.config import (
    config_fingerprint,
    flatten,
    format_distinctly,
    instantiate_checked,
)
from sentiment.runtime.errors import InputError
from sentiment.runtime.run_folder import RUN_LOG, RunFolder
from sentiment.runtime.trust import find_targets

log = logging.getLogger(RUN_LOG)

_EVENTS = "events.out.tfevents.*"
# What the weights, the order of the batches and the choice of the best checkpoint depend on.
_FIXED = ("data", "model", "scheduler", "seed", "objective", "optimizer", "self_training")
_FREE = ("data.path", "data.unlabelled")  # the data may have moved; its contents are compared
_PLANNED = (  # what a learning rate schedule was planned for
    *("trainer.max_epochs", "trainer.max_steps", "trainer.accumulate_grad_batches"),
    *("trainer.limit_train_batches", "trainer.overfit_batches"),
)


class ResumePoint(NamedTuple):
    """What is known of a run from its last checkpoint; the defaults are those of a new run.

    Attributes:
        cut_short: whether the last epoch ended before its last batch.
        waited: validations without improvement before early stopping ended the training; 0 if it did not.
        trained_on: the encoder, and the contents of the data, see `ReviewDataModule.contents`.
        num_threads: those of the next epoch.
    """

    path: Path | None = None
    epochs: int = 0
    steps: int = 0
    cut_short: bool = False
    waited: int = 0
    trained_on: tuple[dict[str, Any], str] | None = None
    num_threads: int | None = None

    @property
    def first_step(self) -> int:
        """The one at which the training continues."""
        return self.steps + 1 if self.path else 0


def read_resume_point(run: RunFolder, cfg: DictConfig) -> ResumePoint:
    """Read the last checkpoint of the run to resume, if there is one yet and training can continue from it."""
    if not cfg.resume:
        return ResumePoint()
    if Path(cfg.resume).resolve() != run.path.resolve():
        advice = f"pass the overrides to compose('resume={cfg.resume}', …)"
        raise InputError(f"resume={cfg.resume}: is not output_dir={run.path}; {advice}")
    path = run.checkpoint("last")
    if not path.exists():
        return ResumePoint()
    if saved := run.read_config():
        check_changes(saved, cfg)
    checkpoint = read_checkpoint(path)
    check_resumable(path, checkpoint)
    restore_model(path, checkpoint, trust=find_targets(cfg))
    states = checkpoint["callbacks"].values()
    waits = [state["wait_count"] for state in states if state.get("stopped_epoch")]
    return ResumePoint(
        path,
        epochs=checkpoint["epoch"] + 1,
        steps=checkpoint["global_step"],
        cut_short=not checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"],
        waited=max(waits, default=0),
        trained_on=(checkpoint["hyper_parameters"]["text_encoder"], checkpoint["data_contents"]),
        num_threads=checkpoint["num_threads"],
    )


def check_changes(saved: DictConfig, cfg: DictConfig) -> None:
    """Raise `InputError` for the first setting that cannot change when a run is resumed."""
    before, after = flatten(saved), flatten(cfg)
    fixed = (*_FIXED, *_PLANNED) if is_planned(saved) else _FIXED
    for key in after | before:
        group, _, argument = key.partition(".")
        is_free = key in _FREE or (group == "optimizer" and argument and not saved.get("scheduler"))
        is_fixed = not is_free and (key in fixed or group in fixed)
        if is_fixed and before.get(key) != after.get(key):
            planned = ", for which the learning rate schedule was planned"
            why = planned if group in ("trainer", "optimizer") else ""
            was, new = format_distinctly((before.get(key), after.get(key)))
            advice = f"it is {was}{why}; remove it, or start a new run"
            raise InputError(f"{key}={new}: cannot change when a run is resumed, {advice}")


def is_planned(cfg: DictConfig) -> bool:
    """Whether the schedule of the learning rate is planned over all steps of the training."""
    return bool(cfg.scheduler) and takes_total_steps(
        instantiate_checked(cfg.scheduler, "scheduler", _partial_=True)
    )


def is_finished(cfg: DictConfig, metrics: Mapping[str, Any]) -> bool:
    """Whether the metrics are those that this configuration would give on the data as it is now."""
    is_same = metrics.get("config_fingerprint") == config_fingerprint(cfg)
    if metrics.get("status") != "finished" or not is_same:
        return False
    try:
        datamodule = instantiate_checked(cfg.data, "data", seed=cfg.seed)
    except InputError:
        return False
    return bool(metrics.get("data_fingerprint") == datamodule.folder.name)


def continue_from(
    resumed: ResumePoint, cfg: DictConfig, trainer: Trainer, datamodule: ReviewDataModule
) -> None:
    """Log where the training continues, unless the data changed; keep an early stopping that had ended it."""
    if not resumed.path:
        return
    if resumed.trained_on != (datamodule.encoder.to_dict(), datamodule.contents):
        why = "the data or preprocessing changed since this run started"
        raise InputError(f"resume={cfg.resume}: {why}; restore them or start a new run")
    epochs, early_stopping = cfg.trainer.max_epochs, cfg.callbacks.get("early_stopping")
    if early_stopping and resumed.waited >= max(1, _patience(early_stopping)):
        trainer.fit_loop.max_epochs = resumed.epochs  # EarlyStopping does not restore its state
        how = f"early stopping ended the training after epoch {resumed.epochs}; to go on, set "
        how += "callbacks.early_stopping=null or a larger patience"
    elif resumed.epochs >= epochs:
        advice = "" if is_planned(cfg) else "; to go on, raise trainer.max_epochs"
        how = f"all {resumed.epochs} epochs are done{advice}"
    elif 0 <= cfg.trainer.get("max_steps", -1) <= resumed.steps:
        how = f"all {resumed.steps} steps are done"
    elif resumed.cut_short:
        why = "its last epoch was cut short, by max_steps or max_time, and cannot be continued"
        raise InputError(f"resume={cfg.resume}: {why}; start a new run")
    else:
        log.info("continues after epoch %d of %d", resumed.epochs, epochs)
        return
    log.info("nothing left to train: %s", how)


def _patience(early_stopping: DictConfig) -> int:
    patience: int = early_stopping.get("patience", 3)  # as in Lightning
    return patience


class Resumption(Callback):
    """Applies changed settings to what Lightning has restored; they are `recorded` once they have trained an epoch.

    Until then the folder of the run describes what its last checkpoint was trained with.
    """

    def __init__(self, run: RunFolder, cfg: DictConfig) -> None:
        self.run = run
        self.cfg = cfg
        self.recorded = False
        self._earlier_events = {*run.path.glob(_EVENTS)}

    def remove_events(self) -> None:
        """Remove what TensorBoard would take for the continuation of the run."""
        for path in {*self.run.path.glob(_EVENTS)} - self._earlier_events:
            path.unlink()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the optimizer's arguments and the patience, which the checkpoint also holds."""
        if not self.cfg.scheduler:
            for group in trainer.optimizers[0].param_groups:
                for key in group.keys() & self.cfg.optimizer.keys():
                    value = self.cfg.optimizer[key]
                    group[key] = tuple(value) if isinstance(group[key], tuple) else value
        if settings := self.cfg.callbacks.get("early_stopping"):
            for callback in trainer.early_stopping_callbacks:
                callback.patience = _patience(settings)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the configuration, before the checkpoint of the epoch."""
        if trainer.is_global_zero and not self.recorded:
            self.run.write_config(self.cfg)
        self.recorded = True
