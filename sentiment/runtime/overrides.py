"""Explains in one line why Hydra rejects an override."""

import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from difflib import SequenceMatcher, get_close_matches
from itertools import product
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sentiment.runtime.cli import did_you_mean
from sentiment.runtime.config import parse_overrides

RENAMED_KEYS = {  # regular expressions of keys in earlier versions, and the new keys
    "adversarial": "adversarial_epsilon",
    "test": "test_ckpt",
    "data.val_rows": "data.val_split",
    "model.ngrams": "model.max_ngram",
    "model.(ngram_rows|ngram_buckets)": "model.min_ngram_count, the minimum frequency of an n-gram",
    "model.chunk": "model.chunk_length",
    "model.vectors": "model.embedding_init",
    "callbacks.inspection": "callbacks.diagnostics",
    r"logger\.(save_dir|name|version|default_hp_metric)": r"logger.tensorboard.\1",
    "tune.heartbeat": "tune.heartbeat_interval",
    r"baseline.(\w+).ngrams": r"baseline.\1.max_ngram",
}


def quote(text: str) -> str:
    """The text in quotes of Hydra's grammar."""
    return QuotedString(text, Quote.double).with_quotes()


def explain_syntax_error(line: str, overrides: Sequence[str]) -> str:
    """Say how to write an override that Hydra cannot parse.

    Args:
        line: the override.
        overrides: all of the command line.
    """
    key, equals, value = line.partition("=")
    with suppress(OverrideParseException):
        if equals and key:
            parse_overrides([quoted := f"{key}={quote(value)}"])
            return f"{line}: cannot be parsed; quote the value for Hydra and for the shell: {shlex.quote(quoted)}"
    before = overrides[overrides.index(line) - 1] if line in overrides[1:] and not equals else None
    advice = f"if it belongs to the value before it, type {shlex.quote(f'{before} {line}')}" if before else ""
    return f"{line}: is not KEY=VALUE; {advice or f'see {_help_command()}'}"


def find_invalid_override(config_name: str, overrides: Sequence[str]) -> str | None:
    """Describe the first override whose option or key does not exist; Hydra must be initialized.

    Returns:
        One line, or None if each override is valid or invalid for another reason.
    """
    loader = GlobalHydra.instance().config_loader()
    search_path = [line for line in overrides if line.startswith("hydra.searchpath=")]
    selections: dict[str, list[str]] = {}  # an option of each group, or those of a sweep
    settings: list[Override] = []
    for override in OverridesParser.create(config_loader=loader).parse_overrides([*overrides]):
        key, lines = override.key_or_group, _expand(override)
        options = loader.get_group_options(key, config_name=config_name, overrides=search_path) if key else []
        if not options or "={" in lines[0]:
            for old, new in RENAMED_KEYS.items():
                if re.match(rf"{old}(\.|$)", key):
                    return f"{key}: renamed to {re.sub(f'^{old}', new, key)}"
            settings.append(override)
            continue
        selections[key] = lines
        for name in (name for line in lines for name in re.findall(r"[^][,'\"\s]+", line.partition("=")[2])):
            if name not in options:
                hint, listed = did_you_mean(name, options), ", ".join(options)
                return f"{key}={name}: no such option{f'{hint} ({listed})' if hint else f'; choose one of {listed}'}"
    for key, lines in selections.items():
        if not any(override.key_or_group.startswith(f"{key}.") for override in settings):
            del lines[1:]  # the keys that are set exist or not whatever the option
    groups = [*loader.list_groups(""), *(f"hydra/{group}" for group in loader.list_groups("hydra"))]
    with suppress(HydraException, OmegaConfBaseException, ValueError):  # for which Hydra's message has to do
        for lines in map(list, product(*selections.values())):
            cfg: Any = OmegaConf.to_container(loader.load_configuration(config_name, search_path + lines, RunMode.RUN))
            keys = dict.fromkeys(groups) | cfg
            messages = (_check_key(keys, override) for override in settings)
            if message := next(filter(None, messages), None):
                return message
    return None


def _expand(override: Override) -> list[str]:
    """The override for each job of a sweep."""
    if override.is_sweep_override() and override.is_discrete_sweep():
        return [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
    return [str(override.input_line)]


def _check_key(cfg: dict[str, Any], override: Override) -> str | None:
    """Describe a key that does not exist; the keys of `cfg` include all groups."""
    key, line = override.key_or_group, str(override.input_line)
    node: Any = cfg
    target = ""
    for name in key.split("."):
        if isinstance(node, list):
            return None
        if not isinstance(node, dict) or name not in node:
            break
        target = str(node[name].get("_target_", "")) if isinstance(node[name], dict) else ""
        node = node[name]
    else:
        group, value = key.replace(".", "/"), line.partition("=")[2]
        if group != key and group in cfg and not value.startswith("{"):
            return f"{line}: is a group; type {group}={value}"
        if override.is_add() and not isinstance(node, dict | list):
            return f"{line}: the key exists; remove the +"
        return None
    if override.is_add() or override.is_force_add():
        return None
    if match := _closest_key(cfg, key, anywhere=not target):
        return f"{key}: no such key; did you mean {match}?"
    if target and not target.startswith("sentiment.") and not override.is_delete():
        return f"{key}: no such key; +{line} passes it to {target}"
    return f"{key or line}: no such key; see {_help_command()}"


def _closest_key(cfg: dict[str, Any], key: str, anywhere: bool) -> str | None:
    """The key with the most similar names, or the key `anywhere` with a similar last name."""
    node: Any = cfg
    path: list[str] = []
    for name in key.split("."):
        if not isinstance(node, dict):
            return ".".join(path)
        match = [name] if name in node else get_close_matches(name, node, 1, 0.75)
        if not match:
            break
        path += match
        node = node[match[0]]
    else:
        return ".".join(path)
    if not anywhere:
        return None
    name = re.split("[./]", key)[-1]
    ratios = {other: SequenceMatcher(None, re.split("[./]", other)[-1], name).ratio() for other in _dotted_keys(cfg)}
    best = max(ratios, key=lambda other: ratios[other])  # the first one of several
    return best if ratios[best] >= 0.75 else None


def _dotted_keys(cfg: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in cfg.items():
        if isinstance(name, str) and not name.startswith("_") and "." not in name and f"{prefix}{name}" != "hydra":
            yield f"{prefix}{name}"
            if isinstance(value, dict):
                yield from _dotted_keys(value, f"{prefix}{name}.")


def _help_command() -> str:
    command = Path(sys.argv[0]).stem
    return f"python -m sentiment.{command if command in ('train', 'tune', 'evaluate') else 'train'} --help"
