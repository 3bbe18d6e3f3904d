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

RESUMED = "resumed"  # name of the primary configuration of a resumed run


def compose(*overrides: str, config_dir: str | Path | None = None) -> DictConfig:
    """Compose the configuration of a run, as the command line does.

    The keys of the result can be set: `cfg.model.units = 64`. `output_dir` is the folder that
    `hydra.run.dir=DIR` or `output_dir=DIR` name, or that of the run to resume; None stands for a
    new folder. `config_dir` is a folder with more options, `--config-dir` of the command line.
    """
    lines, config_name = [*overrides], find_primary_config(overrides)
    if config_dir is not None:
        path = quote(f"file://{Path(config_dir).absolute()}")
        lines.insert(0, f"hydra.searchpath=[{path}]")
    try:
        with initialize_hydra():
            cfg = hydra.compose(config_name, lines, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(explain(error, lines)) from error
    if OmegaConf.is_interpolation(cfg, "output_dir"):
        is_named = "hydra.run.dir" in _parse(lines) or config_name == RESUMED
        cfg.output_dir = cfg.hydra.run.dir if is_named else None
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg


def find_primary_config(arguments: Sequence[str]) -> str:
    """The name of the primary configuration: `config`, or that of the run which `resume=RUN` names.

    The latter is registered with Hydra, without what it says about Hydra itself.
    """
    overrides = _parse(arguments)
    if "resume" not in overrides or overrides["resume"].value() is None:
        return "config"
    run = RunFolder(Path(str(overrides["resume"].value())).expanduser())
    run.check_contains(run.config_file)
    cfg = run.read_config() or OmegaConf.create()
    if problem := _find_problem(run, {*cfg}, overrides):
        raise InputError(problem)
    trusted: Any = overrides["trust"].value() if "trust" in overrides else []
    node: Any = OmegaConf.to_container(cfg)
    check_run_config(node, run.config_file, trusted)
    folder = {"dir": str(run.path.resolve())}
    node["defaults"] = ["_self_", {"override hydra/job_logging": "plain"}]
    node["hydra"] = {"output_subdir": None, "run": folder, "job": {"name": "train"}}
    ConfigStore.instance().store(RESUMED, node)
    return RESUMED


def _find_problem(run: RunFolder, keys: set[Any], overrides: dict[str, Override]) -> str:
    """Why a run cannot be resumed, or not with these overrides."""
    line, path = overrides["resume"].input_line, run.path.resolve()
    if "${" in str(path):
        return f"{line}: Hydra replaces ${{…}} in {path}; rename the folder"
    if not {*OmegaConf.load(CONF_DIR / "config.yaml")} - {"defaults", "hydra"} <= keys:
        return f"{line}: created by another version; start a new run"
    for key, override in overrides.items():
        is_folder = key in ("hydra.run.dir", "output_dir")
        if is_folder and Path(str(override.value())).resolve() != path:
            return f"{override.input_line}: a resumed run keeps its folder; remove it"
        if (CONF_DIR / key).is_dir():
            return f"{override.input_line}: a resumed run keeps its {key}; remove it"
    return ""


def _parse(arguments: Sequence[str]) -> dict[str, Override]:
    """The overrides among arguments, by key; Hydra itself reports those that cannot be parsed."""
    overrides = {}
    for argument in arguments:
        with suppress(HydraException):
            [override] = parse_overrides([argument])
            overrides[override.key_or_group] = override
    return overrides
