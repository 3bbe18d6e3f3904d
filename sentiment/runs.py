"""What runs, sweeps and studies left in their folders, and in what they differ."""

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from sentiment.errors import InputError
from sentiment.results import read_metrics
from sentiment.settings import flat

if TYPE_CHECKING:
    import optuna

NOT_COMPARED = ("seed", "baseline", "objective", "tune", "trainer.accelerator")  # seeds are averaged; no other LSTM


@dataclass(frozen=True)
class Run:
    """What a run left.

    Attributes:
        folder: where.
        settings: by dotted key, see `settings.flat`.
        metrics: of `metrics.json`; empty if the run did not end.
        drawn: settings that a study drew for it.
    """

    folder: Path
    settings: dict[str, Any]
    metrics: dict[str, Any]
    drawn: frozenset[str] = frozenset()

    @property
    def status(self) -> str:
        """`finished`, `failed`, `interrupted`, `pruned`, or `unfinished`: killed, or still under way."""
        return str(self.metrics.get("status", "unfinished"))


@dataclass(frozen=True)
class Group:
    """Finished runs that differ in nothing but their seeds.

    Attributes:
        settings: those in which groups differ.
        runs: one per seed.
    """

    settings: dict[str, Any]
    runs: list[Run]

    @property
    def seeds(self) -> int:
        """How many there are."""
        return len({run.settings["seed"] for run in self.runs})

    def values(self, tag: str) -> list[float]:
        """What the runs have under a tag of `metrics.json`."""
        return [run.metrics[tag] for run in self.runs if run.metrics.get(tag) is not None]

    def mean(self, tag: str) -> float:
        """Mean over the seeds; some run must have the tag."""
        return statistics.fmean(self.values(tag))

    def sd(self, tag: str) -> float:
        """Standard deviation over the seeds, 0 of a single one."""
        values = self.values(tag)
        return statistics.stdev(values) if len(values) > 1 else 0.0


def read(folders: Sequence[Path]) -> list[Run]:
    """All runs in the folders and the folders below them.

    Raises:
        InputError: a folder holds none.
    """
    runs: dict[Path, Run] = {}
    for folder in folders:
        found = sorted(folder.rglob(".hydra/config.yaml"))
        if not found:
            raise InputError(f"{folder}: holds no run (no .hydra/config.yaml); name a run, a sweep or a study")
        configurations = {path.parents[1]: _configuration(path.parents[1]) for path in found}
        studies = {home for home, cfg in configurations.items() if "tune" in cfg}
        for home, cfg in configurations.items():
            if home in studies:
                runs |= {run.folder.resolve(): run for run in _trials(home, configurations)}
            elif not {*home.parents} & studies:
                runs[home.resolve()] = Run(home, flat(cfg), read_metrics(home))
    return list(runs.values())


def is_study(folder: Path) -> bool:
    """Whether `sentiment.tune` keeps a study there."""
    return (folder / ".hydra" / "config.yaml").exists() and "tune" in _configuration(folder)


def _configuration(folder: Path) -> DictConfig:
    cfg = OmegaConf.load(folder / ".hydra" / "config.yaml")
    assert isinstance(cfg, DictConfig)
    return cfg


def load_study(folder: Path) -> "optuna.Study":
    """The study that lies in a folder, or in the storage that its configuration names.

    Raises:
        InputError: the storage cannot be read.
    """
    import optuna

    cfg = _configuration(folder)
    try:
        return optuna.load_study(study_name=cfg.tune.name, storage=cfg.tune.storage or f"sqlite:///{folder}/study.db")
    except Exception as error:  # of whatever driver the storage takes
        raise InputError(f"{folder}: its study cannot be read: {' '.join(str(error).split())}") from error


def _trials(folder: Path, configurations: Mapping[Path, DictConfig]) -> list[Run]:
    """The runs of a study; its storage knows more of them than the folder, where several machines share it."""
    cfg = configurations[folder]
    status = {"COMPLETE": "finished", "PRUNED": "pruned", "RUNNING": "unfinished"}
    runs = []
    for trial in load_study(folder).trials:
        if trial.state.name != "WAITING":
            run = folder / f"trial_{trial.number:04}"
            metrics = {"status": "interrupted"} | read_metrics(run)
            metrics["status"] = status.get(trial.state.name, metrics["status"])
            if trial.state.name == "FAIL" and metrics["status"] == "finished":  # with a figure that is none
                metrics |= {"status": "failed", "error": f"{cfg.objective} is not a number"}
            settings = flat(configurations[run]) if run in configurations else flat(cfg) | trial.params
            runs.append(Run(run, settings, metrics | {cfg.objective: trial.value}, frozenset(trial.params)))
    return runs


def differing(runs: Sequence[Run]) -> list[str]:
    """Keys of the settings in which the runs differ; of an object's, those in which it differs from its own kind.

    What a study searched is among them in any case.
    """
    keys = list(dict.fromkeys(key for run in runs for key in run.settings))

    def differs(key: str) -> bool:
        values = defaultdict(set)
        parent, _, _ = key.rpartition(".")
        for run in runs:
            values[str(run.settings.get(parent))].add(str(run.settings.get(key)))
        return any(len(kinds) > 1 for kinds in values.values())

    drawn = {key for run in runs for key in run.drawn}
    compared = (key for key in keys if key not in NOT_COMPARED and key.split(".")[0] not in NOT_COMPARED)
    return [key for key in compared if key in drawn or differs(key)]


def grouped(runs: Sequence[Run], objective: str) -> list[Group]:
    """Finished runs by all settings but the seed, the best first."""
    groups: dict[str, Group] = {}
    keys = differing(runs)
    for run in runs:
        if run.status == "finished" and run.metrics.get(objective) is not None:
            settings = {key: run.settings.get(key) for key in keys}
            groups.setdefault(str(settings), Group(settings, [])).runs.append(run)
    sign = 1 if objective.endswith("loss") else -1
    return sorted(groups.values(), key=lambda group: sign * group.mean(objective))
