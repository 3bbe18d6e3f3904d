"""Which classes a checkpoint or a run may name: those of this package and its libraries, or of trusted modules."""

import re
from collections.abc import Collection, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
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
    target: str, trust: Collection[str] = (), libraries: Collection[str] = ()
) -> Any:
    """Import what a `_target_` names, which may run code of its module.

    Args:
        target: `module.name`.
        trust: modules outside this package, with all that they contain, or single targets.
        libraries: modules of which only classes may be imported.

    Raises:
        UntrustedError: the module is not trusted.
        ImportFailedError: there is no such module or name.
    """
    is_trusted = _is_within(target, trust)
    if not is_trusted and not _is_within(target, (PACKAGE, *libraries)):
        raise _untrusted(target)
    module, _, name = target.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        advice = "start from the folder that has the module, or set PYTHONPATH"
        if isinstance(error, AttributeError):
            advice = "correct the name of the class"
        raise ImportFailedError(f"{target}: cannot be imported ({error}); {advice}") from error
    home = f"{getattr(found, '__module__', '')}.{name}"  # a module of ours may import others
    if not is_trusted and not (
        is_ours(home) or (isinstance(found, type) and _is_within(home, libraries))
    ):
        raise _untrusted(target)
    return found


def check_run_config(cfg: DictConfig, path: Path, trust: Collection[str]) -> None:
    """Check that the configuration of a run names only classes that are trusted.

    That is all it checks: files that the run would write, and servers that it would log to, are
    those of its configuration.

    Args:
        cfg: what was read from the file.
        path: of the file, for messages.
        trust: modules outside this package whose classes it may name.

    Raises:
        InputError: it names others, or an interpolation cannot be resolved.
    """
    try:  # an interpolation may stand for a name, or for a mapping with names
        known_folder = OmegaConf.merge(cfg, {"output_dir": str(path.parents[1])})
        settings = OmegaConf.to_container(known_folder, resolve=True)
    except OmegaConfBaseException as error:
        raise InputError(f"{path}: {one_line(error)}; repair it, or use another run") from error
    own = _own_targets()
    for target in find_targets(settings):
        if target in own:
            continue
        try:
            if is_ours(target) and not _is_within(target, trust):
                raise _untrusted(target)
            import_trusted(target, trust, LIBRARIES)
        except InputError as error:
            raise InputError(f"{path}: names {error}") from error


def _own_targets() -> set[str]:
    """What the files in `conf/` name."""
    from sentiment.runtime.config import CONF_DIR  # Hydra is slow to import

    files = CONF_DIR.rglob("*.yaml")
    return {
        target
        for file in files
        for target in re.findall(r"_target_: ([\w.]+)", file.read_text(encoding="utf-8"))
    }


def find_targets(cfg: Any) -> list[str]:
    """Every `_target_` of a configuration, at any depth."""
    nodes = _walk(OmegaConf.to_container(cfg) if OmegaConf.is_config(cfg) else cfg)
    return [
        str(node["_target_"]) for node in nodes if isinstance(node, dict) and "_target_" in node
    ]


def _walk(node: Any) -> Iterator[Any]:
    """Yield a node, and all keys and values below it."""
    yield node
    children = (
        [*node.keys(), *node.values()]
        if isinstance(node, dict)
        else node
        if isinstance(node, list)
        else ()
    )
    for child in children:
        yield from _walk(child)


def _is_within(target: str, modules: Collection[str]) -> bool:
    modules = [modules] if isinstance(modules, str) else modules
    return any(f"{target}.".startswith(f"{module}.") for module in modules)


def _untrusted(target: str) -> UntrustedError:
    module = target.rpartition(".")[0]
    return UntrustedError(
        f"{target}, code that is not run unless you trust it; if you do, pass --trust {module} (train and evaluate: "
        f"trust={module})"
    )
