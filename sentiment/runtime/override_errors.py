"""Why Hydra rejects a command line, in one line: its own words, with the closest key or option."""

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any

from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from sentiment.runtime.cli import did_you_mean
from sentiment.runtime.config import format_override
from sentiment.runtime.errors import one_line


def explain(error: Exception, overrides: Sequence[str] = ()) -> str:
    """Describe what Hydra raised for these overrides."""
    cause = error.__cause__ or error
    lines = str(cause).splitlines()
    if isinstance(cause, MissingConfigException) and cause.options:
        group, _, name = str(cause.missing_cfg_file).rpartition("/")
        hint = did_you_mean(name, cause.options)
        return f"{group}={name}: no such option{hint} ({', '.join(cause.options)})"
    if isinstance(cause, OverrideParseException):
        key, equals, value = cause.override.partition("=")
        advice = f"quote the value for Hydra and for the shell: {format_override(key, value)}"
        reason = f"cannot be parsed; {advice}" if key and equals else "is not KEY=VALUE"
        return f"{cause.override}: {reason}"
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and cause.parent_node is not None:
        append = str(error).splitlines()[-1]
        return f"{cause.full_key}: no such key{_find_similar(cause) or f'; {append}'}"
    if isinstance(cause, OmegaConfBaseException):
        return f"{cause.full_key}: {lines[0]}"
    if "Config group override must be" in lines[0]:  # of GROUP=null, which Hydra does not name
        return f"{' '.join(overrides)}: {lines[0]}"
    return one_line(error)


def _find_similar(error: OmegaConfBaseException) -> str:
    """The key most like the one that is missing, beside it or below, as a whole or by its last name."""
    prefix, dot, name = str(error.full_key).rpartition(".")

    def similarity(key: str) -> float:
        parts = key, re.split("[./]", key)[-1]
        return max(SequenceMatcher(None, part, name).ratio() for part in parts)

    siblings = OmegaConf.to_container(error.parent_node)
    best = max(["hydra/launcher", *_list_keys(siblings)], key=similarity)
    return f"; did you mean {prefix}{dot}{best}?" if similarity(best) >= 0.7 else ""


def _list_keys(node: Any, prefix: str = "") -> Iterator[str]:
    for name, value in node.items() if isinstance(node, dict) else ():
        if name != "hydra":
            yield f"{prefix}{name}"
            yield from _list_keys(value, f"{prefix}{name}.")
