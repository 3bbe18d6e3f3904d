"""A study in Optuna's storage, shared by any number of workers, any of which may be killed."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from omegaconf import DictConfig, OmegaConf
from optuna.exceptions import DuplicatedStudyError, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import event, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from sentiment.runtime.config import OBJECTIVES, instantiate_checked
from sentiment.runtime.errors import DivergedError, InputError, one_line

log = logging.getLogger(__name__)

PATIENCE = 60.0  # seconds for which a storage may be away
GRACE_PERIODS = 4  # heartbeat intervals after which a trial without a heartbeat is stale


class Study:
    """Runs trials until there are enough of them, whoever ran them.

    Trials that were interrupted are repeated with the same parameters; the user attribute
    `retry_of` holds the number of the earlier one.

    Args:
        tune: the configuration of the group `tune`.
        settings: what all workers must agree on; among it `objective`, what trials return.
        folder: of the SQLite file, unless `tune.storage` names another storage.

    Attributes:
        optuna_study: the study itself.

    Raises:
        InputError: the storage cannot be used, or the study was started with other settings.
    """

    def __init__(self, tune: DictConfig, settings: Mapping[str, Any], folder: Path) -> None:
        self.tune = tune
        self._own: int | None = None  # number of the trial that runs in this process
        objects = {
            name: instantiate_checked(tune[name], f"tune.{name}") for name in ("sampler", "pruner")
        }
        try:
            url = tune.storage or f"sqlite:///{folder}/study.db"
            storage = _open_storage(url, tune.heartbeat_interval)
            self.optuna_study = self._open_study(storage, settings, **objects)
        except InputError:
            raise
        except Exception as error:  # of the storage's driver, whichever that is
            raise _explain(error) from error

    def _open_study(
        self, storage: RDBStorage, settings: Mapping[str, Any], **objects: Any
    ) -> optuna.Study:
        """Create the study and record the settings, or load it and compare them.

        Of several workers, one creates it, since names are unique in a storage.
        """
        options: dict[str, Any] = {"study_name": self.tune.name, "storage": storage} | objects
        objective = settings["objective"]
        try:
            study = optuna.create_study(**options, direction=OBJECTIVES[objective].direction)
        except DuplicatedStudyError:
            study = optuna.load_study(**options)
            self._check_unchanged(self._read_settings(study), settings)
        else:
            study.set_user_attr("objective", objective)
            study.set_user_attr("settings", dict(settings))
        return study

    def _read_settings(self, study: optuna.Study, attempts: int = 10) -> dict[str, Any]:
        """What the worker that created the study has recorded, or will within seconds."""
        for attempt in range(attempts):
            time.sleep(min(attempt, 1))
            recorded: dict[str, Any] | None = study.user_attrs.get("settings")
            if recorded is not None:
                return recorded
        raise InputError(
            f"tune.name={self.tune.name}: the storage holds a study of this name without settings, "
            "of another program or of a worker that was killed; choose another tune.name"
        )

    def _check_unchanged(self, recorded: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        for key in sorted(settings.keys() | recorded.keys()):
            was, now = (_show(values.get(key, "not set")) for values in (recorded, settings))
            if was != now:
                raise InputError(
                    f"tune.name={self.tune.name}: when the study started, {key} was {was}, "
                    f"now it is {now}; keep that, or choose another tune.name"
                )

    def optimize(self, objective: Callable[[Trial], float]) -> None:
        """Run trials until there are enough, and wait for those that run elsewhere.

        Optuna's `MaxTrialsCallback` does not know those that run elsewhere. With failed trials it
        counts one that is repeated twice; without them, a study that always diverges never ends.

        Raises:
            InputError: a trial's settings are invalid, or the storage is away.
            OSError: a trial could not write its files.
        """
        with _explain_storage_errors():
            while (finished := self._count(finished=True)) < self.tune.trials:
                if finished + self._count(finished=False) < self.tune.trials:
                    self._run_trial(objective)
                else:
                    time.sleep(self.tune.heartbeat_interval)
                    self._repeat_stale()

    def best_trial(self) -> FrozenTrial:
        """The best finished trial.

        Raises:
            InputError: no trial finished, or the storage is away.
        """
        with _explain_storage_errors():
            if not self._trials(TrialState.COMPLETE):
                message = "no trial finished; see the errors above"
                raise InputError(f"tune.name={self.tune.name}: {message}")
            return self.optuna_study.best_trial

    def _run_trial(self, objective: Callable[[Trial], float]) -> None:
        self._own = None

        def run(trial: Trial) -> float:
            self._own = trial.number
            return objective(trial)

        try:
            self.optuna_study.optimize(run, n_trials=1, callbacks=[self._log_trial])
        except DivergedError as error:
            log.error("trial %s failed, the study continues: %s", self._own, error)
        except InputError as error:
            raise InputError(f"trial {self._own}: {error}") from error
        except (KeyboardInterrupt, OSError):
            self._repeat_own()
            raise
        except Exception as error:
            if self._own in self._repeated():
                log.warning("trial %s: seemed dead, so another worker repeats it", self._own)
            elif _find_storage_error(error):
                self._repeat_own()
                log.warning("trial %s will be repeated: %s", self._own, _explain(error))
            else:
                log.exception("trial %s failed, the study continues", self._own)

    def _log_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Log how a trial ended, and the best one so far."""
        ends = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "pruned"}
        value = "NaN" if trial.value is None else f"{trial.value:.4f}"
        end = f"{ends.get(trial.state, 'failed')} at {value}"
        message = f"trial {trial.number}: {end} after epoch {len(trial.intermediate_values)}"
        if self._trials(TrialState.COMPLETE):
            message += f"; best so far {study.best_value:.4f}, trial {study.best_trial.number}"
        log.info("%s; %s of %s", message, self._count(finished=True), self.tune.trials)

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self.optuna_study.get_trials(deepcopy=False, states=states or None)

    def _count(self, finished: bool) -> int:
        """Number of trials that finished, or that run; one that is repeated counts once."""
        repeated = self._repeated()
        states = [trial.state for trial in self._trials() if trial.number not in repeated]
        return sum(
            state.is_finished() if finished else state == TrialState.RUNNING for state in states
        )

    def _repeated(self) -> set[int | None]:
        return {trial.user_attrs.get("retry_of") for trial in self._trials()} - {None}

    def _repeat_stale(self) -> None:
        """Repeat the trials whose worker sends no heartbeat, or died before its first one."""
        optuna.storages.fail_stale_trials(self.optuna_study)
        stale = datetime.now() - timedelta(seconds=GRACE_PERIODS * self.tune.heartbeat_interval)
        for trial in self._trials(TrialState.RUNNING):
            if "alive" not in trial.user_attrs and (trial.datetime_start or stale) < stale:
                with suppress(ValueError, UpdateFinishedTrialError):  # another worker repeats it
                    self.optuna_study.tell(trial.number, state=TrialState.FAIL)
                    _enqueue_again(self.optuna_study, trial)

    def _repeat_own(self) -> None:
        """Repeat the trial of this process unless it finished or another worker repeats it."""
        if self._own is None:
            return
        with suppress(ValueError, UpdateFinishedTrialError):  # Optuna has recorded the failure
            self.optuna_study.tell(self._own, state=TrialState.FAIL)
        trial = self.optuna_study.trials[self._own]
        if trial.state == TrialState.FAIL and trial.number not in self._repeated():
            _enqueue_again(self.optuna_study, trial)


class _Storage(RDBStorage):
    """Storage whose heartbeat survives an outage: the trial itself finds out whether it lasts."""

    def record_heartbeat(self, trial_id: int) -> None:
        with suppress(SQLAlchemyError, StorageInternalError, UpdateFinishedTrialError):
            super().record_heartbeat(trial_id)
            self.set_trial_user_attr(trial_id, "alive", True)


def hide_password(tune: DictConfig) -> None:
    """Move the password in `tune.storage` to where PostgreSQL's client looks for it.

    So it gets into no file, log or message. An interpolation such as `${oc.env:NAME}` stays as it
    is, since files hold the interpolation.

    Raises:
        InputError: `tune.storage` is no URL, or it holds a password for another database.
    """
    if tune.storage is None or OmegaConf.is_interpolation(tune, "storage"):
        return
    try:
        url = make_url(tune.storage)
    except Exception:  # whose message may hold a part of the password
        example = "postgresql+psycopg://user@host/database"
        raise InputError(f"tune.storage: is not a URL such as {example}") from None
    password = url.password or url.query.get("password")
    if password is None:
        return
    if url.get_backend_name() != "postgresql":
        message = "a password would be readable in the folder of the study"
        raise InputError(f"tune.storage: {message}; write '${{oc.env:NAME}}' in its place")
    os.environ["PGPASSWORD"] = str(password)
    without = url._replace(password=None).difference_update_query(["password"])
    tune.storage = without.render_as_string()


def _open_storage(url: str, heartbeat_interval: int, attempts: int = 3) -> RDBStorage:
    options: dict[str, Any] = {"poolclass": NullPool}  # a kept connection may be lost meanwhile
    if make_url(url).get_backend_name() == "sqlite":
        options["connect_args"] = {"timeout": PATIENCE}
    try:
        storage = _Storage(
            url,
            engine_kwargs=options,
            heartbeat_interval=heartbeat_interval,
            grace_period=GRACE_PERIODS * heartbeat_interval,
            heartbeat_stale_trial_callback=_enqueue_again,
        )
    except (DBAPIError, StorageInternalError):  # perhaps another worker is creating the tables
        if attempts == 1:
            raise
        time.sleep(1)
        return _open_storage(url, heartbeat_interval, attempts - 1)
    _wait_for_connections(storage)
    return storage


def _wait_for_connections(storage: RDBStorage) -> None:
    """Have the main thread try to connect again for `PATIENCE` seconds."""
    away_since: float | None = None

    @event.listens_for(storage.engine, "do_connect")
    def connect(dialect: Any, record: Any, arguments: Any, options: Any) -> Any:
        nonlocal away_since
        while True:
            try:
                connection = dialect.connect(*arguments, **options)
                away_since = None
                return connection
            except dialect.loaded_dbapi.OperationalError as error:
                if threading.current_thread() is not threading.main_thread():
                    raise
                if away_since is None:
                    away_since = time.monotonic()
                    message = "tune.storage: %s; trying again for %.0f seconds"
                    log.warning(message, one_line(error), PATIENCE)
                if time.monotonic() - away_since > PATIENCE:
                    raise
                time.sleep(1)


def _enqueue_again(study: optuna.Study, trial: FrozenTrial) -> None:
    study.enqueue_trial(trial.params, user_attrs={"retry_of": trial.number})


def _show(value: Any) -> str:
    return "null" if value is None else str(value)


@contextmanager
def _explain_storage_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if isinstance(error, InputError) or not _find_storage_error(error):
            raise
        message = f"{_explain(error)}; the same command continues the study"
        raise InputError(message) from error


def _find_storage_error(error: BaseException | None) -> SQLAlchemyError | None:
    """The error of the storage that led to this one, perhaps in Optuna's handling of it."""
    while error:
        if isinstance(error, SQLAlchemyError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _explain(error: Exception) -> InputError:
    cause = _find_storage_error(error) or error
    original = getattr(cause, "orig", None) or cause  # without the SQL statement
    return InputError(f"tune.storage: {one_line(original)}")
