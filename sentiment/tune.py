"""Searches settings: an Optuna study over train, pruned by epoch, resumable, shared by any number of workers.

python -m sentiment.tune data.path=DIR tune.trials=40
python -m sentiment.tune tune.name=short optimizer=adam trainer.max_epochs=3     # adam is not searched then
python -m sentiment.tune tune.storage=postgresql+psycopg://user@host/database    # the same on every machine

Trials never see the test half; at the end the best one is tested, once.
"""

import logging
import os
import shlex
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
import optuna
from filelock import FileLock
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import IntegrityError, ProgrammingError

from sentiment import report
from sentiment.callbacks.pruning import Pruning
from sentiment.errors import InputError, require_at_least, require_choice
from sentiment.jobs import quieten, refuse
from sentiment.results import read_metrics, write_metrics
from sentiment.settings import CONF, QUIET, flat, make
from sentiment.train import train

log = logging.getLogger(__name__)


class Study:
    """An Optuna study whose trials are runs of `train`.

    Args:
        cfg: the composed configuration of `conf/tune.yaml`.
        overrides: what the command line changed of it.

    Raises:
        InputError: the storage cannot be used, or holds a study of this name with other settings.
    """

    def __init__(self, cfg: DictConfig, overrides: Sequence[str]) -> None:
        require_at_least(1, tune__trials=cfg.tune.trials, tune__heartbeat=cfg.tune.heartbeat)
        self.cfg = cfg
        self.folder = Path(cfg.output_dir)
        self.fixed = [override for override in overrides if not override.lstrip("+~").startswith(("tune.", "tune="))]
        named = {override.lstrip("+~").partition("=")[0] for override in self.fixed}
        space: Any = OmegaConf.to_container(cfg.tune.space, resolve=True)
        self.space = {key: settings for key, settings in space.items() if key not in named}
        for key, settings in self.space.items():
            require_choice(("categorical", "float", "int"), **{f"tune__space__{key}__kind": settings.get("kind")})
        self.retry = RetryHeartbeatStaleTrialCallback()
        try:
            self.study = optuna.create_study(
                study_name=cfg.tune.name,
                storage=self._storage(),
                sampler=make(cfg.tune.sampler),
                pruner=make(cfg.tune.pruner),
                direction="minimize" if cfg.objective.endswith("loss") else "maximize",
                load_if_exists=True,
            )
        except InputError:
            raise
        except Exception as error:  # of whatever driver the storage takes
            raise InputError(f"tune.storage: {' '.join(str(error).split())}") from error
        self._require_same_settings()

    def _storage(self, attempts: int = 3) -> RDBStorage:
        try:
            return RDBStorage(
                self.cfg.tune.storage or f"sqlite:///{self.folder}/study.db",
                heartbeat_interval=self.cfg.tune.heartbeat,
                grace_period=4 * self.cfg.tune.heartbeat,
                heartbeat_stale_trial_callback=self.retry,
            )
        except (IntegrityError, ProgrammingError):  # another worker makes the tables at this moment
            if attempts == 1:
                raise
            time.sleep(1)
            return self._storage(attempts - 1)

    def _require_same_settings(self) -> None:
        """Trials of one study differ in what is searched, and in nothing else."""
        settings = {
            key: value
            for key, value in flat(self.cfg).items()
            if key not in ("data.path", "test") and key.split(".")[0] not in ("baseline", "tune", *self.space)
        } | {"tune.space": self.space}  # fmt: skip
        known = self.study.user_attrs.get("settings", settings)
        for key in settings.keys() | known.keys():
            if settings.get(key) != known.get(key):
                raise InputError(
                    f"tune.name={self.cfg.tune.name}: was started with {key}={known.get(key)}, "
                    f"not {settings.get(key)}; keep that, or take another tune.name"
                )
        self.study.set_user_attr("settings", settings)
        self.study.set_user_attr("objective", self.cfg.objective)

    def run(self) -> None:
        """Runs trials until there are enough, then tests the winner.

        Raises:
            InputError: a trial's settings are wrong.
        """
        make(self.cfg.data, seed=self.cfg.seed).prepare_data()  # bad data ends the study before its first trial
        while (ended := self._count(ended=True)) < self.cfg.tune.trials:
            if ended + self._count(ended=False) < self.cfg.tune.trials:
                self._try_one()
            else:  # the last ones run elsewhere, or were cut and will be tried again here
                time.sleep(self.cfg.tune.heartbeat)
                optuna.storages.fail_stale_trials(self.study)
        self._test_winner()

    def _count(self, ended: bool) -> int:
        """Trials that ended, or that run; one that is tried again counts once."""
        trials = self.study.get_trials(deepcopy=False)
        again = {number for trial in trials for number in self.retry.retry_history(trial)}
        states = [trial.state for trial in trials if trial.number not in again]
        return sum(state.is_finished() if ended else state == TrialState.RUNNING for state in states)

    def _try_one(self) -> None:
        try:
            self.study.optimize(self._objective, n_trials=1, callbacks=[self._tell])
        except InputError as error:
            raise InputError(f"trial {self._own}: {error}") from error
        except KeyboardInterrupt:
            self.retry(self.study, self.study.trials[self._own])
            raise
        except Exception:
            log.exception("trial %s failed, the study goes on", self._own)

    def _objective(self, trial: Trial) -> float:
        self._own = trial.number
        for key, settings in self.space.items():
            arguments = {name: value for name, value in settings.items() if name != "kind"}
            try:
                getattr(trial, f"suggest_{settings['kind']}")(key, **arguments)
            except (TypeError, ValueError) as error:
                raise InputError(f"tune.space.{key}: {' '.join(str(error).split())}") from error
        cfg = self._configured(trial.params, trial.number)
        cfg.test, cfg.baseline = False, {}
        folder = Path(cfg.output_dir)
        (folder / ".hydra").mkdir(parents=True, exist_ok=True)
        OmegaConf.save(cfg, folder / ".hydra" / "config.yaml")  # as Hydra does, for resume= and the report
        cut = self.retry.retry_history(self.study.trials[trial.number])[-1:]
        again = f", which was trial {cut[0]} and was cut" if cut else ""
        log.info("trial %s%s: %s", trial.number, again, _words(trial.params))
        pruning = Pruning(trial, cfg.objective)
        result = train(cfg, [pruning])
        if pruning.pruned_:
            write_metrics(folder, read_metrics(folder) | {"status": "pruned"})
            raise optuna.TrialPruned
        return result

    def _overrides(self, params: dict[str, Any]) -> list[str]:
        """What makes `sentiment.train` repeat a trial."""
        return [*self.fixed, *(f"{key}={'null' if value is None else value}" for key, value in params.items())]

    def _configured(self, params: dict[str, Any], number: int) -> DictConfig:
        try:
            cfg = compose("config", self._overrides(params))
        except HydraException as error:
            raise InputError(f"tune.space: {' '.join(str(error).split())}") from error
        cfg.output_dir = str((self.folder / f"trial_{number:04}").resolve())
        if cfg.trainer.get("strategy", "auto") != "auto":
            raise InputError("trainer: a trial trains on one device; start one worker per device instead")
        for key in ("callbacks.summary", "trainer.enable_model_summary"):
            OmegaConf.update(cfg, key, QUIET[key], force_add=True)
        return cfg

    def _tell(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """One line per trial: how it ended, and the best so far."""
        how = "pruned" if trial.state == TrialState.PRUNED else "finished"
        epochs = f"{len(trial.intermediate_values)} of {self.cfg.trainer.max_epochs} epochs"
        ended = f"trial {trial.number}: {how} at {trial.value:.4f} after {epochs}"
        complete = any(other.state == TrialState.COMPLETE for other in study.get_trials(deepcopy=False))
        best = f"; best so far {study.best_value:.4f}, trial {study.best_trial.number}" if complete else ""
        log.info("%s%s; %s of %s", ended, best, self._count(ended=True), self.cfg.tune.trials)

    def _test_winner(self) -> None:
        try:
            best = self.study.best_trial
        except ValueError as error:
            raise InputError(f"tune.name={self.cfg.tune.name}: no trial finished; see the errors above") from error
        log.info("\nbest: trial %s, %s %.4f, with %s", best.number, self.cfg.objective, best.value, _words(best.params))
        cfg = self._configured(best.params, best.number)
        folder = Path(cfg.output_dir)
        if not folder.exists():
            log.info("It was trained on another machine, which tests it")
        elif cfg.test:
            with FileLock(folder / "test.lock"):  # for other workers on this disk
                if "test/accuracy" not in (earlier := read_metrics(folder)):
                    cfg.resume = str(folder)
                    cfg.trainer.max_epochs = earlier["epochs"]  # nothing is left to train
                    logging.getLogger("sentiment.train").setLevel(logging.INFO)
                    train(cfg)
            log.info("test accuracy %.4f", read_metrics(folder)["test/accuracy"])
        log.info("again: python -m sentiment.train %s", shlex.join(self._overrides(best.params)))


def _words(params: dict[str, Any]) -> str:
    return " ".join(f"{key}={report.shown(value)}" for key, value in params.items())


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="tune")
def job(cfg: DictConfig) -> None:
    """A study, or one worker of it, as Hydra starts it."""
    quieten()
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)  # the heartbeat
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("sentiment.train").setLevel(logging.WARNING)
    try:
        study = Study(cfg, HydraConfig.get().overrides.task)
        study.run()
        report.write([study.folder])
    except InputError as error:
        if "HYDRA_FULL_ERROR" in os.environ:
            raise
        refuse(error)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on with the study", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    job()
