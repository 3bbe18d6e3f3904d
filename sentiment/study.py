"""A study in Optuna's storage, which any number of workers join, leave, and are killed in."""

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

from sentiment.errors import DivergedError, InputError
from sentiment.settings import make

log = logging.getLogger(__name__)


class Study:
    """Runs trials until there are enough of them, whoever ran them, and tries those again that were cut.

    Args:
        tune: the configuration of the group `tune`.
        objective: what trials return; a loss is to be small, anything else large.
        folder: where it lies unless `tune.storage` says otherwise.

    Attributes:
        optuna: the study itself.

    Raises:
        InputError: the storage cannot be used.
    """

    def __init__(self, tune: DictConfig, objective: str, folder: Path) -> None:
        self.tune = tune
        self._own: int | None = None  # number of the trial that runs here
        self._queue_again = RetryHeartbeatStaleTrialCallback()
        try:
            with FileLock(folder / "study.lock"):  # two workers on a new SQLite file
                storage = self._storage(tune.storage or f"sqlite:///{folder}/study.db")
                self.optuna = self._opened(storage, objective)
                states = {trial.state for trial in self.optuna.get_trials(deepcopy=False)}
                if states == {TrialState.FAIL}:  # nothing would be lost, and its space may have been what was wrong
                    optuna.delete_study(study_name=tune.name, storage=storage)
                    self.optuna = self._opened(storage, objective)
        except InputError:
            raise
        except Exception as error:  # of whatever driver the storage takes
            raise InputError(f"tune.storage: {' '.join(str(error).split())}") from error
        first = self.optuna.user_attrs.get("objective", objective)
        if first != objective:
            raise InputError(f"tune.name={tune.name}: was started with objective={first}; take another tune.name")
        self.optuna.set_user_attr("objective", objective)

    def _opened(self, storage: RDBStorage, objective: str) -> optuna.Study:
        return optuna.create_study(
            study_name=self.tune.name,
            storage=storage,
            sampler=make(self.tune.sampler),
            pruner=make(self.tune.pruner),
            direction="minimize" if objective.endswith("loss") else "maximize",
            load_if_exists=True,
        )

    def _storage(self, url: str, attempts: int = 3) -> RDBStorage:
        try:
            return RDBStorage(
                url,
                heartbeat_interval=self.tune.heartbeat,
                grace_period=4 * self.tune.heartbeat,
                heartbeat_stale_trial_callback=self._queue_again,
            )
        except (IntegrityError, ProgrammingError):  # another worker makes the tables at this moment
            if attempts == 1:
                raise
            time.sleep(1)
            return self._storage(url, attempts - 1)

    def require_same(self, kind: str, facts: Mapping[str, Any]) -> None:
        """Keeps facts of the start before the first trial under `kind`.

        Raises:
            InputError: they are others now.
        """
        known = self.optuna.user_attrs.get(kind, facts) if self.optuna.get_trials(deepcopy=False) else facts
        for key in sorted(facts.keys() | known.keys()):
            if facts.get(key) != known.get(key):
                raise InputError(
                    f"tune.name={self.tune.name}: was started with {key}={known.get(key)}, not {facts.get(key)}; "
                    "keep that, or take another tune.name"
                )
        self.optuna.set_user_attr(kind, dict(facts))

    def search(self, objective: Callable[[Trial], float]) -> None:
        """Runs trials until there are enough.

        Raises:
            InputError: a trial's settings are wrong.
        """
        while (ended := self._count(ended=True)) < self.tune.trials:
            if ended + self._count(ended=False) < self.tune.trials:
                self._try_one(objective)
            else:  # the last ones run elsewhere, or were cut and will be tried again here
                time.sleep(self.tune.heartbeat)
                self._retry_cut()

    def best(self) -> FrozenTrial:
        """The best trial that finished.

        Raises:
            InputError: there is none.
        """
        try:
            return self.optuna.best_trial
        except ValueError as error:
            raise InputError(f"tune.name={self.tune.name}: no trial finished; see the errors above") from error

    def cut(self, number: int) -> int | None:
        """The trial that was cut and is tried again as this one."""
        history = self._queue_again.retry_history(self.optuna.trials[number])
        return history[-1] if history else None

    def _try_one(self, objective: Callable[[Trial], float]) -> None:
        self._own = None

        def begun(trial: Trial) -> float:
            self._own = trial.number
            trial.set_user_attr("begun", trial.number)  # a trial that is tried again inherits the number of the first
            return objective(trial)

        try:
            self.optuna.optimize(begun, n_trials=1, callbacks=[self._tell])
        except DivergedError as error:
            log.error("trial %s failed, the study goes on: %s", self._own, error)
        except InputError as error:
            raise InputError(f"trial {self._own}: {error}") from error
        except KeyboardInterrupt:
            if self._own is not None:
                self._retry(self._own)
            raise
        except Exception:
            log.exception("trial %s failed, the study goes on", self._own)

    def _tell(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """One line per trial: how it ended, and the best so far."""
        how = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "pruned"}.get(trial.state, "failed")
        value = "no number" if trial.value is None else f"{trial.value:.4f}"
        ended = f"trial {trial.number}: {how} at {value} after epoch {len(trial.intermediate_values)}"
        complete = any(other.state == TrialState.COMPLETE for other in study.get_trials(deepcopy=False))
        best = f"; best so far {study.best_value:.4f}, trial {study.best_trial.number}" if complete else ""
        log.info("%s%s; %s of %s", ended, best, self._count(ended=True), self.tune.trials)

    def _count(self, ended: bool) -> int:
        """Trials that ended, or that run; one that is tried again counts once."""
        again = self._tried_again()
        states = [trial.state for trial in self.optuna.get_trials(deepcopy=False) if trial.number not in again]
        return sum(state.is_finished() if ended else state == TrialState.RUNNING for state in states)

    def _tried_again(self) -> set[int]:
        trials = self.optuna.get_trials(deepcopy=False)
        return {number for trial in trials for number in self._queue_again.retry_history(trial)}

    def _retry_cut(self) -> None:
        """Queues trials again whose worker is not heard of any more, or was never."""
        optuna.storages.fail_stale_trials(self.optuna)
        stale = datetime.now() - timedelta(seconds=4 * self.tune.heartbeat)
        for trial in self.optuna.get_trials(states=(TrialState.RUNNING,)):
            if trial.user_attrs.get("begun") != trial.number and (trial.datetime_start or stale) < stale:
                self._retry(trial.number)

    def _retry(self, number: int) -> None:
        with contextlib.suppress(ValueError, optuna.exceptions.UpdateFinishedTrialError):  # it ended by itself
            self.optuna.tell(number, state=TrialState.FAIL, skip_if_finished=True)
        trial = self.optuna.trials[number]
        if trial.state == TrialState.FAIL and number not in self._tried_again():
            self._queue_again(self.optuna, trial)
