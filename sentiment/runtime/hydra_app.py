"""Commands that are configured by Hydra: help, one-line errors, and checks before a job starts."""

import os
import re
import signal
from argparse import Namespace
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from traceback import walk_tb
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.errors import HydraException, OverrideParseException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from sentiment.runtime.cli import did_you_mean, exit_with_error
from sentiment.runtime.config import CONF_DIR
from sentiment.runtime.files import describe_write_error
from sentiment.runtime.help import format_help
from sentiment.runtime.overrides import explain_syntax_error, find_invalid_override, quote

MAX_CONFIG_SIZE = 1 << 16  # bytes, more than Hydra's own files


def run_hydra_app(job: Callable[[DictConfig], Any], config_name: str, doc: str | None) -> None:
    """Run `job` with the configuration that the command line composes.

    An invalid command line exits with code 2 and one line; errors of `job` pass through.
    """
    parser = get_args_parser()
    args, unknown = parser.parse_known_args()
    if args.help:
        if hasattr(signal, "SIGPIPE"):  # not on Windows
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `--help | head` ends without a traceback
        print(format_help(doc, config_name))
        return
    if unknown and unknown[0].startswith("-"):
        exit_with_error(f"{unknown[0]}: no such flag{did_you_mean(unknown[0], parser._option_string_actions)}")
    if unknown:
        exit_with_error(f"{unknown[0]}: flags such as -m must be before or after all settings, not between them")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise errors instead of printing them
    try:
        hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=config_name)(job)()
    except Exception as error:
        # Errors that were raised inside the job are not about the command line.
        if any(frame.f_code is job.__code__ for frame, _ in walk_tb(error.__traceback__)):
            raise
        if message := _explain(error, args, config_name):
            exit_with_error(message)
        raise


def _explain(error: Exception, args: Namespace, config_name: str) -> str | None:
    """Say in one line what is wrong with the command line; None for an error of another kind."""
    if isinstance(error, OverrideParseException):
        return explain_syntax_error(error.override, args.overrides)
    overrides = args.overrides
    if args.config_dir and Path(args.config_dir).is_dir():
        overrides = [f"hydra.searchpath=[{quote(f'file://{Path(args.config_dir).absolute()}')}]", *overrides]
    with hydra.initialize_config_dir(str(Path(args.config_path or CONF_DIR).absolute()), version_base="1.3"):
        if message := find_invalid_override(args.config_name or config_name, overrides):
            return message
    cause = error.__cause__ or error
    first_line = str(cause).partition("\n")[0]
    if sweep := re.fullmatch("(?:Ambiguous value for argument|Sweep parameters) '(.*)'.*", first_line):
        return f"{sweep[1]}: a sweep over several values needs -m; a list is written [A,B]"
    if isinstance(cause, OmegaConfBaseException):
        return f"{cause.full_key}: {first_line}"
    return first_line if isinstance(error, HydraException) else None


class CheckCommandLine(Callback):
    """Rejects what Hydra would fail on later: an output folder that cannot be written, invalid overrides of a sweep."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Check the folder of a run."""
        _check_writable(Path(config.hydra.run.dir))

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Check the overrides of all jobs, which Hydra composes one after another, and the folder of a sweep."""
        swept = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
        overrides = [*swept, *config.hydra.overrides.hydra, *config.hydra.overrides.task]
        if message := find_invalid_override(config.hydra.job.config_name, overrides):
            exit_with_error(message)
        _check_writable(Path(config.hydra.sweep.dir))


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder) as file:
            file.write(bytes(MAX_CONFIG_SIZE))
    except OSError as error:
        with suppress(OSError):
            folder.rmdir()  # only if it is empty
        exit_with_error(describe_write_error(error, folder))
