"""Commands that are configured by Hydra: help, one-line errors, and checks before a job starts."""

import os
import re
import shlex
import signal
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from traceback import walk_tb
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Sweep
from hydra.errors import HydraException, OverrideParseException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sentiment.runtime.cli import did_you_mean, exit_with_error
from sentiment.runtime.config import CONF_DIR
from sentiment.runtime.errors import one_line
from sentiment.runtime.files import describe_write_error
from sentiment.runtime.help import format_help
from sentiment.runtime.overrides import explain_syntax_error, find_invalid_override, quote
from sentiment.runtime.run_folder import make_unique_folder

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
    cause = error.__cause__ or error
    first_line = str(cause).partition("\n")[0]
    sweep = re.fullmatch("(?:Ambiguous value for argument|Sweep parameters) '(.*)'.*", first_line)
    if sweep and config_name == "tune":
        return f"{sweep[1]}: is no single value; to search it, type {shlex.quote(f'tune.space.{sweep[1]}')}"
    with hydra.initialize_config_dir(str(Path(args.config_path or CONF_DIR).absolute()), version_base="1.3"):
        message = _find_invalid_sweep(overrides) or find_invalid_override(args.config_name or config_name, overrides)
    if message:
        return message
    if sweep:
        return f"{sweep[1]}: a sweep over several values needs -m; a list is written [A,B]"
    if isinstance(cause, OmegaConfBaseException):
        return f"{cause.full_key}: {first_line}"
    *_, (frame, _) = walk_tb(error.__traceback__)
    invalid_flags = frame.f_code.co_name == "_run_hydra"  # where Hydra checks which ones go together
    return first_line if isinstance(error, HydraException) or invalid_flags else None


def _find_invalid_sweep(overrides: Sequence[str]) -> str | None:
    """Describe the first sweep that has no values, is an interval, or part of a mapping; Hydra must be initialized."""
    loader = GlobalHydra.instance().config_loader()
    for override in OverridesParser.create(config_loader=loader).parse_overrides([*overrides]):
        line, value = override.input_line, override.value()
        if isinstance(value, dict) and any(isinstance(item, Sweep) for item in value.values()):
            return f"{line}: a sweep inside braces must be quoted"
        if override.is_interval_sweep():
            search = shlex.quote(f"tune.space.{line}")
            return f"{line}: a sweep needs single values; an interval is searched by python -m sentiment.tune {search}"
        if override.is_discrete_sweep():
            try:
                if not any(True for _ in override.sweep_iterator()):
                    return f"{line}: has no values"
            except (ValueError, HydraException) as error:  # of a step of 0
                return f"{line}: {one_line(error)}"
    return None


class CheckCommandLine(Callback):
    """Rejects what Hydra would fail on later: an output folder that cannot be written, invalid overrides of a sweep."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Make the folder of a run."""
        _make_folder(config, "hydra.run.dir")

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Check the overrides of all jobs, which Hydra composes one after another, and make the folder of a sweep."""
        swept = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
        overrides = [*swept, *config.hydra.overrides.hydra, *config.hydra.overrides.task]
        message = _find_invalid_sweep(overrides) if "BasicSweeper" in config.hydra.sweeper._target_ else None
        if message := message or find_invalid_override(config.hydra.job.config_name, overrides):
            exit_with_error(message)
        _make_folder(config, "hydra.sweep.dir")


def _make_folder(config: DictConfig, key: str) -> None:
    """Make the output folder and check that it can be written; one named by the time is made for this process alone."""
    folder = Path(OmegaConf.select(config, key))
    group, _, name = key.rpartition(".")
    template = OmegaConf.to_container(OmegaConf.select(config, group), resolve=False)[name]  # type: ignore[index,call-overload]
    is_set = any(override.startswith(f"{key}=") for override in config.hydra.overrides.hydra)
    try:
        if "${now:" in template and not is_set and _is_first_process():
            folder = make_unique_folder(folder)
            OmegaConf.update(config, key, str(folder))
            config.hydra.overrides.hydra.append(f"{key}={quote(str(folder))}")  # of the jobs of a sweep
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder) as file:
            file.write(bytes(MAX_CONFIG_SIZE))
    except OSError as error:
        with suppress(OSError):
            folder.rmdir()  # only if it is empty
        exit_with_error(describe_write_error(error, folder))


def _is_first_process() -> bool:
    """Whether this is not another rank of a run that torchrun or srun starts on several devices."""
    ranks = (os.environ.get(name) for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
    return next((rank for rank in ranks if rank is not None), "0") == "0"
