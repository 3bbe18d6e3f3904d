"""The command line: list of commands, help, and one line for whatever cannot be read."""

import copy
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError

import sentiment.__main__
from sentiment import __version__, train
from sentiment.runtime import hydra_app
from sentiment.runtime.cli import CommandParser
from sentiment.runtime.config import CONF_DIR, format_override, parse_overrides
from sentiment.runtime.errors import InputError
from sentiment.runtime.help import format_help
from sentiment.runtime.hydra_app import run_hydra_app
from sentiment.runtime.run_folder import RunFolder
from tests.helpers import ROOT, command, compose_config, compose_hydra_config

CONFIGS = {"train": "config", "tune": "tune", "evaluate": "evaluate"}
HEAVY = (
    "torch",
    "pytorch_lightning",
    "datasets",
    "optuna",
    "scipy",
    "matplotlib",
    "pandas",
    "sklearn",
)

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


def test_commands_are_listed_with_their_docstrings(
    capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr(sys, "argv", ["sentiment"])
    sentiment.__main__.main()
    listed = capsys.readouterr().out
    modules = {path.stem: path.read_text() for path in (ROOT / "sentiment").glob("*.py")}
    commands = {name for name, text in modules.items() if 'if __name__ == "__main__"' in text} - {
        "__main__"
    }
    assert commands == set(sentiment.__main__.COMMANDS)
    for name in commands:
        assert modules[name].startswith('"""')
        assert re.search(
            rf"^  {name} +{re.escape(modules[name][3:].splitlines()[0])}$", listed, re.MULTILINE
        )


def test_version_and_unknown_commands(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["sentiment", "--version"])
    sentiment.__main__.main()
    assert capsys.readouterr().out == f"sentiment {__version__}\n"
    for name, message in (("trian", "did you mean train?"), ("dance", "see python -m sentiment")):
        monkeypatch.setattr(sys, "argv", ["sentiment", name])
        with pytest.raises(SystemExit, match="2"):
            sentiment.__main__.main()
        assert capsys.readouterr().err == f"error: {name}: no such command; {message}\n"


def test_console_script_runs_the_module_as_python_m_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning starts its other processes by the name in `__main__.__spec__` and with `sys.argv`."""
    seen: list[Any] = []
    monkeypatch.setattr(sys, "path", ["/usr/bin", *sys.path[1:]])  # of a script

    def record(job: Any, config_name: str, doc: str) -> None:
        spec = sys.modules["__main__"].__spec__
        seen.append(
            (spec and spec.name, Path(sys.argv[0]).name, sys.argv[1:], config_name, sys.path[0])
        )

    monkeypatch.setattr(hydra_app, "run_hydra_app", record)
    monkeypatch.delitem(sys.modules, "sentiment.train")
    monkeypatch.setattr(sys, "argv", ["sentiment", "train", "seed=3", "trainer=ddp"])
    script = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["sentiment"]
    assert script == "sentiment.__main__:main"
    sentiment.__main__.main()
    assert seen == [
        ("sentiment.train", "train.py", ["seed=3", "trainer=ddp"], "config", str(Path.cwd()))
    ]


@pytest.mark.slow
def test_both_ways_to_start_a_command_compose_the_same(tmp_path: Path) -> None:
    arguments = ["--cfg", "job", "seed=3"]
    direct = command(*arguments, cwd=tmp_path)
    listed = command("train", *arguments, cwd=tmp_path, module="__main__")
    assert listed.stdout == direct.stdout != ""


@pytest.mark.parametrize("name", CONFIGS)
def test_help_shows_the_files_of_the_default_options(name: str) -> None:
    shown = format_help("Do it.", CONFIGS[name])
    assert shown.startswith("Do it.\n")
    cfg: Any = compose_config(name=CONFIGS[name])
    files = [*CONF_DIR.glob(f"{CONFIGS[name]}.yaml"), *CONF_DIR.glob("*/default.yaml")]
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


@pytest.mark.slow
def test_help_and_invalid_arguments_import_nothing_slow(tmp_path: Path) -> None:
    script = f"""
import contextlib, io, runpy, sys
for name in {sentiment.__main__.COMMANDS}:
    for argument in ("--help", "--hepl", "sede=3") if name in {[*CONFIGS]} else ("--help", "--hepl"):
        sys.argv[1:] = [argument]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
            runpy.run_module(f"sentiment.{{name}}", run_name="__main__", alter_sys=True)
    print(name, *(module for module in {HEAVY} if module in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    assert done.stdout.split() == [*sentiment.__main__.COMMANDS]
    assert len(done.stderr.splitlines()) == len(sentiment.__main__.COMMANDS) + len(CONFIGS)


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


def test_resumed_runs_have_a_configuration_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = compose_config("output_dir=x")
    folder = RunFolder(tmp_path / "run")

    def fail(*arguments: str) -> str:
        monkeypatch.setattr(
            sys, "argv", ["sentiment/train.py", f"resume={folder.path}", *arguments]
        )
        with pytest.raises(SystemExit, match="2"):
            train.main()
        return capsys.readouterr().err.replace(f"{folder.path}", "RUN")

    monkeypatch.setenv("HYDRA_FULL_ERROR", "")
    assert (
        fail()
        == "error: RUN: not a run directory (.hydra/config.yaml is missing); see outputs/runs\n"
    )
    folder.write_config(cfg)
    assert fail("model.unit=3") == "error: model.unit: no such key; did you mean model.units?\n"
    assert fail("foo=3") == f"error: foo: {APPEND} +foo=3\n"
    assert (
        fail("optimizer=sgd")
        == "error: optimizer=sgd: a resumed run keeps its optimizer; remove it\n"
    )
    other = "error: hydra.run.dir=other: a resumed run keeps its folder; remove it\n"
    assert fail("hydra.run.dir=other") == other
    folder.write_config(OmegaConf.create({key: cfg[key] for key in cfg if key != "lr_find"}))
    assert fail() == "error: resume=RUN: created by another version; start a new run\n"


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


@pytest.mark.parametrize(
    ("flag", "message"),
    [("--fiel", "did you mean --file?"), ("--zzz", "see python -m sentiment.predict --help")],
)
def test_misspelt_flags_of_other_commands(
    flag: str, message: str, capsys: Any, monkeypatch: Any
) -> None:
    parser = CommandParser("predict", None)
    parser.add_argument("--file")
    monkeypatch.setattr(sys, "argv", ["predict", f"{flag}=reviews.csv"])
    with pytest.raises(SystemExit, match="2"):
        parser.run(print)
    assert (
        capsys.readouterr().err == f"error: unrecognized arguments: {flag}=reviews.csv; {message}\n"
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("sentiment tr", "train"),
        ("sentiment train model.un", "model.units="),
        ("sentiment tune tune.tri", "tune.trials="),
        ("sentiment evaluate data=", "data=files"),
    ],
)
def test_shell_completion_knows_commands_and_settings(
    tmp_path: Path, line: str, expected: str
) -> None:
    start = [sys.executable, "-m", "sentiment", "-sc", "query=bash"]
    environment = os.environ | {
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "PYTHONPATH": str(CONF_DIR.parent),
    }
    done = subprocess.run(start, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout.split()


@pytest.mark.parametrize(
    "name", ["plain/run", "a b", "x,y=z", "it's", 'say "x"', "ü", "12", "a\\b", "[x"]
)
def test_override_can_be_typed_in_a_shell(name: str) -> None:
    (argument,) = shlex.split(format_override("resume", name))
    (override,) = parse_overrides([argument])
    assert override.value() == name
