"""Hyperparameter search: a study of runs of `train`, and the test of its best trial."""

import logging
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from hydra import compose
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from optuna.trial import Trial
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import LambdaCallback

from sentiment.data.datamodule import ReviewDataModule
from sentiment.data.summary import find_problems
from sentiment.runtime.config import (
    check_single_device,
    flatten,
    format_setting,
    instantiate_checked,
    parse_overrides,
)
from sentiment.runtime.errors import InputError, check_at_least, check_choice, prefix_key
from sentiment.runtime.files import make_folder
from sentiment.runtime.hydra_app import explain
from sentiment.runtime.run_folder import RUN_LOG, RunFolder, trial_path
from sentiment.training.experiment import run_experiment
from sentiment.training.settings import check_settings
from sentiment.training.tune.space import SearchSpace
from sentiment.training.tune.study import Study, hide_password

log = logging.getLogger(__name__)

_OWN_FILES = {"study.db", "study.db-journal", "tune.log"}  # of a worker that starts now


class Tuning:
    """A study whose trials are runs of `train`, by `conf/tune.yaml` and the overrides of the command line."""

    def __init__(self, cfg: DictConfig, overrides: Sequence[str]) -> None:
        _check_settings(cfg)
        if cfg.tune.storage is not None and not OmegaConf.is_interpolation(cfg.tune, "storage"):
            cfg.tune.storage = hide_password(cfg.tune.storage)  # ${oc.env:NAME} stays in files
        self.cfg = cfg
        self.folder = Path(cfg.output_dir)
        fixed = [o for o in parse_overrides(overrides) if o.key_or_group.split(".")[0] != "tune"]
        self.fixed = [str(override.input_line) for override in fixed]
        self.space = SearchSpace(_unset_sweeps(cfg.tune, {o.key_or_group for o in fixed}))
        for example in self.space.examples():  # invalid settings must not become those of a study
            check_settings(self._compose([*self.fixed, *example]))
        if obstacle := _find_obstacle(cfg):
            advice = "choose another hydra.run.dir or tune.name"
            raise InputError(f"{self.folder}: {obstacle}; {advice}")
        datamodule: ReviewDataModule = instantiate_checked(cfg.data, "data", seed=cfg.seed)
        datamodule.prepare_data()
        datamodule.setup()
        self.study = self._open_study(datamodule.contents)
        RunFolder(self.folder).write_config(cfg)
        for problem in find_problems(datamodule):
            log.warning(problem)

    def search(self) -> None:
        """Run trials until there are enough."""
        with _silence_runs():
            self.study.optimize(self._run_trial)

    def test_best_trial(self) -> None:
        """Test the best trial's checkpoint, once, and print the command that repeats the trial."""
        best = self.study.best_trial()
        value = f"{self.cfg.objective} {best.value:.4f}"
        log.info("\nbest: trial %s, %s, with %s", best.number, value, _describe(best.params))
        run = self._trial_folder(best.number)
        if run.read_metrics().get(self.cfg.objective) != best.value:
            log.info("The best trial was trained on another machine, which tests it")
        elif self.cfg.test_ckpt:
            with FileLock(run.path / "test.lock"):  # workers may share this disk
                if "test/accuracy" not in run.read_metrics():
                    self._test(run, best.params)
            log.info("test accuracy %.4f", run.read_metrics()["test/accuracy"])
        repeat = shlex.join(self.overrides(best.params))
        log.info("repeat it with: python -m sentiment.train %s", repeat)

    def overrides(self, params: Mapping[str, Any]) -> list[str]:
        """The overrides with which `sentiment.train` repeats a trial."""
        return [*self.fixed, *self.space.overrides(params)]

    def _open_study(self, contents: str) -> Study:
        """Open the study, unless there are trials of another one in its folder."""
        earlier = {*self.folder.glob("trial_*")}
        settings = flatten(self.cfg)
        for key in [*settings]:
            if key in ("data.path", "test_ckpt") or key.split(".")[0] in ("baseline", "tune"):
                del settings[key]
        settings |= {key: f"searched in {sweep}" for key, sweep in self.space.sweeps.items()}
        settings["the contents of the data"] = contents
        study = Study(self.cfg.tune, settings, self.folder)
        trials = study.optuna_study.trials
        others = earlier - {trial_path(self.folder, trial.number) for trial in trials}
        if others:
            problem = "is not of this study; move it away, or choose another tune.name"
            raise InputError(f"{min(others)}: {problem}")
        return study

    def _run_trial(self, trial: Trial) -> float:
        """Train with the settings that Optuna suggests; return the objective."""
        self.space.suggest(trial)
        cfg = self._compose(self.overrides(trial.params))
        cfg.test_ckpt, cfg.baseline = None, {}
        run = self._trial_folder(trial.number)
        cfg.output_dir = str(run.path)
        retried = trial.user_attrs.get("retry_of")
        note = "" if retried is None else f", a retry of trial {retried}"
        log.info("trial %s%s: %s", trial.number, note, _describe(trial.params))
        pruning = Pruning(trial, cfg.objective)
        make_folder(run.path, exist_ok=False)
        with run.claim():
            varied = sorted(trial.params)
            outcome = run_experiment(cfg, [pruning], varied=varied, shown=varied)
            if pruning.pruned:
                run.write_metrics(run.read_metrics() | {"status": "pruned"})
                raise optuna.TrialPruned
        return outcome.objective

    def _test(self, run: RunFolder, params: Mapping[str, Any]) -> None:
        cfg = self._compose(self.overrides(params))
        cfg.output_dir = cfg.resume = str(run.path)
        with run.claim(new=False), ExitStack() as silence:
            silence.enter_context(_silence_runs())
            show = LambdaCallback(on_test_start=lambda *_: silence.close())
            run_experiment(cfg, [show], varied=sorted(params), shown=sorted(params))

    def _trial_folder(self, number: int) -> RunFolder:
        return RunFolder(trial_path(self.folder, number).resolve())

    def _compose(self, overrides: list[str]) -> DictConfig:
        try:
            cfg = compose("config", overrides)
        except (HydraException, OmegaConfBaseException) as error:
            raise InputError(f"tune.space: {explain(error, overrides)}") from error
        cfg.trainer.enable_model_summary = False
        return cfg


class Pruning(Callback):
    """Reports the objective after every epoch and stops the training if the pruner asks for it."""

    def __init__(self, trial: Trial, objective: str) -> None:
        self.trial = trial
        self.objective = objective
        self.pruned = False
        self._validated = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the last validation of the epoch, if it had any."""
        if not self._validated:
            return
        self._validated = False
        self.trial.report(float(trainer.callback_metrics[self.objective]), trainer.current_epoch)
        if self.trial.should_prune():
            self.pruned = trainer.should_stop = True


def _check_settings(cfg: DictConfig) -> None:
    with prefix_key("tune"):
        check_at_least(1, trials=cfg.tune.trials, heartbeat_interval=cfg.tune.heartbeat_interval)
    with prefix_key("data"):
        check_choice(("train",), validate_on=cfg.data.validate_on)  # no trial may see the test set
    check_choice(("best", None), test_ckpt=cfg.test_ckpt)  # a trial is judged by its best epoch
    check_single_device(cfg)


def _unset_sweeps(tune: DictConfig, named: Collection[str]) -> dict[str, Any]:
    """The search space without the keys that are null or set on the command line."""
    settings: Any = OmegaConf.to_container(tune, resolve=True)
    space = settings["space"] if isinstance(settings["space"], dict) else {}
    unset = {key: sweep for key, sweep in space.items() if key.lstrip("+") not in named}
    if sweeps := {key: sweep for key, sweep in unset.items() if sweep is not None}:
        return sweeps
    raise InputError(
        "tune.space: is not a mapping, or every key is null or set on the command line; leave one "
        "to the search, such as tune.space.model.units='range(32,129,32)'"
    )


def _find_obstacle(cfg: DictConfig) -> str | None:
    """Why the output folder cannot be that of this study."""
    run = RunFolder(cfg.output_dir)
    if cfg.tune.storage is None and set("?%{}") & set(str(run.path)):
        return "a study's URL cannot name a folder with ?, %, { or }"
    if not run.config_file.exists():
        others = {path.name for path in run.path.glob("[!.]*")} - _OWN_FILES
        return "is not empty" if others else None
    saved = run.read_config()
    if saved is None or "tune" not in saved:
        return "holds a run"
    if any(saved.tune.get(key) != cfg.tune[key] for key in ("name", "storage")):
        return f"holds another study, tune.name={saved.tune.get('name')}"
    return None


@contextmanager
def _silence_runs() -> Iterator[None]:
    """Keep what runs log out of the console and the log of the study; each writes its own."""

    def is_of_study(record: logging.LogRecord) -> bool:
        return not record.name.startswith(RUN_LOG)

    handlers = [*logging.getLogger().handlers]
    for handler in handlers:
        handler.addFilter(is_of_study)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(is_of_study)


def _describe(params: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={format_setting(value)}" for key, value in params.items())
