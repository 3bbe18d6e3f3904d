"""Labels of settings and classes in tables and figures."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len, set_cell_size

from sentiment.runtime.cli import escape_control_chars
from sentiment.runtime.config import format_distinctly

MAX_WIDTH = 24  # of a label, in columns of a terminal: a Chinese character has two


def shorten_keys(keys: Sequence[str]) -> dict[str, str]:
    """`maxlen` for `data.maxlen`, unless another key ends in `maxlen` too."""
    names = [key.rpartition(".")[2] for key in keys]
    return {
        key: name if names.count(name) == 1 else key for key, name in zip(keys, names, strict=True)
    }


def label_values(values: Sequence[Any]) -> list[str]:
    """The values of one setting, shortened unless that makes different ones look alike."""
    labels = format_distinctly(values)
    short = [shorten_label(label) for label in labels]
    in_full = [escape_control_chars(label) for label in labels]
    return short if len({*short}) == len({*in_full}) else in_full


def describe_settings(chosen: Mapping[str, Any], among: Sequence[Mapping[str, Any]]) -> str:
    """`maxlen 200, units 64`: in full where these would look like others of `among`."""
    labels = {key: label_values([chosen[key], *(other[key] for other in among)]) for key in chosen}
    return ", ".join(f"{name} {labels[key][0]}" for key, name in shorten_keys([*chosen]).items())


def shorten_label(text: str) -> str:
    """Escape control characters and cut the middle out: the end of a path says most."""
    text = escape_control_chars(text)
    if cell_len(text) <= MAX_WIDTH:
        return text
    start = MAX_WIDTH // 3
    end = MAX_WIDTH - start - 1
    return f"{set_cell_size(text, start)}…{set_cell_size(text[::-1], end)[::-1]}"
