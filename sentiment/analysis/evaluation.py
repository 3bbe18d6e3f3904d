"""Evaluation of trained models on labelled reviews, alone or as an ensemble."""

import contextlib
import inspect
import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from datasets import Dataset
from omegaconf import DictConfig, OmegaConf
from rich.progress import track
from torch import Tensor
from torch.nn import functional as F

from sentiment.analysis.statistics import Correct, format_class_table, format_result_table
from sentiment.baselines.fitting import CachedFit
from sentiment.classifier import Ensemble, TextCheck, average_probabilities, load
from sentiment.data import sources
from sentiment.data.corpus import Corpus
from sentiment.data.encoding import EMPTY, Integers, hash_tokens, is_complete
from sentiment.data.labels import find_closest, suggest_mapping
from sentiment.data.tokenizers import Tokenizer
from sentiment.model.metrics import METRICS_BY_CLASS, ClassificationMetrics
from sentiment.runtime.config import instantiate_checked
from sentiment.runtime.errors import InputError
from sentiment.runtime.run_folder import RunFolder, provenance
from sentiment.runtime.trust import check_run_config

log = logging.getLogger(__name__)

CHUNK_SIZE = 4096  # reviews whose texts are in memory at a time
SOURCE_KEYS = tuple(key for key in inspect.signature(sources.resolve_source).parameters if key != "unlabelled")


def evaluate(cfg: DictConfig, named: Sequence[str] = ()) -> dict[str, float]:
    """Write `metrics.json` and `test_predictions.csv` to `cfg.output_dir`, and print the result table.

    Args:
        cfg: the composed configuration of `conf/evaluate.yaml`.
        named: keys set on the command line; other keys of `data` come from the run of the first checkpoint.

    Returns:
        The metrics, with the tags of a run's.

    Raises:
        InputError: a checkpoint or the data cannot be read, or they do not match.
    """
    if not cfg.checkpoint:
        raise InputError(
            "checkpoint: not set; pass a run directory or a checkpoint, or several: checkpoint=[RUN1,RUN2]"
        )
    output = RunFolder(cfg.output_dir)
    if output.metrics_file.exists():
        raise InputError(f"output_dir={output.path}: holds other results; choose another folder")
    paths = [Path(str(path)) for path in (cfg.checkpoint if OmegaConf.is_list(cfg.checkpoint) else [cfg.checkpoint])]
    ensemble = Ensemble([load(path, cfg.trust) for path in paths])
    runs = [_run_of(path).read_config() for path in paths]
    if runs[0]:
        instantiated = OmegaConf.masked_copy(runs[0], ["data", "baseline"])
        if "${" in OmegaConf.to_yaml(instantiated):
            raise InputError(
                f"{_run_of(paths[0]).config_file}: has interpolations in data or baseline; use another run"
            )
        check_run_config(instantiated, _run_of(paths[0]).config_file, cfg.trust)
    data = _data_config(cfg, runs[0], named)
    trained_on = [_training_source(run) for run in runs]
    source = _select_source(data, trained_on, all_rows="data.test_fraction" not in named)
    corpus = source.load()
    rows, labels = _test_rows(corpus, ensemble.label_names)

    reviews = corpus.reviews.select(rows)
    chunks = track(range(0, len(rows), CHUNK_SIZE), "Classifying reviews", transient=True)
    check = TextCheck(ensemble.members[0].encoder)
    parts = [ensemble.log_probabilities(reviews[start : start + CHUNK_SIZE]["text"], check) for start in chunks]
    by_member = torch.cat(parts, 1)  # (members, N, classes)
    log_probabilities = average_probabilities(by_member)  # (N, classes)

    metrics = _compute_metrics(log_probabilities, torch.from_numpy(labels), ensemble.label_names)
    names = [member.net.display_name for member in ensemble.members]
    name = names[0] if len(paths) == 1 else f"ensemble of {len(paths)}"
    correct = {name: log_probabilities.argmax(1).numpy() == labels}
    if len(paths) > 1:
        members = enumerate(zip(names, by_member, strict=True), 1)
        correct |= {f"{name} {i}": member.argmax(1).numpy() == labels for i, (name, member) in members}
    if runs[0] and trained_on[0] and trained_on[0].fingerprint == source.fingerprint:
        correct |= _baselines(runs[0], labels)
    copies = _count_copies(paths, ensemble, reviews)
    log.info("\n".join(corpus.notes))
    for problem in corpus.warnings + check.find_problems():
        log.warning(problem)
    if copies:
        log.warning(f"{copies:,} of {len(rows):,} reviews are copies of reviews that a checkpoint was trained on")
    output.write_predictions(reviews, labels, log_probabilities.exp().numpy(), ensemble.label_names)
    record = {"checkpoint": [str(path) for path in paths], "reviews": len(rows), "copies": copies}
    output.write_metrics(metrics | record | {"status": "finished", **provenance()})
    title = "Test set" if corpus.train_rows else data.path
    majority = _majority_class(runs[0]) if runs[0] else None
    if majority in ensemble.label_names:
        correct[f"majority class ({majority})"] = labels == ensemble.label_names.index(majority)
    log.info(format_result_table(f"{title}, {len(rows):,} reviews: accuracy in per cent", correct, {}))
    log.info(format_class_table(labels, log_probabilities.argmax(1).numpy(), ensemble.label_names))
    overall = {tag: value for tag, value in metrics.items() if not tag.startswith(METRICS_BY_CLASS)}
    log.info(", ".join(f"{tag} {value:.4f}" for tag, value in overall.items() if not math.isnan(value)))
    log.info("results in %s", os.path.relpath(output.path))
    return metrics


def _count_copies(paths: Sequence[Path], ensemble: Ensemble, reviews: Dataset) -> int:
    """How many reviews have the same tokens as one that a member was trained on, as far as the runs say."""
    known: dict[Tokenizer, list[Integers]] = {}
    for path, member in zip(paths, ensemble.members, strict=True):
        file = _run_of(path).train_hashes_file
        if file.exists():
            known.setdefault(member.encoder.tokenize, []).append(np.load(file))
    is_copy = np.zeros(len(reviews), dtype=bool)
    for tokenize, hashes in known.items():
        for start in range(0, len(reviews), CHUNK_SIZE):
            texts = reviews[start : start + CHUNK_SIZE]["text"]
            found = np.array([hash_tokens(tokenize(text)) for text in texts])
            is_copy[start : start + len(texts)] |= np.isin(found, np.concatenate(hashes)) & (found != EMPTY)
    return int(is_copy.sum())


def _run_of(path: Path) -> RunFolder:
    """The run that wrote a checkpoint, or whose folder is given."""
    return RunFolder(path if path.is_dir() else path.resolve().parents[1])


def _data_config(cfg: DictConfig, run: DictConfig | None, named: Sequence[str]) -> DictConfig:
    """The data of the run with the named keys changed, or the composed one if its group is named."""
    keys = [key for key in named if key.startswith("data.")]
    for key in keys:
        if key.split(".")[1] not in SOURCE_KEYS:
            raise InputError(f"{key}: part of the checkpoint, cannot be changed; remove it")
    if "data" in named or (run is None and keys):
        return cast(DictConfig, cfg.data)
    if run is None:
        raise InputError("checkpoint: the .hydra folder of its run is missing; set the data: data=… data.path=…")
    data = cast(DictConfig, run.data.copy())
    for key in keys:
        OmegaConf.update(data, key.removeprefix("data."), OmegaConf.select(cfg, key), force_add=True)
    return data


def _training_source(run: DictConfig | None) -> sources.Source | None:
    """Where a run's reviews came from; None if that is unknown or the data is gone."""
    with contextlib.suppress(InputError):
        return _resolve(run.data) if run else None
    return None


def _select_source(data: DictConfig, trained_on: Sequence[sources.Source | None], all_rows: bool) -> sources.Source:
    """The source of the test rows, which excludes every table that a model was trained on, except its held-out rows.

    Args:
        data: its configuration.
        trained_on: what the models were trained on, as far as it is known.
        all_rows: test all rows of files without a test set, that no model was trained on.

    Raises:
        InputError: a model was trained on rows that would be tested.
    """
    source = _resolve(data)
    seen = [known for known in trained_on if known and known.train_files & source.test_files]
    if all_rows and not seen and not source.has_test_set:
        return _resolve(OmegaConf.merge(data, {"test_fraction": 1.0}))
    if any(known.fingerprint != source.fingerprint for known in seen):
        advice = "omit data=... to evaluate the held-out rows, or use other reviews"
        raise InputError(f"data.path={data.path}: a checkpoint was trained on rows of it; {advice}")
    return source


def _resolve(data: Any) -> sources.Source:
    return sources.resolve_source(**{key: data[key] for key in SOURCE_KEYS if key in data})


def _test_rows(corpus: Corpus, label_names: Sequence[str]) -> tuple[Integers, Integers]:
    """Row numbers of the test set, and their classes as the checkpoint numbers them."""
    rows = np.arange(corpus.train_rows + corpus.val_rows, len(corpus.labels))
    found = [corpus.label_names[label] for label in np.unique(corpus.labels[rows])]
    if unknown := [name for name in found if name not in label_names]:
        known = ", ".join(label_names)
        closest = find_closest(unknown[0], label_names) or label_names[0]
        advice = f"map labels, for example {suggest_mapping({unknown[0]: closest})}"
        raise InputError(f"data: unknown class {unknown[0]!r}; the model was trained on ({known}); {advice}")
    numbers = [label_names.index(name) if name in found else -1 for name in corpus.label_names]
    return rows, np.array(numbers)[corpus.labels[rows]]


def _compute_metrics(log_probabilities: Tensor, labels: Tensor, label_names: Sequence[str]) -> dict[str, float]:
    """The test metrics for log-probabilities `(N, classes)` and labels `(N,)`."""
    metrics = ClassificationMetrics(label_names)
    metrics.update("test", log_probabilities.exp(), labels, torch.arange(len(labels)))
    values = {tag: float(value) for tag, value in metrics.compute_test().items()}
    return {"test/loss": float(F.nll_loss(log_probabilities, labels))} | values


def _majority_class(run: DictConfig) -> str | None:
    """The most frequent class of a run's training rows; None if its data is gone."""
    with contextlib.suppress(InputError):
        datamodule = instantiate_checked(run.data, "data", seed=run.seed)
        if is_complete(datamodule.folder):
            datamodule.setup()
            train = datamodule.splits["train"].reviews
            return str(datamodule.label_names[np.bincount(train.labels[train.rows]).argmax()])
    return None


def _baselines(run: DictConfig, labels: Integers) -> dict[str, Correct]:
    """Which rows the run's baselines predicted correctly, as far as their predictions are cached."""
    correct: dict[str, Correct] = {}
    try:
        datamodule = instantiate_checked(run.data, "data", seed=run.seed)
    except InputError:  # the unlabelled texts are gone
        return correct
    if not is_complete(datamodule.folder):
        return correct
    datamodule.setup()
    for name, settings in run.baseline.items():
        fit = CachedFit(
            **instantiate_checked(settings, f"baseline.{name}"),
            splits=datamodule.splits,
            data_fingerprint=datamodule.folder.name,
        )
        if predictions := fit.read():
            correct[str(name)] = predictions["test"] == labels
    return correct
