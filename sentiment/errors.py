"""The one kind of error that is the user's to mend, and how command lines tell it."""

import argparse
import io
import os
import re
import sys
from collections.abc import Callable
from typing import NoReturn


class InputError(ValueError):
    """Wrong settings, data or files.

    The message is one line that names the key or file, says what is wrong and what to do. Command-line programs
    print it without a traceback and exit with code 2.
    """


class DivergedError(InputError):
    """A training whose settings led it astray; a search may go on with others."""


def require_at_least(minimum: int, **settings: object) -> None:
    """Raises `InputError` for the first setting that is no whole number of at least `minimum`.

    A double underscore in a name stands for the dot of a config key: `data__maxlen` is reported as `data.maxlen`.
    """
    for name, value in settings.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            key = name.replace("__", ".")
            raise InputError(f"{key}={value}: must be a whole number, at least {minimum}")


def require_choice(choices: tuple[object, ...], **settings: object) -> None:
    """Raises `InputError` for the first setting that is not one of `choices`."""
    for name, value in settings.items():
        if value not in choices:
            key = name.replace("__", ".")
            raise InputError(f"{key}={value}: must be one of {', '.join(map(str, choices))}")


def require_fraction(**settings: object) -> None:
    """Raises `InputError` for the first setting that is no number between 0 and 1, both excluded."""
    for name, value in settings.items():
        if not isinstance(value, float) or not 0 < value < 1:
            key = name.replace("__", ".")
            raise InputError(f"{key}={value}: must lie between 0 and 1, both excluded")


_COMMANDS = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """With what a terminal would obey, control characters and changes of direction, as escapes: `\\x1b`."""
    return _COMMANDS.sub(lambda found: ascii(found[0])[1:-1], text)


def refuse(error: object) -> NoReturn:
    """Ends the program as every wrong input does: one line, exit code 2."""
    print(f"error: {printable(str(error))}", file=sys.stderr)
    sys.exit(2)


class Parser(argparse.ArgumentParser):
    """For `python -m sentiment.<tool>`, with the module's docstring as its help."""

    def __init__(self, tool: str, description: str | None) -> None:
        plain = argparse.RawDescriptionHelpFormatter
        super().__init__(prog=f"python -m sentiment.{tool}", description=description, formatter_class=plain)

    def error(self, message: str) -> NoReturn:
        """One line instead of the usage, which --help shows."""
        refuse(f"{message}; see {self.prog} --help")

    def run(self, work: Callable[[argparse.Namespace], object]) -> None:
        """Does the work and exits as the shell expects: 2 for wrong input, 130 for Ctrl-C, quietly on a closed pipe."""
        if isinstance(sys.stdout, io.TextIOWrapper):  # results are UTF-8 whatever the locale
            sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
        try:
            work(self.parse_intermixed_args())
            sys.stdout.flush()
        except InputError as error:
            refuse(error)
        except KeyboardInterrupt:
            sys.exit(130)
        except OSError as error:  # of standard output; what else is opened has its own message
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains when it ends
            if isinstance(error, BrokenPipeError):
                sys.exit(141)
            refuse(f"{error.filename or 'standard output'}: {error.strerror}; make room or choose another place")
