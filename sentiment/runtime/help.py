"""The `--help` of commands that are configured by Hydra: the files of `conf/` as they are."""

from collections.abc import Iterator
from pathlib import Path
from textwrap import indent

import yaml  # type: ignore[import-untyped]
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

from sentiment.runtime.config import CONF_DIR

_LAUNCHERS = "hydra/launcher"
_FLAGS = """Flags:
  --cfg job         print the configuration
  --config-dir DIR  find options in DIR too: experiment=mine is DIR/experiment/mine.yaml
  --hydra-help      all flags, among them --info and --shell-completion"""


def format_help(doc: str | None, config_name: str) -> str:
    """Describe a command: its docstring, the options of each group, the files of the defaults."""
    files = dict.fromkeys(_list_defaults(CONF_DIR / f"{config_name}.yaml"))
    groups = {file.parent.name for file in files if file.parent != CONF_DIR} | {"experiment"}
    names = sorted(groups) + ([_LAUNCHERS] if config_name != "tune" else [])
    options = [f"  {name}={'|'.join(_list_options(name))}" for name in names]
    groups_text = "\n".join(["Groups and their options, set by GROUP=OPTION:", *options])
    title = "Settings of the default options, set by KEY=VALUE, in a group by GROUP.KEY=VALUE:"
    texts = [f"{file.relative_to(CONF_DIR)}:\n{_indent(file)}" for file in files]
    return "\n\n".join([(doc or "").strip(), groups_text, title, *texts, _FLAGS])


def _list_options(group: str) -> list[str]:
    """The options of a group, without those that leave a key to the options that extend them."""
    files = (CONF_DIR / group).glob("*.yaml")
    names = {file.stem for file in files if ": ???" not in file.read_text(encoding="utf-8")}
    if group == _LAUNCHERS:
        Plugins.instance()  # registers the installed ones
        names |= {name.removesuffix(".yaml") for name in ConfigStore.instance().list(group)}
    return sorted(names)


def _list_defaults(file: Path) -> Iterator[Path]:
    """A file of `conf/` and those that its defaults list selects."""
    yield file
    for item in yaml.safe_load(file.read_text(encoding="utf-8")).get("defaults", ()):
        group, options = next(iter(item.items())) if isinstance(item, dict) else ("", item)
        for option in options if isinstance(options, list) else [options]:
            path = file.parent / group / f"{option}.yaml"
            if path.exists():
                yield from _list_defaults(path)


def _indent(file: Path) -> str:
    return indent(file.read_text(encoding="utf-8").rstrip(), "  ", lambda line: True)
