"""A model that is served: its classifier, what it is, and what it says about a text."""

import base64
from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from sentiment.analysis.explain.explanation import LayerTrace, explain
from sentiment.analysis.explain.neighbors import find_word, nearest_words
from sentiment.classifier import Classifier, Prediction, load
from sentiment.data.text.vocabulary import UNKNOWN
from sentiment.runtime.errors import InputError, check_choice
from sentiment.runtime.run_folder import RunFolder
from sentiment.serving.batcher import Batcher

if TYPE_CHECKING:
    from sentiment.serving.test_set import TestSet

MAX_STEPS = 256  # of the integral of an explanation, which has to be ready in seconds
MAX_PREFIXES = 128  # whose probabilities are computed
NEIGHBORS = 8


class ServedModel:
    """A trained model under a name.

    Args:
        name: by which requests choose it.
        path: its run directory or checkpoint.
        trust: modules outside this package whose classes it may import.

    Attributes:
        name: as given.
        folder: of its run.
        classifier: the loaded model.
        metrics: of `metrics.json`.
        has_test_set: whether the run has predictions for one.

    Raises:
        InputError: it cannot be loaded, see `sentiment.load`.
    """

    def __init__(self, name: str, path: Path, trust: Collection[str] = ()) -> None:
        self.name = name
        self.folder = RunFolder(path if path.is_dir() else path.resolve().parents[1])
        cfg = self.folder.read_config()
        selected = self.folder.selected_checkpoint(cfg.get("test_ckpt") if cfg else None)
        self._files = (
            selected if path.is_dir() else path,
            self.folder.metrics_file,
            self.folder.predictions_file,
        )
        self._states = [_read_state(file) for file in self._files]
        self.classifier: Classifier = load(path, trust)
        self.metrics = self.folder.read_metrics()
        self.has_test_set = self.folder.predictions_file.exists()
        self._batcher = Batcher(self._classify)

    @property
    def has_changed(self) -> bool:
        """Whether the files of the run are others than those that were read."""
        return [_read_state(file) for file in self._files] != self._states

    async def predict(self, texts: Sequence[str]) -> list[tuple[Prediction, str | None]]:
        """Classify texts, together with those of other requests; see `find_warning` for the strings."""
        return await self._batcher.submit(texts)

    def _classify(self, texts: Sequence[str]) -> list[tuple[Prediction, str | None]]:
        return [*zip(self.classifier.predict(texts), map(self.find_warning, texts), strict=True)]

    def find_warning(self, text: str) -> str | None:
        """Why the prediction for a text means nothing, if it does."""
        if not text.strip():
            return "the text is empty; the prediction means nothing"
        if all(id_ == UNKNOWN for id_ in self.classifier.encoder.encode(text)):
            return "no token is in the vocabulary; the prediction means nothing"
        return None

    def describe(self) -> dict[str, Any]:
        """What the model is: its classes, how it reads a text, and the final figures of its run."""
        encoder = self.classifier.encoder
        return {
            "name": self.name,
            "classes": self.classifier.label_names,
            "network": self.classifier.net.display_name,
            "parameters": sum(weight.numel() for weight in self.classifier.net.parameters()),
            "tokenizer": str(encoder.tokenizer),
            "vocabulary": len(encoder.vocabulary),
            "maxlen": encoder.maxlen,
            "commit": self.metrics.get("git_commit"),
            "metrics": {
                tag: value for tag, value in self.metrics.items() if isinstance(value, int | float)
            },
            "has_test_set": self.has_test_set,
            "changed": self.has_changed,
        }

    def explain(
        self,
        text: str,
        target: str | None,
        with_gates: bool,
        check: Callable[[], None] = lambda: None,
    ) -> dict[str, Any]:
        """Explain the prediction for a text, see `analysis.explanation`.

        Args:
            text: of any length.
            target: name of the explained class; by default the second of two, else the most probable one.
            with_gates: add the gates and the state of every unit.
            check: is called between the steps; may raise an error to end the work.

        Raises:
            InputError: there is no such class, or the network cannot be explained.
        """
        if target is not None:
            check_choice(tuple(self.classifier.label_names), **{"class": target})
        e = explain(self.classifier, text, target, MAX_STEPS, MAX_PREFIXES, check)
        prefixes = [None if np.isnan(p) else p for p in e.trace.prefix_probabilities.tolist()]
        words = zip(e.words, e.in_vocabulary, e.attributions.tolist(), prefixes, strict=True)
        return {
            "model": self.name,
            "label": e.label,
            "probabilities": e.probabilities,
            "warning": self.find_warning(text),
            "class": e.target,
            "tokens": [
                {
                    "token": token,
                    "in_vocabulary": known,
                    "attribution": attribution,
                    "probability": probability,
                }
                for token, known, attribution, probability in words
            ],
            "cut": {"before": e.before, "after": e.after},
            "log_odds": e.attribution.log_odds,
            "baseline": e.attribution.baseline,
            "padding": e.padding,
            "convergence_delta": e.attribution.convergence_delta,
            "converged": e.attribution.converged,
            "layers": [_describe_layer(layer) for layer in e.trace.layers] if with_gates else [],
        }

    def find_neighbors(self, word: str) -> list[dict[str, Any]]:
        """The nearest neighbors of a word, with their cosine similarity and polarity; the word itself first.

        Raises:
            InputError: the word is not in the vocabulary, or the network has no embedding.
        """
        found = find_word(self.classifier, word)
        neighbors = [(found, 1.0), *nearest_words(self.classifier, found, NEIGHBORS)]
        polarity = self.classifier.polarity(
            [self.classifier.encoder.vocabulary.ids[word] for word, _ in neighbors]
        )
        names = self.classifier.output_names
        return [
            {"word": word, "cosine": cosine, "polarity": dict(zip(names, logits, strict=True))}
            for (word, cosine), logits in zip(neighbors, polarity.tolist(), strict=True)
        ]

    @cached_property
    def test_set(self) -> "TestSet":
        """The test set of the run and the predictions for it.

        Raises:
            InputError: nothing was tested, the file is damaged, or the run has changed since the model was loaded.
        """
        from sentiment.serving.test_set import TestSet  # takes seconds

        test_set = TestSet(self.folder.path)
        if self.has_changed:
            raise InputError(
                f"{self.name}: its run has changed since the server started; start the server again"
            )
        return test_set


def _read_state(file: Path) -> tuple[int, ...] | None:
    """By which a file that was written again differs; None if it is missing."""
    if not file.exists():
        return None
    state = file.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns


def _describe_layer(layer: LayerTrace) -> dict[str, Any]:
    """Gates and state of a layer as heat maps, a row per unit, in the order of `LayerTrace`, and a column per token."""
    order = torch.from_numpy(layer.order)
    parts = {**layer.gates.activations, layer.gates.state_name: layer.gates.state}
    maps = {name: _describe_heat_map(part[0].T[order].numpy()) for name, part in parts.items()}
    return {
        "name": layer.name,
        "state_name": layer.gates.state_name,
        "units": len(order),
        "values": maps,
    }


def _describe_heat_map(values: npt.NDArray[np.float32]) -> dict[str, Any]:
    scale = max(1e-9, float(np.abs(values).max()))
    return {
        "scale": scale,
        "data": base64.b64encode((values / scale * 127).round().astype(np.int8).tobytes()).decode(),
    }
