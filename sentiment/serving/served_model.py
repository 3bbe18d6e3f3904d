"""A model that is served: its classifier, what it is, and what it says about a text."""

import base64
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from sentiment.analysis.explain.changes import find_changes
from sentiment.analysis.explain.explanation import LayerTrace, explain
from sentiment.analysis.explain.neighbors import find_neighbors
from sentiment.classifier import Classifier, Prediction, load
from sentiment.data.text.vocabulary import UNKNOWN
from sentiment.runtime.errors import InputError
from sentiment.runtime.run_folder import RunFolder
from sentiment.serving.scheduling import Batcher

if TYPE_CHECKING:
    from sentiment.serving.test_set import TestSet

MAX_STEPS = 256  # of the integral of an explanation, which has to be ready in seconds
MAX_PREFIXES = 128  # whose probabilities are computed
QUICK_STEPS = 8  # of an estimate that is to be ready at once, without prefixes
NEIGHBORS = 8


class ServedModel:
    """A trained model, see `sentiment.load`, under a name by which requests choose it."""

    def __init__(
        self,
        name: str,
        path: Path,
        trust: Collection[str] = (),
        min_probability: float = 0.0,
    ) -> None:
        self.name, self.min_probability = name, min_probability
        self.folder = RunFolder.of(path)
        self._path, self._trust = path, trust
        self._batcher = Batcher(self._classify)
        self._read()

    def _read(self) -> None:
        path, cfg = self._path, self.folder.read_config()
        data = cfg.data if cfg else {}
        self.data = " ".join(str(data[key]) for key in ("source", "name", "path") if data.get(key))
        checkpoint = self.folder.tested_checkpoint if path.is_dir() else path
        self._files = (checkpoint, self.folder.metrics_file, self.folder.predictions_file)
        states = [_read_state(file) for file in self._files]
        classifier, metrics = load(path, self._trust), self.folder.read_metrics()
        self.classifier: Classifier = classifier
        self.metrics, self._states = metrics, states
        self.has_test_set = self.folder.predictions_file.exists()
        vars(self).pop("test_set", None)

    def refresh(self) -> None:
        """Read weights and figures again if the files of the run changed, and keep both if they cannot be read."""
        if self.has_changed:
            with suppress(InputError, OSError):
                self._read()

    @property
    def has_changed(self) -> bool:
        """Whether the files of the run are others than those that were read."""
        return [_read_state(file) for file in self._files] != self._states

    async def predict(self, texts: Sequence[str]) -> list[tuple[Prediction, str | None]]:
        """Classify texts, together with those of other requests; the strings say why one means nothing."""
        return await self._batcher.submit(texts)

    def _classify(self, texts: Sequence[str]) -> list[tuple[Prediction, str | None]]:
        encoded = self.classifier.encode(texts)
        is_known = ((ids != UNKNOWN).any() for ids in encoded.reviews)
        warnings = map(_find_warning, texts, is_known)
        predictions = self.classifier.classify(encoded, self.min_probability)
        return list(zip(predictions, warnings, strict=True))

    def describe(self) -> dict[str, Any]:
        """What the model is: its classes, how it reads a text, and the final figures of its run."""
        encoder, net, metrics = self.classifier.encoder, self.classifier.net, self.metrics
        return {
            "name": self.name,
            "classes": self.classifier.label_names,
            "network": net.display_name,
            "parameters": sum(weight.numel() for weight in net.parameters()),
            "tokenizer": str(encoder.tokenizer),
            "vocabulary": len(encoder.vocabulary),
            "maxlen": encoder.maxlen,
            "data": self.data,
            "folder": self.folder.path.resolve().name,
            "commit": metrics.get("git_commit"),
            "metrics": {tag: v for tag, v in metrics.items() if isinstance(v, int | float)},
            "has_test_set": self.has_test_set,
            "changed": self.has_changed,
        }

    def explain(
        self,
        text: str,
        target: str | None,
        with_gates: bool,
        check: Callable[[], None] = lambda: None,
        quick: bool = False,
    ) -> dict[str, Any]:
        """Explain the prediction for a text; `check` may raise an error between two steps."""
        limits = (QUICK_STEPS, 1) if quick else (MAX_STEPS, MAX_PREFIXES)
        e = explain(self.classifier, text, target, *limits, check)
        prefixes = [None if np.isnan(p) else p for p in e.trace.prefix_probabilities.tolist()]
        keys = ("token", "in_vocabulary", "attribution", "probability")
        columns = (e.words, e.in_vocabulary, e.attributions.tolist(), prefixes)
        return {
            "model": self.name,
            "label": e.label,
            "probabilities": e.probabilities,
            "warning": _find_warning(text, any(e.in_vocabulary)),
            "class": e.target,
            "tokens": [dict(zip(keys, token, strict=True)) for token in zip(*columns, strict=True)],
            "cut": {"before": e.before, "after": e.after},
            "log_odds": e.attribution.log_odds,
            "baseline": e.attribution.baseline,
            "padding": e.padding,
            "convergence_delta": e.attribution.convergence_delta,
            "converged": e.attribution.converged,
            "layers": [_describe_layer(layer) for layer in e.trace.layers] if with_gates else [],
        }

    def find_changes(self, text: str, target: str, check: Callable[[], None]) -> dict[str, Any]:
        """The words whose absence or replacement changes the log-odds of a class most."""
        changes = find_changes(self.classifier, text, target, check)
        return {"model": self.name, "class": target, "changes": [c._asdict() for c in changes]}

    def find_neighbors(self, word: str) -> list[dict[str, Any]]:
        """A word and its nearest neighbors, with cosine similarity and polarity."""
        found = find_neighbors(self.classifier, word, NEIGHBORS)
        names = self.classifier.output_names
        return [
            {"word": word, "cosine": cosine, "polarity": dict(zip(names, logits, strict=True))}
            for word, cosine, logits in found
        ]

    @cached_property
    def test_set(self) -> "TestSet":
        """The test set of the run and the predictions for it, if it is that of the loaded model."""
        from sentiment.serving.test_set import TestSet  # takes seconds

        test_set = TestSet(self.folder.path)
        if self.has_changed:
            problem = "its run has changed since it was read; reload the page"
            raise InputError(f"{self.name}: {problem}")
        return test_set


def _find_warning(text: str, is_known: bool) -> str | None:
    """Why the prediction for a text, of which the model may know a token, means nothing."""
    if not text.strip():
        return "the text is empty; the prediction means nothing"
    return None if is_known else "no token is in the vocabulary; the prediction means nothing"


def _read_state(file: Path) -> tuple[int, ...] | None:
    """By which a file that was written again differs; None if it is missing."""
    if not file.exists():
        return None
    state = file.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns


def _describe_layer(layer: LayerTrace) -> dict[str, Any]:
    """Gates and state as heat maps, a row per unit, in their order, and a column per token."""
    order = torch.from_numpy(layer.order)
    parts = {**layer.gates.activations, layer.gates.state_name: layer.gates.state}
    return {
        "name": layer.name,
        "state_name": layer.gates.state_name,
        "units": len(order),
        "values": {name: _describe_map(part[0].T[order].numpy()) for name, part in parts.items()},
    }


def _describe_map(values: npt.NDArray[np.float32]) -> dict[str, Any]:
    scale = max(1e-9, float(np.abs(values).max()))
    data = (values / scale * 127).round().astype(np.int8).tobytes()
    return {"scale": scale, "data": base64.b64encode(data).decode()}
