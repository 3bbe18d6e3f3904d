"""Training: one experiment, sweeps, studies, and their callbacks and loggers.

From Python, a run is that of the command line with the same settings:

    from sentiment.training import Run, compose, train

    run = train(compose("data=demo", "model.units=32"))
    run.metrics["test/accuracy"], run.history, run.predictions, run.model, run.figures["history"]
    train(compose(f"resume={run.path}", "trainer.max_epochs=20"))
    Run.read("outputs/runs/2026-01-31_12-00-00")
"""

import sys
import warnings
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sentiment.analysis.run import Run as Run
    from sentiment.training.configuration import compose as compose
    from sentiment.training.python_api import train as train

__all__ = ["Run", "compose", "train"]
_MODULES = {
    "Run": "analysis.run",
    "compose": "training.configuration",
    "train": "training.python_api",
}

if "tensorflow" not in sys.modules:
    # TensorBoard would import an installed TensorFlow, which takes seconds; this is its own switch.
    sys.modules.setdefault("tensorboard.compat.notf", ModuleType("tensorboard.compat.notf"))


def __getattr__(name: str) -> Any:
    """Import the interface for Python, and torch with it, on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with warnings.catch_warnings():  # of tqdm, which datasets imports, in notebooks
        warnings.filterwarnings("ignore", "IProgress not found")
        return getattr(import_module(f"sentiment.{_MODULES[name]}"), name)
