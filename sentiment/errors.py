"""The one kind of error that is the user's to mend."""


class InputError(ValueError):
    """Wrong settings, data or files.

    The message is one line that names the key or file, says what is wrong and what to do. Command-line programs
    print it without a traceback and exit with code 2.
    """


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
