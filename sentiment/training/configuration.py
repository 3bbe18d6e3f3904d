"""The configuration of a run outside of a Hydra program, and that of a run to resume."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from sentiment.runtime.config import CONF_DIR, initialize_hydra, parse_overrides, quote
from sentiment.runtime.errors import InputError
from sentiment.runtime.hydra_app import explain
from sentiment.runtime.run_folder import RunFolder
from sentiment.runtime.trust import check_run_config


def compose(*overrides: str, config_dir: str | Path | None = None) -> DictConfig:
    """Compose the configuration of a run, as the command line does.

    The keys of the result can be set: `cfg.model.units = 64`. `output_dir` is the folder that
    `hydra.run.dir=DIR` or `output_dir=DIR` name, or that of the run to resume; None stands for a
    new folder.

    Args:
        overrides: in Hydra's syntax, as on the command line: `data=demo`, `resume=RUN`.
        config_dir: folder with more options, `--config-dir` of the command line.

    Raises:
        InputError: an override is invalid.
    """
    if not all(isinstance(override, str) for override in overrides):
        raise TypeError("compose: pass each override as a string of its own, such as 'data=demo'")
    lines = [*overrides]
    config_name = find_primary_config(lines)
    if config_dir is not None:
        if not Path(config_dir).is_dir():
            raise InputError(f"config_dir={config_dir}: no such folder")
        path = quote(f"file://{Path(config_dir).absolute()}")
        lines.insert(0, f"hydra.searchpath=[{path}]")
    try:
        with initialize_hydra():
            cfg = hydra.compose(config_name, lines, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(explain(error, config_name, lines)) from error
    is_named = "hydra.run.dir" in _parse(lines) or config_name == RESUMED
    folder = cfg.hydra.run.dir if is_named else None
    if not OmegaConf.is_interpolation(cfg, "output_dir"):
        folder = cfg.output_dir
    with open_dict(cfg):
        del cfg["hydra"]
    cfg.output_dir = folder
    return cfg


RESUMED = "resumed"  # name of the primary configuration of a resumed run


def find_primary_config(arguments: Sequence[str]) -> str:
    """The name of the primary configuration: `config`, or that of the run which `resume=RUN` names.

    The latter is registered with Hydra, without what it says about Hydra itself.

    Args:
        arguments: overrides, and perhaps flags.

    Raises:
        InputError: the run cannot be resumed, or not with these arguments.
    """
    overrides = _parse(arguments)
    if "resume" not in overrides or overrides["resume"].value() is None:
        return "config"
    line, name = overrides["resume"].input_line, overrides["resume"].value()
    if not isinstance(name, str):
        raise InputError(f"{line}: must be one run directory")
    run = RunFolder(Path(name).expanduser())
    if "${" in (path := str(run.path.resolve())):
        raise InputError(f"{line}: Hydra replaces ${{…}} in {path}; rename the folder")
    run.check_contains(run.config_file)
    cfg, defaults = run.read_config(), OmegaConf.load(CONF_DIR / "config.yaml")
    if cfg is None or not {*defaults} - {"defaults", "hydra"} <= {*cfg}:
        raise InputError(f"{line}: created by another version; start a new run")
    trusted: Any = overrides["trust"].value() if "trust" in overrides else []
    check_run_config(cfg, run.config_file, trusted)
    for key, override in overrides.items():
        if (CONF_DIR / key).is_dir():
            raise InputError(f"{override.input_line}: a resumed run keeps its {key}; remove it")
    folder = overrides.get("hydra.run.dir", overrides.get("output_dir"))
    if folder and Path(str(folder.value())).resolve() != run.path.resolve():
        raise InputError(f"{folder.input_line}: a resumed run keeps its folder; remove it")
    node: Any = OmegaConf.to_container(cfg)
    node |= {
        "defaults": ["_self_", {"override hydra/job_logging": "plain"}],
        "hydra": {
            "output_subdir": None,
            "run": {"dir": str(run.path.resolve())},
            "job": {"name": "train"},
        },
    }
    ConfigStore.instance().store(RESUMED, node)
    return RESUMED


def _parse(arguments: Sequence[str]) -> dict[str, Override]:
    """The overrides among arguments, by key; Hydra itself reports those that cannot be parsed."""
    overrides = {}
    for argument in arguments:
        with suppress(HydraException):
            [override] = parse_overrides([argument])
            overrides[override.key_or_group] = override
    return overrides
