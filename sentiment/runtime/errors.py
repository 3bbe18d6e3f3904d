"""Errors that the user can fix, and the checks that raise them."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class InputError(ValueError):
    """Invalid settings, data or files.

    The message is one line: the key or file, what is wrong, what to do. Commands print it without a traceback and exit
    with code 2.
    """


class ArgumentError(InputError):
    """An argument out of range. `prefix_key` turns the name of the argument into the key of the configuration."""


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
    """Raise `ArgumentError` for the first argument that is not an integer of at least `minimum`."""
    for name, value in arguments.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            raise ArgumentError(f"{name}={value}: must be an integer >= {minimum}")


def check_seed(**arguments: object) -> None:
    """Raise `ArgumentError` for the first argument that is no seed of NumPy."""
    for name, value in arguments.items():
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 32:
            raise ArgumentError(f"{name}={value}: must be an integer from 0 to {(1 << 32) - 1}")


def check_choice(choices: tuple[object, ...], **arguments: object) -> None:
    """Raise `ArgumentError` for the first argument that is not one of `choices`."""
    for name, value in arguments.items():
        if value not in choices:
            shown = ("null" if choice is None else str(choice) for choice in choices)
            raise ArgumentError(f"{name}={value}: must be one of {', '.join(shown)}")


def check_fraction(**arguments: object) -> None:
    """Raise `ArgumentError` for the first argument that is not a float in the open interval (0, 1)."""
    for name, value in arguments.items():
        if not isinstance(value, float) or not 0 < value < 1:
            raise ArgumentError(f"{name}={value}: must be between 0 and 1, both excluded")


def check_dropout(**arguments: object) -> None:
    """Raise `ArgumentError` for the first argument that is not a number in the half-open interval [0, 1)."""
    for name, value in arguments.items():
        if not isinstance(value, int | float) or not 0 <= value < 1:
            raise ArgumentError(f"{name}={value}: must be at least 0 and below 1")


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
    """The kind of an error in somebody's code, its message and where it was raised: `TypeError: … (cnn.py, line 3)`."""
    *_, frame = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__}: {one_line(error)} ({Path(frame.filename).name}, line {frame.lineno})"


def one_line(error: BaseException) -> str:
    """The message of an error of some library, without line breaks."""
    return " ".join(str(error).split())
