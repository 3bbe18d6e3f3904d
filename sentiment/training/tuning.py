"""Hyperparameter search: a study whose trials are runs of `train`, and the test of its best trial."""

import logging
import shlex
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from hydra import compose
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from optuna.trial import Trial

from sentiment.runtime.config import (
    OBJECTIVES,
    flatten,
    format_setting,
    instantiate_checked,
    parse_overrides,
)
from sentiment.runtime.errors import InputError, check_at_least, check_choice, one_line, prefix_key
from sentiment.runtime.files import fingerprint
from sentiment.runtime.hydra_app import explain
from sentiment.runtime.run_folder import RunFolder, trial_path
from sentiment.training.experiment import train
from sentiment.training.pruning import Pruning
from sentiment.training.search_space import SearchSpace
from sentiment.training.settings_checks import check_single_device
from sentiment.training.study import Study

log = logging.getLogger(__name__)


class Tuning:
    """A study whose trials are runs of `train`.

    Args:
        cfg: the composed configuration of `conf/tune.yaml`.
        overrides: those of the command line.

    Raises:
        InputError: a setting is invalid, the storage cannot be used, or it holds a study of this name with other
            settings.
    """

    def __init__(self, cfg: DictConfig, overrides: Sequence[str]) -> None:
        with prefix_key("tune"):
            check_at_least(1, trials=cfg.tune.trials, heartbeat_interval=cfg.tune.heartbeat_interval)
        with prefix_key("data"):
            check_choice(("train",), validate_on=cfg.data.validate_on)  # no trial may see the test set
        check_choice(("best", None), test_ckpt=cfg.test_ckpt)  # a trial is judged by its best epoch
        check_choice(tuple(OBJECTIVES), objective=cfg.objective)
        check_single_device(cfg)
        self.cfg = cfg
        self.folder = Path(cfg.output_dir)
        fixed = [override for override in parse_overrides(overrides) if override.key_or_group.split(".")[0] != "tune"]
        self.fixed = [str(override.input_line) for override in fixed]
        named = {override.key_or_group for override in fixed}
        self.space = SearchSpace(_unset_sweeps(cfg.tune, named))
        self.study = Study(cfg.tune, cfg.objective, self.folder)
        settings = {
            key: value
            for key, value in flatten(cfg).items()
            if key not in ("data.path", "test_ckpt")
            and key.split(".")[0] not in ("baseline", "tune", *self.space.sweeps)
        }
        searched = {f"tune.space.{key}": sweep for key, sweep in self.space.sweeps.items()}
        self.study.check_unchanged("settings", settings | searched)
        RunFolder(self.folder).write_config(cfg)

    def search(self) -> None:
        """Run trials until there are enough.

        Raises:
            InputError: the data, the search space or a trial's settings are invalid.
        """
        for overrides in self.space.examples():
            self._compose_overrides([*self.fixed, *overrides])
        datamodule = instantiate_checked(self.cfg.data, "data", seed=self.cfg.seed)
        datamodule.prepare_data()
        contents = [(datamodule.folder / name).read_bytes().hex() for name in ("vocabulary.txt", "labels.npy")]
        self.study.check_unchanged("data", {"the vocabulary and labels of the data": fingerprint(contents)})
        self.study.optimize(self._run_trial)

    def test_best_trial(self) -> None:
        """Test the best trial's checkpoint, once, and print the command that repeats the trial.

        Raises:
            InputError: no trial finished.
        """
        best = self.study.best_trial()
        settings = _format_settings(best.params)
        log.info("\nbest: trial %s, %s %.4f, with %s", best.number, self.cfg.objective, best.value, settings)
        run = self._trial_folder(best.number)
        if run.read_metrics().get(self.cfg.objective) != best.value:
            log.info("The best trial was trained on another machine, which tests it")
        elif self.cfg.test_ckpt:
            with FileLock(run.path / "test.lock"):  # workers may share this disk
                if "test/accuracy" not in run.read_metrics():
                    cfg = self._compose(best.params)
                    cfg.output_dir = cfg.resume = str(run.path)
                    logging.getLogger("sentiment.training.experiment").setLevel(logging.INFO)
                    train(cfg, varied=sorted(best.params), hide_fixed=True)
            log.info("test accuracy %.4f", run.read_metrics()["test/accuracy"])
        log.info("repeat it with: python -m sentiment.train %s", shlex.join(self.overrides(best.params)))

    def overrides(self, params: Mapping[str, Any]) -> list[str]:
        """The overrides with which `sentiment.train` repeats a trial."""
        return [*self.fixed, *self.space.overrides(params)]

    def _run_trial(self, trial: Trial) -> float:
        """Train with the settings that Optuna suggests; return the objective."""
        self.space.suggest(trial)
        cfg = self._compose(trial.params)
        cfg.test_ckpt, cfg.baseline = None, {}
        run = self._trial_folder(trial.number)
        shutil.rmtree(run.path, ignore_errors=True)  # of a deleted study of this name
        run.write_config(cfg)
        cfg.output_dir = str(run.path)
        retried = self.study.retried_from(trial.number)
        note = "" if retried is None else f", a retry of trial {retried}"
        log.info("trial %s%s: %s", trial.number, note, _format_settings(trial.params))
        pruning = Pruning(trial, cfg.objective)
        result = train(cfg, [pruning], varied=sorted(trial.params), hide_fixed=True).objective
        if pruning.pruned:
            run.write_metrics(run.read_metrics() | {"status": "pruned"})
            raise optuna.TrialPruned
        return result

    def _trial_folder(self, number: int) -> RunFolder:
        return RunFolder(trial_path(self.folder, number).resolve())

    def _compose(self, params: Mapping[str, Any]) -> DictConfig:
        cfg = self._compose_overrides(self.overrides(params))
        cfg.trainer.enable_model_summary = False
        return cfg

    def _compose_overrides(self, overrides: list[str]) -> DictConfig:
        try:
            return compose("config", overrides)
        except (HydraException, OmegaConfBaseException) as error:
            raise InputError(f"tune.space: {explain(error, 'config', overrides)}") from error


def _unset_sweeps(tune: DictConfig, named: Collection[str]) -> dict[str, Any]:
    """The search space without the keys that are null or set on the command line.

    Raises:
        InputError: nothing is left, or `tune.space` is not a mapping.
    """
    try:
        space: Any = OmegaConf.to_container(tune, resolve=True)
    except OmegaConfBaseException as error:
        raise InputError(f"{error.full_key}: {one_line(error)}") from error
    sweeps = space["space"] or {}
    if not isinstance(sweeps, dict):
        raise InputError(f"tune.space={sweeps}: is not a mapping; type tune.space.model.units='range(32,129,32)'")
    left = {key: sweep for key, sweep in sweeps.items() if sweep is not None and key.lstrip("+") not in named}
    if not left:
        raise InputError("tune.space: every key is null or set on the command line; leave one to the search")
    return left


def _format_settings(params: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={format_setting(value)}" for key, value in params.items())
