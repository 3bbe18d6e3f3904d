"""Studies: what is searched, pruned, interrupted, shared and tested at the end."""

import errno
import math
import os
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import optuna
import pytest
from hydra import compose, initialize_config_dir
from omegaconf.errors import OmegaConfBaseException
from optuna.trial import TrialState
from pytorch_lightning import Callback, Trainer

from sentiment import tune
from sentiment.analysis.study_storage import connect
from sentiment.runtime.config import CONF_DIR
from sentiment.runtime.errors import InputError
from sentiment.runtime.run_folder import RunFolder
from sentiment.training.experiment import run_experiment
from sentiment.training.tune.study import Study, hide_password
from sentiment.training.tune.tuning import Tuning
from tests.helpers import QUICK, background, command, read_metrics

try:
    import psycopg
except ImportError:
    psycopg = None  # type: ignore[assignment]

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


@pytest.fixture
def open_study(small: Path, tmp_path: Path) -> Iterator[Any]:
    """Composes the configuration of a quick study and opens it."""

    def open_(*overrides: str, folder: Path = tmp_path) -> Tuning:
        fixed = [*QUICK, f"data.path={small}", *overrides]
        return Tuning(compose("tune", [*fixed, f"output_dir={folder}"]), fixed)

    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):  # trials compose, too
        yield open_


def prune_below(accuracy: float) -> list[str]:
    return ["tune.pruner._target_=optuna.pruners.ThresholdPruner", "~tune.pruner.n_startup_trials",
            f"+tune.pruner.lower={accuracy}"]  # fmt: skip


def run_study(tuning: Tuning) -> None:
    tuning.search()
    tuning.test_best_trial()


def count_states(tuning: Tuning) -> Counter[str]:
    return Counter(trial.state.name for trial in tuning.study.optuna_study.trials)


def is_trial(trainer: Trainer, number: int) -> bool:
    return f"trial_{number:04}" in str(trainer.log_dir)


class PressCtrlC(Callback):
    """Sends SIGINT in the second epoch of the second trial."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        if is_trial(trainer, 1) and trainer.current_epoch == 1:
            signal.signal(
                signal.SIGINT, signal.default_int_handler
            )  # a shell's background jobs ignore it
            os.kill(os.getpid(), signal.SIGINT)


class Diverge(Callback):
    """Gives the first trial an absurd learning rate."""

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        if is_trial(trainer, 0):
            trainer.optimizers[0].param_groups[0]["lr"] = 1e30


@pytest.mark.slow
def test_study_prunes_trials_and_tests_the_best_one_once(open_study: Any, tmp_path: Path) -> None:
    settings = [
        "tune.trials=3",
        "tune.sampler.seed=1",
        "++trainer.val_check_interval=0.5",
        *prune_below(0.4),
    ]
    tuning = open_study(*settings)
    assert set(tuning.space.sweeps) == {
        "model.dropout",
        "optimizer",
        "optimizer.lr",
    }  # the others are set in QUICK
    run_study(tuning)
    assert count_states(tuning)["COMPLETE"] >= 1
    trials, best = tuning.study.optuna_study.trials, tuning.study.optuna_study.best_trial
    assert len(trials) == 3
    for trial in trials:
        metrics = read_metrics(tmp_path / f"trial_{trial.number:04}")
        assert metrics["status"] == ("pruned" if trial.state == TrialState.PRUNED else "finished")
        assert ("test/accuracy" in metrics) == (trial.number == best.number)
        assert trial.value == metrics["val/accuracy"] or trial.state == TrialState.PRUNED
        assert len(trial.intermediate_values) == metrics["epochs"]

    metrics_file = tmp_path / f"trial_{best.number:04}" / "metrics.json"
    tested = metrics_file.stat().st_mtime_ns
    again = open_study(*settings)
    run_study(again)
    assert len(again.study.optuna_study.trials) == 3
    assert metrics_file.stat().st_mtime_ns == tested


@pytest.mark.slow
def test_printed_command_repeats_the_best_trial(open_study: Any, tmp_path: Path) -> None:
    choices = (
        "optimizer:'choice(adam,sgd)',scheduler:'choice(none)',trainer.gradient_clip_val:'null,1.0'"
    )
    others = "data.truncating:'choice(\"pre\",post)',model.bidirectional:'choice(true)'"
    tuning = open_study("tune.trials=1", f"+tune.space={{{choices},{others}}}")
    run_study(tuning)
    best = tuning.study.best_trial()
    overrides = shlex.split(shlex.join(tuning.overrides(best.params)))
    run_experiment(compose("config", [*overrides, f"output_dir={tmp_path / 'repeated'}"]))
    trial, repeated = (
        {
            tag: value
            for tag, value in read_metrics(tmp_path / name).items()
            if tag.startswith(("val/", "test/"))
        }
        for name in (f"trial_{best.number:04}", "repeated")
    )
    assert trial == repeated


@pytest.mark.slow
def test_trials_are_pruned_after_an_epoch(open_study: Any, tmp_path: Path) -> None:
    tuning = open_study("tune.trials=2", "trainer.max_epochs=9", *prune_below(2))
    with pytest.raises(InputError, match=r"tune\.name=default: no trial finished"):
        run_study(tuning)
    assert count_states(tuning) == {"PRUNED": 2}
    assert read_metrics(tmp_path / "trial_0000")["epochs"] == 1


@pytest.mark.slow
def test_study_continues_after_a_diverged_trial(
    open_study: Any, caplog: pytest.LogCaptureFixture
) -> None:
    tuning = open_study("tune.trials=2", "+callbacks.diverge._target_=tests.test_tune.Diverge")
    run_study(tuning)
    assert [trial.state.name for trial in tuning.study.optuna_study.trials[:2]] == [
        "FAIL",
        "COMPLETE",
    ]
    assert "trial 0 failed, the study continues: step 9: training diverged" in caplog.text


@pytest.mark.slow
def test_interrupted_trial_is_retried(open_study: Any, tmp_path: Path) -> None:
    settings = ["tune.trials=3", "+callbacks.ctrl_c._target_=tests.test_tune.PressCtrlC"]
    tuning = open_study(*settings)
    with pytest.raises(KeyboardInterrupt):
        run_study(tuning)
    assert count_states(tuning) == {"COMPLETE": 1, "FAIL": 1, "WAITING": 1}
    assert read_metrics(tmp_path / "trial_0001")["status"] == "interrupted"
    tuning = open_study(*settings)
    run_study(tuning)
    states = count_states(tuning)
    assert states["COMPLETE"] + states["PRUNED"] == 3
    trials = tuning.study.optuna_study.trials
    assert trials[2].params == trials[1].params


@pytest.mark.parametrize(
    ("earlier", "overrides", "message"),
    [
        (
            [],
            ["trainer.max_epochs=3"],
            "trainer.max_epochs was 2, now it is 3; keep that, or choose",
        ),
        (
            [],
            ["optimizer=adam"],
            r"optimizer was searched in choice\(.*\), now it is torch.optim.Adam; keep",
        ),
        (
            ["optimizer=adam", "optimizer.lr=1"],
            [],
            r"optimizer was torch.optim.Adam, now it is searched in choice\(adam",
        ),
        ([], ["+optimizer.weight_decay=1"], "optimizer.weight_decay was not set, now it is 1"),
        ([], ["class_weights=balanced"], "class_weights was null, now it is balanced"),
        ([], ["objective=val/loss"], "objective was val/accuracy, now it is val/loss; keep that"),
        (None, ["objective=train/loss"], "objective=train/loss: must be one of"),
        (None, ["tune.trials=0"], "tune.trials=0: must be an integer >= 1"),
        (None, ["tune.heartbeat_interval=0"], "tune.heartbeat_interval=0: must be an integer >= 1"),
        (
            [],
            ["tune.space={model.dropout:'choice(0.1,0.2)'}"],
            r"model.dropout was searched in interval\(",
        ),
        (None, ["tune.space={model.dropout:32}"], "tune.space.model.dropout=32: is not a sweep"),
        (
            None,
            ["tune.space={model.dropout:{kind:float}}"],
            "tune.space.model.dropout={.*}: is not a sweep; type ",
        ),
        (
            None,
            ["tune.space='choice(1,2)'"],
            r"tune.space: is not a mapping, or .* such as tune.space.model.units=",
        ),
        (None, ["tune.space=null"], "tune.space: .* every key is null or set on the command line"),
        (None, ["tune.storage=nonsense"], "tune.storage: "),
        (
            None,
            ["tune.storage=postgresql+psycopg://nobody@127.0.0.1:9/none"],
            "tune.storage: .*refused",
        ),
        (None, ["tune.sampler.seed=x"], "tune.sampler"),
        (None, ["data.validate_on=test"], "data.validate_on=test: must be one of train"),
        (None, ["test_ckpt=last"], "test_ckpt=last: must be one of best, null"),
        (None, ["trainer=ddp"], "trainer: a sweep .* trains each run on one device"),
        (None, ["trainer.devices=2"], "trainer: a sweep .* trains each run on one device"),
    ],
)
def test_invalid_settings_are_reported_in_one_line(
    open_study: Any, earlier: Sequence[str] | None, overrides: Sequence[str], message: str
) -> None:
    if earlier is not None:
        open_study(*earlier)  # no trial has started yet
    with pytest.raises(InputError, match=message) as error:
        open_study(*overrides)
    assert "\n" not in str(error.value)


def test_interpolation_of_a_missing_key_is_reported_with_its_key(open_study: Any) -> None:
    with pytest.raises(OmegaConfBaseException, match="Interpolation key 'no' not found") as error:
        open_study("tune.space={model.dropout:'${no}'}")
    assert error.value.full_key == "tune.space.model.dropout"


def test_study_ends_before_its_first_trial_if_a_searched_option_does_not_exist(
    open_study: Any,
) -> None:
    with pytest.raises(
        InputError, match=r"tune\.space: optimizer=nadam: no such option; did you mean adam"
    ):
        open_study("tune.space={optimizer:'choice(adam,nadam)',optimizer.lr:null}")


def test_invalid_settings_do_not_become_those_of_the_study(open_study: Any) -> None:
    for invalid in ("model.units=0", "tune.space={model.dropout:'choice(0.1,2.0)'}"):
        with pytest.raises(
            InputError, match=r"model\.(units=0|dropout=2\.0): must be at least 0|integer"
        ):
            open_study(invalid)
    open_study()


@pytest.mark.slow
def test_study_whose_trials_all_failed_stays_as_it_is(open_study: Any, tmp_path: Path) -> None:
    """Another worker may be about to start its next trial."""
    invalid = [
        "tune.trials=3",
        "tune.space={model.dropout:'interval(0.9,9)'}",
        "tune.sampler.seed=1",
    ]
    tuning = open_study(*invalid)
    with pytest.raises(InputError, match=r"^model\.dropout=.*: must be at least 0 and below 1"):
        run_study(tuning)
    assert count_states(tuning) == {"FAIL": 1}
    with pytest.raises(
        InputError, match=r"searched in interval\(0.9,9\), now it is .*choose another tune.name"
    ):
        open_study("tune.space={model.dropout:'choice(0.2)'}")
    assert count_states(open_study(*invalid)) == {"FAIL": 1}


def test_keys_of_the_search_space_are_set_one_by_one(
    open_study: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweeps = [
        "optimizer.lr=tag(log,interval(0.001,0.1))",
        "seed=1,2",
        "+optimizer.eps=interval(0,1)",
        "optimizer=null",
    ]
    monkeypatch.setattr(
        sys, "argv", ["tune.py", "seed=3", *(f"tune.space.{sweep}" for sweep in sweeps)]
    )
    monkeypatch.setattr(tune, "run_hydra_app", lambda *_: None)
    tune.main()
    assert sys.argv[1] == "seed=3"
    assert open_study("tune.space=null", *sys.argv[2:]).space.sweeps == dict(
        sweep.split("=") for sweep in sweeps[:-1]
    )


@pytest.mark.slow
def test_study_keeps_its_data(open_study: Any, small: Path, tmp_path: Path) -> None:
    run_study(open_study("tune.trials=1"))
    copied, changed = tmp_path / "copied", tmp_path / "changed"
    for folder in (copied, changed):
        shutil.copytree(small, folder)
    tuning = open_study("tune.trials=2", f"data.path={copied}")  # the same reviews elsewhere
    run_study(tuning)
    assert len(tuning.study.optuna_study.trials) == 2
    (changed / "train.csv").write_text((small / "train.csv").read_text().replace("film", "movie"))
    with pytest.raises(InputError, match="when the study started, the contents of the data was"):
        open_study("tune.trials=3", f"data.path={changed}")


@pytest.mark.slow
def test_trial_killed_before_its_first_heartbeat_is_retried(open_study: Any) -> None:
    tuning = open_study("tune.trials=2", "tune.heartbeat_interval=1")
    with pytest.warns(UserWarning, match="Heartbeat"):
        tuning.study.optuna_study.ask()  # a worker that is killed now
    run_study(tuning)
    assert count_states(tuning) == {"FAIL": 1, "COMPLETE": 2}
    trials = tuning.study.optuna_study.trials
    assert [trial.user_attrs.get("retry_of") for trial in trials[1:]].count(0) == 1


@pytest.mark.slow
def test_killed_study_continues_and_retries_its_trial(small: Path, tmp_path: Path) -> None:
    """Kills one worker in its third trial, after an epoch of it."""
    settings = ["trainer.max_epochs=40", "callbacks.early_stopping=null"]  # a trial takes seconds
    line = [*QUICK, f"data.path={small}", *settings, "tune.trials=5", "tune.heartbeat_interval=1"]
    killed = background(*line, cwd=tmp_path, module="tune")
    study = tmp_path / "outputs" / "studies" / "default"
    deadline = time.monotonic() + 300
    while not (study / "trial_0002" / "checkpoints" / "last.ckpt").exists():
        assert killed.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    killed.kill()
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL

    def load_trials() -> list[optuna.trial.FrozenTrial]:
        return optuna.load_study(
            study_name="default", storage=connect(f"sqlite:///{study}/study.db")
        ).trials

    before = load_trials()
    assert [trial.state.is_finished() for trial in before] == [True, True, False]
    done = command(*line, cwd=tmp_path, module="tune")
    assert done.returncode == 0, done.stdout + done.stderr
    after = load_trials()
    assert [trial.value for trial in after[:2]] == [trial.value for trial in before[:2]]
    assert after[2].state == TrialState.FAIL
    assert sum(trial.params == before[2].params for trial in after[3:]) == 1
    assert sum(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in after) == 5
    assert ", a retry of trial 2: " in done.stdout


class Server:
    """A PostgreSQL server on the loopback interface that can be stopped and started.

    Args:
        initdb: path of the program.
        home: an empty folder.

    Attributes:
        url: of its database, with a password.
    """

    def __init__(self, initdb: str, home: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"postgresql+psycopg://tester:s3cret@127.0.0.1:{self.port}/postgres"
        user = "postgres" if os.geteuid() == 0 else None  # it does not run as root
        Path(home, "password").write_text("s3cret")
        if user:
            shutil.chown(home, user)
        null = subprocess.DEVNULL
        self.options: dict[str, Any] = {"user": user, "cwd": home, "stdout": null, "stderr": null}
        self.postgres = [str(Path(initdb).with_name("postgres")), "-D", f"{home}/db", "-F"]
        self.postgres += ["-p", str(self.port), "-h", "127.0.0.1", "-k", home]
        login = ["-U", "tester", "-A", "scram-sha-256", "--pwfile=password", "--no-sync"]
        subprocess.run([initdb, "-D", f"{home}/db", *login], check=True, **self.options)

    def start(self) -> None:
        self.process = subprocess.Popen(self.postgres, **self.options)
        for _ in range(300):
            time.sleep(0.1)
            with suppress(psycopg.OperationalError):
                psycopg.connect(self.url.replace("+psycopg", "")).close()
                return

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)


@pytest.fixture
def postgres(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A new PostgreSQL server."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = str(programs[-1]) if programs else shutil.which("initdb")
    if not initdb:
        pytest.skip("PostgreSQL is not installed (Debian: apt install postgresql)")
    if not psycopg:
        pytest.skip("the extra postgres is not installed")
    monkeypatch.setenv("PGPASSWORD", "")  # restored after it was changed
    with tempfile.TemporaryDirectory() as home:
        server = Server(initdb, home)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.mark.slow
@pytest.mark.postgres
def test_workers_on_two_machines_share_a_study(
    small: Path, tmp_path: Path, postgres: Server
) -> None:
    """Two processes in two folders, as on two disks, one PostgreSQL server, away for a while."""
    machines = [tmp_path / name for name in ("first", "second")]
    workers = []
    for machine in machines:
        machine.mkdir()
        settings = [
            "trainer.max_epochs=3",
            "tune.trials=10",
            "tune.heartbeat_interval=2",
            f"tune.storage={postgres.url}",
        ]
        workers.append(
            background(*QUICK, f"data.path={small}", *settings, cwd=machine, module="tune")
        )
    while not [*tmp_path.rglob("trial_0002/train.log")]:
        assert {process.poll() for process in workers} == {None}
        time.sleep(0.1)
    postgres.stop()
    time.sleep(6)
    postgres.start()
    outputs = [process.communicate(timeout=300)[0] for process in workers]
    assert [process.returncode for process in workers] == [0, 0], "\n".join(outputs)
    assert "trying again for 60 seconds" in "".join(outputs)
    assert "Traceback" not in "".join(outputs)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if b"s3cret" in path.read_bytes()]
    trials = optuna.load_study(study_name="default", storage=connect(postgres.url)).trials
    finished = [trial for trial in trials if trial.state != TrialState.FAIL]
    assert {trial.state for trial in finished} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert 10 <= len(finished) <= 11  # both may see that one is missing
    studies = [machine / "outputs/studies/default" for machine in machines]
    first, second = ({path.name for path in study.glob("trial_*")} for study in studies)
    assert not first & second
    assert len(first | second) == len(trials)
    assert min(len(first), len(second)) >= 2
    assert sum(output.count("Test set, ") for output in outputs) == 1
    assert sum("on another machine" in output for output in outputs) == 1


def open_storage(url: str, folder: Path, **settings: Any) -> Study:
    """A study without trainings; an empty URL stands for a file in the folder."""
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        overrides = [
            f"tune.storage={repr(url) if url else 'null'}",
            "tune.heartbeat_interval=1",
            "tune.trials=3",
        ]
        cfg = compose("tune", overrides)
    return Study(cfg.tune, {"objective": "val/accuracy"} | settings, folder)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def storage_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty storage."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/shared.db"
    return str(request.getfixturevalue("postgres").url)


def test_of_workers_that_start_together_one_decides_the_settings(
    storage_url: str, tmp_path: Path
) -> None:
    barrier = threading.Barrier(4)
    opened: list[int] = []
    refused: list[str] = []

    def work(number: int) -> None:
        barrier.wait()
        try:
            Study(cfg.tune, {"objective": "val/accuracy", "seed": number}, tmp_path)
            opened.append(number)
        except InputError as error:
            refused.append(str(error))

    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        cfg = compose("tune", [f"tune.storage='{storage_url}'"])
    workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(opened) == 1
    assert len(refused) == 3
    assert all(f"seed was {opened[0]}, now it is " in message for message in refused), refused


def test_study_without_settings_is_not_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    optuna.create_study(study_name="default", storage=connect(url))  # by another program
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with pytest.raises(InputError, match=r"tune\.name=default: .* of another program"):
        open_storage(url, tmp_path)


@pytest.mark.postgres
def test_trial_is_repeated_after_an_outage(
    tmp_path: Path, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentiment.analysis.study_storage.PATIENCE", 2)

    def stop_server(trial: optuna.Trial) -> float:
        postgres.stop()
        return trial.suggest_float("dropout", 0, 1)

    with pytest.raises(InputError, match=r"^tune\.storage: .*the same command continues") as error:
        open_storage(postgres.url, tmp_path).optimize(stop_server)
    assert "\n" not in str(error.value)
    postgres.start()
    study = open_storage(postgres.url, tmp_path)
    study.optimize(suggest)
    trials = study.optuna_study.trials
    assert [trial.state.name for trial in trials].count("COMPLETE") == 3
    assert [trial.user_attrs.get("retry_of") for trial in trials].count(0) == 1


def suggest(trial: optuna.Trial) -> float:
    return trial.suggest_float("dropout", 0, 1)


def list_states(study: Study) -> list[str]:
    return [trial.state.name for trial in study.optuna_study.trials]


def test_study_continues_after_a_full_disk(tmp_path: Path) -> None:
    def fail(trial: optuna.Trial) -> float:
        raise OSError(errno.ENOSPC, f"at {suggest(trial)}")

    study = open_storage("", tmp_path)
    with pytest.raises(OSError, match="at 0"):
        study.optimize(fail)
    assert list_states(study) == ["FAIL", "WAITING"]
    study.optimize(suggest)
    assert list_states(study) == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
    trials = study.optuna_study.trials
    assert trials[1].params == trials[0].params


def test_trial_that_another_worker_repeats_does_not_end_the_study(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A machine was asleep, so its heartbeat stopped."""
    study = open_storage("", tmp_path)

    def sleep(trial: optuna.Trial) -> float:
        if trial.number == 0:
            study.optuna_study.tell(0, state=TrialState.FAIL)
            study.optuna_study.enqueue_trial({}, user_attrs={"retry_of": 0})
        return suggest(trial)

    study.optimize(sleep)
    assert list_states(study) == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
    assert "trial 0: seemed dead, so another worker repeats it" in caplog.text
    ours = [record for record in caplog.records if record.name.startswith("sentiment")]
    assert not any(record.exc_info for record in ours)


def test_trials_that_are_no_number_or_too_many_end_the_study(tmp_path: Path) -> None:
    study = open_storage("", tmp_path)
    study.optimize(lambda _: math.nan)
    assert list_states(study) == ["FAIL"] * 3
    with pytest.raises(InputError, match=r"tune\.name=default: no trial finished"):
        study.best_trial()
    study.tune["trials"] = 4
    study.optimize(suggest)
    study.tune["trials"] = 2  # fewer than there are
    study.optimize(suggest)
    assert list_states(study) == ["FAIL"] * 3 + ["COMPLETE"]
    assert study.best_trial().number == 3


def test_locked_database_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    other = sqlite3.connect(tmp_path / "study.db", check_same_thread=False)
    study = open_storage(url, tmp_path)
    other.execute("BEGIN EXCLUSIVE")
    timer = threading.Timer(7, other.rollback)
    timer.start()
    study.optimize(suggest)
    assert [trial.state.name for trial in study.optuna_study.trials] == ["COMPLETE"] * 3
    monkeypatch.setattr("sentiment.analysis.study_storage.PATIENCE", 0.1)
    timer.join()
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(InputError, match=r"^tune\.storage: database is locked$"):
        open_storage(url, tmp_path)
    other.close()


def test_unusable_databases_are_reported_in_one_line(tmp_path: Path) -> None:
    damaged, newer = tmp_path / "damaged.db", tmp_path / "newer.db"
    damaged.write_bytes(bytes(range(256)) * 100)
    open_storage(f"sqlite:///{newer}", tmp_path)
    with closing(sqlite3.connect(newer)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v9.0.0'")
    for path, message in ((damaged, "file is not a database"), (newer, "no longer compatible")):
        with pytest.raises(InputError, match=rf"^tune\.storage: .*{message}") as error:
            open_storage(f"sqlite:///{path}", tmp_path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql+pymysql://me:s3cret@host/db", r"write '\$\{oc.env:NAME\}' in its place"),
        ("me:s3cret@host/db", "is not a URL such as"),
    ],
)
def test_password_is_in_no_message(url: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        hide_password(url)
    assert "s3c" not in str(error.value)


def test_password_is_kept_out_of_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("postgresql://me:s3%2Fcret@host/db", "postgresql://me@host/db?password=s3/cret"):
        monkeypatch.setenv("PGPASSWORD", "")
        assert hide_password(url) == "postgresql://me@host/db"
        assert os.environ["PGPASSWORD"] == "s3/cret"


def test_folders_of_others_are_left_alone(open_study: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match=r"is not empty; choose another hydra\.run\.dir"):
        open_study()
    (tmp_path / "notes.txt").unlink()
    open_study()
    (tmp_path / "trial_0000").mkdir()  # of a study whose database was removed
    with pytest.raises(InputError, match="trial_0000: is not of this study; move it away"):
        open_study()
    with pytest.raises(InputError, match=r"holds another study, tune\.name=default; choose"):
        open_study("tune.name=other")
    with pytest.raises(InputError, match="URL cannot name a folder with"):
        open_study(folder=tmp_path / "what?")  # the database would be the file "what"
    RunFolder(tmp_path).config_file.write_text("data: {}")
    with pytest.raises(InputError, match="holds a run; choose another"):
        open_study()
