"""The `--help` of commands that are configured by Hydra, made from the comments in `conf/`."""

import re
import shutil
import textwrap
from collections.abc import Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import yaml  # type: ignore[import-untyped]
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

from sentiment.runtime.config import CONF_DIR

_COLUMN = 36  # where descriptions start
_COMMENT = re.compile(r"[ \t]*#[ \t]*(.*(?:\n[ \t]+#.*)*)")  # at the end of a line, and indented lines that continue it
_FLAGS = {
    "--cfg job": "print the configuration",
    "--config-dir DIR": "find options in DIR too: experiment=mine is DIR/experiment/mine.yaml",
    "--hydra-help": "all flags, among them --info and --shell-completion",
}


class Setting(NamedTuple):
    """A key of a configuration file.

    Attributes:
        value: as written; None if the key holds an object or other keys.
        comment: what the file says about it.
    """

    value: str | None
    comment: str


class ConfigFile(NamedTuple):
    """A file of `conf/`, merged with the files that it extends.

    Attributes:
        header: first paragraph of the comment at its top, or the class that it configures.
        groups: the options that its defaults list selects.
        settings: by dotted key.
    """

    header: str
    groups: dict[str, Setting]
    settings: dict[str, Setting]


_LAUNCHER = Setting("basic", "runs the jobs of a sweep, -m KEY=A,B, one after another")


def format_help(doc: str | None, config_name: str) -> str:
    """Describe a command: its docstring, the options of each group, the keys of the default options."""
    config = read_config_file(CONF_DIR / f"{config_name}.yaml")
    groups = config.groups | ({} if config_name == "tune" else {"hydra/launcher": _LAUNCHER})
    options: dict[str, str] = {}
    settings = {key: setting for key, setting in config.settings.items() if not key.startswith("hydra.")}
    for group, (selected, comment) in groups.items():
        for name in option_names(group):
            file = CONF_DIR / group / f"{name}.yaml"
            option = read_config_file(file) if file.exists() else ConfigFile("", {}, {})
            options[f"{group}={name}"] = option.header
            if name in re.findall(r"\w+", selected or ""):
                default = f"Default: {comment}." if comment else "Default."
                options[f"{group}={name}"] = f"{default} {option.header}"
                settings |= {f"{group}.{key}": setting for key, setting in option.settings.items()}
    settings |= {key: setting for key, setting in config.settings.items() if re.fullmatch(r"hydra\..*\.dir", key)}
    rows = {key if value is None else f"{key}={value}": comment for key, (value, comment) in settings.items()}
    sections = {"Groups and their options": options, "Settings and their defaults": rows, "Flags": _FLAGS}
    return "\n\n".join([(doc or "").strip(), *(f"{title}:\n{_format_table(rows)}" for title, rows in sections.items())])


def option_names(group: str) -> list[str]:
    """The options of a group, without those that leave a key to the options that extend them."""
    files = (CONF_DIR / group).glob("*.yaml")
    names = {file.stem for file in files if ": ???" not in file.read_text(encoding="utf-8")}
    if group == "hydra/launcher":
        Plugins.instance()  # registers the installed ones
        names |= {name.removesuffix(".yaml") for name in ConfigStore.instance().list(group)}
    return sorted(names)


def read_config_file(path: Path) -> ConfigFile:
    """Read a file and the files that its defaults list names without a group."""
    text = path.read_text(encoding="utf-8")
    root = yaml.compose(text, yaml.SafeLoader)
    top = {key.value: value for key, value in root.value}
    comment = [line[1:].strip() for line in takewhile(lambda line: line.startswith("#"), text.splitlines())]
    is_global = comment[:1] == ["@package _global_"]
    paragraph = "\n".join(comment[is_global:]).strip().partition("\n\n")[0]
    header = " ".join(paragraph.split()) or (top["_target_"].value if "_target_" in top else "")
    groups: dict[str, Setting] = {}
    settings: dict[str, Setting] = {}
    for item in top["defaults"].value if "defaults" in top else ():
        if isinstance(item, yaml.MappingNode):
            groups |= {key: setting for key, setting in _read_settings(text, item) if not key.startswith("override ")}
        elif (parent := path.with_name(f"{item.value}.yaml")).exists():
            _, more_groups, more_settings = read_config_file(parent)
            groups |= more_groups
            settings |= more_settings
    if not is_global:  # else its keys are those of other groups
        for key, (value, about) in _read_settings(text, root):
            inherited = settings[key].comment if key in settings else ""
            settings[key] = Setting(value, about or inherited)
    return ConfigFile(header, groups, settings)


def _read_settings(text: str, node: yaml.MappingNode, prefix: str = "") -> Iterator[tuple[str, Setting]]:
    """Yield the keys of a mapping, with the comment at the end of the line."""
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        if name == "defaults" or key.value.startswith("_"):
            continue
        is_block = isinstance(value, yaml.MappingNode) and not value.flow_style
        found = _COMMENT.match(text, text.index(":", key.end_mark.index) + 1 if is_block else value.end_mark.index)
        comment = re.sub(r"\s*\n\s*#\s*", " ", found[1]) if found else ""
        if not is_block:
            yield name, Setting(text[value.start_mark.index : value.end_mark.index], comment)
            continue
        children = {child.value: grandchild for child, grandchild in value.value}
        if is_table := any("." in child for child in children):  # its keys cannot be set one by one
            yield name, Setting(None, f"{comment}: {', '.join(children)}")
        elif "_target_" in children:
            target = children["_target_"].value
            yield name, Setting(None, f"{comment} ({target})" if comment else target)
        elif comment:
            yield name, Setting(None, comment)
        if not is_table:
            yield from _read_settings(text, value, f"{name}.")


def _format_table(rows: Mapping[str, str]) -> str:
    width = min(shutil.get_terminal_size((100, 0)).columns, 100)
    lines = []
    for name, description in rows.items():
        indent = " " * _COLUMN
        first = f"  {name}".ljust(_COLUMN - 1) + " "
        if len(first) > _COLUMN and description:
            lines.append(first)
            first = indent
        lines.append(
            textwrap.fill(description, width, initial_indent=first, subsequent_indent=indent, break_long_words=False)
            or first
        )
    return "\n".join(line.rstrip() for line in lines)
