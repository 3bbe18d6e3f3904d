"""One experiment: data, training, test, and everything that a run leaves in its folder."""

import contextlib
import gc
import logging
import math
from collections.abc import Iterator, Sequence
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

from sentiment.analysis.statistics import format_class_table, format_result_table
from sentiment.data.datamodule import ReviewDataModule
from sentiment.data.encoding import read_hashes
from sentiment.data.summary import describe, find_problems
from sentiment.model.checkpoint import AtomicCheckpointIO, read_checkpoint
from sentiment.model.metrics import METRICS_BY_CLASS
from sentiment.model.module import SentimentModule
from sentiment.runtime.config import config_fingerprint, hyperparameters, instantiate_checked
from sentiment.runtime.errors import InputError, one_line, prefix_key
from sentiment.runtime.run_folder import RunFolder, provenance
from sentiment.training.baseline import Baseline
from sentiment.training.resuming import ResumePoint, read_resume_point
from sentiment.training.settings_checks import check_settings, make_module

log = logging.getLogger(__name__)


def train(cfg: DictConfig, callbacks: Sequence[Callback] = ()) -> float:
    """Run one experiment in `cfg.output_dir`.

    Args:
        cfg: the composed configuration, see `conf/`.
        callbacks: callbacks besides those of `cfg.callbacks`.

    Returns:
        The metric that `cfg.objective` names, of the selected checkpoint: the best one, or the last one if
        `cfg.test_ckpt` says so.

    Raises:
        InputError: a setting, the data or a checkpoint is invalid.
    """
    run = RunFolder(cfg.output_dir)
    record = {"config_fingerprint": config_fingerprint(cfg), **provenance()}
    write_metrics = rank_zero_only(run.write_metrics)
    try:
        resumed = read_resume_point(run) if cfg.resume else None
        with _open_logger(cfg, resumed) as logger:
            metrics = _train(cfg, run, logger, resumed, callbacks)
    except (KeyboardInterrupt, Exception) as error:
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        record |= {"status": status, "error": f"{type(error).__name__}: {error}"}
        with contextlib.suppress(OSError):  # if the disk is full, the first error is the one to report
            write_metrics(run.read_metrics() | record)  # a resumed run keeps its earlier metrics
        raise
    gc.collect()  # Lightning's objects form cycles, which would keep their files open during a sweep
    write_metrics({**metrics, "status": "finished", **record})
    return float(metrics[cfg.objective])


def _train(
    cfg: DictConfig, run: RunFolder, logger: Logger, resumed: ResumePoint | None, extra_callbacks: Sequence[Callback]
) -> dict[str, Any]:
    check_settings(cfg)
    datamodule: ReviewDataModule = instantiate_checked(cfg.data, seed=cfg.seed)
    seed_everything(cfg.seed, verbose=False)

    baselines = _make_baselines(cfg, datamodule)
    timer = Timer()
    callbacks = [*_make_callbacks(cfg.callbacks), timer, *baselines, *extra_callbacks]
    trainer = _make_trainer(cfg, logger, callbacks, resumed)

    datamodule.prepare_data()
    datamodule.setup("fit")
    log.info(describe(datamodule))
    for problem in find_problems(datamodule):
        log.warning(problem)
    if cfg.data.validate_on == "test":
        log.warning("Validating on the test set, as the article did: validation figures are optimistic")

    module = make_module(cfg, datamodule.encoder, datamodule.label_names)
    _initialize_embedding(cfg, module, datamodule)
    if resumed and resumed.text_encoder != module.hparams["text_encoder"]:
        raise InputError(
            f"resume={cfg.resume}: the data or preprocessing changed since this run started; "
            "restore them or start a new run"
        )
    logger.log_hyperparams(hyperparameters(cfg))

    if trainer.is_global_zero and not cfg.trainer.fast_dev_run:
        run.write_train_hashes(read_hashes(datamodule.folder)[datamodule.splits["train"].reviews.rows])
    with _translate_lightning_errors():
        trainer.fit(module, datamodule, ckpt_path=resumed.path if resumed else None, weights_only=True)
    selected = None if cfg.trainer.fast_dev_run else _selected_checkpoint(cfg, trainer)
    metrics = _fit_metrics(trainer, selected, module)
    metrics["train/reviews_per_second"] = _reviews_per_second(trainer, timer, datamodule, run, resumed)

    if cfg.test_ckpt:
        with _translate_lightning_errors():
            trainer.test(module, datamodule, ckpt_path=selected, weights_only=True, verbose=False)
        metrics |= {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("test/")}
        if trainer.is_global_zero:
            _report_test(run, module, datamodule, baselines, timer.time_elapsed("train"))
    for baseline in baselines:
        metrics |= baseline.metrics
    if not cfg.trainer.fast_dev_run:
        # The HParams tab shows metrics in this order; its step is that of the last batch.
        ordered = {tag: metrics[tag] for tag in ("test/accuracy", cfg.objective) if tag in metrics} | metrics
        overall = {tag: value for tag, value in ordered.items() if not tag.startswith(METRICS_BY_CLASS)}
        logger.log_hyperparams(hyperparameters(cfg), overall, step=trainer.global_step - 1)
    return {**metrics, "data_fingerprint": datamodule.folder.name, "device": _device_name(trainer)}


@contextlib.contextmanager
def _open_logger(cfg: DictConfig, resumed: ResumePoint | None) -> Iterator[Logger]:
    """The logger, whose file and thread end with the run; it replaces what was logged after the resume point."""
    logger: Logger = instantiate_checked(cfg.logger, purge_step=resumed.steps + 1 if resumed else 0)
    try:
        yield logger
    finally:
        logger.finalize("")


def _make_callbacks(cfg: DictConfig) -> list[Callback]:
    """The callbacks of a group and its subgroups, in their order; null disables a callback or a subgroup."""
    callbacks: list[Callback] = []
    for settings in cfg.values():
        if settings is not None:
            callbacks += [instantiate_checked(settings)] if "_target_" in settings else _make_callbacks(settings)
    return callbacks


def _make_baselines(cfg: DictConfig, datamodule: ReviewDataModule) -> list[Baseline]:
    if cfg.trainer.fast_dev_run:
        return []
    baselines = []
    for name, settings in cfg.baseline.items():
        with prefix_key(f"baseline.{name}"):
            baselines.append(Baseline(str(name), datamodule, **instantiate_checked(settings)))
    return baselines


def _make_trainer(cfg: DictConfig, logger: Logger, callbacks: list[Callback], resumed: ResumePoint | None) -> Trainer:
    plugins = [AtomicCheckpointIO()]
    trainer: Trainer = instantiate_checked(cfg.trainer, callbacks=callbacks, logger=logger, plugins=plugins)
    if resumed and resumed.stopped_early and cfg.callbacks.early_stopping:
        trainer.fit_loop.max_epochs = resumed.epochs  # EarlyStopping does not restore its stopped state
    return trainer


def _initialize_embedding(cfg: DictConfig, module: SentimentModule, datamodule: ReviewDataModule) -> None:
    """Copy the vectors of `model.embedding_init` into the embedding."""
    name, dim = cfg.model.embedding_init, cfg.model.embedding_dim
    if not name:
        return
    vectors, ids = datamodule.initial_embeddings(name, dim)
    if vectors.shape[1] != dim:
        size = vectors.shape[1]
        raise InputError(f"model.embedding_init={name}: vectors have {size} dimensions; set model.embedding_dim={size}")
    module.net.embedding.weight.data[ids] = vectors
    size = len(datamodule.encoder.vocabulary)
    log.info("embedding  %s: vectors for %s of %s words", name, f"{len(ids):,}", f"{size:,}")


def _selected_checkpoint(cfg: DictConfig, trainer: Trainer) -> Path:
    """The checkpoint that is tested and whose metrics are reported."""
    folder = trainer.checkpoint_callback.dirpath  # type: ignore[union-attr]  # other ranks may have another output_dir
    return RunFolder(Path(folder).parent).selected_checkpoint(cfg.test_ckpt)


def _fit_metrics(trainer: Trainer, selected: Path | None, module: SentimentModule) -> dict[str, Any]:
    """Training and validation metrics at the checkpoint, the number of epochs and that of parameters."""
    latest: dict[str, Any] = {name: float(value) for name, value in trainer.callback_metrics.items()}
    if selected:
        checkpoint = read_checkpoint(selected)
        latest = checkpoint["metrics"] | {"checkpoint_epoch": checkpoint["epoch"] + 1}
        log.info("checkpoint of epoch %d of %d", latest["checkpoint_epoch"], trainer.current_epoch)
    return latest | {"epochs": trainer.current_epoch, "parameters": sum(p.numel() for p in module.parameters())}


def _reviews_per_second(
    trainer: Trainer, timer: Timer, datamodule: ReviewDataModule, run: RunFolder, resumed: ResumePoint | None
) -> float:
    """Training speed without validation; that of the earlier training if nothing was left to train."""
    epochs = trainer.current_epoch - (resumed.epochs if resumed else 0)
    if not epochs:
        return float(run.read_metrics().get("train/reviews_per_second") or math.nan)
    rows = trainer.num_training_batches * datamodule.batch_size * trainer.world_size
    reviews = epochs * min(len(datamodule.splits["train"]), rows)
    start, end = timer.start_time("train") or 0, timer.end_time("train") or 0
    return reviews / (end - start - timer.time_elapsed("validate"))


def _report_test(
    run: RunFolder, module: SentimentModule, datamodule: ReviewDataModule, baselines: list[Baseline], seconds: float
) -> None:
    """Write the predictions for the test set and print the LSTM next to its baselines."""
    rows, probabilities = module.predictions
    labels = datamodule.splits["test"].reviews.labels[rows]
    run.write_predictions(datamodule.read_rows(rows), labels, probabilities, datamodule.label_names)
    correct = {"LSTM": probabilities.argmax(1) == labels}
    fit_seconds = {"LSTM": seconds}
    for baseline in (baseline for baseline in baselines if baseline.predictions):
        correct[baseline.name] = baseline.lookup_predictions("test", rows) == labels
        fit_seconds[baseline.name] = baseline.metrics[f"baseline/{baseline.name}/fit_seconds"]
    train = datamodule.splits["train"].reviews
    majority = int(np.bincount(train.labels[train.rows]).argmax())
    correct[f"majority class ({datamodule.label_names[majority]})"] = labels == majority
    log.info(format_result_table(f"Test set, {len(rows):,} reviews: accuracy in per cent", correct, fit_seconds))
    log.info(format_class_table(labels, probabilities.argmax(1), datamodule.label_names))


@contextlib.contextmanager
def _translate_lightning_errors() -> Iterator[None]:
    """Turn Lightning's SystemExit on Ctrl-C into KeyboardInterrupt, configuration errors into InputError."""
    try:
        yield
    except SystemExit as error:
        raise KeyboardInterrupt from error
    except (MisconfigurationException, RuntimeError) as error:
        if "could not create a primitive" in str(error):  # message of oneDNN
            message = "trainer.precision: this CPU has no bf16 LSTM kernel; use trainer.precision=32-true"
            raise InputError(message) from error
        if "'fused' optimizer" in str(error):
            message = "trainer.gradient_clip_val: with mixed precision it needs optimizer.fused=false"
            raise InputError(message) from error
        if isinstance(error, RuntimeError) and "conditioned on metric" not in str(error):
            raise
        raise InputError(f"trainer or callbacks: {one_line(error)}") from error


def _device_name(trainer: Trainer) -> str:
    device = trainer.strategy.root_device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
