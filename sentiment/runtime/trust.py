"""Which code a checkpoint or a run may name: this package, libraries, and what the user trusts."""

import re
from collections.abc import Collection, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sentiment.runtime.errors import InputError, one_line

PACKAGE = __package__.partition(".")[0]
# Modules whose classes a run may name besides those that `conf/` names: they only compute, or call what else is named.
LIBRARIES = ("torch.nn", "torch.optim", "pytorch_lightning.callbacks", "pytorch_lightning.loggers")


class UntrustedError(InputError):
    """Code that the user did not trust."""


class ImportFailedError(InputError):
    """A class that cannot be imported."""


def is_ours(target: str) -> bool:
    """Whether a `_target_` names something of this package."""
    return target.startswith(f"{PACKAGE}.")


def import_trusted(
    target: str,
    trust: Collection[str] = (),
    libraries: Collection[str] = (),
    package: Collection[str] = (PACKAGE,),
) -> Any:
    """Import what a `_target_` names, which may run code of its module.

    Of modules in `trust` (or single targets) everything may be imported, of `package` what it defines, of `libraries`
    only classes.
    """
    module, _, name = target.rpartition(".")
    is_trusted, is_allowed = _is_within(target, trust), _is_within(target, (*package, *libraries))
    found = _import(module, name) if is_trusted or is_allowed else None
    home = f"{getattr(found, '__module__', '')}.{name}"  # a module of ours may import others
    of_library = isinstance(found, type) and _is_within(home, libraries)
    if not is_trusted and not (is_allowed and (_is_within(home, package) or of_library)):
        advice = f"pass --trust {module} (train and evaluate: trust={module})"
        raise UntrustedError(
            f"{target}, code that is not run unless you trust it; if you do, {advice}"
        )
    return found


def _import(module: str, name: str) -> Any:
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        advice = "start from the folder that has the module, or set PYTHONPATH"
        if isinstance(error, AttributeError):
            advice = "correct the name of the class"
        message = f"{module}.{name}: cannot be imported ({error}); {advice}"
        raise ImportFailedError(message) from error


def check_run_config(cfg: dict[str, Any], path: Path, trust: Collection[str]) -> None:
    """Refuse a configuration of a run, read from `path`, that names other classes; its files and servers may be any."""
    from sentiment.runtime.config import CONF_DIR  # Hydra is slow to import

    texts = (file.read_text(encoding="utf-8") for file in CONF_DIR.rglob("*.yaml"))
    own = {target for text in texts for target in re.findall(r"_target_: ([\w.]+)", text)}
    try:  # an interpolation may stand for a name, or for a mapping with names
        known_folder = OmegaConf.merge(cfg, {"output_dir": str(path.parents[1])})
        for target in find_targets(OmegaConf.to_container(known_folder, resolve=True)):
            if target not in own:
                import_trusted(target, trust, LIBRARIES, package=())
    except (InputError, OmegaConfBaseException) as error:
        verb = "names " if isinstance(error, InputError) else ""
        raise InputError(f"{path}: {verb}{one_line(error)}") from error


def find_targets(cfg: Any) -> list[str]:
    """Every `_target_` of a configuration, at any depth."""
    nodes = _walk(OmegaConf.to_container(cfg) if OmegaConf.is_config(cfg) else cfg)
    return [str(node["_target_"]) for node in nodes if "_target_" in node]


def _walk(node: Any) -> Iterator[dict[Any, Any]]:
    """Yield every mapping, also those in lists."""
    if isinstance(node, dict):
        yield node
        node = [*node.values()]
    for child in node if isinstance(node, list) else ():
        yield from _walk(child)


def _is_within(target: str, modules: Collection[str]) -> bool:
    modules = [modules] if isinstance(modules, str) else modules
    return any(f"{target}.".startswith(f"{module}.") for module in modules)
