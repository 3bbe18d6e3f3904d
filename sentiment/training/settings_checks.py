"""Settings that are checked before the data is read."""

from functools import partial
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from sentiment.data.text import SPECIALS, TextEncoder, Vocabulary
from sentiment.model.module import SentimentModule
from sentiment.runtime.config import OBJECTIVES, instantiate_checked
from sentiment.runtime.errors import InputError, check_at_least, check_choice, one_line, prefix_key


def check_settings(cfg: DictConfig) -> None:
    """Check the keys at the top, and those of the trainer, the model, the optimizer and the scheduler.

    Raises:
        InputError: a value is invalid; the message names the key.
    """
    check_choice(tuple(OBJECTIVES), objective=cfg.objective)
    check_choice(("best", "last", None), test_ckpt=cfg.test_ckpt)
    check_at_least(0, seed=cfg.seed)
    check_at_least(1, **{"trainer.max_epochs": cfg.trainer.max_epochs})
    needs = {"train": "to train on", "val": "to choose the best epoch", "test": "or set test_ckpt=null"}
    for split, need in needs.items():
        if not cfg.trainer[f"limit_{split}_batches"]:
            raise InputError(f"trainer.limit_{split}_batches=0: leave some batches {need}")
    optimizer = instantiate_checked(cfg.optimizer)
    _find_invalid_key("optimizer", optimizer, [torch.nn.Parameter(torch.zeros(1))])
    if cfg.scheduler:
        scheduler = instantiate_checked(cfg.scheduler)
        _find_invalid_key("scheduler", scheduler, optimizer([torch.nn.Parameter(torch.zeros(1))]), total_steps=100)
    encoder = TextEncoder(Vocabulary(SPECIALS), tokenizer="words", maxlen=1, padding="pre", truncating="pre")
    with torch.device("meta"):
        make_module(cfg, encoder, ["first", "second"])


def check_single_device(cfg: DictConfig) -> None:
    """Raise `InputError` for multi-device training, as each process would start the sweep or study again."""
    trainer = cfg.trainer
    devices = trainer.get("devices", 1)
    is_single = devices in (1, "1") or (OmegaConf.is_list(devices) and len(devices) == 1)
    if not is_single or trainer.get("strategy", "auto") != "auto" or trainer.get("num_nodes", 1) != 1:
        raise InputError("trainer: a sweep (-m) or study trains each run on one device; use trainer=default or gpu")


def make_module(cfg: DictConfig, encoder: TextEncoder, label_names: list[str]) -> SentimentModule:
    """A freshly initialized module for texts of `encoder`.

    Raises:
        InputError: a setting of the model is invalid.
    """
    model = {key: value for key, value in cfg.model.items() if key != "embedding_init"}
    scheduler = instantiate_checked(cfg.scheduler) if cfg.scheduler else None
    optimizer = instantiate_checked(cfg.optimizer)
    epsilon = cfg.adversarial_epsilon
    with prefix_key("model"):
        return SentimentModule(encoder.to_dict(), label_names, model, optimizer, scheduler, epsilon, cfg.seed)


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
            raise InputError(f"{group}.{key}={factory.keywords[key]}: {message}")
    raise InputError(f"{group}: {message}; change one of its keys")


def _failure(factory: Any, *arguments: Any, **options: Any) -> str | None:
    try:
        factory(*arguments, **options)
    except (TypeError, ValueError, RuntimeError) as error:
        return one_line(error)
    return None
