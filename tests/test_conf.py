"""Every configuration composes, and every key of an object is an argument of its constructor."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from sentiment.model.lstm import LSTMClassifier
from sentiment.settings import CONF

GROUPS = sorted(path for path in CONF.glob("*/*.yaml"))


def composed(*overrides: str, name: str = "config") -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(name, ["output_dir=somewhere", *overrides])


def objects(node: Any, key: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield key, node
        for name, value in node.items():
            yield from objects(value, f"{key}.{name}")


@pytest.mark.parametrize("path", GROUPS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_option_composes_and_every_key_is_a_real_argument(path: Path) -> None:
    cfg = composed(f"{path.parent.name}={path.stem}", name="tune" if path.parent.name == "tune" else "config")
    settings = OmegaConf.to_container(cfg, resolve=True)
    found = list(objects(settings))
    assert found
    for key, node in found:
        known = inspect.signature(get_object(node["_target_"])).parameters
        unknown = {name for name in node if not name.startswith("_")} - known.keys()
        assert not unknown, f"{key}: {node['_target_']} takes no {unknown}"
    assert set(cfg.model) - {"vectors"} <= inspect.signature(LSTMClassifier).parameters.keys()


def test_the_article_is_repeated_exactly() -> None:
    cfg = composed("experiment=article")
    assert (cfg.data.max_features, cfg.data.maxlen, cfg.data.padding, cfg.data.truncating) == (20000, 80, "pre", "pre")
    assert (cfg.data.batch_size, cfg.data.tokenizer, cfg.data.validate_on) == (32, "words", "test")
    assert (cfg.model.embedding_dim, cfg.model.units, cfg.model.num_layers, cfg.model.bidirectional) == (
        128, 64, 1, False,
    )  # fmt: skip
    assert (cfg.model.dropout, cfg.model.recurrent_dropout, cfg.model.pooling) == (0.2, 0.2, "last")
    assert (cfg.optimizer._target_, cfg.optimizer.lr, cfg.scheduler) == ("torch.optim.Adam", 0.001, None)
    assert (cfg.trainer.max_epochs, cfg.callbacks.early_stopping, cfg.test) == (15, None, "last")
    assert list(cfg.baseline) == ["random_forest"]
    assert cfg.baseline.random_forest.estimator.n_estimators == 1000


def test_baselines_are_one_several_or_none() -> None:
    assert list(composed().baseline) == ["random_forest", "random_forest_counts"]
    assert list(composed("baseline=nb_svm").baseline) == ["nb_svm"]
    assert list(composed("baseline=[nb_svm,logistic_regression]").baseline) == ["nb_svm", "logistic_regression"]
    assert not composed("baseline=none").baseline
