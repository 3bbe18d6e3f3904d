"""Sweeps: what they add to Hydra's multirun, and one job of them."""

import logging
import math
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from sentiment.runtime.cli import exit_with_error
from sentiment.runtime.config import check_single_device, format_override, parse_overrides
from sentiment.runtime.errors import InputError, one_line
from sentiment.runtime.files import describe_write_error
from sentiment.runtime.run_folder import RunFolder

LOG_NAME = "jobs.log"  # a line for each job of a sweep
SUCCESSES = FINISHED, SKIPPED = "finished", "skipped"

log = logging.getLogger(__name__)


class SweepCallback(Callback):
    """Names the jobs by what is swept, and writes the report at the end."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Reject multi-device trainers, and leave settings that all jobs share out of the folder names."""
        try:
            check_single_device(config)
        except InputError as error:
            exit_with_error(error)
        if config.quiet:
            logging.getLogger("hydra").setLevel(logging.WARNING)  # a line per job
        overrides = parse_overrides(config.hydra.overrides.task)
        swept = {o.key_or_group for o in overrides if o.is_sweep_override()} | {
            *(config.hydra.sweeper.params or ())
        }
        if swept:
            shared = [o.key_or_group for o in overrides if o.key_or_group not in swept]
            config.hydra.overrides.hydra.append(
                f"hydra.job.config.override_dirname.exclude_keys={shared}"
            )
        self._log = Path(config.hydra.sweep.dir) / LOG_NAME
        self._start = self._log.stat().st_size if self._log.exists() else 0

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Compare the runs; exit with code 1 if a job of this command did not finish."""
        from sentiment.analysis.report.report import write_report

        try:
            write_report([Path(config.hydra.sweep.dir)])
        except InputError as error:
            exit_with_error(error)
        except Exception:  # Hydra would turn it into a warning
            log.exception("The report failed, the runs did not")
            sys.exit(1)
        with self._log.open(encoding="utf-8") as file:
            file.seek(self._start)
            if not all(line.rstrip().endswith(SUCCESSES) for line in file):
                sys.exit(1)


def run_sweep_job(cfg: DictConfig, varied: Sequence[str] = ()) -> float:
    """Run one job of a sweep, unless it finished before; return the objective, NaN if it failed."""
    from sentiment.training.resuming import is_finished  # these take seconds

    run, result = RunFolder(cfg.output_dir), math.nan
    name, outcome = run.path.name, "interrupted"
    try:
        # An unfinished run starts again.
        with run.claim(new=not run.config_file.exists()):
            if is_finished(cfg, run.read_metrics()):
                log.info("%s: finished earlier, skipped", name)
                outcome = SKIPPED
            else:
                _train(cfg, run, varied)
                outcome = FINISHED
            value = run.read_metrics().get(cfg.objective)
            result = math.nan if value is None else float(value)
            if outcome == FINISHED and not cfg.quiet:
                print(f"{name}: {cfg.objective} {result:.4f}", flush=True)
    except Exception as error:
        outcome = f"failed: {one_line(error)}"
        message = describe_write_error(error, run.path) if isinstance(error, OSError) else error
        is_unexpected = not isinstance(error, InputError | OSError)
        log.error("%s: %s", name, message, exc_info=is_unexpected)
    except KeyboardInterrupt:
        folder = format_override("hydra.sweep.dir", run.path.parent)
        print(f"interrupted; continue with the same command and {folder}", file=sys.stderr)
        raise
    finally:
        with suppress(OSError), (run.path.parent / LOG_NAME).open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {name}: {outcome}\n")
    return result


def _train(cfg: DictConfig, run: RunFolder, varied: Sequence[str]) -> None:
    from sentiment.training.experiment import run_experiment
    from sentiment.training.outcome import record_failure
    from sentiment.training.progress import disable_console_output

    if run.read_metrics().get("status") == "finished":
        advice = "remove it or choose another hydra.sweep.dir"
        raise InputError(f"holds a finished run with other settings or data; {advice}")
    run.clear()
    if "BasicLauncher" not in HydraConfig.get().launcher["_target_"]:
        disable_console_output()  # parallel jobs would overwrite each other's
    try:
        run_experiment(cfg, varied=varied, shown=varied)
    except (InputError, OSError) as error:
        if not run.metrics_file.exists():  # before the run began
            record_failure(cfg, run, error)
        raise
