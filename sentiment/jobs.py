"""One run, or every run of a sweep, as the command line starts them.

What takes seconds to import is imported where it is used, so that `--help` and a wrong key are answered at once.
"""

import logging
import math
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from sentiment.errors import InputError, refuse
from sentiment.files import cannot_be_written
from sentiment.results import read_metrics, refusing
from sentiment.settings import CONF, QUIET, identity, make, parsed

log = logging.getLogger(__name__)


class Sweep(Callback):
    """What a sweep adds to Hydra's: jobs are named by what is swept, and the report ends it."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Refuses several devices, and leaves settings that all jobs share out of their folders' names."""
        try:
            require_one_device(config)
        except InputError as error:
            refuse(error)
        overrides = parsed(config.hydra.overrides.task)
        swept = {o.key_or_group for o in overrides if o.is_sweep_override()} | {*(config.hydra.sweeper.params or ())}
        if swept:
            shared = [o.key_or_group for o in overrides if o.key_or_group not in swept]
            config.hydra.overrides.hydra.append(f"hydra.job.config.override_dirname.exclude_keys={shared}")

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Compares the runs; the exit code says whether all jobs of this command are well."""
        from sentiment import report

        folder = Path(config.hydra.sweep.dir)
        start = (folder / "multirun.yaml").stat().st_mtime_ns
        try:
            runs = report.write([folder])
        except Exception:  # which Hydra would make a warning of
            log.exception("The report failed, the runs did not")
            sys.exit(1)
        ours = [run for run in runs if (run.folder / ".hydra" / "config.yaml").stat().st_mtime_ns >= start]
        if any(run.status != "finished" for run in ours):
            sys.exit(1)


def require_one_device(cfg: DictConfig) -> None:
    """Raises `InputError` where each of several devices' processes would start the same sweep or study again."""
    devices = cfg.trainer.get("devices", 1)
    if cfg.trainer.get("strategy", "auto") != "auto" or (isinstance(devices, int) and devices != 1):
        raise InputError("trainer: a sweep (-m) or study trains each run on one device; take trainer=default or gpu")


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def job(cfg: DictConfig) -> float:
    """One run, or one of a sweep, which goes on when one fails."""
    from sentiment.train import train

    quieten()
    hydra_cfg: Any = HydraConfig.get()
    shared = hydra_cfg.job.config.override_dirname.exclude_keys
    cfg.logger.first = sorted({o.key_or_group for o in parsed(hydra_cfg.overrides.task)} - {*shared})
    if hydra_cfg.mode == RunMode.MULTIRUN:
        return _one_of_a_sweep(cfg, Path(cfg.output_dir), parallel="BasicLauncher" not in hydra_cfg.launcher._target_)
    try:
        with refusing(Path(cfg.output_dir)):
            result = train(cfg)
    except KeyboardInterrupt:
        print(f"interrupted; go on with: python -m sentiment.train resume={cfg.output_dir}", file=sys.stderr)
        raise
    if is_first_process():
        print(f"results in {os.path.relpath(cfg.output_dir)}")
    return result


def _one_of_a_sweep(cfg: DictConfig, folder: Path, parallel: bool) -> float:
    from sentiment.train import train

    earlier = read_metrics(folder)
    if _is_finished(cfg, earlier):
        log.info("%s: finished earlier, skipped", folder.name)
        return float(earlier[cfg.objective] or math.nan)
    for stale in (folder / "metrics.json", *folder.glob("events.out.tfevents.*"), *folder.glob("checkpoints/*")):
        stale.unlink(missing_ok=True)
    if parallel:  # bars of several jobs would garble each other
        for key, value in QUIET.items():
            OmegaConf.update(cfg, key, value, force_add=True)
        for handler in logging.getLogger().handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.setLevel(logging.WARNING)
    try:
        result = train(cfg, one_device=True)
        print(f"{folder.name}: {cfg.objective} {result:.4f}", flush=True)
        return result
    except InputError as error:
        log.error("%s: %s", folder.name, error)
    except OSError as error:
        log.error("%s: %s", folder.name, cannot_be_written(error, folder))
    except Exception:
        log.exception("%s", folder.name)
    except KeyboardInterrupt:
        print(f"interrupted; go on with the same command and hydra.sweep.dir={folder.parent}", file=sys.stderr)
        raise
    return math.nan


def _is_finished(cfg: DictConfig, metrics: dict[str, Any]) -> bool:
    """Whether the figures are those that this configuration would give on the data as they are now."""
    if metrics.get("status") != "finished" or metrics["settings"] != identity(cfg):
        return False
    try:
        return bool(metrics["data"] == make(cfg.data, seed=cfg.seed).folder.name)
    except InputError:
        return False


def quieten() -> None:
    """Silences Lightning where its advice does not fit, and all but the first of several devices' processes."""
    logging.raiseExceptions = False  # a full disk is told once, not once per line of train.log
    for harmless in (
        "The '.*_dataloader' does not have many workers",  # batches are index arithmetic, workers would only cost
        "The number of training batches .* is smaller than the logging interval",  # curves are logged per epoch
        "Precision .* is not supported by the model summary",
        "Checkpoint directory .* exists and is not empty",  # it does when a run is resumed
        ".*isinstance.treespec, LeafSpec.. is deprecated",  # Lightning's own use of torch
    ):
        warnings.filterwarnings("ignore", harmless)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    if not is_first_process():
        logging.getLogger("sentiment").setLevel(logging.ERROR)


def is_first_process() -> bool:
    """Whether this is the one of several devices' processes that tells and writes."""
    from pytorch_lightning.utilities import rank_zero_only

    return getattr(rank_zero_only, "rank", 0) == 0


def main() -> None:
    """The command line; `resume=RUN` stands for RUN's own settings and folder."""
    try:
        sys.argv[1:] = _with_resumed_settings(sys.argv[1:])
        job()
    except InputError as error:
        refuse(error)
    except KeyboardInterrupt:
        sys.exit(130)


def _with_resumed_settings(arguments: list[str]) -> list[str]:
    resumed = [argument for argument in arguments if argument.startswith("resume=") and argument != "resume=null"]
    if not resumed:
        return arguments
    folder = Path(resumed[0].removeprefix("resume=")).resolve()
    if not (folder / ".hydra" / "config.yaml").is_file():
        raise InputError(f"{resumed[0]}: no run's folder, it has no .hydra/config.yaml; name one in outputs/runs")
    groups = [argument for argument in arguments if (CONF / argument.partition("=")[0]).is_dir() and "=" in argument]
    if groups:
        raise InputError(f"{groups[0]}: a resumed run keeps its {groups[0].partition('=')[0]}; leave it out")
    here = arguments.index(resumed[0])
    home = [f"hydra.run.dir='{folder}'", "hydra.job.name=train"]
    return ["--config-path", f"{folder}/.hydra", *arguments[:here], *home, *arguments[here:]]
