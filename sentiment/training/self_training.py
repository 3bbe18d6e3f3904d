"""Self-training: teachers label the unlabelled texts, and the network of the run learns from their probabilities.

Pseudo-labels (Lee 2013) that stay probabilities (Hinton et al. 2015); the student learns with dropout, its teachers
predict without (Xie et al. 2020).
"""

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.progress import track

from sentiment.baselines.fitting import CachedFit
from sentiment.classifier import load
from sentiment.data.datamodule import ReviewDataModule
from sentiment.model.network import log_probabilities
from sentiment.runtime.config import config_fingerprint, instantiate_checked, named_settings
from sentiment.runtime.errors import InputError, check_at_least, one_line
from sentiment.runtime.files import atomic_write
from sentiment.runtime.run_folder import RunFolder
from sentiment.runtime.trust import find_targets
from sentiment.training.resuming import is_finished

PROBABILITIES = "probabilities.npy"  # of the unlabelled texts, in the folder of a teacher

log = logging.getLogger(__name__)

Probabilities = npt.NDArray[np.float32]


def check_self_training(cfg: DictConfig) -> None:
    """Check the keys of `self_training`.

    Raises:
        InputError: a value is invalid, or there are no unlabelled texts.
    """
    settings = cfg.self_training
    check_at_least(0, **{"self_training.networks": settings.networks})
    if not cfg.data.get("unlabelled"):
        raise InputError(
            "self_training: needs texts without a label; name them with data.unlabelled=PATH"
        )
    baselines = [name for name, _ in named_settings(cfg, "baseline")]
    if unknown := set(settings.baselines) - {*baselines}:
        raise InputError(
            f"self_training.baselines: {min(unknown)} is no baseline of the run; add it to baseline"
        )
    if not settings.networks and not settings.baselines:
        raise InputError("self_training: has no teacher; raise self_training.networks")
    if _teacher_config(cfg, Path("teacher"), 1).data != cfg.data:
        raise InputError(
            "self_training.teacher.data: its teachers read what the run reads; remove it"
        )


def label_texts(
    cfg: DictConfig,
    run: RunFolder,
    datamodule: ReviewDataModule,
    device: torch.device,
    train: Callable[[DictConfig], Any],
) -> Probabilities:
    """The mean probabilities of all teachers for the unlabelled texts.

    Each network is a run in `teachers/<number>/` of the run; one that was interrupted is resumed, a finished one kept.

    Args:
        cfg: the configuration of the run.
        run: where it writes.
        datamodule: after `setup`.
        device: where the networks predict.
        train: runs one experiment.

    Returns:
        float32 `(texts, classes)`.

    Raises:
        InputError: a teacher cannot be trained.
    """
    networks, probabilities = cfg.self_training.networks, []
    labelled, unlabelled = len(datamodule.splits["train"]), len(datamodule.splits["unlabelled"])
    if unlabelled < labelled:
        log.warning(
            "data.unlabelled: %s unlabelled texts hardly help %s labelled ones; add more",
            f"{unlabelled:,}",
            f"{labelled:,}",
        )
    for number in range(1, networks + 1):
        log.info("self-training: teacher %d of %d", number, networks)
        teacher = RunFolder(run.path / "teachers" / str(number))
        _train_teacher(_teacher_config(cfg, teacher.path, number), teacher, train)
        probabilities.append(_predict(teacher, cfg, datamodule, device))
    for name, settings in named_settings(cfg, "baseline"):
        if name in cfg.self_training.baselines:
            log.info("self-training: teacher %s", name)
            fit = CachedFit(
                **instantiate_checked(settings, f"baseline.{name}"),
                splits=datamodule.splits,
                data_fingerprint=datamodule.folder.name,
            )
            probabilities.append(fit.label_unlabelled())
    mean: Probabilities = np.mean(probabilities, 0, dtype=np.float32)
    log.info(
        "self-training: the network learns from %s labelled and %s unlabelled texts",
        f"{labelled:,}",
        f"{unlabelled:,}",
    )
    certain = 100 * np.mean(mean.max(1) > 0.9)
    log.info(
        "self-training: the teachers are sure (p > 0.9) of %.0f %% of the unlabelled texts", certain
    )
    return mean


def _teacher_config(cfg: DictConfig, folder: Path, number: int) -> DictConfig:
    """The configuration of a teacher: that of the run, with `self_training.teacher` and a seed of its own."""
    try:
        teacher = OmegaConf.merge(cfg, cfg.self_training.teacher)
    except OmegaConfBaseException as error:
        raise InputError(f"self_training.teacher.{error.full_key}: {one_line(error)}") from error
    assert isinstance(teacher, DictConfig)
    teacher.trainer.enable_model_summary = False
    teacher.self_training, teacher.resume, teacher.lr_find = None, None, False
    teacher.test_ckpt = None  # only the student is tested
    teacher.baseline = {}
    teacher.seed = int(np.random.SeedSequence([cfg.seed, number]).generate_state(1)[0])
    teacher.output_dir = str(folder)
    return teacher


def _train_teacher(cfg: DictConfig, teacher: RunFolder, train: Callable[[DictConfig], Any]) -> None:
    """Train a teacher, unless that was done before with these settings on these data."""
    metrics, saved = teacher.read_metrics(), teacher.read_config()
    if is_finished(cfg, metrics):
        return
    # One that finished did so on other data, and so do its probabilities belong to other texts.
    was_interrupted = metrics.get("status") != "finished" and teacher.checkpoint("last").exists()
    if was_interrupted and saved and config_fingerprint(saved) == config_fingerprint(cfg):
        cfg.resume = str(teacher.path)
    else:
        teacher.clear()
        (teacher.path / PROBABILITIES).unlink(missing_ok=True)
    with _log_epochs_only():
        train(cfg)


def _predict(
    teacher: RunFolder, cfg: DictConfig, datamodule: ReviewDataModule, device: torch.device
) -> Probabilities:
    """Probabilities of the unlabelled texts by a teacher, computed once, float32 `(texts, classes)`."""
    path = teacher.path / PROBABILITIES
    if not path.exists():
        # The checkpoint that would be tested, if teachers were.
        net = load(teacher.selected_checkpoint(cfg.test_ckpt), find_targets(cfg)).net.to(device)
        texts = datamodule.splits["unlabelled"]
        predicted = torch.empty(len(texts), len(datamodule.label_names))
        with torch.inference_mode():
            for positions in track(texts.eval_sampler(), "Labelling texts", transient=True):
                ids = torch.from_numpy(texts.pad(positions)).to(device)  # (B, T)
                predicted[positions] = log_probabilities(net(ids).float()).exp().cpu()
        with atomic_write(path) as temporary, open(temporary, "wb") as file:
            np.save(file, predicted.numpy())
    labelled: Probabilities = np.load(path)
    return labelled


@contextlib.contextmanager
def _log_epochs_only() -> Iterator[None]:
    """Of what a run logs, pass its epochs and warnings."""
    levels = {
        "sentiment.training.experiment": logging.WARNING,
        "sentiment.training.experiment.epochs": logging.INFO,
    }
    before = {name: logging.getLogger(name).level for name in levels}
    try:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
