"""Reads the runs of sweeps and studies from their folders, and averages them over seeds."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from sentiment.analysis.run import Run
from sentiment.runtime.config import CONF_DIR, find_objective, flatten
from sentiment.runtime.errors import InputError, one_line
from sentiment.runtime.run_folder import RunFolder, trial_path

if TYPE_CHECKING:
    import optuna

# Results are averaged over seeds and devices; baselines do not change the network.
NOT_COMPARED = {"seed", "baseline", "tune", "trainer.accelerator"}
# Keys of `data` that determine the test set; that of IMDB is not drawn.
_DRAWN = ("test_fraction", "split_seed")
_TEST_SET = (
    *("path", "text_column", "label_column", "header", "separator", "encoding", "encoding_errors"),
    *("text_per", "labels", "empty", *_DRAWN),
)
_NAMED = ("data", "data.path")  # name a data set
_AT_BATCH_TIME = tuple(f"data.{key}" for key in ("maxlen", "padding", "truncating", "batch_size"))
# By state of an Optuna trial.
_STATUS = {"COMPLETE": "finished", "PRUNED": "pruned", "RUNNING": "unfinished"}


@dataclass(frozen=True)
class Result:
    """Finished runs that differ only in their seeds."""

    settings: dict[str, Any]  # those that vary between the results
    runs: Mapping[Any, Run]  # by seed, the last of those with the same settings and seed
    metrics: pd.DataFrame  # numbers: a row per seed, a column per tag, NaN where a run lacks a tag
    repeated: Sequence[Run] = ()  # the others with the same settings and seed

    @cached_property
    def mean(self) -> dict[str, float]:
        """Mean over the seeds, by tag."""
        return dict(self.metrics.mean().dropna())

    @cached_property
    def sd(self) -> dict[str, float]:
        """Standard deviation over the seeds, by tag, of those that two runs or more have."""
        is_constant, has_several = self.metrics.nunique() == 1, self.metrics.count() > 1
        return dict(self.metrics.std().mask(is_constant, 0.0)[has_several])


def read_runs(folder: Path) -> tuple[list[Run], list[str]]:
    """The runs in a folder, but for teachers, and a line for each that cannot be read."""
    runs: list[Run] = []
    problems: list[str] = []
    walk = os.walk(folder, onerror=lambda error: problems.append(str(error)))
    found = {Path(parent) for parent, names, _ in walk if ".hydra" in names}
    configs: dict[Path, DictConfig] = {}
    for files in map(RunFolder, sorted(found)):
        with _note_problem(problems):
            if cfg := files.read_config():
                configs[files.path] = cfg
            elif files.metrics_file.exists():
                problems.append(f"{files.config_file}: not the configuration of a run")
    studies = {path for path, cfg in configs.items() if "tune" in cfg}
    for path, cfg in configs.items():
        is_teacher = path.parent.name == "teachers" and path.parents[1] in found
        if is_teacher or not studies.isdisjoint(path.parents):
            continue
        with _note_problem(problems):
            if path in studies:
                runs += _read_trials(path, configs, problems)
            else:
                files = RunFolder(path)
                runs.append(Run(files, flatten(cfg), files.read_metrics()))
    return runs, problems


@contextmanager
def _note_problem(problems: list[str]) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        problems.append(str(error))


def load_study(folder: Path) -> "optuna.Study | None":
    """The study of a folder, from there or from `tune.storage`; None if it is no study's."""
    cfg = RunFolder(folder).read_config()
    if cfg is None or "tune" not in cfg:
        return None

    import optuna  # takes seconds

    from sentiment.analysis.study_storage import connect

    file = folder / "study.db"
    try:
        if not cfg.tune.storage:
            file.stat()  # Optuna would make an empty one
        storage = connect(cfg.tune.storage or f"sqlite:///{file}")
        return optuna.load_study(study_name=cfg.tune.name, storage=storage)
    except Exception as error:  # of the storage's driver, whichever that is
        problem = f"the study cannot be read ({one_line(error)}); check tune.storage"
        raise InputError(f"{folder}: {problem}") from error


def _read_trials(
    folder: Path, configs: Mapping[Path, DictConfig], problems: list[str]
) -> list[Run]:
    """Read the trials of a study from its storage, which also knows those of other machines."""
    of_study, study = flatten(configs[folder]), load_study(folder)
    objective, runs = of_study["objective"], []
    for trial in study.trials if study else ():
        if trial.state.name == "WAITING":
            continue
        files = RunFolder(trial_path(folder, trial.number))
        settings = flatten(configs.get(files.path, configs[folder]))
        # Another machine may have the data in another place, and only the best trial is tested.
        same = {key: of_study.get(key) for key in ("data.path", "test_ckpt")}
        metrics: dict[str, Any] = {"status": "interrupted", objective: None}
        with _note_problem(problems):
            metrics |= files.read_metrics()
        if trial.state.name == "FAIL" and metrics["status"] == "finished":
            value = metrics.get(objective)
            lost = f"trained to the end, {objective} {value}, but the study did not record it"
            why = f"{objective} is not a number" if value is None else lost
            metrics |= {"status": "failed", "error": why}
        metrics["status"] = _STATUS.get(trial.state.name, metrics["status"])
        if trial.value is not None:
            metrics[objective] = trial.value
        sampled = frozenset(trial.params)
        runs.append(Run(files, settings | trial.params | same, metrics, sampled))
    return runs


def group_by_data(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Group runs by what distinguishes the data sets that test them: `data=files data.path=a.csv`."""
    data = OmegaConf.load(CONF_DIR / "data" / "default.yaml")
    defaults = flatten(OmegaConf.create({"data": data}))
    groups: dict[tuple[tuple[str, str], ...], list[Run]] = {}
    for run in runs:
        groups.setdefault(tuple(_test_set(defaults | run.settings).items()), []).append(run)
    named = {}
    for data_set, group in groups.items():
        names = [pair for pair in data_set if pair[0] in _NAMED]
        similar = [other for other in groups if {*names} <= {*other}]
        differing = [pair for pair in data_set if not all(pair in other for other in similar)]
        named[" ".join(f"{key}={value}" for key, value in (*names, *differing))] = group
    return named


def _test_set(settings: Mapping[str, Any]) -> dict[str, str]:
    """The settings that determine the test set, as text."""
    source, path = str(settings["data.source"]), settings["data.path"]
    found = {"data": source}
    if source == "demo" or (source == "imdb" and path is None):
        return found
    for name in _TEST_SET:
        if source != "imdb" or name not in _DRAWN:
            value = settings.get(f"data.{name}")
            found[f"data.{name}"] = "null" if value is None else str(value)
    if isinstance(path, str):
        found["data.path"] = os.path.normpath(path)
    return found


def data_has_changed(runs: Sequence[Run]) -> bool:
    """Whether runs that prepare their data alike have read different reviews."""
    fingerprints: dict[str, set[str]] = {}
    for run in runs:
        keys = [k for k in run.settings if k.startswith("data.") and k not in _AT_BATCH_TIME]
        prepared = repr([(key, run.settings[key]) for key in keys])
        if "data_fingerprint" in run.metrics and not run.sampled:  # a study checks its data itself
            fingerprints.setdefault(prepared, set()).add(run.metrics["data_fingerprint"])
    return any(len(different) > 1 for different in fingerprints.values())


def varying_keys(runs: Sequence[Run]) -> list[str]:
    """The keys of the settings that vary between the runs, or that a study sampled.

    The arguments of an object, such as `optimizer.lr`, are compared between objects of one class.
    """

    def varies(key: str) -> bool:
        parent = key.rpartition(".")[0]
        values = {(repr(run.settings.get(parent)), repr(run.settings.get(key))) for run in runs}
        return len(values) > len({of_parent for of_parent, _ in values})

    keys = dict.fromkeys(key for run in runs for key in run.settings)
    compared = [key for key in keys if NOT_COMPARED.isdisjoint((key, key.split(".")[0]))]
    sampled = {key for run in runs for key in run.sampled}
    return [key for key in compared if key in sampled or varies(key)]


def has_result(run: Run, objective: str) -> bool:
    """Whether a run has come to its end with a number as its objective."""
    return run.status == "finished" and type(run.metrics.get(objective)) in (float, int)


def summarize(runs: Sequence[Run], objective: str) -> list[Result]:
    """Average the finished runs over their seeds; the best result comes first."""
    keys = varying_keys(runs)
    groups: dict[str, list[Run]] = {}
    for run in runs:
        if has_result(run, objective):
            groups.setdefault(repr([run.settings.get(key) for key in keys]), []).append(run)
    results = [_collect_seeds(keys, group) for group in groups.values()]
    descending = find_objective(objective).direction == "maximize"
    return sorted(results, key=lambda result: result.mean[objective], reverse=descending)


def _collect_seeds(keys: Sequence[str], runs: Sequence[Run]) -> Result:
    settings = {key: runs[0].settings.get(key) for key in keys}
    seeds = [run.settings.get("seed", run.folder.path.name) for run in runs]
    metrics = pd.DataFrame([run.metrics for run in runs], index=seeds).select_dtypes("number")
    # Of repeated runs, the last number that is not missing.
    last = metrics.groupby(level=0, sort=False, dropna=False).last()
    by_seed = dict(zip(seeds, runs, strict=True))
    return Result(settings, by_seed, last, [run for run in runs if run not in by_seed.values()])


def baseline_tags(results: Sequence[Result], tag: str) -> dict[str, str]:
    """The baselines with a metric `val/accuracy`: names by tag, `baseline/<name>/val_accuracy`."""
    ending = f"/{tag.replace('/', '_')}"
    tags = sorted({tag for result in results for tag in result.mean if tag.endswith(ending)})
    return {tag: tag.split("/")[1] for tag in tags if tag.startswith("baseline/")}
