"""Search hyperparameters with Optuna: trials of train, pruned by epoch, shared by any number of workers.

python -m sentiment.tune data.path=DIR tune.trials=40
python -m sentiment.tune data.path=DIR optimizer=adam tune.name=adam     # a key that is set is not searched
python -m sentiment.tune data.path=DIR tune.space.model.units='range(32,129,32)'
python -m sentiment.tune data.path=DIR tune.space=null tune.space.model.dropout='interval(0,0.5)'
python -m sentiment.tune data.path=DIR tune.storage=postgresql+psycopg://user@host/database

tune.space.KEY=SWEEP searches a setting or group of a run, null leaves it as it is, and tune.space=null
empties the space for what follows. Sweeps are written in Hydra's syntax: choice(adam,sgd) or adam,sgd;
range(32,129,32), without 129; interval(0.0,0.5); int(interval(32,128)); on a logarithmic scale
tag(log,interval(0.0001,0.1)). With --config-dir DIR tune=mine, DIR/tune/mine.yaml describes the space;
its defaults: [default] keep the other settings.

Trials never see the test set; at the end the best trial is tested, once. The same command continues
a study, on any number of machines if they share the storage. PostgreSQL's password belongs in
~/.pgpass or the environment variable PGPASSWORD: other users can see command lines.
"""

import re
import sys
import warnings

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from sentiment.runtime.cli import exit_with_error
from sentiment.runtime.config import quote
from sentiment.runtime.files import remove_if_empty
from sentiment.runtime.hydra_app import run_hydra_app
from sentiment.runtime.run_folder import RunFolder


def job(cfg: DictConfig) -> None:
    """Run a study, or one worker of it."""
    import optuna

    from sentiment.analysis.report.report import write_report
    from sentiment.training.process import prepare_process
    from sentiment.training.tune.tuning import Tuning

    prepare_process(cfg.quiet)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of heartbeats
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        exit_with_error("-m: a study is not a sweep; describe the search space in tune.space")
    run = RunFolder(cfg.output_dir)
    try:
        with run.log_to("tune.log"):
            tuning = Tuning(cfg, HydraConfig.get().overrides.task)
            tuning.search()
            try:
                tuning.test_best_trial()
            finally:
                write_report([tuning.folder])
    except KeyboardInterrupt:
        print("interrupted; the same command continues the study", file=sys.stderr)
        sys.exit(130)
    finally:
        remove_if_empty(run.path)


def main() -> None:
    """Parse the command line; `tune.space.KEY=SWEEP` sets a key of the mapping `tune.space`."""
    sys.argv[1:] = map(_set_sweep, sys.argv[1:])
    run_hydra_app(job, "tune", __doc__)


def _set_sweep(argument: str) -> str:
    """Write an override of a key of `tune.space` as one of the mapping: Hydra takes each dot for a level."""
    if argument.startswith("tune.space={"):
        return f"+{argument}"  # adds keys, too
    found = re.fullmatch(r"\+*tune\.space\.([^=]+)=(.*)", argument)
    if not found:
        return argument
    key, sweep = found.groups()
    return f"+tune.space={{{key}:{sweep if sweep == 'null' else quote(sweep)}}}"


if __name__ == "__main__":
    main()
