"""Commands that are configured by Hydra: help, output folders, and errors in one line."""

import functools
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from difflib import SequenceMatcher, get_close_matches
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sentiment.runtime.cli import did_you_mean, exit_with_error, open_standard_streams
from sentiment.runtime.config import CONF_DIR, initialize_hydra, parse_overrides, quote
from sentiment.runtime.errors import one_line
from sentiment.runtime.files import describe_write_error
from sentiment.runtime.help import format_help
from sentiment.runtime.run_folder import (
    is_first_process,
    make_folder,
    make_unique_folder,
    remove_if_empty,
    remove_sweep_folder,
)

PROBE_SIZE = 1 << 16  # bytes that must fit into an output folder, more than the configuration


class _JobError(Exception):
    """Carries an error of a job, which is not about the command line, through Hydra."""


def run_hydra_app(job: Callable[[DictConfig], Any], config_name: str, doc: str | None) -> None:
    """Run `job` with the configuration that the command line composes.

    An invalid command line exits with code 2 and one line; errors of `job` pass through.
    """
    open_standard_streams()
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda argument: argument not in ("-m", "--multirun"))
    parser = get_args_parser()
    parser.error = exit_with_error  # type: ignore[assignment, method-assign]  # else it prints its usage
    arguments, unknown = parser.parse_known_args()
    if unknown:  # argparse would print its usage
        hint = did_you_mean(unknown[0], parser._option_string_actions)
        exit_with_error(f"{unknown[0]}: no such flag, or not at its place{hint}")
    if arguments.help:
        if hasattr(signal, "SIGPIPE"):  # not on Windows
            signal.signal(
                signal.SIGPIPE, signal.SIG_DFL
            )  # `--help | head` ends without a traceback
        print(format_help(doc, config_name))
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise errors instead of printing them

    @functools.wraps(job)
    def run(cfg: DictConfig) -> Any:
        try:
            return job(cfg)
        except Exception as error:
            raise _JobError from error

    main = hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=config_name)
    try:
        main(run)()
    except _JobError as error:
        raise error.__cause__ or error from None
    except Exception as error:
        remove_sweep_folder()
        exit_with_error(explain(error, config_name, arguments.overrides))


def explain(error: Exception, config_name: str, overrides: Sequence[str]) -> str:
    """Say in one line why Hydra rejects a command line.

    Args:
        error: what Hydra raised.
        config_name: of the primary configuration.
        overrides: of the command line.
    """
    cause = error.__cause__ or error
    if isinstance(cause, OverrideParseException):
        return _explain_syntax(cause.override)
    if isinstance(cause, MissingConfigException) and cause.options:
        group, _, name = str(cause.missing_cfg_file).rpartition("/")
        match = get_close_matches(name, cause.options, 1)
        hint = f"did you mean {match[0]}? " if match else ""
        return f"{group}={name}: no such option; {hint}({', '.join(cause.options)})"
    first_line = str(cause).partition("\n")[0]
    key = getattr(cause, "full_key", None) or ""
    if isinstance(error, HydraException) and "Could not override" in str(error):
        key = re.findall(r"Could not override '([^']*)'", str(error))[0].partition("@")[0]
        if similar := _find_similar(key, list(_list_keys(config_name, overrides))):
            return f"{key}: no such key; did you mean {similar}?"
        line = next((line for line in overrides if line.startswith(f"{key}=")), f"{key}=…")
        return f"{key}: no such key; +{line} adds it, --help lists all"
    if "Config group override must be a string or a list" in first_line:
        line = next((line for line in overrides if line.endswith("=null")), key)
        return f"{line}: {first_line}"
    if sweep := re.fullmatch(
        "(?:Ambiguous value for argument|Sweep parameters) '(.*)'.*", first_line
    ):
        advice = shlex.quote(f"tune.space.{sweep[1]}")
        if config_name == "tune":
            return f"{sweep[1]}: is no single value; to search it, type {advice}"
        return f"{sweep[1]}: a sweep over several values needs -m; a list is written [A,B]"
    if "does not support sweep type : INTERVAL" in first_line:
        return "a sweep needs single values; an interval is searched by python -m sentiment.tune"
    return f"{key}: {first_line}" if isinstance(cause, OmegaConfBaseException) else one_line(error)


def _explain_syntax(line: str) -> str:
    key, equals, value = line.partition("=")
    with suppress(OverrideParseException):
        if equals and key:
            parse_overrides([quoted := f"{key}={quote(value)}"])
            advice = f"quote the value for Hydra and for the shell: {shlex.quote(quoted)}"
            return f"{line}: cannot be parsed; {advice}"
    return f"{line}: is not KEY=VALUE"


def _find_similar(key: str, keys: Sequence[str]) -> str | None:
    """The first of the keys that are most similar, as a whole or by their last names."""

    def similarity(known: str) -> float:
        whole = SequenceMatcher(None, known, key).ratio()
        end, wanted = (re.split("[./]", name)[-1] for name in (known, key))
        return max(whole, SequenceMatcher(None, end, wanted).ratio())

    best = max(keys, key=similarity)
    return best if similarity(best) >= 0.75 else None


def _list_keys(config_name: str, overrides: Sequence[str]) -> Iterator[str]:
    """The groups, and the dotted keys of the configuration with the options that are chosen."""
    groups = [path.relative_to(CONF_DIR) for path in CONF_DIR.rglob("*") if path.is_dir()]
    yield from map(Path.as_posix, groups)
    chosen = [line for line in overrides if Path(line.lstrip("+").partition("=")[0]) in groups]
    with initialize_hydra():
        try:
            cfg = hydra.compose(config_name, chosen, return_hydra_config=True)
        except (HydraException, OmegaConfBaseException):  # of a group that is swept
            cfg = hydra.compose(config_name, return_hydra_config=True)

    def walk(node: Any, prefix: str) -> Iterator[str]:
        for name, value in node.items():
            if not str(name).startswith("_"):
                yield f"{prefix}{name}"
                if isinstance(value, dict):
                    yield from walk(value, f"{prefix}{name}.")

    yield from walk(OmegaConf.to_container(cfg), "")


class MakeOutputFolder(Callback):
    """Makes the folder of a run or a sweep, which Hydra would find unwritable only later.

    A folder that is named by the time is made for this process alone.
    """

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Make the folder of a run."""
        _make_folder(config, "hydra.run.dir")

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Make the folder of a sweep; one that exists has to be empty or that of a sweep."""
        folder = Path(config.hydra.sweep.dir)
        is_sweep = (folder / "multirun.yaml").exists()
        if folder.is_dir() and any(folder.iterdir()) and not is_sweep:
            exit_with_error(
                f"hydra.sweep.dir={folder}: is not empty and no sweep's; choose a new folder"
            )
        _make_folder(config, "hydra.sweep.dir")


def _make_folder(config: DictConfig, key: str) -> None:
    folder = Path(OmegaConf.select(config, key))
    group, _, name = key.rpartition(".")
    settings: Any = OmegaConf.to_container(OmegaConf.select(config, group), resolve=False)
    is_named = any(line.startswith(f"{key}=") for line in config.hydra.overrides.hydra)
    try:
        if "${now:" in settings[name] and not is_named and is_first_process():
            folder = make_unique_folder(folder)
            OmegaConf.update(config, key, str(folder))
            line = f"{key}={quote(str(folder))}"
            config.hydra.overrides.hydra.append(line)  # of the jobs of a sweep
        make_folder(folder)
        with TemporaryFile(dir=folder) as file:
            file.write(bytes(PROBE_SIZE))
    except OSError as error:
        remove_if_empty(folder)
        exit_with_error(describe_write_error(error, folder))
