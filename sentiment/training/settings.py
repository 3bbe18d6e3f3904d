"""Settings that are checked before the data is read."""

import io
import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from sentiment.data.text.tokenizers import Tokenizer
from sentiment.data.text.vocabulary import PADDING, SPECIALS, TextEncoder, Vocabulary
from sentiment.model.checkpoint import restore_model
from sentiment.model.module import SentimentModule, takes_total_steps
from sentiment.model.network import on_meta_device
from sentiment.runtime.config import OBJECTIVES, check_single_device, instantiate_checked
from sentiment.runtime.errors import (
    InputError,
    check_at_least,
    check_choice,
    check_seed,
    describe_failure,
    one_line,
)
from sentiment.runtime.trust import find_targets, is_ours
from sentiment.training.module_setup import make_module
from sentiment.training.self_training import check_self_training

log = logging.getLogger(__name__)

CHOICES: dict[str, tuple[object, ...]] = {
    "objective": tuple(OBJECTIVES),
    "test_ckpt": ("best", "last", None),
    "class_weights": ("balanced", None),
}
MINIMA = {  # of integers, unless they are null
    "trainer.check_val_every_n_epoch": 1,
    "trainer.accumulate_grad_batches": 1,
    "trainer.max_steps": -1,
    "trainer.min_epochs": 0,
    "trainer.min_steps": 0,
    "trainer.num_sanity_val_steps": -1,
    "trainer.log_every_n_steps": 0,
    "callbacks.early_stopping.patience": 0,
}
# Keys without which a trainer of one's own cannot be used; of others, Lightning has defaults.
TRAINER_KEYS = (
    *(
        "_target_",
        "max_epochs",
        "max_steps",
        "max_time",
        "fast_dev_run",
        "overfit_batches",
        "profiler",
    ),
    *("limit_test_batches", "enable_progress_bar", "enable_model_summary"),
)


def check_settings(cfg: DictConfig) -> None:
    """Check the keys at the top, and those of the trainer, the model, the optimizer, the scheduler and the loss.

    Raises:
        InputError: a value is invalid; the message names the key or its group.
    """
    for key, choices in CHOICES.items():
        check_choice(choices, **{key: OmegaConf.select(cfg, key)})
    for key, minimum in MINIMA.items():
        if (value := OmegaConf.select(cfg, key)) is not None:
            check_at_least(minimum, **{key: value})
    check_seed(seed=cfg.seed)
    _check_trainer(cfg)
    if cfg.self_training:
        check_self_training(cfg)
        check_single_device(cfg)
    _check_optimizer(cfg)
    _check_loss(cfg)
    _check_network(cfg)


def _check_trainer(cfg: DictConfig) -> None:
    trainer = cfg.trainer
    if missing := [key for key in TRAINER_KEYS if key not in trainer]:
        raise InputError(f"trainer: has no {missing[0]}; begin its file with defaults: [default]")
    epochs, every = trainer.max_epochs, OmegaConf.select(cfg, "trainer.check_val_every_n_epoch")
    check_at_least(1, **{"trainer.max_epochs": epochs})
    if every is not None and every > epochs:
        raise InputError(
            f"trainer.check_val_every_n_epoch={every}: no validation in {epochs} epochs; lower it"
        )
    interval = OmegaConf.select(cfg, "trainer.val_check_interval")
    if interval is not None and (not isinstance(interval, int | float) or interval <= 0):
        raise InputError(
            f"trainer.val_check_interval={interval}: must be a fraction of an epoch, or batches"
        )
    check_choice((False, True), **{"trainer.detect_anomaly": trainer.get("detect_anomaly", False)})
    if isinstance(trainer.profiler, int | float):
        raise InputError(f"trainer.profiler={trainer.profiler}: must be simple, advanced or null")
    if cfg.lr_find and trainer.fast_dev_run:
        raise InputError("lr_find=true: needs more than one batch; set trainer.fast_dev_run=false")
    needs = {"train": "to train on", "val": "to choose the best epoch"}
    needs |= {"test": "or set test_ckpt=null"} if cfg.test_ckpt else {}
    for split, need in needs.items():
        if OmegaConf.select(cfg, f"trainer.limit_{split}_batches") == 0:
            raise InputError(f"trainer.limit_{split}_batches=0: leave some batches {need}")
    if not cfg.callbacks.get("best") and cfg.test_ckpt != "last":
        raise InputError(
            "callbacks.best=null: without it there is no best checkpoint; set test_ckpt=last, or begin with the default"
        )
    if not cfg.callbacks.get("last") and cfg.test_ckpt == "last":
        raise InputError(
            "callbacks.last=null: without it there is no last checkpoint; set test_ckpt=best"
        )


def _check_optimizer(cfg: DictConfig) -> None:
    """Make the optimizer of a weight, and its scheduler."""
    weights = [torch.nn.Parameter(torch.zeros(1))]
    optimizer = _call(
        "optimizer", cfg, instantiate_checked(cfg.optimizer, "optimizer", _partial_=True), weights
    )
    _check_kind(cfg.optimizer, "optimizer", optimizer, Optimizer)
    if optimizer.defaults.get("lr") == 0:
        log.warning("optimizer.lr=0: the weights stay as they are; raise it")
    if cfg.scheduler:
        factory = instantiate_checked(cfg.scheduler, "scheduler", _partial_=True)
        options = {"total_steps": 100} if takes_total_steps(factory) else {}
        _check_kind(
            cfg.scheduler,
            "scheduler",
            _call("scheduler", cfg, factory, optimizer, **options),
            LRScheduler,
        )


def _check_loss(cfg: DictConfig) -> None:
    """Compute the loss of three texts of two classes, of their classes and of probabilities if those may come."""
    weights = {"weight": torch.ones(2)} if cfg.class_weights else {}
    criterion = _call("loss", cfg, instantiate_checked(cfg.loss, "loss", _partial_=True), **weights)
    if not isinstance(criterion, torch.nn.Module):
        raise InputError(f"loss._target_={cfg.loss._target_}: not a torch.nn.Module; derive it")
    probabilities = torch.tensor([[1.0, 0.0], [0.2, 0.8], [0.5, 0.5]])
    for labels in [probabilities.argmax(1), *([probabilities] if cfg.self_training else [])]:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # torch broadcasts shapes that do not match
            value = _call("loss", cfg, criterion, probabilities.log_softmax(1), labels)
        if not isinstance(value, torch.Tensor) or value.dim():
            raise InputError(
                f"loss._target_={cfg.loss._target_}: must return the mean loss, a scalar tensor"
            )


def _call(
    group: str, cfg: DictConfig, function: Callable[..., Any], *arguments: Any, **options: Any
) -> Any:
    """Call what the settings of a group made, or make it; torch's errors name the argument.

    Raises:
        InputError: it fails.
    """
    try:
        return function(*arguments, **options)
    except Exception as error:  # of torch or of somebody's class, or a warning
        settings = ", ".join(f"{key}={value}" for key, value in cfg[group].items() if key[0] != "_")
        raise InputError(
            f"{group}: {one_line(error)}; change one of {settings or group}"
        ) from error


def _check_kind(settings: DictConfig, key: str, made: Any, kind: type) -> None:
    if not isinstance(made, kind):
        raise InputError(
            f"{key}._target_={settings._target_}: not a torch.optim {kind.__name__}; use one"
        )


def _check_network(cfg: DictConfig) -> None:
    """Build the network for a vocabulary of two words; one that is not of this package is tried on two texts.

    Raises:
        InputError: it fails, returns something else than logits, would freeze random vectors, has nothing to train, or
            does not come back from a checkpoint.
    """
    if "_target_" not in cfg.model:
        raise InputError("model: has no _target_; name the class of the network")
    if cfg.model.get("freeze_embedding") and not cfg.model.get("embedding_init"):
        raise InputError(
            "model.freeze_embedding=true: random vectors say nothing; set model.embedding_init=ppmi"
        )
    padding = cfg.data.get("padding", "pre")
    encoder = TextEncoder(Vocabulary(SPECIALS), Tokenizer("words"), 8, padding, "pre")
    with on_meta_device(cfg.model._target_):
        module = make_module(cfg, encoder, ["first", "second"])
    if is_ours(cfg.model._target_):
        return
    name = module.net.display_name
    ids = torch.ones(2, 8, dtype=torch.int64)
    ids[1, slice(5) if padding == "pre" else slice(3, None)] = PADDING
    try:
        logits = module.net(ids)
    except Exception as error:  # of somebody's class
        raise InputError(f"model: {name} fails on ids (2, 8), {describe_failure(error)}") from error
    shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if shape != (2, 1):
        raise InputError(
            f"model: {name} returns {shape} for ids (2, 8) and num_outputs=1; it must return logits (B, num_outputs)"
        )
    if not any(weight.requires_grad for weight in module.net.parameters()):
        raise InputError(f"model: {name} has no weights to train; make them nn.Parameter")
    _check_restored(module, ids, find_targets(cfg))


def _check_restored(module: SentimentModule, ids: torch.Tensor, trust: Sequence[str]) -> None:
    """Check that a checkpoint of a network gives the same logits, in evaluation mode."""
    name, file = module.net.display_name, io.BytesIO()
    try:
        torch.save(
            {"hyper_parameters": dict(module.hparams), "state_dict": module.state_dict()}, file
        )
        file.seek(0)
        restored = restore_model(Path("checkpoint"), torch.load(file, weights_only=True), trust).net
        with torch.inference_mode():
            logits, expected = restored.eval()(ids), module.net.eval()(ids)
    except Exception as error:  # of somebody's class
        message = f"model: {name} cannot be restored from a checkpoint, {one_line(error)[:200]}"
        raise InputError(message) from error
    if not torch.allclose(logits, expected.to(logits.dtype), equal_nan=True):
        raise InputError(
            f"model: {name} returns other logits when it is restored from a checkpoint; register its tensors with "
            "register_buffer, and draw random numbers only if self.training"
        )
