"""The search space of a study: Hydra's sweeps as Optuna's distributions."""

from typing import Any

import optuna
import pytest
from omegaconf import OmegaConf
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from sentiment.runtime.config import parse_overrides
from sentiment.runtime.errors import InputError
from sentiment.training.tune.space import SearchSpace
from tests.helpers import compose_config


def suggest(sweeps: Any) -> dict[str, BaseDistribution]:
    """The distributions from which Optuna has drawn."""
    trial = optuna.create_study().ask()
    SearchSpace(sweeps).suggest(trial)
    return trial.distributions


@pytest.mark.parametrize(
    ("sweep", "distribution"),
    [
        ("choice(80,200,400)", CategoricalDistribution((80, 200, 400))),
        ("adam, sgd", CategoricalDistribution(("adam", "sgd"))),
        ("choice([1,2],[3])", CategoricalDistribution(("[1,2]", "[3]"))),
        ("range(32,129,32)", IntDistribution(32, 128, step=32)),
        ("range(10,0,-2)", IntDistribution(2, 10, step=2)),
        ("tag(log,range(1,9))", IntDistribution(1, 8, log=True)),
        ("range(0,0.9,0.3)", FloatDistribution(0, 0.6, step=0.3)),
        ("interval(0,1)", FloatDistribution(0, 1)),
        ("interval(1,1)", FloatDistribution(1, 1)),
        ("int(tag(log,interval(1,10)))", IntDistribution(1, 10, log=True)),
    ],
)
def test_sweeps_become_distributions(sweep: str, distribution: BaseDistribution) -> None:
    assert suggest({"key": sweep}) == {"key": distribution}


def test_default_space() -> None:
    assert suggest(OmegaConf.to_container(compose_config(name="tune").tune.space)) == {
        "data.maxlen": CategoricalDistribution((80, 200, 400)),
        "model.units": IntDistribution(32, 128, log=True),
        "model.dropout": FloatDistribution(0, 0.5),
        "optimizer": CategoricalDistribution(("adam", "rmsprop", "sgd")),
        "optimizer.lr": FloatDistribution(0.0001, 0.1, log=True),
    }


def test_values_are_repeated_as_they_were() -> None:
    values: list[Any] = [
        None,
        True,
        80,
        0.5,
        "adam",
        "a b",
        "null",
        "80",
        "it's",
        "a,b",
        "[1]",
        "$x=1",
    ]
    texts = [
        "null",
        "true",
        "80",
        "0.5",
        "adam",
        "a b",
        '"null"',
        "'80'",
        '"it\'s"',
        '"a,b"',
        '"[1]"',
        '"$x=1"',
    ]
    for simple in (True, False):
        if not simple:  # Hydra has no null in choice()
            del values[0], texts[0]
        space = SearchSpace({"key": ",".join(texts) if simple else f"choice({','.join(texts)})"})
        repeated = [parse_overrides(space.overrides({"key": value}))[0].value() for value in values]
        assert repeated == values
        assert [*map(type, repeated)] == [*map(type, values)]
    lists = SearchSpace({"key": "choice([0.9,0.99],{a:1})", "other": "interval(0,1)"})
    assert lists.overrides({"key": "[0.9,0.99]", "other": 1e-05}) == [
        "key=[0.9,0.99]",
        "other=1e-05",
    ]


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ("32", "is not a sweep; type choice"),
        (32, "is not a sweep; type choice"),
        ([80, 200], "is not a sweep; type choice"),
        ({"kind": "int", "low": 32, "high": 128}, "is not a sweep; type choice"),
        ("choice(adam", "no viable alternative"),
        ("foo(1)", "Unknown function 'foo'"),
        ("glob(*)", "Unknown function 'glob'"),
        ("shuffle(range(1,5))", "Unknown function 'shuffle'"),
        ("sort(3,1)", "Unknown function 'sort'"),
        ("interval(1,0)", "`low <= high` must hold"),
        ("interval(0,inf)", "must be finite"),
        ("range(5,1)", "`low <= high` must hold"),
        ("range(1,5,0)", "its step is 0"),
        ("tag(log,interval(0,1))", "`low > 0` must hold"),
        ("tag(log,range(1,9,2))", "step"),
        ("tag(log,choice(1,2))", "only a range or an interval"),
        ("tag(ln,interval(1,2))", "tag ln: the only tag is log"),
        ("choice(1,true)", "two of its choices are equal"),
        ("choice(null,1)", "NoneType is incompatible"),
        ("interval(0,1),interval(2,3)", "a choice cannot be a sweep"),
    ],
)
def test_invalid_sweeps_are_reported_in_one_line(sweep: Any, message: str) -> None:
    with pytest.raises(InputError) as error:
        SearchSpace({"model.units": sweep})
    assert str(error.value).startswith(f"tune.space.model.units={sweep}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
