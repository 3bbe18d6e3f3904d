"""Train, evaluate and explain LSTM text classifiers, after the classic Keras example on IMDB.

from sentiment import load
from sentiment.training import compose, train

run = train(compose("data=demo", "model.units=32"))
run.model.predict(["A slow start, but what an ending!"])
load("outputs/runs/2026-01-31_12-00-00").predict(["A slow start, but what an ending!"])
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sentiment.classifier import load as load

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    """Import `load`, and torch with it, on first use."""
    if name == "load":
        from sentiment.classifier import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
