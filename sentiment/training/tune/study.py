"""A study in Optuna's storage, shared by any number of workers, any of which may be killed."""

import logging
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import DuplicatedStudyError, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from sentiment.analysis.study_storage import connect
from sentiment.runtime.config import OBJECTIVES, instantiate_checked
from sentiment.runtime.errors import DivergedError, InputError, one_line

log = logging.getLogger(__name__)

GRACE_PERIODS = 4  # heartbeat intervals after which a trial without a heartbeat is stale
_FINISHED = {state for state in TrialState if state.is_finished()}

Objective = Callable[[Trial], float]


class Study:
    """Runs trials until there are enough of them, whoever ran them.

    Trials that were interrupted are repeated with the same parameters; the user attribute `retry_of` holds the number
    of the earlier one. All workers must agree on `settings`; `folder` is that of the SQLite file.
    """

    def __init__(self, tune: Mapping[str, Any], settings: Mapping[str, Any], folder: Path) -> None:
        self.tune = dict(tune)
        self._own: int | None = None  # number of the trial that runs in this process
        options: dict[str, Any] = {
            name: instantiate_checked(tune[name], f"tune.{name}") for name in ("sampler", "pruner")
        }
        direction = OBJECTIVES[settings["objective"]].direction
        settings = {key: "null" if value is None else str(value) for key, value in settings.items()}
        with _explain_storage_errors((Exception,), advice=""):  # of whichever driver
            url = tune["storage"] or f"sqlite:///{folder}/study.db"
            storage = _open_storage(url, tune["heartbeat_interval"])
            options |= {"storage": storage, "study_name": tune["name"]}
            try:  # of several workers, one creates it, since names are unique in a storage
                self.optuna_study = optuna.create_study(**options, direction=direction)
                self.optuna_study.set_user_attr("objective", settings["objective"])
                self.optuna_study.set_user_attr("settings", settings)
            except DuplicatedStudyError:
                self.optuna_study = optuna.load_study(**options)
            problem = self._find_change(settings)
        if problem:
            raise InputError(f"tune.name={tune['name']}: {problem}, or choose another tune.name")

    def _find_change(self, settings: Mapping[str, str]) -> str | None:
        """Compare with what the worker that created the study recorded, or will within seconds."""
        for attempt in range(10):
            time.sleep(min(attempt, 1))
            if recorded := self.optuna_study.user_attrs.get("settings"):
                break
        else:
            return (
                "the storage holds a study of this name without settings, of another program or "
                "of a worker that was killed; remove it"
            )
        for key in sorted(settings.keys() | recorded.keys()):
            was, now = (values.get(key, "not set") for values in (recorded, settings))
            if was != now:
                return f"when the study started, {key} was {was}, now it is {now}; keep that"
        return None

    def optimize(self, objective: Objective) -> None:
        """Run trials until there are enough, and wait for those that run elsewhere.

        Optuna's `MaxTrialsCallback` does not know those that run elsewhere. With failed trials it
        counts one that is repeated twice; without them, a study that always diverges never ends.
        """
        with _explain_storage_errors():
            while (finished := self._count(_FINISHED)) < self.tune["trials"]:
                if finished + self._count({TrialState.RUNNING}) < self.tune["trials"]:
                    self._run_trial(objective)
                else:
                    time.sleep(self.tune["heartbeat_interval"])
                    self._repeat_stale()

    def best_trial(self) -> FrozenTrial:
        """The best finished trial."""
        with _explain_storage_errors():
            if self._trials(TrialState.COMPLETE):
                return self.optuna_study.best_trial
        raise InputError(f"tune.name={self.tune['name']}: no trial finished; see the errors above")

    def _run_trial(self, objective: Objective) -> None:
        self._own = None

        def run(trial: Trial) -> float:
            self._own = trial.number
            return objective(trial)

        try:
            self.optuna_study.optimize(run, n_trials=1, callbacks=[self._log_trial])
        except DivergedError as error:
            log.error("trial %s failed, the study continues: %s", self._own, error)
        except (InputError, KeyboardInterrupt, OSError) as error:
            if not isinstance(error, InputError):  # which it would raise again
                self._repeat_own()
            raise
        except Exception as error:
            if self._own in self._repeated():
                log.warning("trial %s: seemed dead, so another worker repeats it", self._own)
            elif _find_storage_error(error):
                self._repeat_own()
                log.warning("trial %s will be repeated: %s", self._own, _describe(error))
            else:
                log.exception("trial %s failed, the study continues", self._own)

    def _log_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Log how a trial ended, and the best one so far."""
        end = {TrialState.COMPLETE: "finished", TrialState.FAIL: "failed"}.get(
            trial.state, "pruned"
        )
        value = "NaN" if trial.value is None else f"{trial.value:.4f}"
        epochs = len(trial.intermediate_values)
        message = f"trial {trial.number}: {end} at {value} after epoch {epochs}"
        if self._trials(TrialState.COMPLETE):
            message += f"; best so far {study.best_value:.4f}, trial {study.best_trial.number}"
        log.info("%s; %s of %s", message, self._count(_FINISHED), self.tune["trials"])

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self.optuna_study.get_trials(deepcopy=False, states=states or None)

    def _count(self, states: Collection[TrialState]) -> int:
        """Number of trials in these states; one that is repeated counts once."""
        repeated = self._repeated()
        return sum(trial.number not in repeated for trial in self._trials(*states))

    def _repeated(self) -> set[int | None]:
        return {trial.user_attrs.get("retry_of") for trial in self._trials()} - {None}

    def _repeat_stale(self) -> None:
        """Repeat the trials whose worker sends no heartbeat, or died before its first one."""
        optuna.storages.fail_stale_trials(self.optuna_study)
        stale = datetime.now() - timedelta(seconds=GRACE_PERIODS * self.tune["heartbeat_interval"])
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


def hide_password(storage: str) -> str:
    """Move the password in `tune.storage` to where PostgreSQL's client looks for it; return the rest.

    So it gets into no file, log or message.
    """
    url = None
    with suppress(Exception):  # whose message may hold a part of the password
        url = make_url(storage)
    password = url and (url.password or url.query.get("password"))
    if url is None or (password is not None and url.get_backend_name() != "postgresql"):
        raise InputError(
            "tune.storage: is not a URL such as postgresql+psycopg://user@host/database, or has a "
            "password, which would be readable in the folder of the study; write "
            "'${oc.env:NAME}' in its place"
        )
    if password is None:
        return storage
    os.environ["PGPASSWORD"] = str(password)
    return url._replace(password=None).difference_update_query(["password"]).render_as_string()


def _open_storage(url: str, heartbeat_interval: int) -> RDBStorage:
    options: dict[str, Any] = {
        "heartbeat_interval": heartbeat_interval,
        "grace_period": GRACE_PERIODS * heartbeat_interval,
        "heartbeat_stale_trial_callback": _enqueue_again,
    }
    for _ in range(2):
        with suppress(DBAPIError, StorageInternalError):  # another worker may create the tables
            return connect(url, _Storage, **options)
        time.sleep(1)
    return connect(url, _Storage, **options)


def _enqueue_again(study: optuna.Study, trial: FrozenTrial) -> None:
    study.enqueue_trial(trial.params, user_attrs={"retry_of": trial.number})


@contextmanager
def _explain_storage_errors(
    kinds: tuple[type[Exception], ...] = (SQLAlchemyError, StorageInternalError),
    advice: str = "; the same command continues the study",
) -> Iterator[None]:
    try:
        yield
    except kinds as error:
        raise InputError(f"tune.storage: {_describe(error)}{advice}") from error


def _find_storage_error(error: BaseException | None) -> SQLAlchemyError | None:
    """The error of the storage that led to this one, perhaps in Optuna's handling of it."""
    while error:
        if isinstance(error, SQLAlchemyError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _describe(error: Exception) -> str:
    cause = _find_storage_error(error) or error
    return one_line(getattr(cause, "orig", None) or cause)  # without the SQL statement
