"""The configuration of a run outside of a Hydra program, and that of a run to resume."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from sentiment.runtime.config import CONF_DIR, parse_overrides
from sentiment.runtime.errors import InputError
from sentiment.runtime.overrides import RENAMED_KEYS, explain_syntax_error, find_invalid_override, quote
from sentiment.runtime.run_folder import RunFolder
from sentiment.runtime.trust import check_run_config


def compose(*overrides: str, config_dir: str | Path | None = None) -> DictConfig:
    """Compose the configuration of a run, as the command line does.

    The keys of the result can be set: `cfg.model.units = 64`. `output_dir` is the folder that
    `hydra.run.dir=DIR` or `output_dir=DIR` name, or that of the run to resume; None stands for a new folder.

    Args:
        overrides: in Hydra's syntax, as on the command line: `data=demo`, `model.units=32`, `resume=RUN`.
        config_dir: folder with more options, `--config-dir` of the command line.

    Raises:
        InputError: an override is invalid.
    """
    if not all(isinstance(override, str) for override in overrides):
        raise TypeError("compose: pass each override as a string of its own, such as 'data=demo'")
    lines = [*overrides]
    resumed = find_resumed_run(lines)
    if config_dir is not None:
        if not Path(config_dir).is_dir():
            raise InputError(f"config_dir={config_dir}: no such folder; pass one with folders such as model/")
        lines.insert(0, f"hydra.searchpath=[{quote(f'file://{Path(config_dir).absolute()}')}]")
    with _hydra(resumed.config_file.parent if resumed else CONF_DIR):
        try:
            cfg = hydra.compose("config", lines, return_hydra_config=True)
        except (HydraException, OmegaConfBaseException) as error:
            raise InputError(_explain(error, lines)) from error
    folder = str(resumed.path.resolve()) if resumed else _named_folder(cfg, lines)
    with open_dict(cfg):
        del cfg["hydra"]
    cfg.output_dir = folder
    return cfg


def find_resumed_run(arguments: Sequence[str]) -> RunFolder | None:
    """The run that `resume=RUN` names, after checks of its configuration; None without such an argument.

    Args:
        arguments: overrides, and perhaps flags.

    Raises:
        InputError: the run cannot be resumed, or not with these arguments.
    """
    resumed = [argument for argument in arguments if argument.startswith("resume=") and argument != "resume=null"]
    if not resumed:
        return None
    run = RunFolder(resumed[0].removeprefix("resume="))
    run.check_contains(run.config_file)
    cfg = run.read_config()
    model = cfg.get("model", {}) if cfg else {}
    if cfg is None or RENAMED_KEYS.keys() & cfg.keys() or "_target_" not in model or "ngram_buckets" in model:
        raise InputError(f"{resumed[0]}: created by an older version; start a new run")
    trusted = [
        argument.removeprefix("trust=").strip("[]").split(",") for argument in arguments if argument[:6] == "trust="
    ]
    check_run_config(cfg, run.config_file, [module for modules in trusted for module in modules])
    for argument in arguments:
        if argument.partition("=")[0].lstrip("+") in ("output_dir", "hydra.run.dir"):
            raise InputError(f"{argument}: a resumed run keeps its folder; remove it")
    groups = [
        argument for argument in arguments if (CONF_DIR / argument.partition("=")[0]).is_dir() and "=" in argument
    ]
    if groups:
        raise InputError(f"{groups[0]}: a resumed run keeps its {groups[0].partition('=')[0]}; remove it")
    return run


@contextmanager
def _hydra(config_dir: Path) -> Iterator[None]:
    """Initialize Hydra, which holds one state for the process; afterwards it is as it was."""
    instance = GlobalHydra.instance()
    earlier = instance.hydra
    instance.clear()
    try:
        with hydra.initialize_config_dir(str(config_dir.resolve()), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = earlier


def _explain(error: Exception, overrides: Sequence[str]) -> str:
    """Say in one line what is wrong with the overrides; Hydra must be initialized."""
    if isinstance(error, OverrideParseException):
        return explain_syntax_error(error.override, overrides)
    if message := find_invalid_override("config", overrides):
        return message
    cause = error.__cause__ or error
    first_line = str(cause).partition("\n")[0]
    if sweep := re.fullmatch("(?:Ambiguous value for argument|Sweep parameters) '(.*)'.*", first_line):
        return f"{sweep[1]}: a sweep; compose each of its values, or write a list as [A,B]"
    return f"{cause.full_key}: {first_line}" if isinstance(cause, OmegaConfBaseException) else first_line


def _named_folder(cfg: DictConfig, overrides: Sequence[str]) -> str | None:
    """The folder that an override names."""
    if any(override.key_or_group == "hydra.run.dir" for override in parse_overrides(overrides)):
        return str(cfg.hydra.run.dir)
    return None if OmegaConf.is_interpolation(cfg, "output_dir") else cfg.output_dir
