"""Commands that are configured by Hydra: help, output folders, and errors in one line."""

import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sentiment.runtime import folders
from sentiment.runtime.cli import did_you_mean, exit_with_error, open_standard_streams
from sentiment.runtime.config import CONF_DIR, quote
from sentiment.runtime.errors import InputError
from sentiment.runtime.files import check_writable, describe_write_error
from sentiment.runtime.help import format_help
from sentiment.runtime.override_errors import explain


def run_hydra_app(job: Callable[[DictConfig], Any], config_name: str, doc: str | None) -> None:
    """Run `job` with the configuration that the command line composes, in a folder of its own.

    Exits with 2 and one line for an invalid command line, invalid input and full disks, and with
    130 after Ctrl-C; other errors of `job` pass through.
    """
    open_standard_streams()
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
        folders.remove_sweep_folder()
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
        if "${now:" in pattern["dir"] and not is_named and folders.is_first_process():
            folder = folders.make_unique_folder(folder)
            settings.dir = str(folder)
            overrides.append(f"{key}={quote(str(folder))}")  # of the jobs of a sweep
        folders.make_folder(folder)
        check_writable(folder)
    except OSError as error:
        folders.remove_if_empty(folder)
        exit_with_error(describe_write_error(error, folder))
