"""Overrides as they are typed."""

import shlex

import pytest

from sentiment.runtime.config import format_override, parse_overrides


@pytest.mark.parametrize(
    "name", ["plain/run", "a b", "x,y=z", "it's", 'say "x"', "ü", "12", "a\\b", "[x"]
)
def test_override_can_be_typed_in_a_shell(name: str) -> None:
    (argument,) = shlex.split(format_override("resume", name))
    (override,) = parse_overrides([argument])
    assert override.value() == name
