"""The search space of a study: sweeps in Hydra's syntax, which Optuna samples."""

import math
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser, create_functions
from hydra.core.override_parser.types import (
    ChoiceSweep,
    QuotedString,
    RangeSweep,
    Sweep,
    Transformer,
)
from hydra.errors import HydraException, OverrideParseException
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial

from sentiment.runtime.config import parse_overrides, quote
from sentiment.runtime.errors import InputError, one_line

_EXAMPLES = (
    "choice(80,200), range(32,129,32), interval(0.0,0.5), int(interval(32,128)) "
    "or tag(log,interval(0.0001,0.1))"
)
_UNORDERED = ("glob", "shuffle", "sort")  # functions of Hydra that make no difference to a sampler


class SearchSpace:
    """What a study searches.

    `A,B` and `choice(A,B)` are categorical, `range(START,STOP,STEP)` is a grid without STOP, as in Python,
    `interval(LOW,HIGH)` is continuous, `int(interval(LOW,HIGH))` are the whole numbers from LOW to HIGH, and
    `tag(log,…)` samples a range or an interval on a logarithmic scale, as in hydra-optuna-sweeper.

    Args:
        sweeps: a sweep in Hydra's syntax for each key of the configuration.

    Attributes:
        sweeps: as given.

    Raises:
        InputError: a value is not such a sweep.
    """

    def __init__(self, sweeps: Mapping[str, Any]) -> None:
        self.sweeps = dict(sweeps)
        self._texts: dict[str, dict[Any, str]] = {}  # of the choices of a key, as Hydra writes them
        self._distributions: dict[str, BaseDistribution] = {}
        for key, sweep in sweeps.items():
            try:
                parsed = _parse(key, sweep)
                self._texts[key] = _choices(parsed) if isinstance(parsed, ChoiceSweep) else {}
                self._distributions[key] = _distribution(parsed, [*self._texts[key]])
            except (ValueError, HydraException) as error:
                hint = (
                    "; null is written A,B,null without choice()"
                    if "NoneType" in str(error)
                    else ""
                )
                raise InputError(f"tune.space.{key}={sweep}: {one_line(error)}{hint}") from error

    def suggest(self, trial: Trial) -> None:
        """Have Optuna choose a value for each key, which becomes one of `trial.params`."""
        for key, distribution in self._distributions.items():
            match distribution:
                case CategoricalDistribution(choices=choices):
                    trial.suggest_categorical(key, choices)
                case IntDistribution(low=low, high=high, step=step, log=log):
                    trial.suggest_int(key, low, high, step=step, log=log)
                case FloatDistribution(low=low, high=high, step=step, log=log):
                    trial.suggest_float(key, low, high, step=step, log=log)

    def overrides(self, params: Mapping[str, Any]) -> list[str]:
        """The overrides of a run with the parameters of a trial."""
        return [f"{key}={self._texts[key].get(value, value)}" for key, value in params.items()]

    def examples(self) -> Iterator[list[str]]:
        """Overrides of runs in which each choice of each key occurs, and one value of each range."""
        texts = {
            key: [*self._texts[key].values()] or [str(getattr(distribution, "low", ""))]
            for key, distribution in self._distributions.items()
        }
        for number in range(max(map(len, texts.values()))):
            yield [f"{key}={choices[number % len(choices)]}" for key, choices in texts.items()]


def _parse(key: str, sweep: Any) -> Sweep:
    """Parse a sweep by Hydra's grammar.

    Raises:
        ValueError: it is something else, or has an unknown tag.
        HydraException: it cannot be parsed.
    """
    functions = create_functions()
    for name in _UNORDERED:
        del functions.definitions[name]
    value = (
        OverridesParser(functions).parse_override(f"{key}={sweep}").value()
        if isinstance(sweep, str)
        else sweep
    )
    if not isinstance(value, Sweep):
        raise ValueError(f"is not a sweep; type {_EXAMPLES}")
    if unknown := value.tags - {"log"}:
        raise ValueError(f"tag {', '.join(sorted(unknown))}: the only tag is log")
    return value


def _choices(sweep: ChoiceSweep) -> dict[Any, str]:
    """The choices and how to write them in an override; Optuna stores a list or a mapping as its text."""
    texts: dict[Any, str] = {}
    for element in sweep.list:
        if isinstance(element, Sweep):
            raise ValueError("a choice cannot be a sweep")
        text = Transformer.str(element)
        if isinstance(element, QuotedString):
            texts[element.text] = text
        elif isinstance(element, str):  # choice() removes quotes
            texts[element] = text if _is_text(text, element) else quote(element)
        else:
            texts[text if isinstance(element, list | dict) else element] = text
    if len(texts) < len(sweep.list):
        raise ValueError("two of its choices are equal")
    return texts


def _is_text(text: str, value: str) -> bool:
    """Whether a text without quotes means a string, unlike `null` or `80`."""
    try:
        return bool(parse_overrides([f"key={text}"])[0].value() == value)
    except OverrideParseException:
        return False


def _distribution(sweep: Sweep, choices: list[Any]) -> BaseDistribution:
    """What Optuna samples from.

    Args:
        sweep: as parsed.
        choices: those of a `ChoiceSweep`.

    Raises:
        ValueError: it has no values, or none that can be sampled on its scale.
    """
    log = "log" in sweep.tags
    if isinstance(sweep, ChoiceSweep):
        if log:
            raise ValueError("only a range or an interval can have the tag log")
        return CategoricalDistribution(choices)
    is_range = isinstance(sweep, RangeSweep)
    numbers: list[Any] = [
        getattr(sweep, name) for name in ("start", *(("stop", "step") if is_range else ("end",)))
    ]
    if not all(map(math.isfinite, numbers)):
        raise ValueError("its numbers must be finite")
    low, high, step = _grid(*numbers) if is_range else (*numbers, None)
    if low == high and not is_range:
        raise ValueError("the interval is empty")
    if all(isinstance(number, int) for number in numbers):
        return IntDistribution(int(low), int(high), log, int(step or 1))
    return FloatDistribution(float(low), float(high), log, float(step) if step else None)


def _grid(start: float, stop: float, step: float) -> tuple[Decimal, Decimal, Decimal]:
    """The smallest and the largest value of a range, and its step; decimal, since 3 * 0.1 exceeds 0.3 in binary."""
    first, end, width = (Decimal(str(number)) for number in (start, stop, step))
    if not width:
        raise ValueError("its step is 0")
    count = math.ceil((end - first) / width)
    if count < 1:
        raise ValueError("the range is empty")
    last = first + (count - 1) * width
    return min(first, last), max(first, last), abs(width)
