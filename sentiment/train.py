"""Trains, tests and records one experiment; `-m` sweeps over settings.

python -m sentiment.train                                     # IMDB, honest split
python -m sentiment.train data=demo                           # built in, no download
python -m sentiment.train data.maxlen=200 model.units=128 optimizer=rmsprop
python -m sentiment.train -m data.maxlen=80,200 optimizer=adam,sgd
python -m sentiment.train resume=outputs/runs/2026-01-31_12-00-00
"""

if __name__ == "__main__":  # before what follows, which takes seconds: --help and a wrong key are answered at once
    import sys

    from sentiment.jobs import main

    main()
    sys.exit()

import contextlib
import ctypes
import gc
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig
from pytorch_lightning import Callback, Trainer, seed_everything
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from sentiment.callbacks.baseline import Baseline
from sentiment.data.datamodule import ReviewDataModule
from sentiment.errors import InputError, require_at_least, require_choice
from sentiment.model.checkpoint import read_checkpoint, read_network, require_resumable
from sentiment.model.module import AtomicCheckpointIO, SentimentModule
from sentiment.results import provenance, read_metrics, result_table, write_metrics, write_predictions
from sentiment.settings import OBJECTIVES, hyperparameters, identity, make

log = logging.getLogger(__name__)


def train(cfg: DictConfig, callbacks: Sequence[Callback] = (), one_device: bool = False) -> float:
    """Runs one experiment in `cfg.output_dir`: data, training, test, `metrics.json`.

    Args:
        cfg: the composed configuration, see `conf/`.
        callbacks: more of Lightning's than `cfg.callbacks` names.
        one_device: refuses several, whose processes would each start what called this.

    Returns:
        The metric that `cfg.objective` names, of the weights that were tested.

    Raises:
        InputError: a setting, the data or a checkpoint is wrong.
    """
    folder = Path(cfg.output_dir)
    facts = {"settings": identity(cfg), **provenance()}
    write = rank_zero_only(write_metrics)
    try:
        with _logger(cfg) as logger:
            metrics = _train(cfg, folder, callbacks, one_device, logger)
    except (KeyboardInterrupt, Exception) as error:
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        record = {"status": status, "error": f"{type(error).__name__}: {error}", **facts}
        with contextlib.suppress(OSError):  # of a full disk, whose first error is the one to tell
            write(folder, read_metrics(folder) | record)  # a resumed run keeps the figures that it had
        raise
    gc.collect()  # Lightning's objects refer to each other, and would keep their files open through a sweep
    write(folder, {**metrics, "status": "finished", **facts})
    return float(metrics[cfg.objective])


def _train(
    cfg: DictConfig, folder: Path, callbacks: Sequence[Callback], one_device: bool, logger: Logger
) -> dict[str, Any]:
    require_choice(OBJECTIVES, objective=cfg.objective)
    require_choice(("best", "last", False), test=cfg.test)
    require_at_least(0, seed=cfg.seed)
    require_at_least(1, trainer__max_epochs=cfg.trainer.max_epochs)
    for half, need in (("train", "to learn from"), ("val", "to choose the best epoch"), ("test", "or set test=false")):
        if not cfg.trainer[f"limit_{half}_batches"]:
            raise InputError(f"trainer.limit_{half}_batches=0: leave some batches {need}")
    checkpoints = folder / "checkpoints"
    last = checkpoints / "last.ckpt" if cfg.resume and (checkpoints / "last.ckpt").exists() else None
    epochs_before, stopped_early, text_before = 0, False, None
    if last:
        checkpoint = read_checkpoint(last)
        require_resumable(last, checkpoint)
        read_network(last, checkpoint)
        epochs_before, text_before = checkpoint["epoch"] + 1, checkpoint["hyper_parameters"]["text"]
        stopped_early = any(state.get("stopped_epoch") for state in checkpoint["callbacks"].values())
        del checkpoint  # of which training needs the memory

    keep_freed_memory()
    seed_everything(cfg.seed, verbose=False)
    datamodule: ReviewDataModule = make(cfg.data, seed=cfg.seed)
    chosen = {} if cfg.trainer.fast_dev_run else cfg.baseline
    baselines = [Baseline(name, datamodule, **make(settings)) for name, settings in chosen.items()]
    timer = Timer()
    callbacks = [*(make(callback) for callback in cfg.callbacks.values() if callback), timer, *baselines, *callbacks]
    trainer: Trainer = make(cfg.trainer, callbacks=callbacks, logger=logger, plugins=[AtomicCheckpointIO()])
    if stopped_early and cfg.callbacks.early_stopping:  # which forgets that it was done
        trainer.fit_loop.max_epochs = epochs_before
    if one_device and trainer.world_size > 1:
        raise InputError(f"trainer.devices={cfg.trainer.devices}: runs of a sweep or study train on one device each")

    datamodule.prepare_data()
    datamodule.setup("fit")
    log.info(datamodule.describe())
    if cfg.data.validate_on == "test":
        log.warning("Validates on the test half, as the article did: its figures flatter, use them to compare only")
    module = build_module(cfg, datamodule)
    if text_before not in (None, module.hparams["text"]):
        raise InputError(f"resume={folder}: the reviews are others now, or read otherwise; restore them or start anew")
    logger.log_hyperparams(hyperparameters(cfg))

    _interruptible(trainer.fit, module, datamodule, ckpt_path=last, weights_only=True)
    if cfg.trainer.fast_dev_run:  # leaves no checkpoint
        tested, metrics = None, {name: float(value) for name, value in trainer.callback_metrics.items()}
    else:
        written = Path(trainer.checkpoint_callback.dirpath)  # type: ignore[union-attr]  # rank 0's folder
        tested = written / ("last.ckpt" if cfg.test == "last" else "best.ckpt")
        metrics = read_checkpoint(tested)["metrics"]
    rows = trainer.num_training_batches * datamodule.batch_size * trainer.world_size
    reviews = (trainer.current_epoch - epochs_before) * min(len(datamodule.splits["train"]), rows)
    if reviews:
        started, ended = timer.start_time("train") or 0, timer.end_time("train") or 0
        metrics["train/reviews_per_second"] = reviews / (ended - started - timer.time_elapsed("validate"))
    else:  # resumed for the test alone
        metrics["train/reviews_per_second"] = read_metrics(folder).get("train/reviews_per_second", math.nan)
    metrics |= {
        "epochs": trainer.current_epoch,
        "parameters": sum(p.numel() for p in module.parameters()),
    }
    seconds = timer.time_elapsed("train")
    if cfg.test:
        _interruptible(trainer.test, module, datamodule, ckpt_path=tested, weights_only=True, verbose=False)
        metrics |= {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("test/")}
        if trainer.is_global_zero:
            _report_test(folder, module, datamodule, baselines, seconds)
    for baseline in baselines:
        metrics |= baseline.metrics_
    if not cfg.trainer.fast_dev_run:
        first = {tag: metrics[tag] for tag in ("test/accuracy", cfg.objective) if tag in metrics}  # columns of the tab
        logger.log_hyperparams(hyperparameters(cfg), first | metrics, step=trainer.global_step - 1)
    return {**metrics, "data": datamodule.folder.name, "device": _device(trainer)}


@contextlib.contextmanager
def _logger(cfg: DictConfig) -> Iterator[Logger]:
    """Lightning's, whose file and thread end with the run."""
    logger: Logger = make(cfg.logger)
    try:
        yield logger
    finally:
        logger.finalize("")


def build_module(cfg: DictConfig, datamodule: ReviewDataModule) -> SentimentModule:
    """A fresh module for the data: the vocabulary's size, the classes, and, if asked for, where words start.

    Raises:
        InputError: the vectors' size is not `model.embedding_dim`.
    """
    text = {
        "words": datamodule.vocabulary.words,
        "label_names": datamodule.label_names,
        **{key: cfg.data[key] for key in ("tokenizer", "maxlen", "padding", "truncating")},
    }
    model = dict(cfg.model)
    vectors = model.pop("vectors")
    scheduler = make(cfg.scheduler) if cfg.scheduler else None
    module = SentimentModule(text, model, make(cfg.optimizer), scheduler, cfg.adversarial, cfg.seed)
    if vectors:
        known, ids = datamodule.vectors(vectors, cfg.model.embedding_dim)
        if known.shape[1] != cfg.model.embedding_dim:
            raise InputError(f"model.vectors={vectors}: have {known.shape[1]} values; set model.embedding_dim to that")
        module.net.embedding.weight.data[ids] = known
        log.info("vectors    %s: start %s of %s words", vectors, f"{len(ids):,}", f"{len(text['words']):,}")
    return module


def _report_test(
    folder: Path, module: SentimentModule, datamodule: ReviewDataModule, baselines: list[Baseline], seconds: float
) -> None:
    """Writes the test rows' probabilities and prints the LSTM beside its baselines."""
    rows, probabilities = module.evaluated
    test = datamodule.splits["test"].reviews
    labels = test.labels[rows]
    write_predictions(folder / "test_predictions.csv", rows, labels, probabilities, datamodule.label_names)
    correct = {"LSTM": probabilities.argmax(1) == labels}
    times = {"LSTM": seconds}
    for baseline in (baseline for baseline in baselines if baseline.predictions_):
        seen = np.searchsorted(test.rows, rows)  # not all of them under trainer.limit_test_batches
        correct[baseline.name] = baseline.predictions_["test"][seen] == labels
        times[baseline.name] = baseline.metrics_[f"baseline/{baseline.name}/fit_seconds"]
    log.info(result_table(f"Test half, {len(rows):,} reviews: accuracy in per cent", correct, times))


def keep_freed_memory() -> None:
    """Has glibc keep what one step frees for the next: given back and fetched again, it is 1,000 page faults a step."""
    trim_threshold, mmap_threshold = -1, -3  # of malloc.h
    with contextlib.suppress(AttributeError, TypeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(trim_threshold, 1 << 30)
        mallopt(mmap_threshold, 1 << 25)  # the most that it takes


def _interruptible(step: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    """Gives Ctrl-C back as what it is, where Lightning makes it an exit, and Lightning's refusals as ours."""
    try:
        step(*arguments, **options)
    except SystemExit as error:
        raise KeyboardInterrupt from error
    except (MisconfigurationException, RuntimeError) as error:
        if "could not create a primitive" in str(error):  # says oneDNN
            raise InputError("trainer.precision: this CPU has no LSTM in it; use trainer.precision=32-true") from error
        if "'fused' optimizer" in str(error):
            raise InputError("trainer.gradient_clip_val: needs optimizer.fused=false beside mixed precision") from error
        if isinstance(error, RuntimeError) and "conditioned on metric" not in str(error):
            raise
        raise InputError(f"trainer or callbacks: {' '.join(str(error).split())}") from error


def _device(trainer: Trainer) -> str:
    device = trainer.strategy.root_device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
