"""Errors that the user can fix, and the checks of arguments."""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class InputError(ValueError):
    """Invalid settings, data or files, in one line: the key or file, what is wrong, what to do.

    Commands print it without a traceback and exit with code 2.
    """


class ArgumentError(InputError):
    """An argument out of range; `prefix_key` turns its name into a key of the configuration."""


class DivergedError(InputError):
    """Training diverged. A study continues with its next trial."""


@contextmanager
def prefix_key(key: str) -> Iterator[None]:
    """Report an `ArgumentError` for `units` as one for `model.units` if `key` is `model`."""
    try:
        yield
    except ArgumentError as error:
        raise InputError(f"{key}.{error}") from error


def check_at_least(minimum: int, **arguments: object) -> None:
    _check(arguments, f"an integer >= {minimum}", lambda v: type(v) is int and v >= minimum)


def check_seed(**arguments: object) -> None:
    requirement = f"an integer from 0 to {(1 << 32) - 1}"  # as NumPy takes it
    _check(arguments, requirement, lambda v: type(v) is int and 0 <= v < 1 << 32)


def check_choice(choices: tuple[object, ...], **arguments: object) -> None:
    shown = ("null" if choice is None else str(choice) for choice in choices)
    _check(arguments, f"one of {', '.join(shown)}", lambda v: v in choices)


def check_fraction(**arguments: object) -> None:
    requirement = "between 0 and 1, both excluded"
    _check(arguments, requirement, lambda v: isinstance(v, float) and 0 < v < 1)


def check_probability(**arguments: object) -> None:
    _check(arguments, "from 0 to 1", lambda v: isinstance(v, int | float) and 0 <= v <= 1)


def check_dropout(**arguments: object) -> None:
    requirement = "at least 0 and below 1"
    _check(arguments, requirement, lambda v: isinstance(v, int | float) and 0 <= v < 1)


def _check(arguments: dict[str, Any], requirement: str, is_met: Callable[[Any], bool]) -> None:
    for name, value in arguments.items():
        if not is_met(value):
            raise ArgumentError(f"{name}={value}: must be {requirement}")


def check_kind(kind: type, **arguments: object) -> None:
    """Raise `ArgumentError` for the first argument that is not an object of a class."""
    for name, value in arguments.items():
        if not isinstance(value, kind):
            expected = f"{kind.__module__}.{kind.__name__}"
            raise ArgumentError(f"{name}: {type(value).__name__} is not derived from {expected}")


@contextmanager
def quote_errors(key: str) -> Iterator[None]:
    """Report errors of a library, or of somebody's class, in one line that names the key."""
    try:
        yield
    except (InputError, OSError):
        raise
    except Exception as error:
        raise InputError(f"{key}: {one_line(error)}") from error


def shorten(text: str, length: int = 40) -> str:
    """A text for a message, cut to `length` characters."""
    return text if len(text) <= length else text[: length - 1] + "…"


def describe_failure(error: BaseException) -> str:
    """Kind, message and place of an error in somebody's code: `TypeError: … (cnn.py, line 3)`."""
    *_, frame = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frame.filename).name}, line {frame.lineno}"
    return f"{type(error).__name__}: {one_line(error)} ({place})"


@contextmanager
def report_failure(what: str, kind: type[InputError] = InputError) -> Iterator[None]:
    """Report whatever somebody's code raises in one line that begins with `what`."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise kind(f"{what}, {describe_failure(error)}") from error


def one_line(error: BaseException) -> str:
    """The message of an error of some library, without line breaks."""
    return " ".join(str(error).split())
