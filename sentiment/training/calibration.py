"""Calibrated probabilities: logits divided by a temperature (Guo et al. 2017), found on the validation rows."""

import logging
import math
from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch
from pytorch_lightning import Trainer
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional as F

from sentiment.classifier import Classifier
from sentiment.data import Integers
from sentiment.data.datamodule import ReviewDataModule
from sentiment.model.checkpoint import read_checkpoint, restore_model
from sentiment.model.metrics import ClassificationMetrics
from sentiment.model.module import SentimentModule
from sentiment.runtime.run_folder import RUN_LOG

LIMITS = (0.1, 10.0)  # of a temperature

log = logging.getLogger(RUN_LOG)


def calibrate(
    path: Path, datamodule: ReviewDataModule, trainer: Trainer, trust: Collection[str]
) -> float | None:
    """Store the temperature with the lowest validation loss in a checkpoint; None if 1 has it already."""
    checkpoint = read_checkpoint(path)
    checkpoint.pop("temperature", None)  # of a run that was resumed
    model = restore_model(path, checkpoint, trust)
    model.net.to(trainer.strategy.root_device)
    validation = datamodule.splits["val"]
    labels = torch.from_numpy(validation.reviews.labels[validation.reviews.rows])
    logp = Classifier(*model).log_probabilities(validation)  # (N, classes)
    temperature = find_temperature(logp, labels)
    before, after = (float(F.nll_loss(scale(logp, t), labels)) for t in (1.0, temperature))
    if after < before:
        checkpoint["temperature"] = temperature
    if trainer.is_global_zero:
        trainer.strategy.checkpoint_io.save_checkpoint(checkpoint, path)
    trainer.strategy.barrier()
    message = "calibration: temperature %.3f, validation loss %.4f, before %.4f"
    log.info(message, checkpoint.get("temperature", 1), min(before, after), before)
    return checkpoint.get("temperature")


def find_temperature(log_probabilities: Tensor, labels: Tensor) -> float:
    """The temperature with the lowest loss, for log-probabilities `(N, classes)` and classes `(N,)`."""

    def loss(log_temperature: float) -> float:
        return float(F.nll_loss(scale(log_probabilities, math.exp(log_temperature)), labels))

    found = minimize_scalar(loss, bounds=np.log(LIMITS), method="bounded")
    return math.exp(found.x)


def scale(log_probabilities: Tensor, temperature: float) -> Tensor:
    """Log-probabilities `(N, classes)` of the same logits, divided by a temperature."""
    return (log_probabilities / temperature).log_softmax(1)


def uncalibrated_error(module: SentimentModule, labels: Integers) -> float:
    """The expected calibration error of the test rows, of classes `labels[rows]`, without the temperature."""
    rows, probabilities = module.predictions
    logp = scale(torch.from_numpy(probabilities).log(), 1 / (module.temperature or 1))
    true = torch.from_numpy(labels[rows])
    metrics = ClassificationMetrics(module.hparams["label_names"])
    metrics.update("test", F.nll_loss(logp, true), logp.exp(), true, torch.from_numpy(rows))
    return float(metrics.compute("test")[0]["test/ece"])
