"""Reads the runs of sweeps and studies from their folders, and averages them over seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
from omegaconf import DictConfig

from sentiment.runtime.config import OBJECTIVES, Objective, flatten
from sentiment.runtime.errors import InputError, one_line
from sentiment.runtime.run_folder import RunFolder, trial_path

if TYPE_CHECKING:
    import optuna

# Results are averaged over seeds; the others do not change the LSTM.
NOT_COMPARED = ("seed", "baseline", "objective", "tune", "trainer.accelerator")
_STATUS = {"COMPLETE": "finished", "PRUNED": "pruned", "RUNNING": "unfinished"}  # by state of an Optuna trial


@dataclass(frozen=True)
class Run:
    """A run as its folder describes it.

    Attributes:
        folder: its files.
        settings: by dotted key, see `runtime.config.flatten`.
        metrics: of `metrics.json`; empty if the run did not end.
        sampled: keys of the settings that a study sampled.
    """

    folder: RunFolder
    settings: dict[str, Any]
    metrics: dict[str, Any]
    sampled: frozenset[str] = frozenset()

    @property
    def status(self) -> str:
        """`finished`, `failed`, `interrupted`, `pruned`, or `unfinished`: killed or still running."""
        return str(self.metrics.get("status", "unfinished"))


class Result(NamedTuple):
    """Finished runs that differ only in their seeds.

    Attributes:
        settings: those that vary between the results.
        seeds: number of different seeds.
        mean: mean over the runs, by tag of `metrics.json`.
        sd: standard deviation over the runs, 0 if all values are equal or there is one.
    """

    settings: dict[str, Any]
    seeds: int
    mean: dict[str, float]
    sd: dict[str, float]


def find_objective(name: str) -> Objective:
    """Return the objective of that name; an unknown one, of another version, is maximized and shown as a number."""
    return OBJECTIVES.get(name, Objective("maximize", is_accuracy=False))


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Read all runs in the folders and their subfolders.

    Raises:
        InputError: a folder contains no run, or a configuration or the storage of a study cannot be read.
    """
    runs: dict[Path, Run] = {}
    for folder in folders:
        found = [RunFolder(path.parents[1]) for path in sorted(folder.rglob(".hydra/config.yaml"))]
        configs = {run.path: cfg for run in found if (cfg := run.read_config()) is not None}
        if not configs:
            raise InputError(f"{folder}: contains no run (no .hydra/config.yaml); pass a run, a sweep or a study")
        studies = {path for path, cfg in configs.items() if "tune" in cfg}
        for path, cfg in configs.items():
            if path in studies:
                runs |= {run.folder.path.resolve(): run for run in _read_trials(path, configs)}
            elif studies.isdisjoint(path.parents):
                run = RunFolder(path)
                runs[path.resolve()] = Run(run, flatten(cfg), run.read_metrics())
    return list(runs.values())


def is_study(folder: Path) -> bool:
    """Return whether a folder is that of a study of `sentiment.tune`."""
    cfg = RunFolder(folder).read_config()
    return cfg is not None and "tune" in cfg


def load_study(folder: Path) -> "optuna.Study":
    """Load the study of a folder, from there or from the storage that its configuration names.

    Raises:
        InputError: the storage cannot be read.
    """
    import optuna  # takes seconds

    cfg = RunFolder(folder).read_config()
    assert cfg is not None
    try:
        return optuna.load_study(study_name=cfg.tune.name, storage=cfg.tune.storage or f"sqlite:///{folder}/study.db")
    except Exception as error:  # of the storage's driver, whichever that is
        raise InputError(f"{folder}: the study cannot be read ({one_line(error)}); check tune.storage") from error


def _read_trials(folder: Path, configs: Mapping[Path, DictConfig]) -> list[Run]:
    """Read the trials of a study from its storage, which also knows those of workers on other machines."""
    cfg = configs[folder]
    runs = []
    for trial in load_study(folder).trials:
        if trial.state.name == "WAITING":
            continue
        run = RunFolder(trial_path(folder, trial.number))
        metrics = {"status": "interrupted"} | run.read_metrics() | {cfg.objective: trial.value}
        metrics["status"] = _STATUS.get(trial.state.name, metrics["status"])
        if trial.state.name == "FAIL" and metrics["status"] == "finished":
            metrics |= {"status": "failed", "error": f"{cfg.objective} is not a number"}
        settings = flatten(configs[run.path]) if run.path in configs else flatten(cfg) | trial.params
        runs.append(Run(run, settings, metrics, frozenset(trial.params)))
    return runs


def varying_keys(runs: Sequence[Run]) -> list[str]:
    """Return the keys of the settings that vary between the runs, or that a study sampled.

    The arguments of an object, such as `optimizer.lr`, are only compared between objects of the same class.
    """

    def varies(key: str) -> bool:
        parent = key.rpartition(".")[0]
        values = {(str(run.settings.get(parent)), str(run.settings.get(key))) for run in runs}
        return len(values) > len({of_parent for of_parent, _ in values})

    keys = dict.fromkeys(key for run in runs for key in run.settings)
    compared = [key for key in keys if key not in NOT_COMPARED and key.split(".")[0] not in NOT_COMPARED]
    sampled = {key for run in runs for key in run.sampled}
    return [key for key in compared if key in sampled or varies(key)]


def summarize(runs: Sequence[Run], objective: str) -> list[Result]:
    """Average the finished runs over their seeds; the best result comes first."""
    finished = [run for run in runs if run.status == "finished" and run.metrics.get(objective) is not None]
    if not finished:
        return []
    keys = varying_keys(runs)
    settings = [{key: run.settings.get(key) for key in keys} for run in finished]
    metrics = pd.DataFrame([run.metrics for run in finished]).select_dtypes("number")
    groups = metrics.groupby(list(map(str, settings)), sort=False)
    mean, sd = groups.mean(), groups.std().where(groups.nunique() > 1, 0.0)
    ascending = find_objective(objective).direction == "minimize"
    results = []
    for group in mean[objective].sort_values(ascending=ascending, kind="stable").index:
        rows = groups.indices[group]
        seeds = {finished[row].settings.get("seed") for row in rows}
        means = mean.loc[group].dropna().to_dict()
        results.append(Result(settings[rows[0]], len(seeds), means, sd.loc[group].to_dict()))
    return results


def shorten_keys(keys: Sequence[str]) -> dict[str, str]:
    """Return labels of dotted keys: `maxlen` for `data.maxlen`, unless another key ends in `maxlen` too."""
    names = [key.rpartition(".")[2] for key in keys]
    return {key: name if names.count(name) == 1 else key for key, name in zip(keys, names, strict=True)}


def baseline_tags(results: Sequence[Result], tag: str) -> dict[str, str]:
    """Return the names of the baselines that have a metric `val/accuracy`, by tag: `baseline/<name>/val_accuracy`."""
    ending = f"/{tag.replace('/', '_')}"
    tags = sorted({tag for result in results for tag in result.mean})
    return {tag: tag.split("/")[1] for tag in tags if tag.startswith("baseline/") and tag.endswith(ending)}
