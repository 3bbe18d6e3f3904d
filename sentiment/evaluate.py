"""Tests trained models on labelled reviews: one checkpoint, or several whose probabilities are averaged.

python -m sentiment.evaluate checkpoint=outputs/runs/2026-01-31_12-00-00                  # its own test half
python -m sentiment.evaluate checkpoint=[RUN1,RUN2,RUN3]                                  # an ensemble
python -m sentiment.evaluate checkpoint=RUN data=files data.path=reviews.csv              # all of another file

A folder's or IMDB's test half is read, and all of a single file, but of a file that the model was trained on only the
rows that were held out then. Files are told apart by where they lie: a copy is taken for another one.
"""

import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import hydra
import numpy as np
import numpy.typing as npt
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.progress import track
from torch.nn import functional as F

from sentiment.callbacks.baseline import Fit
from sentiment.classifier import Ensemble, averaged, configuration, load
from sentiment.data import sources
from sentiment.data.encoding import is_whole
from sentiment.errors import InputError, refuse
from sentiment.model.module import Measures
from sentiment.results import Correct, discard, provenance, refusing, result_table, write_metrics, write_predictions
from sentiment.settings import CONF, make, parsed

log = logging.getLogger(__name__)

CHUNK = 4096  # reviews whose words are in memory at a time
SOURCE = ("source", "path", "text_column", "label_column", "test_fraction", "split_seed")  # the rest a checkpoint keeps

Numbers = npt.NDArray[np.int64]


def evaluate(cfg: DictConfig, named: Sequence[str] = ()) -> dict[str, float]:
    """Writes `metrics.json` and `test_predictions.csv` to `cfg.output_dir`, and prints the result table.

    Args:
        cfg: the composed configuration of `conf/evaluate.yaml`.
        named: keys that were set; the others of `data` are those of the first checkpoint's run.

    Returns:
        The figures, under the tags of a run's.

    Raises:
        InputError: a checkpoint or the data cannot be read, or they do not fit together.
    """
    if not cfg.checkpoint:
        raise InputError("checkpoint: not set; name a run's folder or a checkpoint, or several: checkpoint=[RUN1,RUN2]")
    folder = Path(cfg.output_dir)
    if (folder / "metrics.json").exists():
        raise InputError(f"output_dir={folder}: holds the results of something else; name another folder")
    paths = [Path(str(path)) for path in (cfg.checkpoint if OmegaConf.is_list(cfg.checkpoint) else [cfg.checkpoint])]
    ensemble = Ensemble([load(path) for path in paths])
    runs = [configuration(path) for path in paths]
    data = _data(cfg, runs[0], named)
    trained = [_trained_on(run) for run in runs]
    source = _source(data, trained, whole="data.test_fraction" not in named)
    corpus = source.load()
    rows, labels = _test_rows(corpus, ensemble.label_names)

    texts = corpus.texts.select(rows)
    chunks = track(range(0, len(rows), CHUNK), "Reading reviews", transient=True)
    parts = [ensemble.log_probabilities(texts[start : start + CHUNK]["text"]) for start in chunks]
    each = torch.cat(parts, 1)  # (members, rows, classes)
    together = averaged(each)

    metrics = _metrics(together, torch.from_numpy(labels))
    correct = {"LSTM" if len(paths) == 1 else f"ensemble of {len(paths)}": together.argmax(1).numpy() == labels}
    if len(paths) > 1:
        correct |= {f"LSTM {number}": one.argmax(1).numpy() == labels for number, one in enumerate(each, 1)}
    if runs[0] and trained[0] and trained[0].fingerprint == source.fingerprint:
        correct |= _baselines(runs[0], labels)
    write_predictions(folder / "test_predictions.csv", rows, labels, together.exp().numpy(), ensemble.label_names)
    facts = {"checkpoint": [str(path) for path in paths], "reviews": len(rows), "status": "finished", **provenance()}
    write_metrics(folder, metrics | facts)
    what = "Test half" if corpus.train_rows else data.path
    log.info(result_table(f"{what}, {len(rows):,} reviews: accuracy in per cent", correct, {}))
    log.info(", ".join(f"{tag} {value:.4f}" for tag, value in metrics.items()))
    log.info("results in %s", os.path.relpath(folder))
    return metrics


def _data(cfg: DictConfig, run: DictConfig | None, named: Sequence[str]) -> DictConfig:
    """The run's own data with what was named changed; all that was composed where a group of data is named."""
    keys = [key for key in named if key.startswith("data.")]
    for key in keys:
        if key.removeprefix("data.") not in SOURCE:
            raise InputError(f"{key}: a checkpoint reads as it was trained; leave it out")
    if "data" in named or (run is None and keys):
        return cast(DictConfig, cfg.data)
    if run is None:
        raise InputError(
            "checkpoint: its run's .hydra folder is not beside it; say what to test on: data=… data.path=…"
        )
    data = run.data.copy()
    for key in keys:
        OmegaConf.update(data, key.removeprefix("data."), OmegaConf.select(cfg, key))
    return cast(DictConfig, data)


def _trained_on(run: DictConfig | None) -> sources.Source | None:
    """Where a run's reviews came from; None if that is not known, or gone by now."""
    with contextlib.suppress(InputError):
        return _find(run.data) if run else None
    return None


def _source(data: DictConfig, trained: Sequence[sources.Source | None], whole: bool) -> sources.Source:
    """Where the reviews come from: no table that a model was trained on, but for the rows that were held out then.

    Args:
        data: its configuration.
        trained: what the models were trained on, as far as it is known.
        whole: of a single file that no model was trained on, all rows are tested.
    """
    source = _find(data)
    seen = [known for known in trained if known and known.train_files & source.test_files]
    if whole and not seen and data.path and Path(data.path).is_file():
        return _find(OmegaConf.merge(data, {"test_fraction": 1.0}))
    if any(known.fingerprint != source.fingerprint for known in seen):
        advice = "name no data to test the rows that were held out, or take other reviews"
        raise InputError(f"data.path={data.path}: a checkpoint was trained on rows of it; {advice}")
    return source


def _find(data: Any) -> sources.Source:
    return sources.find(*(data[key] for key in SOURCE))


def _test_rows(corpus: sources.Corpus, label_names: Sequence[str]) -> tuple[Numbers, Numbers]:
    """Row numbers of the test half, and their classes as the checkpoint counts them."""
    if unknown := sorted(set(corpus.label_names) - set(label_names)):
        known = ", ".join(label_names)
        raise InputError(f"data: class {unknown[0]!r} is none of the checkpoint's ({known}); rename it in the data")
    rows = np.arange(corpus.train_rows, len(corpus.labels))
    return rows, np.array([label_names.index(name) for name in corpus.label_names])[corpus.labels[rows]]


def _metrics(log_probabilities: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    measures = Measures(log_probabilities.shape[1]).test
    probabilities = log_probabilities.exp()
    measures.update(probabilities[:, 1] if probabilities.shape[1] == 2 else probabilities, labels)
    loss = F.nll_loss(log_probabilities, labels)
    return {"test/loss": float(loss)} | {tag: float(value) for tag, value in measures.compute().items()}


def _baselines(run: DictConfig, labels: Numbers) -> dict[str, Correct]:
    """Which rows the run's baselines got right, as far as their predictions are still cached."""
    datamodule = make(run.data, seed=run.seed)
    if not is_whole(datamodule.folder):
        return {}
    datamodule.setup()
    fits = {
        name: Fit(**make(s), splits=datamodule.splits, data=datamodule.folder.name) for name, s in run.baseline.items()
    }
    cached = {name: fit.read() for name, fit in fits.items()}
    return {name: predicted["test"] == labels for name, predicted in cached.items() if predicted}


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="evaluate")
def job(cfg: DictConfig) -> None:
    """One evaluation, as Hydra starts it."""
    folder = Path(cfg.output_dir)
    try:
        with refusing(folder):
            evaluate(cfg, [override.key_or_group for override in parsed(HydraConfig.get().overrides.task)])
    except KeyboardInterrupt:
        discard(folder)
        sys.exit(130)


def main() -> None:
    """The command line."""
    logging.raiseExceptions = False  # a pipe that is closed early is nothing to tell
    if len(sys.argv) > 1 and Path(sys.argv[1]).exists():
        refuse(f"{sys.argv[1]}: say checkpoint={sys.argv[1]}")
    job()


if __name__ == "__main__":
    main()
