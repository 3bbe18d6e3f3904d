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
from sentiment.runtime.config import format_override, parse_overrides
from sentiment.runtime.errors import InputError
from sentiment.runtime.files import is_first_process
from sentiment.runtime.hydra_app import run_hydra_app
from sentiment.runtime.run_folder import RunFolder
from sentiment.training.configuration import find_primary_config


def job(cfg: DictConfig) -> float:
    """Run one experiment, or one job of a sweep."""
    from sentiment.training.experiment import run_experiment
    from sentiment.training.process import prepare_process
    from sentiment.training.sweeps import run_sweep_job

    prepare_process(cfg.quiet)
    hydra_cfg: Any = HydraConfig.get()
    shared = hydra_cfg.job.config.override_dirname.exclude_keys
    overrides = parse_overrides(hydra_cfg.overrides.task)
    varied = sorted({override.key_or_group for override in overrides} - {*shared})
    if hydra_cfg.mode == RunMode.MULTIRUN:
        return run_sweep_job(cfg, varied)
    run = RunFolder(cfg.output_dir)
    try:
        with run.claim(new=not cfg.resume):
            result = run_experiment(cfg, varied=varied).objective
    except KeyboardInterrupt:
        if run.config_file.exists():
            command = f"python -m sentiment.train {format_override('resume', cfg.output_dir)}"
            print(f"interrupted; continue with: {command}", file=sys.stderr)
        sys.exit(130)
    if is_first_process() and not cfg.quiet:
        print(f"results in {os.path.relpath(cfg.output_dir)}")
    return result


def main() -> None:
    """Parse the command line; `resume=RUN` stands for the configuration and the folder of RUN."""
    try:
        config_name = find_primary_config(sys.argv[1:])
    except InputError as error:
        exit_with_error(error)
    run_hydra_app(job, config_name, __doc__)


if __name__ == "__main__":
    main()
