"""The configuration: where it is, how objects are made from it, which settings identify a run."""

import re
import shlex
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException, InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from sentiment.runtime.errors import ArgumentError, InputError, one_line
from sentiment.runtime.files import fingerprint

_FOLDERS = (Path(__file__).parents[up] / "conf" for up in (1, 2))  # of a wheel, of a checkout
CONF_DIR = next(folder for folder in _FOLDERS if folder.is_dir())
MAX_NAME_LENGTH = 200  # characters of a sweep job's folder; file systems allow 255 bytes
NOT_IN_FINGERPRINT = (
    *("output_dir", "resume", "trust", "num_threads", "quiet", "lr_find", "logger"),
    *("callbacks.history", "callbacks.diagnostics", "callbacks.progress", "callbacks.summary"),
    *("trainer.enable_progress_bar", "trainer.enable_model_summary", "trainer.default_root_dir"),
)
_OF_HYDRA = ("_target_", "_partial_", "_convert_", "_recursive_")

_hydra_state = threading.RLock()


class Objective(NamedTuple):
    """A metric of the validation set that sweeps and studies compare."""

    direction: Literal["maximize", "minimize"]  # Optuna's words
    is_accuracy: bool  # shown in per cent

    def format(self, value: float) -> str:
        """`91.04 %` or `0.2345`."""
        return f"{100 * value:.2f} %" if self.is_accuracy else f"{value:.4f}"


OBJECTIVES = {
    "val/accuracy": Objective("maximize", True),
    "val/loss": Objective("minimize", False),
    "val/f1": Objective("maximize", False),
    "val/balanced_accuracy": Objective("maximize", True),
}


def find_objective(name: str) -> Objective:
    """The objective of that name; a callback may monitor other metrics, of which losses are minimized."""
    other = Objective("minimize" if str(name).endswith("loss") else "maximize", False)
    return OBJECTIVES.get(name, other)


def _job_folder_name(overrides: str) -> str:
    """Name of a sweep job's folder: its overrides without characters that Hydra or file systems reject."""
    name = re.sub(r"[^\w.+-]+", "-", overrides).strip("-") or "run"
    if overrides in ("", name) and len(name) <= MAX_NAME_LENGTH:
        return name
    return f"{name[: MAX_NAME_LENGTH - 17]}-{fingerprint(overrides)}"  # `a/b` and `a-b` differ


def _cuda_or_cpu() -> str:
    import torch  # takes seconds

    return "cuda" if torch.cuda.is_available() else "cpu"


def _bfloat16_or_float32(accelerator: str) -> str:
    """Lightning's name of the precision in which the device is fastest."""
    import torch

    if accelerator == "cpu":
        cpu = torch.cpu.get_capabilities()
        supported = cpu.get("avx512_bf16") or cpu.get("amx_bf16")
    else:
        supported = torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16-mixed" if supported else "32-true"


OmegaConf.register_new_resolver(
    "objective_mode", lambda name: find_objective(name).direction[:3], replace=True
)
OmegaConf.register_new_resolver("job_folder_name", _job_folder_name, replace=True)
OmegaConf.register_new_resolver("cuda_or_cpu", _cuda_or_cpu, replace=True)
OmegaConf.register_new_resolver("bfloat16_or_float32", _bfloat16_or_float32, replace=True)


@contextmanager
def initialize_hydra() -> Iterator[None]:
    """Let Hydra find `conf/`. It holds one state for the process, which is as before afterwards."""
    with _hydra_state:
        instance = GlobalHydra.instance()
        earlier = instance.hydra
        instance.clear()
        try:
            with hydra.initialize_config_dir(str(CONF_DIR), version_base="1.3"):
                yield
        finally:
            GlobalHydra.instance().hydra = earlier


def instantiate_checked(settings: Any, key: str, /, **arguments: Any) -> Any:
    """Hydra's `instantiate`; errors of the constructor become an `InputError` that names the key."""
    try:
        return instantiate(settings, **arguments)
    except (MissingMandatoryValue, InstantiationException) as error:
        cause = error.__cause__ or error
        message = f"{key}: {one_line(cause)}"
        if isinstance(cause, InputError):
            message = f"{key}.{cause}" if isinstance(cause, ArgumentError) else str(cause)
        raise InputError(message) from error


def named_settings(cfg: DictConfig, group: str) -> Iterator[tuple[str, DictConfig]]:
    """The settings in a group of which several options can be chosen, by name."""
    for name, settings in (cfg.get(group) or {}).items():
        if settings is not None:
            yield str(name), settings


class ClassName(str):
    """The import path of a class, of which tables show the last part."""


def flatten(cfg: DictConfig, resolve: bool = False) -> dict[str, Any]:
    """The settings that affect results, by dotted key.

    An object's own key maps to its class: `{"optimizer": "torch.optim.Adam", "optimizer.lr": 0.001}`.
    """
    settings: Any = OmegaConf.to_container(cfg, resolve=resolve)

    def leaves(node: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for name, value in node.items():
            key = f"{prefix}{name}"
            if name in _OF_HYDRA or key in NOT_IN_FINGERPRINT:
                continue
            if key == "data.labels":  # a mapping
                yield key, str(value) if isinstance(value, dict) else value
            elif isinstance(value, dict):
                if "_target_" in value:
                    yield key, ClassName(value["_target_"])
                yield from leaves(value, f"{key}.")
            else:
                yield key, value

    return dict(leaves(settings, ""))


def config_fingerprint(cfg: DictConfig) -> str:
    """Fingerprint of all settings that affect results."""
    return fingerprint(flatten(cfg))


def hyperparameters(cfg: DictConfig, varied: Collection[str] = ()) -> dict[str, Any]:
    """What loggers show: settings of the network and its training, and the keys in `varied`."""
    settings = flatten(cfg, resolve=True)
    groups = ("data.", "model.", "optimizer", "scheduler")
    shown = {key: settings[key] for key in settings if key.startswith(groups) or key in varied}
    shown |= {key: str(value) for key, value in shown.items() if isinstance(value, ClassName)}
    shown["scheduler"] = shown["scheduler"] or "none"
    trainer = ("max_epochs", "precision", "gradient_clip_val", "limit_train_batches")
    return {"seed": cfg.seed} | {f"trainer.{key}": cfg.trainer.get(key) for key in trainer} | shown


def format_setting(value: Any) -> str:
    """A setting for a table or a title: `none`, `0.00123`, `Adam`."""
    if isinstance(value, ClassName):
        return value.rpartition(".")[2]
    return "none" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def format_distinctly(values: Sequence[Any]) -> list[str]:
    """`format_setting` of the values of one setting, in full if different ones would look alike."""
    count = len({repr(value) for value in values})
    for describe in (format_setting, lambda value: "none" if value is None else str(value), repr):
        labels = [describe(value) for value in values]
        if len({*labels}) == count:
            break
    return labels


def quote(text: str) -> str:
    """The text in quotes of Hydra's grammar."""
    return QuotedString(text, Quote.double).with_quotes()


def format_override(key: str, value: object) -> str:
    """`KEY=VALUE` to type in a shell, quoted for Hydra and for the shell as far as needed."""
    plain = f"{key}={value}"
    with suppress(HydraException):
        if parse_overrides([plain])[0].value() == str(value):
            return shlex.quote(plain)
    return shlex.quote(f"{key}={quote(str(value))}")


def parse_overrides(overrides: Sequence[str]) -> list[Override]:
    """The overrides of a command line by Hydra's grammar.

    Refuses `data.labels` with two keys that Hydra reads as one, such as `1.1` and `1.10`.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    for override in parsed:
        labels = override.value() if override.key_or_group == "data.labels" else None
        line = str(override.input_line)
        if isinstance(labels, dict) and len(re.findall(r"(?<!\\):", line)) > len(labels):
            pairs = re.sub(r"(?<=[{,])([^,}]*)", r'"\1"', line.partition("=")[2])
            advice = f"write texts: data.labels=[{pairs.strip('{}')}]"
            raise InputError(f"{line}: Hydra reads two of its keys as one number; {advice}")
    return parsed


def check_single_device(cfg: DictConfig) -> None:
    """Refuse several devices, as each process would start the sweep, study or teachers again."""
    trainer = cfg.trainer
    devices = trainer.get("devices", 1)
    is_single = devices in (1, "1") or (OmegaConf.is_list(devices) and len(devices) == 1)
    others = trainer.get("strategy", "auto"), trainer.get("num_nodes", 1)
    if not is_single or others != ("auto", 1):
        what = "a sweep (-m), a study or self-training trains each run on one device"
        raise InputError(f"trainer: {what}; use trainer=default or gpu")
