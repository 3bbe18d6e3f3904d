"""Studies: what is searched, pruned, cut, shared, and tested at the end."""

import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from hydra import compose, initialize_config_dir
from optuna.trial import TrialState
from pytorch_lightning import Callback, Trainer

from sentiment.errors import InputError
from sentiment.settings import CONF
from sentiment.train import train
from sentiment.tune import Tuning

from .conftest import background, command, metrics_of

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

QUICK = ["data=files", "trainer=cpu", "data.maxlen=16", "model.embedding_dim=8", "model.dropout=0", "baseline=none",
         "callbacks.inspection=null", "trainer.enable_progress_bar=false", "callbacks.progress=null"]  # fmt: skip


@pytest.fixture
def started(small: Path, tmp_path: Path) -> Iterator[Any]:
    """Composes and opens a study."""

    def start(*overrides: str, folder: Path = tmp_path) -> Tuning:
        fixed = [*QUICK, f"data.path={small}", "trainer.max_epochs=2"]
        cfg = compose("tune", [*fixed, f"output_dir={folder}", *overrides])
        return Tuning(cfg, [*fixed, *(override for override in overrides if not override.startswith("hydra."))])

    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield start


def finish(study: Tuning) -> None:
    study.search()
    study.test_winner()


def states(study: Tuning) -> Counter[str]:
    return Counter(trial.state.name for trial in study.study.optuna.trials)


class Interrupted(Callback):
    """Presses Ctrl-C in the second trial's second epoch."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        if "trial_0001" in str(trainer.checkpoint_callback.dirpath) and trainer.current_epoch == 1:  # type: ignore[union-attr]
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
            os.kill(os.getpid(), signal.SIGINT)


class Diverges(Callback):
    """Leads the first trial astray."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        if "trial_0000" in str(trainer.checkpoint_callback.dirpath):  # type: ignore[union-attr]
            pl_module._loss_sum *= float("nan")


def test_a_study_searches_prunes_and_tests_the_winner_once(started: Any, tmp_path: Path, small: Path) -> None:
    never_below = ["tune.pruner._target_=optuna.pruners.ThresholdPruner", "~tune.pruner.n_startup_trials",
                   "+tune.pruner.lower=0.4", "tune.sampler.seed=1"]  # fmt: skip
    study = started("tune.trials=3", *never_below)
    assert set(study.space) == {"model.units", "optimizer", "optimizer.lr"}  # the others stand on the command line
    finish(study)
    assert states(study)["COMPLETE"] >= 1
    assert len(study.study.optuna.trials) == 3
    best = study.study.optuna.best_trial
    for trial in study.study.optuna.trials:
        metrics = metrics_of(tmp_path / f"trial_{trial.number:04}")
        assert metrics["status"] == ("pruned" if trial.state == TrialState.PRUNED else "finished")
        assert ("test/accuracy" in metrics) == (trial.number == best.number)
        assert trial.value == metrics["val/accuracy"] or trial.state == TrialState.PRUNED

    tested = (tmp_path / f"trial_{best.number:04}" / "metrics.json").stat().st_mtime_ns
    again = started("tune.trials=3", *never_below)
    finish(again)
    assert len(again.study.optuna.trials) == 3
    assert (tmp_path / f"trial_{best.number:04}" / "metrics.json").stat().st_mtime_ns == tested

    (tmp_path / "repeated").mkdir()  # by the command that is printed
    overrides = shlex.split(shlex.join(study.overrides(best.params)))
    train(compose("config", [*overrides, f"output_dir={tmp_path / 'repeated'}"]))
    winner, repeated = metrics_of(tmp_path / f"trial_{best.number:04}"), metrics_of(tmp_path / "repeated")
    assert {k: v for k, v in winner.items() if k.startswith(("val/", "test/"))} == {
        k: v for k, v in repeated.items() if k.startswith(("val/", "test/"))
    }


def test_unpromising_trials_are_pruned_after_an_epoch(started: Any, tmp_path: Path) -> None:
    never = ["tune.pruner._target_=optuna.pruners.ThresholdPruner", "~tune.pruner.n_startup_trials",
             "+tune.pruner.lower=2"]  # fmt: skip
    study = started("tune.trials=2", "trainer.max_epochs=9", *never)
    with pytest.raises(InputError, match="no trial finished"):
        finish(study)
    assert states(study) == {"PRUNED": 2}
    assert metrics_of(tmp_path / "trial_0000")["epochs"] == 1


def test_a_study_goes_on_past_a_trial_that_diverges(
    started: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    study = started("tune.trials=2", "+callbacks.diverges._target_=tests.test_tune.Diverges")
    finish(study)
    assert [trial.state.name for trial in study.study.optuna.trials[:2]] == ["FAIL", "COMPLETE"]
    assert "trial 0 failed, the study goes on: step 9: training diverged" in caplog.text


def test_ctrl_c_loses_nothing_and_the_cut_trial_is_tried_again(started: Any, tmp_path: Path) -> None:
    bomb = "+callbacks.bomb._target_=tests.test_tune.Interrupted"
    study = started("tune.trials=3", bomb)
    with pytest.raises(KeyboardInterrupt):
        finish(study)
    assert states(study) == {"COMPLETE": 1, "FAIL": 1, "WAITING": 1}
    assert metrics_of(tmp_path / "trial_0001")["status"] == "interrupted"
    study = started("tune.trials=3", bomb)
    finish(study)
    assert states(study)["COMPLETE"] + states(study)["PRUNED"] == 3
    assert study.study.optuna.trials[2].params == study.study.optuna.trials[1].params


@pytest.mark.parametrize(
    ("first", "then", "message"),
    [
        ([], ["trainer.max_epochs=3"], "was started with trainer.max_epochs=2, not 3; keep that, or take another"),
        ([], ["optimizer=adam"], "was started with .*keep that, or take another tune.name"),
        ([], ["objective=val/loss"], "was started with objective=val/accuracy; take another tune.name"),
        (None, ["objective=val/f1"], "objective=val/f1: must be one of"),
        (None, ["tune.trials=0"], "tune.trials=0: must be a whole number"),
        (None, ["tune.space.optimizer.kind=normal"], "tune.space.optimizer.kind=normal: must be one of categorical"),
        (None, ["tune.storage=nonsense"], "tune.storage: "),
        (None, ["tune.storage=postgresql+psycopg://nobody@127.0.0.1:9/none"], "tune.storage: .*refused"),
        (None, ["tune.sampler.seed=x"], "tune.sampler: "),
        (None, ["data.validate_on=test"], "data.validate_on=test: must be one of train"),
        (None, ["test=last"], "test=last: must be one of best, False"),
        (None, ["trainer=ddp"], "trainer: a sweep .* trains each run on one device"),
        (None, ["trainer.devices=2"], "trainer: a sweep .* trains each run on one device"),
    ],
)
def test_wrong_settings_are_told_in_one_line(
    started: Any, first: Sequence[str] | None, then: Sequence[str], message: str
) -> None:
    if first is not None:
        with pytest.warns(UserWarning, match="Heartbeat"):
            started(*first).study.optuna.ask()
    with pytest.raises(InputError, match=message) as refused:
        started(*then)
    assert "\n" not in str(refused.value)


def test_a_space_that_train_refuses_ends_the_study(started: Any) -> None:
    study = started("tune.trials=3", "tune.space.optimizer.choices=[nadam]")
    with pytest.raises(InputError, match=r"trial 0: tune\.space: .*nadam"):
        finish(study)
    assert states(study) == {"FAIL": 1}
    finish(started("tune.trials=2", "tune.space.optimizer.choices=[adam]"))  # a failure alone keeps nothing


@pytest.mark.slow
def test_a_trial_that_was_cut_before_its_first_heartbeat_is_tried_again(started: Any) -> None:
    study = started("tune.trials=2", "tune.heartbeat=1")
    with pytest.warns(UserWarning, match="Heartbeat"):
        study.study.optuna.ask()  # and its worker is killed
    finish(study)
    assert states(study) == {"FAIL": 1, "COMPLETE": 2}
    assert 0 in (study.study.cut(1), study.study.cut(2))


def test_a_study_keeps_its_data(started: Any, small: Path, tmp_path: Path) -> None:
    finish(started("tune.trials=1"))
    copied, other = tmp_path / "copied", tmp_path / "other"
    for folder in (copied, other):
        shutil.copytree(small, folder)
    finish(started("tune.trials=2", f"data.path={copied}"))  # the same, elsewhere
    (other / "train.csv").write_text((small / "train.csv").read_text().replace("film", "movie"))
    with pytest.raises(InputError, match="was started with the data's words and labels"):
        finish(started("tune.trials=3", f"data.path={other}"))


@pytest.mark.slow
def test_a_study_killed_in_mid_trial_goes_on_and_tries_that_trial_again(small: Path, tmp_path: Path) -> None:
    """Kills 1 worker at its third trial."""
    long = ["trainer.max_epochs=20", "callbacks.early_stopping=null"]  # a trial takes seconds
    line = [f"data.path={small}", *long, "tune.trials=5", "tune.heartbeat=1"]
    killed = background(*QUICK, *line, cwd=tmp_path, module="tune")
    assert killed.stdout
    for text in killed.stdout:
        if text.startswith("trial 2: model"):
            time.sleep(0.3)
            killed.kill()
            break
    killed.stdout.close()
    assert killed.wait() == -signal.SIGKILL
    url = f"sqlite:///{tmp_path}/outputs/studies/default/study.db"
    before = optuna.load_study(study_name="default", storage=url).trials
    assert [trial.state.is_finished() for trial in before] == [True, True, False]
    done = command(*QUICK, *line, cwd=tmp_path, module="tune")
    assert done.returncode == 0, done.stdout + done.stderr
    after = optuna.load_study(study_name="default", storage=url).trials
    assert [trial.value for trial in after[:2]] == [trial.value for trial in before[:2]]
    assert after[2].state == TrialState.FAIL
    assert sum(trial.params == before[2].params for trial in after[3:]) == 1
    assert sum(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in after) == 5
    assert "which was trial 2 and was cut" in done.stdout


@pytest.fixture
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server of its own on loopback."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = str(programs[-1]) if programs else shutil.which("initdb")
    if not found:
        pytest.skip("PostgreSQL is not installed (Debian: apt install postgresql)")
    pytest.importorskip("psycopg", reason="the extra postgres is not installed")
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    with tempfile.TemporaryDirectory() as home, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        if user:
            shutil.chown(home, user)
        quiet: dict[str, Any] = {"user": user, "cwd": home, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run([found, "-D", f"{home}/db", "-U", "tester", "-A", "trust", "--no-sync"], check=True, **quiet)
        options = ["-D", f"{home}/db", "-p", str(port), "-h", "127.0.0.1", "-k", home, "-F"]
        server = subprocess.Popen([str(Path(found).with_name("postgres")), *options], **quiet)
        try:
            for _ in range(100):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            time.sleep(0.5)
            yield f"postgresql+psycopg://tester@127.0.0.1:{port}/postgres"
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)


@pytest.mark.slow
@pytest.mark.postgres
def test_two_workers_on_two_machines_share_one_study(small: Path, tmp_path: Path, postgres: str) -> None:
    """Two processes in two folders, as on two disks, and one PostgreSQL."""
    machines = [tmp_path / name for name in ("first", "second")]
    workers = []
    for machine in machines:
        machine.mkdir()
        line = [f"data.path={small}", "trainer.max_epochs=3", "tune.trials=10", "tune.heartbeat=1"]
        workers.append(background(*QUICK, *line, f"tune.storage={postgres}", cwd=machine, module="tune"))
    said = [process.communicate(timeout=300)[0] for process in workers]
    assert [process.returncode for process in workers] == [0, 0], "\n".join(said)
    storage = optuna.storages.RDBStorage(postgres)
    trials = optuna.load_study(study_name="default", storage=storage).trials
    storage.remove_session()
    storage.engine.dispose()
    assert 10 <= sum(trial.state.is_finished() for trial in trials) <= 11  # both may see that one is missing
    ran = [{path.name for path in machine.glob("outputs/studies/default/trial_*")} for machine in machines]
    assert not ran[0] & ran[1]
    assert len(ran[0] | ran[1]) == len(trials)
    assert min(map(len, ran)) >= 2
    assert sum(text.count("Test half, ") for text in said) == 1
    assert sum("on another machine" in text for text in said) == 1
