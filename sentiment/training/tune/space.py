"""The search space of a study: sweeps in Hydra's syntax, which Optuna samples."""

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser, create_functions
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
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

    `A,B` and `choice(A,B)` are categorical, `range(START,STOP,STEP)` is a grid without STOP, as in
    Python, `interval(LOW,HIGH)` is continuous, `int(interval(LOW,HIGH))` are the whole numbers from
    LOW to HIGH, and `tag(log,…)` samples a range or an interval on a logarithmic scale, as in
    hydra-optuna-sweeper.
    """

    def __init__(self, sweeps: Mapping[str, Any]) -> None:
        self.sweeps = dict(sweeps)
        self._texts: dict[str, dict[Any, str]] = {}  # of the choices of a key, as Hydra writes them
        self._distributions: dict[str, BaseDistribution] = {}
        for key, sweep in sweeps.items():
            try:
                parsed = _parse(key, sweep)
                problem = _find_problem(parsed)
                if not problem:
                    self._texts[key] = _write_choices(parsed)
                    self._distributions[key] = _make_distribution(parsed, [*self._texts[key]])
            except (ValueError, HydraException) as error:
                problem = one_line(error)
            if problem:
                raise InputError(f"tune.space.{key}={sweep}: {problem}")

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


def _parse(key: str, sweep: Any) -> Any:
    functions = create_functions()
    for name in _UNORDERED:
        del functions.definitions[name]
    is_text = isinstance(sweep, str)
    return OverridesParser(functions).parse_override(f"{key}={sweep}").value() if is_text else sweep


def _find_problem(sweep: Any) -> str | None:
    """What Optuna cannot sample, or would sample otherwise than it is written."""
    match sweep:
        case Sweep(tags=tags) if tags - {"log"}:
            return f"tag {min(tags - {'log'})}: the only tag is log"
        case ChoiceSweep(tags=tags) if tags:
            return "only a range or an interval can have the tag log"
        case ChoiceSweep(list=choices) if any(isinstance(choice, Sweep) for choice in choices):
            return "a choice cannot be a sweep"
        case ChoiceSweep(list=choices) if len(_write_choices(sweep)) < len(choices):
            return "two of its choices are equal"
        case RangeSweep(step=0):
            return "its step is 0"
        case RangeSweep() | IntervalSweep() if not all(map(math.isfinite, _numbers(sweep))):
            return "its numbers must be finite"
        case Sweep():
            return None
    return f"is not a sweep; type {_EXAMPLES}"


def _write_choices(sweep: Sweep) -> dict[Any, str]:
    """The choices and how to write them in an override; Optuna stores lists and mappings as text."""
    texts: dict[Any, str] = {}
    for element in sweep.list if isinstance(sweep, ChoiceSweep) else ():
        value = element.text if isinstance(element, QuotedString) else element
        text = Transformer.str(value)
        if isinstance(value, str) and not _means_text(value):
            text = quote(value)
        texts[text if isinstance(value, list | dict) else value] = text
    return texts


def _means_text(text: str) -> bool:
    """Whether a text without quotes means a string, unlike `null` or `80`."""
    with suppress(OverrideParseException):
        return bool(parse_overrides([f"key={text}"])[0].value() == text)
    return False


def _numbers(sweep: RangeSweep | IntervalSweep) -> list[Any]:
    if isinstance(sweep, RangeSweep):
        return [sweep.start, sweep.stop, sweep.step]
    return [sweep.start, sweep.end]


def _make_distribution(sweep: Sweep, choices: list[Any]) -> BaseDistribution:
    if not isinstance(sweep, RangeSweep | IntervalSweep):
        return CategoricalDistribution(choices)
    numbers, log = _numbers(sweep), "log" in sweep.tags
    low, high, step = _find_grid(*numbers) if isinstance(sweep, RangeSweep) else (*numbers, None)
    if all(isinstance(number, int) for number in numbers):
        return IntDistribution(int(low), int(high), log, int(step or 1))
    return FloatDistribution(float(low), float(high), log, float(step) if step else None)


def _find_grid(start: float, stop: float, step: float) -> tuple[Decimal, Decimal, Decimal]:
    """The smallest and the largest value of a range, and its step; 3 * 0.1 exceeds 0.3 in binary."""
    first, end, width = (Decimal(str(number)) for number in (start, stop, step))
    last = first + (math.ceil((end - first) / width) - 1) * width
    return (first, last, width) if width > 0 else (last, first, -width)
