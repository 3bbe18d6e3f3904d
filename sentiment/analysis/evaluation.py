"""Evaluation of trained models on labelled reviews, alone or as an ensemble."""

import contextlib
import dataclasses
import logging
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from datasets import Dataset
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.progress import track
from torch import Tensor
from torch.nn import functional as F

from sentiment.analysis.coverage import Coverage
from sentiment.analysis.evaluation_tables import format_class_table, format_result_table
from sentiment.classifier import Ensemble, average_probabilities, count_words, find_problems, load
from sentiment.data import Integers
from sentiment.data import source as sources
from sentiment.data.corpus import Corpus
from sentiment.data.encoded.store import EMPTY, hash_tokens
from sentiment.data.labels import find_closest, suggest_mapping
from sentiment.data.text.tokenizers import Tokenizer
from sentiment.model.metrics import METRICS_BY_CLASS, ClassificationMetrics
from sentiment.runtime.cli import progress_options
from sentiment.runtime.errors import InputError, check_probability
from sentiment.runtime.files import reading
from sentiment.runtime.run_folder import RunFolder, provenance

log = logging.getLogger(__name__)

CHUNK_SIZE = 4096  # reviews whose texts are in memory at a time
FILE_KEYS = {field.name for field in dataclasses.fields(sources.FileSettings)} - {"unlabelled"}


def evaluate(cfg: DictConfig, named: Sequence[str] = ()) -> dict[str, float]:
    """Write metrics and predictions to `cfg.output_dir`; print and return the metrics.

    Keys of `data` are those of the run of the first checkpoint, but for the named ones.
    """
    if not cfg.checkpoint:
        advice = "pass a run directory or a checkpoint, or several: checkpoint=[RUN1,RUN2]"
        raise InputError(f"checkpoint: not set; {advice}")
    given = cfg.checkpoint if OmegaConf.is_list(cfg.checkpoint) else [cfg.checkpoint]
    paths = [Path(str(path)).expanduser() for path in given]
    ensemble = Ensemble([load(path, cfg.trust) for path in paths])
    runs = [_run_of(path) for path in paths]
    configs = [run.read_config() if run else None for run in runs]
    data = _data_config(cfg, configs[0], named)
    source = _select_source(data, configs, all_rows="data.test_fraction" not in named)
    corpus = source.load()
    rows, labels = _test_rows(corpus, ensemble.label_names)
    reviews = corpus.reviews.select(rows)
    known = _read_hashes(runs, ensemble)
    log.info("\n".join(corpus.notes))

    by_member, counts = _classify(ensemble, reviews, known)
    log_probabilities = average_probabilities(by_member)  # (N, classes)
    computed, true = ClassificationMetrics(ensemble.label_names), torch.from_numpy(labels)
    loss, row_numbers = F.nll_loss(log_probabilities, true), torch.arange(len(true))
    computed.update("test", loss, log_probabilities.exp(), true, row_numbers)
    metrics = {tag: float(value) for tag, value in computed.compute("test")[0].items()}
    for problem in corpus.warnings + find_problems(counts, ensemble.members[0].encoder):
        log.warning(problem)
    if counts["copies"]:
        found = f"{counts['copies']:,} of {len(rows):,} reviews are copies of reviews"
        log.warning(f"{found} that a checkpoint was trained on")

    output, probabilities = RunFolder(cfg.output_dir), log_probabilities.exp().numpy()
    output.write_predictions(reviews, labels, probabilities, ensemble.label_names)
    coverage = Coverage(probabilities, labels)
    if (threshold := cfg.min_probability) is not None:
        check_probability(min_probability=threshold)
        covered, accuracy = coverage.at(threshold)
        metrics |= {"test/coverage": covered, "test/covered_accuracy": accuracy}
    record = {
        "checkpoint": [str(path) for path in paths],
        "reviews": len(rows),
        "copies": counts["copies"] if known else None,
        "status": "finished",
    }
    output.write_metrics(metrics | record | provenance())
    title = f"{'Test set' if 'train' in corpus.splits else data.path}, {len(rows):,} reviews"
    _print_tables(title, ensemble, by_member, labels, metrics)
    log.info(coverage.format_table(threshold))
    coverage.draw(threshold).savefig(output.path / "coverage.png", dpi=150)
    log.info("results in %s", os.path.relpath(output.path))
    return metrics


def _run_of(path: Path) -> RunFolder | None:
    """The run that is given, or that wrote a checkpoint; None for a copy of one elsewhere."""
    is_of_run = path.is_dir() or path.resolve().parent.name == "checkpoints"
    return RunFolder.of(path) if is_of_run else None


def _data_config(cfg: DictConfig, run: DictConfig | None, named: Sequence[str]) -> DictConfig:
    """The data of the run with the named keys changed, or the composed one if its group is named."""
    keys = [key.removeprefix("data.") for key in named if key.startswith("data.")]
    fixed = [key for key in keys if key.split(".")[0] not in {"source", *FILE_KEYS}]
    if fixed:
        raise InputError(f"data.{fixed[0]}: part of the checkpoint, cannot be changed; remove it")
    if "data" in named or (run is None and keys):
        return cast(DictConfig, cfg.data)
    if run is None:
        advice = "set the data: data=… data.path=…"
        raise InputError(f"checkpoint: the .hydra folder of its run is missing; {advice}")
    data = cast(DictConfig, run.data.copy())
    for key in keys:
        value = OmegaConf.select(cfg.data, key)
        OmegaConf.update(data, key, value, merge=False, force_add=True)
    return data


def _select_source(
    data: DictConfig, runs: Sequence[DictConfig | None], all_rows: bool
) -> sources.Source:
    """The source of the test rows; of a table that a model was trained on, they are those held out.

    With `all_rows`, they are all rows of files without a test set that no model was trained on.
    """
    source = _resolve(data)
    trained_on = []
    for run in filter(None, runs):
        with contextlib.suppress(InputError, OmegaConfBaseException):  # the data may be gone
            trained_on.append(_resolve(run.data))
    tested = source.list_files("test")
    seen = [known for known in trained_on if known.list_files("train") & tested]
    if all_rows and not seen and not source.has_test_set:
        return _resolve(OmegaConf.merge(data, {"test_fraction": 1.0}))
    if any(_identify_rows(known) != _identify_rows(source) for known in seen):
        advice = "omit data=... to evaluate the held-out rows, or use other reviews"
        raise InputError(f"data.path={data.path}: a checkpoint was trained on rows of it; {advice}")
    return source


def _identify_rows(source: sources.Source) -> str:
    """A fingerprint of the rows of each split, whatever labels were accepted."""
    settings = dataclasses.replace(source.settings, labels_from=None)
    return dataclasses.replace(source, settings=settings).fingerprint


def _resolve(data: Any) -> sources.Source:
    settings = cast(dict[str, Any], OmegaConf.to_container(data, resolve=True))
    reading = {key: settings[key] for key in FILE_KEYS if key in settings}
    return sources.resolve_source(settings.get("source", "files"), sources.FileSettings(**reading))


def _test_rows(corpus: Corpus, label_names: Sequence[str]) -> tuple[Integers, Integers]:
    """Row numbers of the test set, and their classes as the checkpoint numbers them."""
    rows = corpus.splits["test"]
    found = [corpus.label_names[label] for label in np.unique(corpus.labels[rows])]
    if unknown := [name for name in found if name not in label_names]:
        # What a label may mean: the class that means the same, else the next free one.
        closest = {label: find_closest(label, label_names) for label in unknown}
        free = iter([n for n in label_names if n not in found and n not in closest.values()])
        mapping = {label: name or next(free, None) for label, name in closest.items()}
        trained = f"the model was trained on ({', '.join(label_names)})"
        advice = f"map labels, for example {suggest_mapping(mapping)}"
        raise InputError(f"data: unknown class {unknown[0]!r}; {trained}; {advice}")
    numbers = [label_names.index(name) if name in found else -1 for name in corpus.label_names]
    return rows, np.array(numbers)[corpus.labels[rows]]


def _read_hashes(
    runs: Sequence[RunFolder | None], ensemble: Ensemble
) -> dict[Tokenizer, list[Integers]]:
    """The hashes of the reviews that the members were trained on, as far as their runs have them."""
    known: dict[Tokenizer, list[Integers]] = {}
    for run, member in zip(runs, ensemble.members, strict=True):
        if run and (file := run.train_hashes_file).exists():
            with reading(file):
                hashes = np.load(file, mmap_mode="r")  # else of whatever size the file states
            known.setdefault(member.encoder.tokenizer, []).append(hashes)
    return known


def _classify(
    ensemble: Ensemble, reviews: Dataset, known: Mapping[Tokenizer, Sequence[Integers]]
) -> tuple[Tensor, Counter[str]]:
    """Log-probabilities by each member, float32 `(members, N, classes)`; words, and copies of known reviews."""
    parts = []
    counts: Counter[str] = Counter()
    starts = range(0, len(reviews), CHUNK_SIZE)
    for start in track(starts, "Classifying reviews", **progress_options()):
        texts = reviews[start : start + CHUNK_SIZE]["text"]
        encoded = ensemble.encode(texts)
        parts.append(ensemble.log_probabilities(encoded))
        counts += count_words(encoded[0])
        is_copy = np.zeros(len(texts), dtype=bool)
        for tokenize, hashes in known.items():
            found = np.array([hash_tokens(tokenize(text)) for text in texts])
            is_copy |= np.isin(found, np.concatenate(hashes)) & (found != EMPTY)
        counts["copies"] += int(is_copy.sum())
    return torch.cat(parts, 1), counts


def _print_tables(
    title: str,
    ensemble: Ensemble,
    by_member: Tensor,
    labels: Integers,
    metrics: Mapping[str, float],
) -> None:
    names = [member.net.display_name for member in ensemble.members]
    predicted = average_probabilities(by_member).argmax(1).numpy()
    correct = {names[0] if len(names) == 1 else f"ensemble of {len(names)}": predicted == labels}
    if len(names) > 1:
        for i, (name, member) in enumerate(zip(names, by_member, strict=True), 1):
            correct[f"{name} {i}"] = member.argmax(1).numpy() == labels
    log.info(format_result_table(f"{title}: accuracy in per cent", correct, {}))
    log.info(format_class_table(labels, predicted, ensemble.label_names))
    overall = (tag for tag in metrics if not tag.startswith(METRICS_BY_CLASS))
    shown = (f"{tag} {metrics[tag]:.4f}" for tag in overall if not math.isnan(metrics[tag]))
    log.info(", ".join(shown))
