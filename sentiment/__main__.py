"""The command `sentiment`: `sentiment train …` is `python -m sentiment.train …`; no argument lists the commands."""

import ast
import os
import runpy
import sys
from importlib import import_module
from pathlib import Path

from sentiment import __version__
from sentiment.runtime.cli import did_you_mean, exit_with_error

HYDRA_COMMANDS = ("train", "tune", "evaluate", "audit")
COMMANDS = (*HYDRA_COMMANDS, "report", "predict", "explain", "neighbors", "export", "serve")


def main() -> None:
    """Run a command in this process, as `python -m` does, so that Lightning can repeat it on other devices."""
    name = sys.argv.pop(1) if len(sys.argv) > 1 else "--help"
    if name in COMMANDS:
        if not sys.flags.safe_path:
            sys.path.insert(0, os.getcwd())  # for the user's own classes, as `python -m` does
        runpy.run_module(f"sentiment.{name}", run_name="__main__", alter_sys=True)
    elif name in ("-h", "--help"):
        usage = "Usage: sentiment COMMAND …, or python -m sentiment.COMMAND …"
        print(usage, "", *map(_summary, COMMANDS), "", "See sentiment COMMAND --help.", sep="\n")
    elif name == "-sc":
        _complete()
    elif name == "--version":
        print(f"sentiment {__version__}")
    else:
        hint = did_you_mean(name, COMMANDS) or "; see python -m sentiment"
        exit_with_error(f"{name}: no such command{hint}")


def _complete() -> None:
    """Install Hydra's shell completion for `sentiment`, or answer it for a command and its settings."""
    program, _, line = os.environ.get("COMP_LINE", "").partition(" ")
    command, space, settings = line.lstrip().partition(" ")
    if program and not space:
        print(" ".join(COMMANDS))
    elif not program or command in HYDRA_COMMANDS:
        os.environ["COMP_LINE"] = f"{program} {settings}"  # as Hydra expects it
        sys.argv.insert(1, "-sc")
        import_module(f"sentiment.{command or 'train'}").main()


def _summary(command: str) -> str:
    """The first line of a module's docstring, read without importing the module."""
    tree = ast.parse(Path(__file__).with_name(f"{command}.py").read_text(encoding="utf-8"))
    return f"  {command:<10} {str(ast.get_docstring(tree)).splitlines()[0]}"


if __name__ == "__main__":
    main()
