"""Training from Python, in scripts and notebooks."""

import copy
import logging
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich import get_console

from sentiment.analysis.run import Run
from sentiment.runtime.cli import ConsoleHandler
from sentiment.runtime.config import check_single_device, flatten
from sentiment.runtime.errors import InputError
from sentiment.runtime.files import describe_write_error, make_unique_folder
from sentiment.runtime.run_folder import RUN_LOG, RunFolder
from sentiment.training import experiment
from sentiment.training.configuration import compose
from sentiment.training.process import prepare_process

RUNS = Path("outputs", "runs")
_process = threading.RLock()  # its random numbers, log and threads are of one training at a time


def train(cfg: DictConfig) -> Run:
    """Train, test and record one experiment, as `python -m sentiment.train` does.

    The run gets a new folder, `outputs/runs/<date>_<time>` in the working directory, unless
    `cfg.output_dir` names one. If the program has set up no logging, what is logged is also
    printed. Of several threads, one trains at a time; the others wait.

    Args:
        cfg: from `compose`, or loaded from `.hydra/config.yaml` of another run; it is not changed.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        # On a GPU, baselines are fitted in another process, which imports the script.
        advice = 'call it below if __name__ == "__main__":, since processes are started'
        raise RuntimeError(f"train: {advice}")
    check_single_device(cfg)
    cfg = copy.deepcopy(cfg)
    path = None if OmegaConf.is_interpolation(cfg, "output_dir") else cfg.output_dir
    try:
        path = path or make_unique_folder(RUNS.absolute() / f"{datetime.now():%Y-%m-%d_%H-%M-%S}")
        cfg.output_dir = str(Path(path).absolute())
        with (
            RunFolder(cfg.output_dir).claim(new=not cfg.resume),
            _process,
            _process_state(cfg.quiet),
        ):
            return _train(cfg)
    except (InputError, OSError) as error:
        if isinstance(error, OSError):
            error = InputError(describe_write_error(error, Path(path or RUNS)))
        raise error.with_traceback(None) from None


def _train(cfg: DictConfig) -> Run:
    log = logging.getLogger(RUN_LOG)
    settings, defaults, place = flatten(cfg), flatten(compose()), os.path.relpath(cfg.output_dir)
    varied = [key for key in settings if (key, settings[key]) not in defaults.items()]
    try:
        result = experiment.run_experiment(cfg, varied=varied)
    except KeyboardInterrupt:
        log.warning('interrupted; continue with: train(compose("resume=%s"))', place)
        raise
    log.info("results in %s", place)
    return result


@contextmanager
def _process_state(quiet: bool) -> Iterator[None]:
    """Log to standard output if no logging is set up.

    Afterwards the process is as it was, but for the memory allocator, see `disable_malloc_trim`.
    """
    root, ours, handler = logging.getLogger(), logging.getLogger("sentiment"), ConsoleHandler()
    levelled: list[Any] = [ours, logging.getLogger("pytorch_lightning"), *root.handlers]
    levels = [item.level for item in levelled]
    before = logging.raiseExceptions, get_console().quiet, signal.getsignal(signal.SIGINT)
    if not ours.hasHandlers():
        root.addHandler(handler)
    try:
        with warnings.catch_warnings():
            prepare_process(quiet)
            warnings.filterwarnings("ignore", 'install "ipywidgets"')  # rich's, in notebooks
            if ours.level == logging.NOTSET:
                ours.setLevel(logging.INFO)
            yield
    finally:
        root.removeHandler(handler)
        for item, level in zip(levelled, levels, strict=True):
            item.setLevel(level)
        logging.raiseExceptions, get_console().quiet, interrupt = before
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, interrupt)  # Lightning ignores it after the first one
