"""Sweeps: what they add to Hydra's multirun, and one job of them."""

import logging
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from sentiment.runtime.cli import exit_with_error
from sentiment.runtime.config import config_fingerprint, instantiate_checked, parse_overrides
from sentiment.runtime.errors import InputError
from sentiment.runtime.files import describe_write_error
from sentiment.runtime.run_folder import RunFolder

log = logging.getLogger(__name__)


class SweepCallback(Callback):
    """Names the jobs by what is swept, and writes the report at the end."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Reject multi-device trainers, and leave settings that all jobs share out of the folder names."""
        from sentiment.training.settings_checks import check_single_device

        try:
            check_single_device(config)
        except InputError as error:
            exit_with_error(error)
        if config.quiet:
            logging.getLogger("hydra").setLevel(logging.WARNING)  # a line per job
        overrides = parse_overrides(config.hydra.overrides.task)
        swept = {o.key_or_group for o in overrides if o.is_sweep_override()} | {*(config.hydra.sweeper.params or ())}
        if swept:
            shared = [o.key_or_group for o in overrides if o.key_or_group not in swept]
            config.hydra.overrides.hydra.append(f"hydra.job.config.override_dirname.exclude_keys={shared}")

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Compare the runs; exit with code 1 if a job of this command did not finish."""
        from sentiment.analysis.report import write_report

        folder = Path(config.hydra.sweep.dir)
        start = (folder / "multirun.yaml").stat().st_mtime_ns
        try:
            runs = write_report([folder])
        except Exception:  # Hydra would turn it into a warning
            log.exception("The report failed, the runs did not")
            sys.exit(1)
        ours = [run for run in runs if run.folder.config_file.stat().st_mtime_ns >= start]
        if any(run.status != "finished" for run in ours):
            sys.exit(1)


def run_sweep_job(cfg: DictConfig, varied: Sequence[str] = ()) -> float:
    """Run one job of a sweep, unless it finished before; the sweep continues if it fails.

    Returns:
        The objective, NaN if the job failed.
    """
    from sentiment.training.experiment import train
    from sentiment.training.progress import disable_console_output

    run = RunFolder(cfg.output_dir)
    name = run.path.name
    earlier = run.read_metrics()
    if is_finished(cfg, earlier):
        log.info("%s: finished earlier, skipped", name)
        return float(earlier[cfg.objective] or math.nan)
    if earlier.get("status") == "finished" and earlier.get("config_fingerprint") != config_fingerprint(cfg):
        log.error("%s: holds a finished run with other settings; remove it or choose another hydra.sweep.dir", name)
        return math.nan
    for stale in (run.metrics_file, *run.path.glob("events.out.tfevents.*"), *run.path.glob("checkpoints/*")):
        stale.unlink(missing_ok=True)
    hydra_cfg: Any = HydraConfig.get()
    if "BasicLauncher" not in hydra_cfg.launcher._target_:
        disable_console_output(cfg)  # parallel jobs would overwrite each other's
    try:
        result = train(cfg, varied=varied, hide_fixed=True).objective
        if not cfg.quiet:
            print(f"{name}: {cfg.objective} {result:.4f}", flush=True)
        return result
    except InputError as error:
        log.error("%s: %s", name, error)
    except OSError as error:
        log.error("%s: %s", name, describe_write_error(error, run.path))
    except Exception:
        log.exception("%s", name)
    except KeyboardInterrupt:
        sweep = run.path.parent
        print(f"interrupted; continue with the same command and hydra.sweep.dir={sweep}", file=sys.stderr)
        raise
    return math.nan


def is_finished(cfg: DictConfig, metrics: dict[str, Any]) -> bool:
    """Whether the metrics are those that this configuration would give on the data as it is now."""
    if metrics.get("status") != "finished" or metrics["config_fingerprint"] != config_fingerprint(cfg):
        return False
    try:
        return bool(metrics["data_fingerprint"] == instantiate_checked(cfg.data, seed=cfg.seed).folder.name)
    except InputError:
        return False
