"""A run as the files in its folder describe it."""

import math
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from sentiment.runtime.config import flatten
from sentiment.runtime.errors import InputError
from sentiment.runtime.files import reading, unescape_csv_formula
from sentiment.runtime.run_folder import RunFolder

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from sentiment.analysis.figures.fonts import Figure
    from sentiment.classifier import Classifier

_CURVES = ["train/loss", "val/loss", "train/accuracy", "val/accuracy"]
# In the text of a run, besides the objective.
_SHOWN = ("val/accuracy", "test/accuracy", "lr_find/suggestion")


@dataclass(frozen=True, repr=False)
class Run:
    """A run as its folder describes it."""

    folder: RunFolder
    settings: dict[str, Any]  # by dotted key, see `runtime.config.flatten`
    metrics: dict[str, Any]  # of `metrics.json`, where null is None; empty if the run did not end
    sampled: frozenset[str] = frozenset()  # keys of the settings that a study sampled
    trust: tuple[str, ...] = ()  # modules outside this package whose classes `model` may import

    @classmethod
    def read(cls, path: str | Path, trust: Collection[str] = ()) -> "Run":
        """Read the run in a folder, or say by an `InputError` why it is none."""
        folder = RunFolder(path)
        folder.check_contains(folder.config_file)
        cfg = folder.read_config()
        if cfg is None:
            problem = "not the configuration of a run; pass the folder of a run"
            raise InputError(f"{folder.config_file}: {problem}")
        return cls(folder, flatten(cfg), folder.read_metrics(), trust=tuple(trust))

    @property
    def path(self) -> Path:
        """Its folder, for `load`, `compose("resume=…")` and the command line."""
        return self.folder.path

    @property
    def status(self) -> str:
        """`finished`, `failed`, `interrupted`, `pruned`; `unfinished` if killed or still running."""
        return str(self.metrics.get("status", "unfinished"))

    @property
    def objective(self) -> float:
        """The metric that the setting `objective` names, of the selected checkpoint, or NaN."""
        value = self.metrics.get(self.settings.get("objective", "val/accuracy"))
        return math.nan if value is None else float(value)

    @cached_property
    def history(self) -> pd.DataFrame:
        """`history.csv`: a row per epoch, from 1; `step`, losses, accuracies, `lr` and `seconds`."""
        path = self.path / "history.csv"
        with _reading(path, "no epoch ended, or callbacks.history=null"):
            history = pd.read_csv(path, dtype="float64")
            _ = history[_CURVES]
            return history.astype({"epoch": "int64", "step": "int64"}).set_index("epoch")

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """`test_predictions.csv`: a row per test review, in the order of the test.

        Columns are `row`, from 1 in its file, `label`, `predicted`, the probability of each class
        as `p(class)`, `text`, and perhaps `file` and `id`. All but numbers are text, without the
        apostrophe that the file has before what a spreadsheet would evaluate.
        """
        path = self.folder.predictions_file
        with _reading(path, "nothing was tested, as with test_ckpt=null"):
            names = pd.read_csv(path, nrows=0).columns
            numbers = {name: "float64" for name in names if name.startswith("p(")}
            numbers["row"] = "int64"
            dtypes = dict.fromkeys(names, "str") | numbers
            frame = pd.read_csv(path, dtype=dtypes, keep_default_na=False)
            for name in {*names} - numbers.keys():
                frame[name] = frame[name].map(unescape_csv_formula)
            classes = {*frame["label"], *frame["predicted"]}
            _ = frame[["row", "text", *(f"p({name})" for name in sorted(classes))]]
        return frame

    @property
    def label_names(self) -> list[str]:
        """The classes, in the order of the columns of `predictions`."""
        return [name[2:-1] for name in self.predictions if name.startswith("p(")]

    @property
    def probabilities(self) -> "npt.NDArray[np.float32]":
        """The probabilities in `predictions`, float32 `(N, classes)`."""
        columns = [f"p({name})" for name in self.label_names]
        probabilities: npt.NDArray[np.float32] = self.predictions[columns].to_numpy("float32")
        return probabilities

    @cached_property
    def model(self) -> "Classifier":
        """The tested model, see `sentiment.load`."""
        from sentiment.classifier import load  # takes seconds

        return load(self.path, self.trust)

    @cached_property
    def figures(self) -> dict[str, "Figure"]:
        """`history`, `confusion_matrix` and `reliability_diagram`, as far as the run has the files."""
        from sentiment.analysis.figures.model import plot_confusion_matrix, plot_reliability_diagram
        from sentiment.analysis.figures.training import plot_history  # these take seconds

        figures = {}
        if (self.path / "history.csv").exists():
            figures["history"] = plot_history(self.history, self.metrics.get("checkpoint_epoch"))
        if self.folder.predictions_file.exists():
            names = self.label_names
            labels, predicted = (
                pd.Categorical(self.predictions[column], names).codes.astype("int64")
                for column in ("label", "predicted")
            )
            ece = self.metrics.get("test/ece")
            figures["confusion_matrix"] = plot_confusion_matrix(labels, predicted, names)
            figures["reliability_diagram"] = plot_reliability_diagram(
                labels, self.probabilities, names, math.nan if ece is None else ece
            )
        return figures

    def __repr__(self) -> str:
        parts = [] if "lr_find/suggestion" in self.metrics else [self.status]
        if self.status == "failed":
            parts.append(str(self.metrics.get("error")))
        for tag in dict.fromkeys([str(self.settings.get("objective")), *_SHOWN]):
            if (value := self.metrics.get(tag)) is not None:
                parts.append(f"{tag} {value:.4g}")
        return f"Run({os.path.relpath(self.path)}: {', '.join(parts)})"


@contextmanager
def _reading(path: Path, why_missing: str) -> Iterator[None]:
    if not path.exists():
        raise InputError(f"{path}: missing; {why_missing}")
    with reading(path):
        yield
