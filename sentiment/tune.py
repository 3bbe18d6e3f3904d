"""Searches settings: an Optuna study over train, pruned by epoch, resumable, shared by any number of workers.

python -m sentiment.tune data.path=DIR tune.trials=40
python -m sentiment.tune tune.name=short optimizer=adam trainer.max_epochs=3     # adam is not searched then
python -m sentiment.tune tune.storage=postgresql+psycopg://user@host/database    # the same on every machine

Trials never see the test half; at the end the best one is tested, once.
"""

import logging
import shlex
import shutil
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
import optuna
from filelock import FileLock
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from optuna.trial import Trial

from sentiment import report
from sentiment.callbacks.pruning import Pruning
from sentiment.data.sources import digest
from sentiment.errors import InputError, refuse, require_at_least, require_choice
from sentiment.jobs import quieten, require_one_device
from sentiment.results import read_metrics, refusing, write_metrics
from sentiment.settings import CONF, OBJECTIVES, QUIET, flat, make, parsed, shown
from sentiment.study import Study
from sentiment.train import train

log = logging.getLogger(__name__)


class Tuning:
    """A study whose trials are runs of `train`.

    Args:
        cfg: the composed configuration of `conf/tune.yaml`.
        overrides: what the command line changed of it.

    Raises:
        InputError: the storage cannot be used, or holds a study of this name with other settings.
    """

    def __init__(self, cfg: DictConfig, overrides: Sequence[str]) -> None:
        require_at_least(1, tune__trials=cfg.tune.trials, tune__heartbeat=cfg.tune.heartbeat)
        require_choice(("train",), data__validate_on=cfg.data.validate_on)  # no trial may see the test half
        require_choice(("best", False), test=cfg.test)  # a trial is judged by its best epoch
        require_choice(OBJECTIVES, objective=cfg.objective)
        require_one_device(cfg)
        self.cfg = cfg
        self.folder = Path(cfg.output_dir)
        fixed = [override for override in parsed(overrides) if override.key_or_group.split(".")[0] != "tune"]
        self.fixed = [str(override.input_line) for override in fixed]
        named = {override.key_or_group for override in fixed}
        space: Any = OmegaConf.to_container(cfg.tune.space, resolve=True)
        self.space = {key: settings for key, settings in space.items() if settings and key not in named}
        for key, settings in self.space.items():
            require_choice(("categorical", "float", "int"), **{f"tune__space__{key}__kind": settings.get("kind")})
        self.study = Study(cfg.tune, cfg.objective, self.folder)
        same = {
            key: value
            for key, value in flat(cfg).items()
            if key not in ("data.path", "test") and key.split(".")[0] not in ("baseline", "tune", *self.space)
        }
        self.study.require_same("settings", same | {"tune.space": self.space})
        _save(cfg, self.folder)

    def search(self) -> None:
        """Runs trials until there are enough.

        Raises:
            InputError: the data or a trial's settings are wrong.
        """
        datamodule = make(self.cfg.data, seed=self.cfg.seed)
        datamodule.prepare_data()
        content = [(datamodule.folder / name).read_bytes().hex() for name in ("words.txt", "labels.npy")]
        self.study.require_same("data", {"the data's words and labels": digest(content)[:16]})  # wherever they lie
        self.study.search(self._run)

    def test_winner(self) -> None:
        """Tests the best trial's weights, once, and prints the command that repeats it.

        Raises:
            InputError: there is none.
        """
        best = self.study.best()
        log.info("\nbest: trial %s, %s %.4f, with %s", best.number, self.cfg.objective, best.value, _words(best.params))
        folder = self._folder(best.number)
        if read_metrics(folder).get(self.cfg.objective) != best.value:
            log.info("It was trained on another machine, which tests it")
        elif self.cfg.test:
            with FileLock(folder / "test.lock"):  # for other workers on this disk
                if "test/accuracy" not in (earlier := read_metrics(folder)):
                    cfg = self._configured(best.params)
                    cfg.output_dir = cfg.resume = str(folder)
                    cfg.trainer.max_epochs = earlier["epochs"]  # nothing is left to train
                    logging.getLogger("sentiment.train").setLevel(logging.INFO)
                    train(cfg, one_device=True)
            log.info("test accuracy %.4f", read_metrics(folder)["test/accuracy"])
        log.info("again: python -m sentiment.train %s", shlex.join(self.overrides(best.params)))

    def overrides(self, params: Mapping[str, Any]) -> list[str]:
        """What makes `sentiment.train` repeat a trial."""
        return [*self.fixed, *(f"{key}={'null' if value is None else value}" for key, value in params.items())]

    def _run(self, trial: Trial) -> float:
        """Trains with the settings that Optuna draws; the objective of the study."""
        for key, settings in self.space.items():
            arguments = {name: value for name, value in settings.items() if name != "kind"}
            try:
                getattr(trial, f"suggest_{settings['kind']}")(key, **arguments)
            except (TypeError, ValueError) as error:
                raise InputError(f"tune.space.{key}: {' '.join(str(error).split())}") from error
        cfg = self._configured(trial.params)
        cfg.test, cfg.baseline = False, {}
        folder = self._folder(trial.number)
        shutil.rmtree(folder, ignore_errors=True)  # of a study of this name that was deleted
        _save(cfg, folder)
        cfg.output_dir = str(folder)
        cut = self.study.cut(trial.number)
        again = "" if cut is None else f", which was trial {cut} and was cut"
        log.info("trial %s%s: %s", trial.number, again, _words(trial.params))
        pruning = Pruning(trial, cfg.objective)
        result = train(cfg, [pruning], one_device=True)
        if pruning.pruned_:
            write_metrics(folder, read_metrics(folder) | {"status": "pruned"})
            raise optuna.TrialPruned
        return result

    def _folder(self, number: int) -> Path:
        return (self.folder / f"trial_{number:04}").resolve()

    def _configured(self, params: Mapping[str, Any]) -> DictConfig:
        try:
            cfg = compose("config", self.overrides(params))
        except HydraException as error:
            raise InputError(f"tune.space: {' '.join(str(error).split())}") from error
        cfg.logger.first = sorted(params)
        for key in ("callbacks.summary", "trainer.enable_model_summary"):
            OmegaConf.update(cfg, key, QUIET[key], force_add=True)
        return cfg


def _save(cfg: DictConfig, folder: Path) -> None:
    """Leaves the configuration where Hydra would, for `resume=` and the report."""
    (folder / ".hydra").mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, folder / ".hydra" / "config.yaml")


def _words(params: dict[str, Any]) -> str:
    return " ".join(f"{key}={shown(value)}" for key, value in params.items())


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="tune")
def job(cfg: DictConfig) -> None:
    """A study, or one worker of it, as Hydra starts it."""
    quieten()
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)  # the heartbeat
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("sentiment.train").setLevel(logging.WARNING)
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        refuse("-m: a study searches by itself; describe what in tune.space")
    try:
        with refusing(Path(cfg.output_dir)):
            tuning = Tuning(cfg, HydraConfig.get().overrides.task)
            tuning.search()
            try:
                tuning.test_winner()
            finally:
                report.write([tuning.folder])
    except KeyboardInterrupt:
        print("interrupted; the same command goes on with the study", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    job()
