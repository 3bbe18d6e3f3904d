"""One experiment: data, training, test, and everything that a run leaves in its folder."""

import gc
import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from pytorch_lightning import Callback, Trainer, seed_everything
from pytorch_lightning.callbacks import ModelCheckpoint, ProgressBar
from pytorch_lightning.utilities import rank_zero_only

from sentiment.analysis.evaluation_tables import (
    Correct,
    format_class_table,
    format_result_table,
)
from sentiment.analysis.run import Run
from sentiment.classifier import load
from sentiment.data.datamodule import ReviewDataModule
from sentiment.data.encoded.store import read_array
from sentiment.data.summary import log_summary
from sentiment.file_predictions import write_predictions
from sentiment.model.checkpoint import read_checkpoint
from sentiment.model.memory import check_memory
from sentiment.model.module import SentimentModule
from sentiment.runtime.config import flatten, hyperparameters, instantiate_checked, named_settings
from sentiment.runtime.errors import InputError, prefix_key, quote_errors
from sentiment.runtime.run_folder import RUN_LOG, RunFolder
from sentiment.runtime.trust import find_targets
from sentiment.training.advice import advise
from sentiment.training.baseline import Baseline
from sentiment.training.calibration import calibrate, uncalibrated_error
from sentiment.training.loggers import log_final_figures, log_settings, open_loggers
from sentiment.training.lr_finder import RANGE_TEST, RangeTest, find_learning_rate
from sentiment.training.module_setup import prepare_module
from sentiment.training.outcome import record_outcome
from sentiment.training.process import limit_threads
from sentiment.training.resuming import Resumption, continue_from, read_resume_point
from sentiment.training.self_training import find_unfinished_teachers, label_texts
from sentiment.training.settings import check_settings
from sentiment.training.trainer import (
    find_timer,
    make_callbacks,
    make_trainer,
    translate_lightning_errors,
)

log = logging.getLogger(RUN_LOG)


def run_experiment(
    cfg: DictConfig,
    callbacks: Sequence[Callback] = (),
    varied: Sequence[str] = (),
    shown: Sequence[str] = (),
) -> Run:
    """Run one experiment in `cfg.output_dir`, with `callbacks` besides those of the configuration.

    It differs from the runs that it is compared with in the settings `varied`; TensorBoard's HParams tab has those that
    are `shown`, by default all.
    """
    run = RunFolder(cfg.output_dir)
    resumed = read_resume_point(run, cfg)
    resumption = Resumption(run, cfg) if cfg.resume else None
    opening = open_loggers(named_settings(cfg, "logger"), run.path.name, resumed.first_step)
    threads = limit_threads(cfg.num_threads, resumed.num_threads)
    with opening as loggers, threads as free_cores:
        check_settings(cfg)
        datamodule = _make_datamodule(cfg)
        seed_everything(cfg.seed, verbose=False)
        baselines = _make_baselines(cfg, datamodule)
        others = [*baselines, *callbacks, *free_cores, *([resumption] if resumption else [])]
        trainer = make_trainer(cfg, loggers, [*make_callbacks(cfg), *others])
        datamodule.prepare_data()
        datamodule.setup("fit")
        continue_from(resumed, cfg, trainer, datamodule)
        with record_outcome(cfg, run, resumption) as metrics:
            log_summary(datamodule, bool(cfg.self_training) or datamodule.unlabelled_batches)
            if cfg.self_training and not cfg.trainer.fast_dev_run and not cfg.lr_find:
                for teacher in find_unfinished_teachers(cfg):
                    run_experiment(teacher)
                datamodule.add_soft_labels(label_texts(cfg, datamodule, trainer))
            module = prepare_module(cfg, datamodule)
            _check_memory(datamodule, module, baselines, trainer)
            if cfg.lr_find:
                metrics |= _find_learning_rate(cfg, run, module, datamodule)
            else:
                settings = hyperparameters(cfg, varied)
                log_settings(trainer.loggers, settings)
                metrics |= _fit(run, trainer, module, datamodule, resumed.path)
                metrics |= _test(run, trainer, module, datamodule, baselines, cfg)
                log_final_figures(trainer, settings, metrics, cfg.objective, shown)
                metrics |= _describe_conditions(datamodule, trainer)
    gc.collect()  # Lightning's objects form cycles, which would keep files open during a sweep
    final = metrics if cfg.lr_find else run.read_metrics()
    return Run(run, flatten(cfg), final, trust=tuple(find_targets(cfg)))


def _make_datamodule(cfg: DictConfig) -> ReviewDataModule:
    datamodule: ReviewDataModule = instantiate_checked(
        cfg.data,
        "data",
        seed=cfg.seed,
        reshuffle=not cfg.trainer.overfit_batches,
        unlabelled_batches=bool(cfg.virtual_adversarial_weight or cfg.entropy_weight),
    )
    return datamodule


def _check_memory(
    datamodule: ReviewDataModule,
    module: SentimentModule,
    baselines: Sequence[Baseline],
    trainer: Trainer,
) -> None:
    on_cpu = trainer.strategy.root_device.type == "cpu"
    padded = [one.name for one in baselines if one.features == "padded_ids"]
    check_memory(datamodule, module.net, on_cpu, padded)


def _find_learning_rate(
    cfg: DictConfig, run: RunFolder, module: SentimentModule, datamodule: ReviewDataModule
) -> dict[str, float]:
    test = RangeTest()
    bars = [bar for bar in make_callbacks(cfg) if isinstance(bar, ProgressBar)]
    trainer = make_trainer(cfg, [], [test, *bars], **RANGE_TEST)
    return find_learning_rate(test, trainer, module, datamodule, run.path)


def _describe_conditions(datamodule: ReviewDataModule, trainer: Trainer) -> dict[str, Any]:
    device = trainer.strategy.root_device
    return {
        "data_fingerprint": datamodule.folder.name,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "num_threads": torch.get_num_threads(),
        "precision": trainer.precision,
    }


def _make_baselines(cfg: DictConfig, datamodule: ReviewDataModule) -> list[Baseline]:
    baselines = []
    for name, settings in named_settings(cfg, "baseline"):
        with quote_errors(key := f"baseline.{name}"), prefix_key(key):
            arguments = instantiate_checked(settings, key)
            baselines.append(Baseline(name, datamodule, **arguments))
    return [] if cfg.trainer.fast_dev_run else baselines


def _fit(
    run: RunFolder,
    trainer: Trainer,
    module: SentimentModule,
    datamodule: ReviewDataModule,
    checkpoint: Path | None,
) -> dict[str, Any]:
    """Train, from a checkpoint if there is one; return the figures of the whole training."""
    rows = datamodule.training_set.reviews.rows
    rank_zero_only(run.write_train_hashes)(read_array(datamodule.folder, "hashes")[rows])
    conditions = _describe_conditions(datamodule, trainer)
    log.info("%(device)s, trainer.precision=%(precision)s, num_threads=%(num_threads)d", conditions)
    with translate_lightning_errors():
        trainer.fit(module, datamodule, ckpt_path=checkpoint, weights_only=True)
    if module.num_trained:
        reviews = module.num_trained * trainer.world_size
        speed = reviews / find_timer(trainer).training_seconds
    else:  # nothing was left to train
        speed = float(run.read_metrics().get("train/reviews_per_second") or math.nan)
    return {
        "epochs": trainer.current_epoch,
        "parameters": sum(p.numel() for p in module.parameters()),
        "train/reviews_per_second": speed,
    }


def _test(
    run: RunFolder,
    trainer: Trainer,
    module: SentimentModule,
    datamodule: ReviewDataModule,
    baselines: Sequence[Baseline],
    cfg: DictConfig,
) -> dict[str, Any]:
    """Return the figures of the selected checkpoint, which is tested unless `cfg.test_ckpt` is None."""
    known = trainer.callback_metrics
    figures: dict[str, Any] = {name: float(value) for name, value in known.items()}
    selected = _select_checkpoint(trainer, cfg.test_ckpt)
    if selected:
        checkpoint = read_checkpoint(selected)
        figures = checkpoint["metrics"] | {"checkpoint_epoch": checkpoint["epoch"] + 1}
        epochs = figures["checkpoint_epoch"], trainer.current_epoch
        log.info("checkpoint of epoch %d of %d", *epochs)
    if cfg.test_ckpt:
        if cfg.calibrate and selected:
            temperature = calibrate(selected, datamodule, trainer, find_targets(cfg))
            figures["temperature"] = temperature or 1.0
        seconds = find_timer(trainer).time_elapsed("train")  # what is loaded adds its own
        with translate_lightning_errors():
            trainer.test(module, datamodule, ckpt_path=selected, weights_only=True, verbose=False)
        correct = _report_test(run, module, datamodule, baselines, seconds)
        if correct and (
            advice := advise(cfg, datamodule, correct, figures.get("val/accuracy", 0.0))
        ):
            log.info("advice     %s", advice)
        _label_files(run, datamodule, find_targets(cfg))
        if module.temperature:
            labels = datamodule.splits["test"].reviews.labels
            figures["test/ece_uncalibrated"] = uncalibrated_error(module, labels)
        tested = trainer.callback_metrics.items()
        figures |= {name: float(value) for name, value in tested if name.startswith("test/")}
    for baseline in baselines:
        figures |= baseline.metrics
    return figures


def _select_checkpoint(trainer: Trainer, test_ckpt: str | None) -> Path | None:
    """The checkpoint that is tested and whose metrics are reported; None with `fast_dev_run`."""
    if trainer.fast_dev_run:  # type: ignore[attr-defined]  # set outside the Trainer's __init__
        return None
    saved = [c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint)]
    folder = next(Path(callback.dirpath) for callback in saved if callback.dirpath)
    # Other ranks may have another output_dir.
    selected = RunFolder(folder.parent).selected_checkpoint(test_ckpt)
    if not selected.exists():
        why = "the training ended before a validation, so no epoch is the best"
        raise InputError(f"trainer: {why}; allow it more time or steps, or set test_ckpt=last")
    return selected


@rank_zero_only
def _label_files(run: RunFolder, datamodule: ReviewDataModule, trust: Sequence[str]) -> None:
    """Label the test set that has no labels, if there is one, with the checkpoint that was tested."""
    source = datamodule.source
    for file in source.to_label:
        output = run.path / f"{file.name.split('.')[0]}_labelled.csv"
        write_predictions(load(run.path, trust), file, source.settings, output)
        log.info("labelled   %s", os.path.relpath(output))


@rank_zero_only
def _report_test(
    run: RunFolder,
    module: SentimentModule,
    datamodule: ReviewDataModule,
    baselines: Sequence[Baseline],
    seconds: float,
) -> dict[str, Correct]:
    """Write the predictions for the test set, print the network next to its baselines, return what is correct."""
    (rows, probabilities), names = module.predictions, datamodule.label_names
    labels = datamodule.splits["test"].reviews.labels[rows]
    run.write_predictions(datamodule.select_reviews(rows), labels, probabilities, names)
    correct = {module.net.display_name: probabilities.argmax(1) == labels}
    fit_seconds = {module.net.display_name: seconds}
    for baseline in baselines:
        correct[baseline.name] = baseline.lookup_predictions("test", rows) == labels
        fit_seconds[baseline.name] = baseline.metrics[f"baseline/{baseline.name}/fit_seconds"]
    train = datamodule.splits["train"].reviews
    majority = int(np.bincount(train.labels[train.rows]).argmax())
    correct[f"majority class ({names[majority]})"] = labels == majority
    title = f"Test set, {len(rows):,} reviews: accuracy in per cent"
    log.info(format_result_table(title, correct, fit_seconds))
    log.info(format_class_table(labels, probabilities.argmax(1), names))
    return correct
