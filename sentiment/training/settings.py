"""Settings that are checked before the data is read."""

import io
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from sentiment.data.text.tokenizers import Tokenizer
from sentiment.data.text.vocabulary import PADDING, SPECIALS, TextEncoder, Vocabulary
from sentiment.model.checkpoint import restore_model
from sentiment.model.module import SentimentModule, takes_total_steps
from sentiment.model.network import on_meta_device
from sentiment.runtime.config import OBJECTIVES, check_single_device
from sentiment.runtime.errors import (
    InputError,
    check_at_least,
    check_choice,
    check_kind,
    check_seed,
    describe_failure,
    one_line,
    quote_errors,
)
from sentiment.runtime.trust import find_targets, is_ours
from sentiment.training.module_setup import make_module
from sentiment.training.self_training import check_self_training

log = logging.getLogger(__name__)

CHOICES: dict[str, tuple[object, ...]] = {  # the first stands for a key that is missing
    "objective": tuple(OBJECTIVES),
    "test_ckpt": ("best", "last", None),
    "class_weights": ("balanced", None),
    "calibrate": (False, True),
    "trainer.detect_anomaly": (False, True),
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


def check_settings(cfg: DictConfig) -> None:
    """Refuse invalid settings, but those of data, callbacks and loggers, which are checked where they are made."""
    for key, choices in CHOICES.items():
        check_choice(choices, **{key: OmegaConf.select(cfg, key, default=choices[0])})
    for key, minimum in MINIMA.items():
        if (value := OmegaConf.select(cfg, key)) is not None:
            check_at_least(minimum, **{key: value})
    check_at_least(1, **{"trainer.max_epochs": cfg.trainer.max_epochs})
    check_seed(seed=cfg.seed)
    if cfg.calibrate and cfg.data.get("validate_on") == "test":
        raise InputError("calibrate: the validation rows are the test set; use other ones")
    _check_checkpoint(cfg)
    if cfg.self_training:
        check_self_training(cfg)
        check_single_device(cfg)
    module = _make_small_module(cfg)
    if cfg.calibrate:
        with quote_errors("calibrate"):
            module.net.divide_logits(1.0)
    _check_optimizer(module)
    _check_loss(module, with_probabilities=bool(cfg.self_training))
    if not is_ours(cfg.model._target_) and (problem := _find_problem(module, find_targets(cfg))):
        raise InputError(f"model: {module.net.display_name} {problem}")


def _check_checkpoint(cfg: DictConfig) -> None:
    """Check that the training will leave a checkpoint to test, chosen by a validation."""
    trainer, splits = cfg.trainer, ["train", "val", *(["test"] if cfg.test_ckpt else [])]
    for key in ("val_check_interval", *(f"limit_{split}_batches" for split in splits)):
        if trainer.get(key) == 0:
            raise InputError(f"trainer.{key}=0: must be above 0")
    epochs, every = trainer.max_epochs, trainer.get("check_val_every_n_epoch")
    if every is not None and every > epochs:
        why = f"no validation in {epochs} epochs; lower it"
        raise InputError(f"trainer.check_val_every_n_epoch={every}: {why}")
    needed, other = ("last", "best") if cfg.test_ckpt == "last" else ("best", "last")
    if not cfg.callbacks.get(needed):
        why = f"without it there is no {needed} checkpoint; set test_ckpt={other}"
        raise InputError(f"callbacks.{needed}=null: {why}, or begin with the default")


def _make_small_module(cfg: DictConfig) -> SentimentModule:
    """For a vocabulary of two words; a network of ours is made without memory."""
    if cfg.model.get("freeze_embedding") and not cfg.model.get("embedding_init"):
        why = "random vectors say nothing; set model.embedding_init=ppmi"
        raise InputError(f"model.freeze_embedding=true: {why}")
    encoder = TextEncoder(
        Vocabulary(SPECIALS), Tokenizer("words"), 8, cfg.data.get("padding", "pre"), "pre"
    )
    weights = [1.0, 1.0] if cfg.class_weights else None
    with on_meta_device(cfg.model._target_):
        return make_module(cfg, encoder, ["first", "second"], weights)


def _check_optimizer(module: SentimentModule) -> None:
    """Make the optimizer of a weight, and its scheduler."""
    with quote_errors("optimizer"):
        optimizer = module.make_optimizer([torch.nn.Parameter(torch.zeros(1))])
    check_kind(Optimizer, optimizer=optimizer)
    if optimizer.defaults.get("lr") == 0:
        log.warning("optimizer.lr=0: the weights stay as they are; raise it")
    if module.make_scheduler:
        with quote_errors("scheduler"):
            options = {"total_steps": 100} if takes_total_steps(module.make_scheduler) else {}
            scheduler = module.make_scheduler(optimizer, **options)
            check_kind(LRScheduler, scheduler=scheduler)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a step before the first one of the optimizer
                if isinstance(scheduler, ReduceLROnPlateau):
                    scheduler.step(1.0)
                else:
                    scheduler.step()


def _check_loss(module: SentimentModule, with_probabilities: bool) -> None:
    """Compute the loss of three texts, of their classes and of probabilities if those may come."""
    weights = {"weight": torch.tensor(module.class_weights)} if module.class_weights else {}
    with quote_errors("loss"), warnings.catch_warnings():
        warnings.simplefilter("error")  # torch broadcasts shapes that do not match
        criterion = module.make_loss(**weights)
        check_kind(torch.nn.Module, loss=criterion)
        probabilities = torch.tensor([[1.0, 0.0], [0.2, 0.8], [0.5, 0.5]])
        for labels in [probabilities.argmax(1), *([probabilities] if with_probabilities else [])]:
            criterion(probabilities.log_softmax(1).requires_grad_(), labels).backward()


def _find_problem(module: SentimentModule, trust: Sequence[str]) -> str | None:
    """Why somebody's network, tried on two texts, could not be trained, or not be used after that."""
    ids = torch.ones(2, 8, dtype=torch.int64)
    masked = module.hparams["text_encoder"]["padding"] == "post"
    ids[1, slice(3, None) if masked else slice(5)] = PADDING
    try:
        logits = module.net(ids)
    except Exception as error:
        return f"fails on ids (2, 8), {describe_failure(error)}"
    shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if shape != (2, 1):
        expected = "for ids (2, 8) and num_outputs=1; it must return logits (B, num_outputs)"
        return f"returns {shape} {expected}"
    if not any(weight.requires_grad for weight in module.net.parameters()):
        return "has no weights to train; make them nn.Parameter"
    file = io.BytesIO()
    checkpoint = {"hyper_parameters": dict(module.hparams), "state_dict": module.state_dict()}
    try:
        torch.save(checkpoint, file)
        file.seek(0)
        restored = restore_model(Path("checkpoint"), torch.load(file, weights_only=True), trust).net
        with torch.inference_mode():
            logits, expected_logits = restored.eval()(ids), module.net.eval()(ids)
    except Exception as error:
        return f"cannot be restored from a checkpoint, {one_line(error)[:200]}"
    if not torch.allclose(logits, expected_logits.to(logits.dtype), equal_nan=True):
        advice = "register its tensors with register_buffer, and draw random numbers only if"
        return f"returns other logits when it is restored from a checkpoint; {advice} self.training"
    return None
