"""The command line: list of commands, help, flags, completion, and runs to resume."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

import sentiment.__main__
from sentiment import __version__, train
from sentiment.runtime import hydra_app
from sentiment.runtime.cli import CommandParser
from sentiment.runtime.config import CONF_DIR
from sentiment.runtime.run_folder import RunFolder
from tests.helpers import ROOT, command, compose_config

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


@pytest.mark.slow
def test_help_and_invalid_arguments_import_nothing_slow(tmp_path: Path) -> None:
    script = f"""
import contextlib, io, runpy, sys
for name in {sentiment.__main__.COMMANDS}:
    invalid = ["--hepl", "sede=3"] if name in {sentiment.__main__.HYDRA_COMMANDS} else ["--hepl"]
    for argument in ["--help", *invalid]:
        sys.argv[1:] = [argument]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
            runpy.run_module(f"sentiment.{{name}}", run_name="__main__", alter_sys=True)
    print(name, *(module for module in {HEAVY} if module in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    assert done.stdout.split() == [*sentiment.__main__.COMMANDS]
    assert len(done.stderr.splitlines()) == len(
        sentiment.__main__.COMMANDS + sentiment.__main__.HYDRA_COMMANDS
    )


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
    append = "no such key; To append to your config use"
    assert fail("foo=3") == f"error: foo: {append} +foo=3\n"
    assert (
        fail("optimizer=sgd")
        == "error: optimizer=sgd: a resumed run keeps its optimizer; remove it\n"
    )
    other = "error: hydra.run.dir=other: a resumed run keeps its folder; remove it\n"
    assert fail("hydra.run.dir=other") == other
    folder.write_config(OmegaConf.create({key: cfg[key] for key in cfg if key != "lr_find"}))
    assert fail() == "error: resume=RUN: created by another version; start a new run\n"


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
