"""Self-training: teachers label the unlabelled texts, and the network of the run learns from their probabilities.

Pseudo-labels (Lee 2013) that stay probabilities (Hinton et al. 2015); the student learns with dropout, its teachers
predict without (Xie et al. 2020).
"""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Trainer

from sentiment.baselines.fitting import CachedFit
from sentiment.classifier import load
from sentiment.data.datamodule import ReviewDataModule
from sentiment.runtime.config import config_fingerprint, instantiate_checked, named_settings
from sentiment.runtime.errors import InputError, check_at_least, check_choice, quote_errors
from sentiment.runtime.files import atomic_write
from sentiment.runtime.run_folder import RunFolder
from sentiment.runtime.trust import find_targets
from sentiment.training.resuming import is_finished

PROBABILITIES = "probabilities.npy"  # of the unlabelled texts, in the folder of a teacher

log = logging.getLogger(__name__)

Probabilities = npt.NDArray[np.float32]


def check_self_training(cfg: DictConfig) -> None:
    """Raise `InputError` if a key of `self_training` is invalid, or there are no unlabelled texts."""
    settings = cfg.self_training
    if not cfg.data.get("unlabelled"):
        raise InputError(
            "self_training: needs texts without a label; name them with data.unlabelled=PATH"
        )
    baselines = tuple(name for name, _ in named_settings(cfg, "baseline"))
    for name in settings.baselines:
        check_choice(baselines, **{"self_training.baselines": name})
    minimum = 0 if settings.baselines else 1
    check_at_least(minimum, **{"self_training.networks": settings.networks})
    if _teacher_config(cfg, 1).data != cfg.data:
        raise InputError(
            "self_training.teacher.data: its teachers read what the run reads; remove it"
        )


def find_unfinished_teachers(cfg: DictConfig) -> Iterator[DictConfig]:
    """The configurations of the teachers of a run that are still to be trained, or to be resumed."""
    for number in range(1, cfg.self_training.networks + 1):
        log.info("self-training: teacher %d of %d", number, cfg.self_training.networks)
        teacher = _teacher_config(cfg, number)
        folder = RunFolder(teacher.output_dir)
        metrics, saved = folder.read_metrics(), folder.read_config()
        if is_finished(teacher, metrics):
            continue
        # One that finished did so on other data, and so do its probabilities belong to other texts.
        was_interrupted = metrics.get("status") != "finished" and folder.checkpoint("last").exists()
        if was_interrupted and saved and config_fingerprint(saved) == config_fingerprint(teacher):
            teacher.resume = teacher.output_dir
        else:
            folder.clear()
            (folder.path / PROBABILITIES).unlink(missing_ok=True)
        yield teacher


def _teacher_config(cfg: DictConfig, number: int) -> DictConfig:
    """That of the run, with `self_training.teacher`, a seed and a folder of its own."""
    with quote_errors("self_training.teacher"):
        teacher = OmegaConf.merge(cfg, cfg.self_training.teacher)
    assert isinstance(teacher, DictConfig)
    teacher.trainer.enable_model_summary = False
    teacher.self_training, teacher.resume, teacher.lr_find = None, None, False
    teacher.baseline, teacher.test_ckpt = {}, None  # only the student is tested
    teacher.seed = int(np.random.SeedSequence([cfg.seed, number]).generate_state(1)[0])
    teacher.output_dir = str(Path(cfg.output_dir, "teachers", str(number)))
    return teacher


def label_texts(cfg: DictConfig, datamodule: ReviewDataModule, trainer: Trainer) -> Probabilities:
    """The mean probabilities of all teachers, which are trained, float32 `(texts, classes)`."""
    networks = [_teacher_config(cfg, i + 1) for i in range(cfg.self_training.networks)]
    device = trainer.strategy.root_device
    probabilities = [_predict(cfg, teacher.output_dir, datamodule, device) for teacher in networks]
    splits = datamodule.splits
    for name, settings in named_settings(cfg, "baseline"):
        if name in cfg.self_training.baselines:
            log.info("self-training: teacher %s", name)
            arguments = instantiate_checked(settings, f"baseline.{name}")
            fit = CachedFit(**arguments, splits=splits, data_fingerprint=datamodule.folder.name)
            probabilities.append(fit.label_unlabelled())
    mean: Probabilities = np.mean(probabilities, 0, dtype=np.float32)
    message = "self-training: the teachers are sure (p > 0.9) of %.0f %% of the unlabelled texts"
    log.info(message, 100 * np.mean(mean.max(1) > 0.9))
    return mean


def _predict(
    cfg: DictConfig, folder: str, datamodule: ReviewDataModule, device: torch.device
) -> Probabilities:
    """Probabilities by the checkpoint that would be tested, if teachers were; computed once."""
    teacher = RunFolder(folder)
    path = teacher.path / PROBABILITIES
    if not path.exists():
        classifier = load(teacher.selected_checkpoint(cfg.test_ckpt), find_targets(cfg))
        classifier.net.to(device)
        predicted = classifier.log_probabilities(datamodule.splits["unlabelled"]).exp().numpy()
        with atomic_write(path) as temporary, open(temporary, "wb") as file:
            np.save(file, predicted)
    probabilities: Probabilities = np.load(path)
    return probabilities
