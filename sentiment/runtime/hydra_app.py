"""Commands that are configured by Hydra: their help, output folders, and errors in one line."""

import functools
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import SequenceMatcher
from pathlib import Path
from textwrap import indent
from typing import Any

import hydra
import yaml
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.errors import MissingConfigException, OverrideParseException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from sentiment.runtime.cli import did_you_mean, exit_with_error, start_command
from sentiment.runtime.config import CONF_DIR, format_override, quote
from sentiment.runtime.errors import InputError, one_line
from sentiment.runtime.files import (
    check_writable,
    describe_write_error,
    is_first_process,
    make_folder,
    make_unique_folder,
    remove_if_empty,
    remove_sweep_folder,
)


def run_hydra_app(job: Callable[[DictConfig], Any], config_name: str, doc: str | None) -> None:
    """Run `job` with the configuration that the command line composes, in a folder of its own.

    Exits with 2 and one line for an invalid command line, invalid input and full disks, and with
    130 after Ctrl-C; other errors of `job` pass through.
    """
    start_command()
    overrides = _parse_flags(config_name, doc)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra would print errors itself
    started = False

    @functools.wraps(job)
    def run(cfg: DictConfig) -> Any:
        nonlocal started
        started = True
        with _exit_on_user_error(cfg):
            return job(cfg)

    main = hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=config_name)
    try:
        main(run)()  # Hydra calls MakeOutputFolder, then the job
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if started:
            raise
        remove_sweep_folder()
        exit_with_error(explain(error, overrides))


def _parse_flags(config_name: str, doc: str | None) -> list[str]:
    """The overrides of the command line; prints its help, and refuses flags that Hydra does not know."""
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda argument: argument not in ("-m", "--multirun"))
    parser = get_args_parser()
    parser.error = exit_with_error  # type: ignore[assignment, method-assign]  # else it prints its usage
    arguments, unknown = parser.parse_known_args()
    if unknown:  # argparse would print its usage
        hint = did_you_mean(unknown[0], parser._option_string_actions)
        exit_with_error(f"{unknown[0]}: no such flag, or not at its place{hint}")
    if arguments.help:
        print(format_help(doc, config_name))
        sys.exit()
    return list(arguments.overrides)


@contextmanager
def _exit_on_user_error(cfg: DictConfig) -> Iterator[None]:
    """Exit with code 2 and one line for invalid input and disks that are full."""
    try:
        yield
    except InputError as error:
        exit_with_error(error)
    except OmegaConfBaseException as error:  # a setting that is read is missing, or refers to one
        exit_with_error(f"{error.full_key}: {str(error).splitlines()[0]}")
    except OSError as error:
        exit_with_error(describe_write_error(error, Path(cfg.output_dir)))


class MakeOutputFolder(Callback):
    """Makes the folder of a run or a sweep, which Hydra would find unwritable only later.

    A folder that is named by the time is made for this process alone.
    """

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        _make_folder(config, "run")

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        is_sweep = (folder / "multirun.yaml").exists()
        if folder.is_dir() and any(folder.iterdir()) and not is_sweep:
            reason = "is not empty and no sweep's; choose a new folder"
            exit_with_error(f"hydra.sweep.dir={folder}: {reason}")
        _make_folder(config, "sweep")


def _make_folder(config: DictConfig, kind: str) -> None:
    settings, key = config.hydra[kind], f"hydra.{kind}.dir"
    pattern: Any = OmegaConf.to_container(settings, resolve=False)
    folder, overrides = Path(settings.dir), config.hydra.overrides.hydra
    is_named = any(line.startswith(f"{key}=") for line in overrides)
    try:
        if "${now:" in pattern["dir"] and not is_named and is_first_process():
            folder = make_unique_folder(folder)
            settings.dir = str(folder)
            overrides.append(f"{key}={quote(str(folder))}")  # of the jobs of a sweep
        make_folder(folder)
        check_writable(folder)
    except OSError as error:
        remove_if_empty(folder)
        exit_with_error(describe_write_error(error, folder))


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
