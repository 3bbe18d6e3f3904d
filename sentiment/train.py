"""Train, test and record one experiment; `-m` sweeps over settings.

python -m sentiment.train                                  # IMDB from the Hugging Face Hub
python -m sentiment.train data=demo                        # built-in corpus, no download
python -m sentiment.train data=files data.path=reviews.csv # your own reviews
python -m sentiment.train data.path=DIR                    # a local copy of IMDB
python -m sentiment.train data.path=DIR experiment=article
python -m sentiment.train data.maxlen=200 model.units=128 optimizer=rmsprop
python -m sentiment.train -m data.maxlen=80,200 optimizer=adam,sgd       # a sweep
python -m sentiment.train -m seed=1,2,3,4 hydra/launcher=joblib          # in parallel
python -m sentiment.train resume=outputs/runs/2026-01-31_12-00-00
"""

import os
import sys
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from sentiment.runtime.cli import exit_with_error
from sentiment.runtime.config import CONF_DIR, parse_overrides
from sentiment.runtime.errors import InputError
from sentiment.runtime.hydra_app import run_hydra_app
from sentiment.runtime.overrides import quote
from sentiment.runtime.run_folder import RunFolder
from sentiment.training.composition import find_resumed_run


def job(cfg: DictConfig) -> float:
    """Run one experiment, or one job of a sweep."""
    from sentiment.training.experiment import train
    from sentiment.training.process import is_first_process, prepare_process
    from sentiment.training.sweeps import run_sweep_job

    prepare_process()
    hydra_cfg: Any = HydraConfig.get()
    shared = hydra_cfg.job.config.override_dirname.exclude_keys
    varied = sorted({o.key_or_group for o in parse_overrides(hydra_cfg.overrides.task)} - {*shared})
    if hydra_cfg.mode == RunMode.MULTIRUN:
        return run_sweep_job(cfg, varied)
    try:
        with RunFolder(cfg.output_dir).exit_on_user_error():
            result = train(cfg, varied=varied).objective
            if cfg.resume:
                RunFolder(cfg.output_dir).write_config(cfg)
    except KeyboardInterrupt:
        print(f"interrupted; continue with: python -m sentiment.train resume={cfg.output_dir}", file=sys.stderr)
        raise
    if is_first_process() and not cfg.quiet:
        print(f"results in {os.path.relpath(cfg.output_dir)}")
    return result


def main() -> None:
    """Parse the command line; `resume=RUN` stands for the configuration and the folder of RUN."""
    try:
        sys.argv[1:] = _expand_resume(sys.argv[1:])
        run_hydra_app(job, "config", __doc__)
    except InputError as error:
        exit_with_error(error)
    except KeyboardInterrupt:
        sys.exit(130)


def _expand_resume(arguments: list[str]) -> list[str]:
    run = find_resumed_run(arguments)
    if run is None:
        return arguments
    path = run.path.resolve()
    # The run keeps its configuration until an epoch was trained with the new one.
    folder = [f"hydra.run.dir='{path}'", "hydra.job.name=train", "hydra.output_subdir=null"]
    log_format = [f"hydra.searchpath=[{quote(f'file://{CONF_DIR}')}]", "hydra/job_logging=plain"]
    at = next(i for i, argument in enumerate(arguments) if argument.startswith("resume="))
    return ["--config-path", f"{path}/.hydra", *arguments[:at], *folder, *log_format, *arguments[at:]]


if __name__ == "__main__":
    main()
