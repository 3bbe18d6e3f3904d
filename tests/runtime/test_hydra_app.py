"""Commands of Hydra: one line for whatever cannot be read, output folders, exit codes."""

import copy
import logging
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError

from sentiment.runtime import hydra_app
from sentiment.runtime.config import CONF_DIR
from sentiment.runtime.errors import InputError
from sentiment.runtime.hydra_app import format_help, run_hydra_app
from tests.helpers import compose_config, compose_hydra_config

CONFIGS = {"train": "config", "tune": "tune", "evaluate": "evaluate"}


Run = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command whose job does nothing, and return the one line that it fails with."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "")

    def fail(*arguments: str, name: str = "train") -> str:
        monkeypatch.setattr(sys, "argv", [f"sentiment/{name}.py", *arguments])
        with pytest.raises(SystemExit) as exited:
            run_hydra_app(lambda cfg: pytest.fail("the job ran"), CONFIGS[name], None)
        assert exited.value.code == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        assert not [*tmp_path.rglob("*.yaml")]
        return lines[0].removeprefix("error: ")

    return fail


APPEND = "no such key; To append to your config use"


AMBIGUOUS = "Ambiguous value for argument 'model.units=3,4' 1. To use it as a list, use key=[value1"


N_ESTIMATORS = "baseline.random_forest.estimator.n_estimators"


INVALID_COMMAND_LINES = [  # arguments, start of the message
    ("sede=3", "sede: no such key; did you mean seed?"),
    ("--cfg x", "argument --cfg/-c: invalid choice: 'x'"),
    ("--multirun=", "argument --multirun/-m: ignored explicit argument"),
    ("model.unit=3", "model.unit: no such key; did you mean model.units?"),
    ("data.max_len=3", "data.max_len: no such key; did you mean data.maxlen?"),
    (
        "callbacks.early_stoping.patience=3",
        "callbacks.early_stoping: no such key; did you mean callbacks.early_stopping?",
    ),
    (f"{N_ESTIMATORS[:-1]}=3", f"{N_ESTIMATORS[:-1]}: no such key; did you mean {N_ESTIMATORS}?"),
    (
        "experiment=best trainer.precison=3",
        "trainer.precison: no such key; did you mean trainer.precision?",
    ),
    (
        "optimizer=sgd optimizer.momentums=3",
        "optimizer.momentums: no such key; did you mean optimizer.momentum?",
    ),
    ("hydra.run.dirr=x", "hydra.run.dirr: no such key; did you mean hydra.run.dir?"),
    ("maxlen=3", "maxlen: no such key; did you mean data.maxlen?"),
    ("epochs=3", "epochs: no such key; did you mean trainer.max_epochs?"),
    ("optimiser=sgd", "optimiser: no such key; did you mean optimizer?"),
    ("launcher=joblib", "launcher: no such key; did you mean hydra/launcher?"),
    ("foo.bar=3", f"foo: {APPEND} +foo.bar=3"),
    (
        "optimizer.weight_decay=0.1",
        f"optimizer.weight_decay: {APPEND} +optimizer.weight_decay=0.1",
    ),
    ("+seed=3", "Could not append to config. An item is already at 'seed'"),
    ("~foo", "Could not delete from config. 'foo' does not exist"),
    (
        "optimizer=adm",
        "optimizer=adm: no such option; did you mean adam? (adagrad, adam, adamw, rmsprop, sgd)",
    ),
    ("scheduler=null", "scheduler=null: Config group override must be a string"),
    ("-m model.unit=3,4", "model.unit: no such key; did you mean model.units?"),
    ("-m seed=1,2 model.unit=3", "model.unit: no such key; did you mean model.units?"),
    ("experiment=sweep model.unit=3,4", "model.unit: no such key; did you mean model.units?"),
    ("-m optimizer=adam,adm", "optimizer=adm: no such option; did you mean adam?"),
    (
        "-m hydra/launcher=jobib seed=1,2",
        "hydra/launcher=jobib: no such option; did you mean joblib?",
    ),
    ("model.units=3,4", AMBIGUOUS),
    ("seed", "seed: is not KEY=VALUE"),
    ("data.path=a b.csv", "b.csv: is not KEY=VALUE"),
    ("hydra.job.chdir=maybe", "hydra.job.chdir: Value 'maybe' is not a valid bool"),
    ("hydra.sweep.dir=[1]", "hydra.sweep.dir: Cannot convert 'list' to string"),
    ("--multirunn", "--multirunn: no such flag, or not at its place; did you mean --multirun?"),
    ("seed=1 -m units=3,4", "units: no such key; did you mean model.units?"),
    ("-m model.dropout=interval(0,0.5)", "BasicSweeper does not support sweep type : INTERVAL"),
    ("-m --cfg job", "Only one of --run, --multirun, --cfg"),
    ("--config-name nope", "Cannot find primary config 'nope'"),
    ("--config-dir nope", "Additional config directory"),
]


@pytest.mark.parametrize(
    ("line", "message"), INVALID_COMMAND_LINES, ids=[line for line, _ in INVALID_COMMAND_LINES]
)
def test_invalid_command_lines_are_answered_in_one_line(line: str, message: str, run: Run) -> None:
    assert run(*line.split()).startswith(message)
    assert not [*Path.cwd().iterdir()]  # not even an empty folder


@pytest.mark.skipif(shutil.which("srun") is not None, reason="there is a Slurm cluster")
def test_launcher_without_its_cluster_is_reported_in_one_line(run: Run) -> None:
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    assert "srun" in run("-m", "hydra/launcher=slurm", "seed=1,2")


@pytest.mark.parametrize("name", ["tune", "evaluate"])
def test_other_commands_explain_their_keys_too(name: str, run: Run) -> None:
    assert run("data.pth=x", name=name) == "data.pth: no such key; did you mean data.path?"
    assert run("foo=x", name=name) == f"foo: {APPEND} +foo=x"


@pytest.mark.parametrize(
    "value", ["my file(1).csv", "a=b", 'the "best" (1)', "it's (1)", "a\\(b)", "ends with\\ ("]
)
def test_the_quoting_that_an_error_shows_works(value: str, run: Run) -> None:
    shown = run(f"data.path={value}").partition("for the shell: ")[2]
    shell = subprocess.run(["sh", "-c", f"printf %s {shown}"], capture_output=True, text=True)
    [argument] = shell.stdout.splitlines()
    assert compose_config(argument).data.path == value


@pytest.mark.parametrize("kind", ["run", "sweep"])
def test_folders_named_by_the_time_are_made_for_one_process(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cfg = compose_hydra_config()
    key = f"hydra.{kind}.dir"
    first = Path(OmegaConf.select(cfg, key))  # the time is the same in all copies

    def make(*overrides: str) -> Path:
        copied = copy.deepcopy(cfg)
        copied.hydra.overrides.hydra = [*overrides]
        callback = hydra_app.MakeOutputFolder()
        (callback.on_run_start if kind == "run" else callback.on_multirun_start)(copied)
        folder = Path(OmegaConf.select(copied, key))
        assert folder.is_dir()
        return folder

    assert [make().name for _ in range(3)] == [first.name, f"{first.name}_2", f"{first.name}_3"]
    assert make(f"{key}={first}") == first  # set by the user
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert make() == first


def test_options_in_a_directory_of_the_user(
    run: Run, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("it's mine")
    (folder / "experiment").mkdir()
    (folder / "experiment" / "mine.yaml").write_text("# @package _global_\nseed: 7\n")
    assert (
        run("--config-dir", str(folder), "experiment=mine", "sede=3")
        == "sede: no such key; did you mean seed?"
    )
    assert "did you mean mine?" in run("--config-dir", str(folder), "experiment=mime")


@pytest.mark.parametrize("error", [KeyError("x"), ConfigCompositionException("x"), SystemExit(3)])
def test_errors_of_the_job_pass_through(
    error: BaseException, monkeypatch: Any, tmp_path: Path
) -> None:
    assert run_job_that_raises(error, monkeypatch, tmp_path) is error


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, ""),
        (InputError("a=1: invalid"), 2, "error: a=1: invalid\n"),
        (OSError(28, "No space left"), 2, "error: .*runs/.*: cannot be written .No space left.*\n"),
        (ConfigKeyError("x\ny"), 2, "error: None: x\n"),
    ],
)
def test_errors_of_the_user_end_a_job_in_one_line(
    error: BaseException, code: int, message: str, monkeypatch: Any, tmp_path: Path, capsys: Any
) -> None:
    ended = run_job_that_raises(error, monkeypatch, tmp_path)
    assert isinstance(ended, SystemExit)
    assert ended.code == code
    assert re.fullmatch(message, capsys.readouterr().err)


def run_job_that_raises(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> BaseException:
    """Run a command whose job raises; return what the command raises."""

    def job(cfg: DictConfig) -> None:
        raise error

    monkeypatch.chdir(folder)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "")
    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.setattr(logging.root, "handlers", [])  # Hydra adds some
    with pytest.raises(BaseException) as raised:  # noqa: PT011
        run_hydra_app(job, "config", None)
    return raised.value


@pytest.mark.parametrize("name", ["config", "tune", "evaluate"])
def test_help_shows_the_files_of_the_default_options(name: str) -> None:
    shown = format_help("Do it.", name)
    assert shown.startswith("Do it.\n")
    cfg: Any = compose_config(name=name)
    files = [*CONF_DIR.glob(f"{name}.yaml"), *CONF_DIR.glob("*/default.yaml")]
    for file in files:
        if file.parent == CONF_DIR or file.parent.name in cfg:
            assert textwrap.indent(file.read_text().rstrip(), "  ", lambda line: True) in shown


def test_help_shows_every_option_of_every_group() -> None:
    shown = format_help(None, "tune") + format_help(None, "config")
    listed = dict(re.findall(r"^  ([\w/]+)=(\S+\|\S+|default|cross_entropy)$", shown, re.MULTILINE))
    for file in CONF_DIR.glob("*/*.yaml"):
        if ": ???" not in file.read_text():
            assert file.stem in listed[file.parent.name].split("|")
    assert {"basic", "joblib", "slurm"} <= {*listed["hydra/launcher"].split("|")}
