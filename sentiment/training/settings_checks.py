"""Settings that are checked before the data is read."""

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from sentiment.data.text import PADDING, SPECIALS, TextEncoder, Vocabulary
from sentiment.model.module import SentimentModule
from sentiment.model.network import without_memory
from sentiment.model.ngram_embedding import NgramEmbedding
from sentiment.model.schedules import takes_total_steps
from sentiment.runtime.config import OBJECTIVES, instantiate_checked
from sentiment.runtime.errors import (
    InputError,
    check_at_least,
    check_choice,
    describe_failure,
    one_line,
    prefix_key,
)
from sentiment.runtime.trust import find_targets, is_ours
from sentiment.training.self_training import check_self_training


def check_settings(cfg: DictConfig) -> None:
    """Check the keys at the top, and those of the trainer, the model, the optimizer, the scheduler and the loss.

    Raises:
        InputError: a value is invalid; the message names the key.
    """
    check_choice(tuple(OBJECTIVES), objective=cfg.objective)
    check_choice(("best", "last", None), test_ckpt=cfg.test_ckpt)
    check_choice(("balanced", None), class_weights=cfg.class_weights)
    check_at_least(0, seed=cfg.seed)
    _check_trainer(cfg)
    if cfg.self_training:
        check_self_training(cfg)
        check_single_device(cfg)
    optimizer = instantiate_checked(cfg.optimizer, "optimizer", _partial_=True)
    parameters = [torch.nn.Parameter(torch.zeros(1))]
    _find_invalid_key("optimizer", optimizer, parameters)
    _check_kind(cfg.optimizer, "optimizer", optimizer(parameters), Optimizer)
    if cfg.scheduler:
        scheduler = instantiate_checked(cfg.scheduler, "scheduler", _partial_=True)
        options = {"total_steps": 100} if takes_total_steps(scheduler) else {}
        _find_invalid_key("scheduler", scheduler, optimizer(parameters), **options)
        _check_kind(cfg.scheduler, "scheduler", scheduler(optimizer(parameters), **options), LRScheduler)
    _check_loss(cfg)
    _check_network(cfg)


def _check_trainer(cfg: DictConfig) -> None:
    trainer, callbacks = cfg.trainer, cfg.callbacks
    minima = {"max_epochs": 1, "check_val_every_n_epoch": 1, "accumulate_grad_batches": 1, "max_steps": -1}
    minima |= {"num_sanity_val_steps": -1, "log_every_n_steps": 0, "min_epochs": 0, "min_steps": 0}
    for key, minimum in minima.items():
        if trainer[key] is not None or key not in ("min_epochs", "min_steps"):
            check_at_least(minimum, **{f"trainer.{key}": trainer[key]})
    interval = trainer.val_check_interval
    if interval is not None and (not isinstance(interval, int | float) or interval <= 0):
        raise InputError(f"trainer.val_check_interval={interval}: must be a fraction of an epoch, or batches")
    if callbacks.get("early_stopping"):
        check_at_least(0, **{"callbacks.early_stopping.patience": callbacks.early_stopping.get("patience", 3)})
    if cfg.lr_find and trainer.fast_dev_run:
        raise InputError("lr_find=true: needs more than one batch; set trainer.fast_dev_run=false")
    needs = {"train": "to train on", "val": "to choose the best epoch", "test": "or set test_ckpt=null"}
    for split, need in needs.items():
        if not trainer[f"limit_{split}_batches"]:
            raise InputError(f"trainer.limit_{split}_batches=0: leave some batches {need}")
    every, epochs = trainer.check_val_every_n_epoch, trainer.max_epochs
    if every > epochs:
        raise InputError(f"trainer.check_val_every_n_epoch={every}: no validation in {epochs} epochs; lower it")
    if not callbacks.get("best") and cfg.test_ckpt != "last":
        raise InputError(
            "callbacks.best=null: without it there is no best checkpoint; set test_ckpt=last, or begin with the default"
        )
    if not callbacks.get("last") and cfg.test_ckpt == "last":
        raise InputError("callbacks.last=null: without it there is no last checkpoint; set test_ckpt=best")


def _check_loss(cfg: DictConfig) -> None:
    """Compute the loss of three texts of two classes."""
    loss = instantiate_checked(cfg.loss, "loss", _partial_=True)
    weights = {"weight": torch.ones(2)} if cfg.class_weights else {}
    log_probabilities, labels = torch.zeros(3, 2).log_softmax(1), torch.tensor([0, 1, 1])

    def compute(**settings: Any) -> None:
        criterion = loss.func(**settings)
        if not isinstance(criterion, torch.nn.Module):
            raise TypeError("not a torch.nn.Module; derive it")
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # torch broadcasts shapes that do not match
            value = criterion(log_probabilities, labels)
        if not isinstance(value, torch.Tensor) or value.dim():
            raise TypeError("does not return the mean loss as a scalar tensor")

    _find_invalid_key("loss", partial(compute, **loss.keywords), **weights)


def _check_kind(settings: DictConfig, key: str, made: Any, kind: type) -> None:
    if not isinstance(made, kind):
        raise InputError(f"{key}._target_={settings._target_}: not a torch.optim {kind.__name__}; use one")


def _check_network(cfg: DictConfig) -> None:
    """Build the network for a vocabulary of two words; one that is not of this package classifies two texts.

    Raises:
        InputError: it fails, returns something else than logits, or would freeze random vectors.
    """
    if "_target_" not in cfg.model:
        raise InputError("model: has no _target_; name the class of the network")
    if cfg.model.get("freeze_embedding") and not cfg.model.get("embedding_init"):
        raise InputError("model.freeze_embedding=true: random vectors say nothing; set model.embedding_init=ppmi")
    padding = cfg.data.get("padding", "pre")
    encoder = TextEncoder(Vocabulary(SPECIALS), tokenizer="words", maxlen=8, padding=padding, truncating="pre")
    with without_memory(cfg.model):
        net = make_module(cfg, encoder, ["first", "second"]).net
    if is_ours(cfg.model._target_):
        return
    ids = torch.ones(2, 8, dtype=torch.int64)
    ids[1, slice(5) if padding == "pre" else slice(3, None)] = PADDING
    try:
        logits = net(ids)
    except Exception as error:  # of somebody's class
        raise InputError(f"model: {net.display_name} fails on ids (2, 8), {describe_failure(error)}") from error
    shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if shape != (2, 1):
        raise InputError(
            f"model: {net.display_name} returns {shape} for ids (2, 8) and num_outputs=1; it must return logits "
            "(B, num_outputs)"
        )


def check_single_device(cfg: DictConfig) -> None:
    """Raise `InputError` for multi-device training, as each process would start the sweep, study or teachers again."""
    trainer = cfg.trainer
    devices = trainer.get("devices", 1)
    is_single = devices in (1, "1") or (OmegaConf.is_list(devices) and len(devices) == 1)
    if not is_single or trainer.get("strategy", "auto") != "auto" or trainer.get("num_nodes", 1) != 1:
        raise InputError(
            "trainer: a sweep (-m), a study or self-training trains each run on one device; use trainer=default or gpu"
        )


def make_module(
    cfg: DictConfig,
    encoder: TextEncoder,
    label_names: list[str],
    class_weights: Sequence[float] | None = None,
    ngrams: torch.Tensor | None = None,
) -> SentimentModule:
    """A freshly initialized module for texts of `encoder`; whatever the configuration names is trusted.

    Args:
        cfg: the configuration.
        encoder: of the data.
        label_names: names of the classes.
        class_weights: of the classes in the loss.
        ngrams: hashes of the n-grams that have an embedding, ascending, int64 `(n-grams,)`; None for none.

    Raises:
        InputError: a setting of the model is invalid.
    """
    model: Any = OmegaConf.to_container(cfg.model, resolve=True)
    model.pop("embedding_init", None)
    with prefix_key("model"):
        if "min_ngram_count" in model:
            check_at_least(1, min_ngram_count=model.pop("min_ngram_count"))
            model["num_ngrams"] = 0 if ngrams is None else len(ngrams)
        module = SentimentModule(
            encoder.to_dict(),
            label_names,
            model,
            optimizer=instantiate_checked(cfg.optimizer, "optimizer", _partial_=True),
            scheduler=instantiate_checked(cfg.scheduler, "scheduler", _partial_=True) if cfg.scheduler else None,
            loss=instantiate_checked(cfg.loss, "loss", _partial_=True),
            class_weights=class_weights,
            objective=cfg.objective,
            adversarial_epsilon=cfg.adversarial_epsilon,
            seed=cfg.seed,
            trust=find_targets(cfg),
        )
    embedding = getattr(module.net, "ngram_embedding", None)
    if ngrams is not None and isinstance(embedding, NgramEmbedding):
        embedding.hashes[1:] = ngrams
    return module


def _find_invalid_key(group: str, factory: "partial[Any]", *arguments: Any, **options: Any) -> None:
    """Call `factory`; if it fails, name the key without which it would fail otherwise or not at all.

    Raises:
        InputError: it fails.
    """
    message = _failure(factory, *arguments, **options)
    if message is None:
        return
    for key in factory.keywords:
        others = {name: value for name, value in factory.keywords.items() if name != key}
        other_message = _failure(partial(factory.func, **others), *arguments, **options)
        if other_message != message and f"'{key}'" not in (other_message or ""):  # it may say that the key is missing
            advice = f"; remove it: '~{group}.{key}'" if "unexpected keyword argument" in message else ""
            raise InputError(f"{group}.{key}={factory.keywords[key]}: {message}{advice}")
    raise InputError(f"{group}: {message}; change one of its keys")


def _failure(factory: Any, *arguments: Any, **options: Any) -> str | None:
    try:
        factory(*arguments, **options)
    except (TypeError, ValueError, RuntimeError, UserWarning) as error:
        return one_line(error)
    return None
