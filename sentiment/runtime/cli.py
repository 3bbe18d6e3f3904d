"""Command lines: one-line errors, exit codes, and the parser of the commands that take free text."""

import argparse
import gc
import io
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from sentiment.runtime.errors import InputError

UNSURE_HELP = 'label of texts of a lower probability is "unsure" (default: 0)'
_CONTROL_CHARS = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def escape_control_chars(text: str) -> str:
    """Write what a terminal would obey, also changes of direction, as escapes such as `\\x1b`."""
    return _CONTROL_CHARS.sub(lambda found: ascii(found[0])[1:-1], text)


def exit_with_error(error: object) -> NoReturn:
    """Print one line to standard error and exit with code 2."""
    print(f"error: {escape_control_chars(str(error))}", file=sys.stderr)
    sys.exit(2)


def open_standard_streams() -> None:
    """Open the null device in place of the standard streams that the caller has closed (`2>&-`).

    Otherwise the next files that are opened get their numbers, and what a library prints goes there.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115


def start_command() -> None:
    """Prepare the process of a command: its standard streams, and a collector of garbage that rarely runs.

    Importing PyTorch and Lightning makes a million objects and no garbage; with Python's threshold of 700 objects a
    fifth of that time would go into looking for some.
    """
    open_standard_streams()
    gc.set_threshold(10_000)


class ConsoleHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Logs to what `sys.stdout` is at the time: rich, while it shows a bar, prints above it."""

    def emit(self, record: logging.LogRecord) -> None:
        self.setStream(sys.stdout)
        super().emit(record)


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """`; did you mean adam?` for `adm`, or nothing if no choice is similar."""
    match = get_close_matches(name, [*choices], 1)
    return f"; did you mean {match[0]}?" if match else ""


class CommandParser(argparse.ArgumentParser):
    """Parser of `python -m sentiment.<command>`; `--help` shows the docstring of the module."""

    def __init__(self, command: str, description: str | None) -> None:
        raw = argparse.RawDescriptionHelpFormatter
        program = f"python -m sentiment.{command}"
        super().__init__(prog=program, description=description, formatter_class=raw)

    def add_checkpoint(self, **options: Any) -> None:
        """Add `checkpoint`, and `--trust` for those with classes of other modules."""
        self.add_argument("checkpoint", type=Path, help="run directory or checkpoint", **options)
        text = "module outside this package whose classes the checkpoint may name; may be repeated"
        self.add_argument("--trust", action="append", default=[], metavar="MODULE", help=text)

    def error(self, message: str) -> NoReturn:
        """Print one line instead of the usage."""
        flag = message.partition("unrecognized arguments: ")[2].partition(" ")[0].partition("=")[0]
        hint = did_you_mean(flag, self._option_string_actions) or f"; see {self.prog} --help"
        exit_with_error(f"{message}{hint}")

    def run(self, command: Callable[[argparse.Namespace], object]) -> None:
        """Parse the arguments, run the command and exit: 2 invalid input, 130 Ctrl-C, 141 closed pipe."""
        start_command()
        if isinstance(sys.stdout, io.TextIOWrapper):  # results are UTF-8 whatever the locale
            sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
        arguments = self.parse_intermixed_args()
        try:
            command(arguments)
            sys.stdout.flush()
        except InputError as error:
            exit_with_error(error)
        except ModuleNotFoundError as error:
            exit_with_error(f"{error}; install it: pip install {error.name}")
        except KeyboardInterrupt:
            sys.exit(130)
        except OSError as error:  # of standard output; other files have their own messages
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, sys.stdout.fileno())  # else Python complains on exit
            if isinstance(error, BrokenPipeError):
                sys.exit(141)
            name = error.filename or "standard output"
            exit_with_error(f"{name}: {error.strerror}; free some space or choose another place")


def progress_options() -> dict[str, Any]:
    """Of rich's progress bars: on stderr, if that is a terminal, and not in a quiet run."""
    from rich import get_console
    from rich.console import Console

    console = Console(stderr=True)
    hidden = get_console().quiet or not console.is_interactive
    return {"console": console, "transient": True, "disable": hidden}
