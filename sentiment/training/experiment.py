"""One experiment: data, training, test, and everything that a run leaves in its folder."""

import gc
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from pytorch_lightning import Callback, Trainer, seed_everything
from pytorch_lightning.callbacks import ModelCheckpoint
from sklearn.utils.class_weight import compute_class_weight

from sentiment.analysis.report.tables import format_class_table, format_result_table
from sentiment.analysis.run import Run
from sentiment.data.datamodule import ReviewDataModule
from sentiment.data.encoded.store import read_array
from sentiment.data.summary import describe, find_problems
from sentiment.model.checkpoint import read_checkpoint
from sentiment.model.memory import PADDING_BYTES, TRAINING, batch_bytes, check_fits
from sentiment.model.metrics import METRICS_BY_CLASS
from sentiment.model.module import SentimentModule
from sentiment.runtime.config import flatten, hyperparameters, instantiate_checked, named_settings
from sentiment.runtime.errors import InputError, prefix_key
from sentiment.runtime.run_folder import RunFolder
from sentiment.runtime.trust import find_targets
from sentiment.training.baseline import Baseline
from sentiment.training.loggers import log_final_figures, log_settings, open_loggers
from sentiment.training.lr_finder import find_learning_rate
from sentiment.training.module_setup import find_ngrams, initialize_embedding, make_module
from sentiment.training.outcome import record_outcome
from sentiment.training.process import limit_threads
from sentiment.training.progress import disable_console_output
from sentiment.training.resuming import (
    Resumption,
    check_contents,
    describe_resumption,
    read_resume_point,
)
from sentiment.training.self_training import label_texts
from sentiment.training.settings import check_settings
from sentiment.training.trainer import (
    TrainingTimer,
    device_name,
    make_callbacks,
    make_timer,
    make_trainer,
    translate_lightning_errors,
)

log = logging.getLogger(__name__)


def run_experiment(
    cfg: DictConfig,
    callbacks: Sequence[Callback] = (),
    varied: Sequence[str] = (),
    hide_fixed: bool = False,
) -> Run:
    """Run one experiment in `cfg.output_dir`.

    Args:
        cfg: the composed configuration, see `conf/`.
        callbacks: callbacks besides those of `cfg.callbacks`.
        varied: keys of the settings in which this run differs from those that it is compared with.
        hide_fixed: leave the other settings out of TensorBoard's HParams tab.

    Returns:
        The run, with metrics of the selected checkpoint: the best one, or the last one if `cfg.test_ckpt` says so. With
        `cfg.lr_find`, the only one is `lr_find/suggestion`.

    Raises:
        InputError: a setting, the data or a checkpoint is invalid.
    """
    run = RunFolder(cfg.output_dir)
    resumed = read_resume_point(run, cfg) if cfg.resume else None
    resumption = Resumption(run, cfg) if cfg.resume else None
    if cfg.quiet:
        disable_console_output()
    settings, first_step = hyperparameters(cfg, varied), resumed.steps + 1 if resumed else 0
    num_threads = resumed.num_threads if resumed and cfg.num_threads is None else cfg.num_threads
    with (
        open_loggers(cfg, first_step, varied, hide_fixed) as loggers,
        limit_threads(num_threads),
    ):
        check_settings(cfg)
        datamodule: ReviewDataModule = instantiate_checked(cfg.data, "data", seed=cfg.seed)
        datamodule.reshuffle = not cfg.trainer.overfit_batches
        seed_everything(cfg.seed, verbose=False)
        baselines, timer = _make_baselines(cfg, datamodule), make_timer(cfg)
        others = [timer, *baselines, *callbacks, *([resumption] if resumption else [])]
        trainer = make_trainer(cfg, loggers, [*make_callbacks(cfg), *others])
        if resumed:
            describe_resumption(cfg, resumed, trainer)
        datamodule.prepare_data()
        datamodule.setup("fit")
        if resumed:
            check_contents(resumed, datamodule)
        _check_test_batches(cfg, datamodule)
        with record_outcome(cfg, run, resumption) as metrics:
            log.info(describe(datamodule))
            for problem in find_problems(datamodule):
                log.warning(problem)
            if "unlabelled" in datamodule.splits and not cfg.self_training:
                log.info(
                    "data.unlabelled: the texts count for the vocabulary and word vectors alone; to "
                    "train on them, type self_training=teachers"
                )
            module = _make_module(cfg, run, datamodule, trainer)
            _check_memory(datamodule, module, baselines, trainer)
            if cfg.lr_find:
                rate = find_learning_rate(cfg, run, module, datamodule)
                metrics["lr_find/suggestion"] = rate
            else:
                log_settings(trainer.loggers, settings)
                last = resumed.path if resumed else None
                metrics |= _fit(cfg, run, trainer, module, datamodule, timer, last)
                if cfg.test_ckpt:
                    metrics |= _test(cfg, run, trainer, module, datamodule, baselines, timer)
                for baseline in baselines:
                    metrics |= baseline.metrics
                if not cfg.trainer.fast_dev_run:
                    _log_final_figures(cfg, trainer, settings, metrics)
                metrics["data_fingerprint"] = datamodule.folder.name
                metrics["device"] = device_name(trainer)
                metrics["num_threads"] = torch.get_num_threads()
    gc.collect()  # Lightning's objects form cycles, which would keep files open during a sweep
    final = metrics if cfg.lr_find else run.read_metrics()
    return Run(run, flatten(cfg), final, trust=tuple(find_targets(cfg)))


def _make_module(
    cfg: DictConfig, run: RunFolder, datamodule: ReviewDataModule, trainer: Trainer
) -> SentimentModule:
    """The module for these data; with self-training, teachers label the texts without a label first."""
    if cfg.data.validate_on == "test":
        log.warning(
            "Validating on the test set, as the article did: validation figures are optimistic"
        )
    if cfg.self_training and not cfg.trainer.fast_dev_run and not cfg.lr_find:
        device = trainer.strategy.root_device
        datamodule.add_soft_labels(label_texts(cfg, run, datamodule, device, run_experiment))
        seed_everything(cfg.seed, verbose=False)  # whether or not teachers were trained just now
    ngrams, weights = find_ngrams(cfg, datamodule), _class_weights(cfg, datamodule)
    module = make_module(cfg, datamodule.encoder, datamodule.label_names, weights, ngrams)
    module.data_contents = datamodule.contents
    initialize_embedding(cfg, module, datamodule)
    return module


def _fit(
    cfg: DictConfig,
    run: RunFolder,
    trainer: Trainer,
    module: SentimentModule,
    datamodule: ReviewDataModule,
    timer: TrainingTimer,
    checkpoint: Path | None,
) -> dict[str, Any]:
    """Train, from a checkpoint if one is given; return the figures of the selected epoch."""
    if trainer.is_global_zero and not cfg.trainer.fast_dev_run:
        rows = datamodule.training_set.reviews.rows
        run.write_train_hashes(read_array(datamodule.folder, "hashes")[rows])
    with translate_lightning_errors():
        trainer.fit(module, datamodule, ckpt_path=checkpoint, weights_only=True)
    selected = None if cfg.trainer.fast_dev_run else _selected_checkpoint(cfg, trainer)
    metrics = _fit_metrics(trainer, selected, module)
    metrics["train/reviews_per_second"] = _reviews_per_second(trainer, timer, module, run)
    return metrics


def _test(
    cfg: DictConfig,
    run: RunFolder,
    trainer: Trainer,
    module: SentimentModule,
    datamodule: ReviewDataModule,
    baselines: list[Baseline],
    timer: TrainingTimer,
) -> dict[str, float]:
    """Test the selected checkpoint, write the predictions and print the tables."""
    selected = None if cfg.trainer.fast_dev_run else _selected_checkpoint(cfg, trainer)
    seconds = timer.time_elapsed("train")  # before a checkpoint is loaded, which adds its own
    with translate_lightning_errors():
        trainer.test(module, datamodule, ckpt_path=selected, weights_only=True, verbose=False)
    if trainer.is_global_zero:
        _report_test(run, module, datamodule, baselines, seconds)
    figures = trainer.callback_metrics.items()
    return {name: float(value) for name, value in figures if name.startswith("test/")}


def _log_final_figures(
    cfg: DictConfig, trainer: Trainer, settings: Mapping[str, Any], metrics: Mapping[str, Any]
) -> None:
    """Log the figures under tags of their own, first those that the HParams tab shows first."""
    first = {tag: metrics[tag] for tag in ("test/accuracy", cfg.objective) if tag in metrics}
    ordered = {**first, **metrics}.items()
    overall = {tag: value for tag, value in ordered if not tag.startswith(METRICS_BY_CLASS)}
    last_batch = trainer.global_step - 1
    log_final_figures(trainer.loggers, settings, overall, step=last_batch)


def _make_baselines(cfg: DictConfig, datamodule: ReviewDataModule) -> list[Baseline]:
    if cfg.trainer.fast_dev_run:
        return []
    baselines = []
    for name, settings in named_settings(cfg, "baseline"):
        key = f"baseline.{name}"
        with prefix_key(key):
            baselines.append(Baseline(name, datamodule, **instantiate_checked(settings, key)))
    return baselines


def _check_test_batches(cfg: DictConfig, datamodule: ReviewDataModule) -> None:
    limit, count = cfg.trainer.limit_test_batches, len(datamodule.test_dataloader())
    if cfg.test_ckpt and isinstance(limit, float) and limit * count < 1:
        raise InputError(
            f"trainer.limit_test_batches={limit}: less than one of {count} batches; raise it"
        )


def _check_memory(
    datamodule: ReviewDataModule,
    module: SentimentModule,
    baselines: list[Baseline],
    trainer: Trainer,
) -> None:
    """Raise `InputError` if a batch, or the matrix of a baseline, cannot fit into memory."""
    train, encoder = datamodule.training_set, datamodule.encoder
    longest = max(int(split.reviews.lengths.max()) for split in datamodule.splits.values())
    advice = "lower it, or data.batch_size"
    if longest < encoder.maxlen and not encoder.masked:
        advice = f"set data.maxlen={longest}, the length of the longest text, or data.padding=post"
    if trainer.strategy.root_device.type == "cpu":
        tokens = min(datamodule.batch_size, len(train)) * train.width
        size = batch_bytes(module.net, tokens, TRAINING)
        check_fits(f"data.maxlen={encoder.maxlen}: a batch", size, advice)
    for baseline in baselines:
        if baseline.features == "padded_ids":
            size = PADDING_BYTES * len(datamodule.splits["train"]) * train.width
            check_fits(
                f"data.maxlen={encoder.maxlen}: baseline.{baseline.name}",
                size,
                f"{advice}, or baseline=none",
            )


def _class_weights(cfg: DictConfig, datamodule: ReviewDataModule) -> list[float] | None:
    """Weights of the classes in the loss, inversely proportional to their frequency in the training rows."""
    if not cfg.class_weights:
        return None
    train, classes = datamodule.splits["train"].reviews, np.arange(len(datamodule.label_names))
    weights = compute_class_weight(cfg.class_weights, classes=classes, y=train.labels[train.rows])
    log.info(
        "class weights  %s", ", ".join(map("{} {:.3f}".format, datamodule.label_names, weights))
    )
    return [float(weight) for weight in weights]


def _selected_checkpoint(cfg: DictConfig, trainer: Trainer) -> Path:
    """The checkpoint that is tested and whose metrics are reported."""
    # Other ranks may have another output_dir.
    folder = next(
        c.dirpath
        for c in trainer.checkpoint_callbacks
        if isinstance(c, ModelCheckpoint) and c.dirpath
    )
    selected = RunFolder(Path(folder).parent).selected_checkpoint(cfg.test_ckpt)
    if not selected.exists():
        raise InputError(
            "trainer: the training ended before a validation, so no epoch is the best; allow it more time or steps, or "
            "set test_ckpt=last"
        )
    return selected


def _fit_metrics(
    trainer: Trainer, selected: Path | None, module: SentimentModule
) -> dict[str, Any]:
    """Training and validation metrics at the checkpoint, the number of epochs and that of parameters."""
    latest: dict[str, Any] = {
        name: float(value) for name, value in trainer.callback_metrics.items()
    }
    if selected:
        checkpoint = read_checkpoint(selected)
        latest = checkpoint["metrics"] | {"checkpoint_epoch": checkpoint["epoch"] + 1}
        log.info("checkpoint of epoch %d of %d", latest["checkpoint_epoch"], trainer.current_epoch)
    return latest | {
        "epochs": trainer.current_epoch,
        "parameters": sum(p.numel() for p in module.parameters()),
    }


def _reviews_per_second(
    trainer: Trainer, timer: TrainingTimer, module: SentimentModule, run: RunFolder
) -> float:
    """Training speed without validation; that of the earlier training if nothing was left to train."""
    if not module.num_trained:
        return float(run.read_metrics().get("train/reviews_per_second") or math.nan)
    return module.num_trained * trainer.world_size / timer.training_seconds


def _report_test(
    run: RunFolder,
    module: SentimentModule,
    datamodule: ReviewDataModule,
    baselines: list[Baseline],
    seconds: float,
) -> None:
    """Write the predictions for the test set and print the network next to its baselines."""
    rows, probabilities = module.predictions
    name = module.net.display_name
    labels = datamodule.splits["test"].reviews.labels[rows]
    run.write_predictions(
        datamodule.select_reviews(rows), labels, probabilities, datamodule.label_names
    )
    correct = {name: probabilities.argmax(1) == labels}
    fit_seconds = {name: seconds}
    for baseline in (baseline for baseline in baselines if baseline.predictions):
        correct[baseline.name] = baseline.lookup_predictions("test", rows) == labels
        fit_seconds[baseline.name] = baseline.metrics[f"baseline/{baseline.name}/fit_seconds"]
    train = datamodule.splits["train"].reviews
    majority = int(np.bincount(train.labels[train.rows]).argmax())
    correct[f"majority class ({datamodule.label_names[majority]})"] = labels == majority
    log.info(
        format_result_table(
            f"Test set, {len(rows):,} reviews: accuracy in per cent", correct, fit_seconds
        )
    )
    log.info(format_class_table(labels, probabilities.argmax(1), datamodule.label_names))
