"""Self-training: teachers label the unlabelled texts, and the network of the run learns from their probabilities.

Pseudo-labels (Lee 2013) that stay probabilities (Hinton et al. 2015); the student learns with dropout, its teachers
predict without (Xie et al. 2020).
"""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from omegaconf import DictConfig, OmegaConf

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
    """The configurations of the teachers that are still to be trained, one after the other.

    Each is a run in `teachers/<number>/` of the run; one that was interrupted is resumed.
    """
    for number in range(1, cfg.self_training.networks + 1):
        log.info("self-training: teacher %d of %d", number, cfg.self_training.networks)
        teacher = _teacher_config(cfg, number)
        if prepare_teacher(teacher):
            yield teacher


def _teacher_config(cfg: DictConfig, number: int) -> DictConfig:
    """That of the run, with `self_training.teacher` and a seed of its own."""
    with quote_errors("self_training.teacher"):
        teacher = OmegaConf.merge(cfg, cfg.self_training.teacher)
    assert isinstance(teacher, DictConfig)
    teacher.trainer.enable_model_summary = False
    teacher.self_training, teacher.resume, teacher.lr_find = None, None, False
    teacher.test_ckpt = None  # only the student is tested
    teacher.baseline = {}
    teacher.seed = int(np.random.SeedSequence([cfg.seed, number]).generate_state(1)[0])
    teacher.output_dir = str(_teacher_folder(cfg, number).path)
    return teacher


def _teacher_folder(cfg: DictConfig, number: int) -> RunFolder:
    return RunFolder(Path(cfg.output_dir) / "teachers" / str(number))


def prepare_teacher(cfg: DictConfig) -> bool:
    """Whether a teacher is to be trained; its folder and `cfg.resume` are made ready for it."""
    teacher = RunFolder(cfg.output_dir)
    metrics, saved = teacher.read_metrics(), teacher.read_config()
    if is_finished(cfg, metrics):
        return False
    # One that finished did so on other data, and so do its probabilities belong to other texts.
    was_interrupted = metrics.get("status") != "finished" and teacher.checkpoint("last").exists()
    if was_interrupted and saved and config_fingerprint(saved) == config_fingerprint(cfg):
        cfg.resume = str(teacher.path)
    else:
        teacher.clear()
        (teacher.path / PROBABILITIES).unlink(missing_ok=True)
    return True


@contextlib.contextmanager
def log_epochs_only() -> Iterator[None]:
    """Of what a run logs, pass its epochs and warnings."""
    run, epochs = (
        logging.getLogger(f"sentiment.training.experiment{name}") for name in ("", ".epochs")
    )
    before = run.level, epochs.level
    run.setLevel(logging.WARNING)
    epochs.setLevel(logging.INFO)
    try:
        yield
    finally:
        run.setLevel(before[0])
        epochs.setLevel(before[1])


def label_texts(
    cfg: DictConfig, datamodule: ReviewDataModule, device: torch.device
) -> Probabilities:
    """The mean probabilities of all teachers for the unlabelled texts, float32 `(texts, classes)`.

    Args:
        cfg: the configuration of the run, whose teachers are trained.
        datamodule: after `setup`.
        device: where the networks predict.
    """
    probabilities = [
        _predict(_teacher_folder(cfg, number), cfg, datamodule, device)
        for number in range(1, cfg.self_training.networks + 1)
    ]
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
    message = "self-training: the teachers are sure (p > 0.9) of %.0f %% of the unlabelled texts"
    log.info(message, 100 * np.mean(mean.max(1) > 0.9))
    return mean


def _predict(
    teacher: RunFolder, cfg: DictConfig, datamodule: ReviewDataModule, device: torch.device
) -> Probabilities:
    """Probabilities by the checkpoint of a teacher that would be tested, computed once."""
    path = teacher.path / PROBABILITIES
    if not path.exists():
        classifier = load(teacher.selected_checkpoint(cfg.test_ckpt), find_targets(cfg))
        classifier.net.to(device)
        predicted = classifier.log_probabilities(datamodule.splits["unlabelled"]).exp().numpy()
        with atomic_write(path) as temporary, open(temporary, "wb") as file:
            np.save(file, predicted)
    probabilities: Probabilities = np.load(path)
    return probabilities
