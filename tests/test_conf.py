"""Every option composes, and every key of an object is an argument of its class or function."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import get_object
from omegaconf import OmegaConf
from pytorch_lightning import Trainer

from sentiment.data.source import FileSettings
from sentiment.runtime.config import CONF_DIR
from tests.helpers import compose_config

OPTIONS = sorted(CONF_DIR.glob("*/*.yaml"))


def find_targets(node: Any, key: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the key and the settings of every object, at any depth."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield key, node
        for name, value in node.items():
            yield from find_targets(value, f"{key}.{name}")


@pytest.mark.parametrize("path", OPTIONS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_option_composes_and_every_key_is_an_argument(path: Path) -> None:
    name = "tune" if path.parent.name == "tune" else "config"
    cfg = compose_config("output_dir=x", f"{path.parent.name}={path.stem}", name=name)
    targets = list(find_targets(OmegaConf.to_container(cfg, resolve=True)))
    assert targets
    for key, settings in targets:
        arguments = {*inspect.signature(get_object(settings["_target_"])).parameters}
        if "reading" in arguments:  # of ReviewDataModule
            arguments |= {*inspect.signature(FileSettings).parameters}
        if key == ".model":
            arguments |= {
                "embedding_init",
                "min_ngram_count",
            }  # of the run, which takes both from the texts
        unknown = {name for name in settings if not name.startswith("_")} - arguments
        assert not unknown, f"{key}: {settings['_target_']} has no argument {unknown}"


def test_every_argument_of_the_trainer_is_a_key() -> None:
    ours = {"logger", "callbacks", "plugins"}
    assert {*inspect.signature(Trainer).parameters} - ours == {
        *compose_config("output_dir=x").trainer
    } - {"_target_"}


def test_diagnostics_are_one_callback_each() -> None:
    diagnostics = compose_config().callbacks.diagnostics
    assert len(diagnostics) > 5
    assert all("_target_" in settings for settings in diagnostics.values())
    without_gates = compose_config("callbacks.diagnostics.gates=null").callbacks.diagnostics
    assert [name for name, settings in without_gates.items() if settings is None] == ["gates"]


def test_article_reproduces_the_setup_of_the_article() -> None:
    cfg = compose_config("experiment=article")
    data, model = cfg.data, cfg.model
    assert (data.max_features, data.maxlen, data.padding, data.truncating) == (
        20000,
        80,
        "pre",
        "pre",
    )
    assert (data.batch_size, data.tokenizer, data.validate_on) == (32, "words", "test")
    assert (model.embedding_dim, model.units, model.num_layers, model.bidirectional) == (
        128,
        64,
        1,
        False,
    )
    assert (model.dropout, model.recurrent_dropout, model.pooling) == (0.2, 0.2, "last")
    assert (cfg.optimizer._target_, cfg.optimizer.lr, cfg.scheduler) == (
        "torch.optim.Adam",
        0.001,
        None,
    )
    assert (cfg.trainer.max_epochs, cfg.callbacks.early_stopping, cfg.test_ckpt) == (
        15,
        None,
        "last",
    )
    assert list(cfg.baseline) == ["random_forest"]
    assert cfg.baseline.random_forest.estimator.n_estimators == 1000


def test_baselines_are_one_several_or_none() -> None:
    assert list(compose_config().baseline) == ["random_forest", "random_forest_counts"]
    assert list(compose_config("baseline=nb_svm").baseline) == ["nb_svm"]
    assert list(compose_config("baseline=[nb_svm,logistic_regression]").baseline) == [
        "nb_svm",
        "logistic_regression",
    ]
    assert not compose_config("baseline=none").baseline
