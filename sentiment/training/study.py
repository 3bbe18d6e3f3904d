"""A study in Optuna's storage, shared by any number of workers, any of which may be killed."""

import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from omegaconf import DictConfig
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import IntegrityError, ProgrammingError

from sentiment.runtime.config import OBJECTIVES, instantiate_checked
from sentiment.runtime.errors import DivergedError, InputError, one_line

log = logging.getLogger(__name__)

GRACE_PERIODS = 4  # heartbeat intervals after which a trial without a heartbeat is stale


class Study:
    """Runs trials until there are enough of them, whoever ran them, and retries those that were interrupted.

    Args:
        tune: the configuration of the group `tune`.
        objective: what trials return, a name in `OBJECTIVES`.
        folder: of the SQLite file, unless `tune.storage` names another storage.

    Attributes:
        optuna_study: the study itself.

    Raises:
        InputError: the storage cannot be used, or the study was started with another objective.
    """

    def __init__(self, tune: DictConfig, objective: str, folder: Path) -> None:
        self.tune = tune
        self._own: int | None = None  # number of the trial that runs in this process
        self._enqueue_retry = RetryHeartbeatStaleTrialCallback()
        try:
            with FileLock(folder / "study.lock"):  # two workers may create the SQLite file
                storage = self._open_storage(tune.storage or f"sqlite:///{folder}/study.db")
                self.optuna_study = self._open_study(storage, objective)
                states = {trial.state for trial in self._trials()}
                if states == {TrialState.FAIL}:  # only failed trials: the search space may have been the reason
                    optuna.delete_study(study_name=tune.name, storage=storage)
                    self.optuna_study = self._open_study(storage, objective)
        except InputError:
            raise
        except Exception as error:  # of the storage's driver, whichever that is
            raise InputError(f"tune.storage: {one_line(error)}") from error
        first = self.optuna_study.user_attrs.get("objective", objective)
        if first != objective:
            raise InputError(f"tune.name={tune.name}: was started with objective={first}; choose another tune.name")
        self.optuna_study.set_user_attr("objective", objective)

    def _open_study(self, storage: RDBStorage, objective: str) -> optuna.Study:
        return optuna.create_study(
            study_name=self.tune.name,
            storage=storage,
            sampler=instantiate_checked(self.tune.sampler, "tune.sampler"),
            pruner=instantiate_checked(self.tune.pruner, "tune.pruner"),
            direction=OBJECTIVES[objective].direction,
            load_if_exists=True,
        )

    def _open_storage(self, url: str, attempts: int = 3) -> RDBStorage:
        try:
            return RDBStorage(
                url,
                heartbeat_interval=self.tune.heartbeat_interval,
                grace_period=GRACE_PERIODS * self.tune.heartbeat_interval,
                heartbeat_stale_trial_callback=self._enqueue_retry,
            )
        except (IntegrityError, ProgrammingError):  # another worker is creating the tables
            if attempts == 1:
                raise
            time.sleep(1)
            return self._open_storage(url, attempts - 1)

    def check_unchanged(self, name: str, values: Mapping[str, Any]) -> None:
        """Record `values` under `name` when the study starts; compare them when it continues.

        Raises:
            InputError: a value changed.
        """
        recorded = self.optuna_study.user_attrs.get(name, values) if self._trials() else values
        for key in sorted(values.keys() | recorded.keys()):
            if values.get(key) != recorded.get(key):
                raise InputError(
                    f"tune.name={self.tune.name}: was started with {key}={recorded.get(key)}, not {values.get(key)}; "
                    "keep that, or choose another tune.name"
                )
        self.optuna_study.set_user_attr(name, dict(values))

    def optimize(self, objective: Callable[[Trial], float]) -> None:
        """Run trials until there are enough.

        Optuna's `n_trials` and `MaxTrialsCallback` count the trials of one process, or a retried trial twice.

        Raises:
            InputError: a trial's settings are invalid.
        """
        while (finished := self._count(finished=True)) < self.tune.trials:
            if finished + self._count(finished=False) < self.tune.trials:
                self._run_trial(objective)
            else:  # the last ones run in other processes, or were interrupted and will be retried here
                time.sleep(self.tune.heartbeat_interval)
                self._retry_stale()

    def best_trial(self) -> FrozenTrial:
        """The best finished trial.

        Raises:
            InputError: no trial finished.
        """
        try:
            return self.optuna_study.best_trial
        except ValueError as error:
            raise InputError(f"tune.name={self.tune.name}: no trial finished; see the errors above") from error

    def retried_from(self, number: int) -> int | None:
        """The interrupted trial that this one retries."""
        history = self._enqueue_retry.retry_history(self.optuna_study.trials[number])
        return history[-1] if history else None

    def _run_trial(self, objective: Callable[[Trial], float]) -> None:
        self._own = None

        def run(trial: Trial) -> float:
            self._own = trial.number
            trial.set_user_attr("started", trial.number)  # a retried trial inherits the attribute of the first one
            return objective(trial)

        try:
            self.optuna_study.optimize(run, n_trials=1, callbacks=[self._log_trial])
        except DivergedError as error:
            log.error("trial %s failed, the study continues: %s", self._own, error)
        except InputError as error:
            raise InputError(f"trial {self._own}: {error}") from error
        except KeyboardInterrupt:
            if self._own is not None:
                self._retry(self._own)
            raise
        except Exception:
            log.exception("trial %s failed, the study continues", self._own)

    def _log_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Log how a trial ended, and the best one so far."""
        how = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "pruned"}.get(trial.state, "failed")
        value = "NaN" if trial.value is None else f"{trial.value:.4f}"
        message = f"trial {trial.number}: {how} at {value} after epoch {len(trial.intermediate_values)}"
        if any(other.state == TrialState.COMPLETE for other in self._trials()):
            message += f"; best so far {study.best_value:.4f}, trial {study.best_trial.number}"
        log.info("%s; %s of %s", message, self._count(finished=True), self.tune.trials)

    def _trials(self) -> list[FrozenTrial]:
        return self.optuna_study.get_trials(deepcopy=False)

    def _count(self, finished: bool) -> int:
        """Number of trials that finished, or that run; a retried trial counts once."""
        retried = self._retried()
        states = [trial.state for trial in self._trials() if trial.number not in retried]
        return sum(state.is_finished() if finished else state == TrialState.RUNNING for state in states)

    def _retried(self) -> set[int]:
        return {number for trial in self._trials() for number in self._enqueue_retry.retry_history(trial)}

    def _retry_stale(self) -> None:
        """Enqueue again the trials whose worker sends no heartbeat, or died before its first one."""
        optuna.storages.fail_stale_trials(self.optuna_study)
        stale = datetime.now() - timedelta(seconds=GRACE_PERIODS * self.tune.heartbeat_interval)
        for trial in self.optuna_study.get_trials(states=(TrialState.RUNNING,)):
            if trial.user_attrs.get("started") != trial.number and (trial.datetime_start or stale) < stale:
                self._retry(trial.number)

    def _retry(self, number: int) -> None:
        with contextlib.suppress(ValueError, optuna.exceptions.UpdateFinishedTrialError):  # it has just finished
            self.optuna_study.tell(number, state=TrialState.FAIL, skip_if_finished=True)
        trial = self.optuna_study.trials[number]
        if trial.state == TrialState.FAIL and number not in self._retried():
            self._enqueue_retry(self.optuna_study, trial)
