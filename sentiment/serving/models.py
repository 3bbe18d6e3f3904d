"""A model that is served: its classifier, what it is, and what it says about a text."""

from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sentiment.analysis.explanation import LayerTrace, explain
from sentiment.analysis.neighbors import find_word, nearest_words
from sentiment.classifier import Classifier, Prediction, load
from sentiment.runtime.errors import check_choice
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
        classifier: the loaded model.
        folder: of its run.

    Raises:
        InputError: it cannot be loaded, see `sentiment.load`.
    """

    def __init__(self, name: str, path: Path, trust: Collection[str] = ()) -> None:
        self.name = name
        self.classifier: Classifier = load(path, trust)
        self.folder = RunFolder(path if path.is_dir() else path.resolve().parents[1])
        self._batcher = Batcher(self.classifier.predict)

    async def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Classify texts, together with those of other requests."""
        return await self._batcher.submit(texts)

    def describe(self) -> dict[str, Any]:
        """What the model is: its classes, how it reads a text, and the final figures of its run."""
        encoder, metrics = self.classifier.encoder, self.folder.read_metrics()
        return {
            "name": self.name,
            "classes": self.classifier.label_names,
            "network": self.classifier.net.display_name,
            "parameters": sum(weight.numel() for weight in self.classifier.net.parameters()),
            "tokenizer": str(encoder.tokenize),
            "vocabulary": len(encoder.vocabulary),
            "maxlen": encoder.maxlen,
            "commit": metrics.get("git_commit"),
            "metrics": {tag: value for tag, value in metrics.items() if isinstance(value, int | float)},
            "has_test_set": self.folder.predictions_file.exists(),
        }

    def explain(self, text: str, target: str | None, with_gates: bool) -> dict[str, Any]:
        """Explain the prediction for a text, see `analysis.explanation`.

        Args:
            text: of any length.
            target: name of the explained class; by default the second of two, else the most probable one.
            with_gates: add the gates and the state of every unit.

        Raises:
            InputError: there is no such class, or the network cannot be explained.
        """
        check_choice((None, *self.classifier.label_names), **{"class": target})
        e = explain(self.classifier, text, target, MAX_STEPS, MAX_PREFIXES)
        prefixes = [None if np.isnan(p) else p for p in e.trace.prefix_probabilities.tolist()]
        words = zip(e.words, e.in_vocabulary, e.attributions.tolist(), prefixes, strict=True)
        return {
            "model": self.name,
            "label": e.label,
            "probabilities": e.probabilities,
            "class": e.target,
            "tokens": [
                {"token": token, "in_vocabulary": known, "attribution": attribution, "probability": probability}
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
        polarity = self.classifier.polarity([self.classifier.encoder.vocabulary.ids[word] for word, _ in neighbors])
        names = self.classifier.output_names
        return [
            {"word": word, "cosine": cosine, "polarity": dict(zip(names, logits, strict=True))}
            for (word, cosine), logits in zip(neighbors, polarity.tolist(), strict=True)
        ]

    @cached_property
    def test_set(self) -> "TestSet":
        """The test set of the run and the predictions for it.

        Raises:
            InputError: nothing was tested, or the file is damaged.
        """
        from sentiment.serving.test_set import TestSet  # takes seconds

        return TestSet(self.folder.path)


def _describe_layer(layer: LayerTrace) -> dict[str, Any]:
    """Gates and state of a layer as lists `(units, tokens)`, the units in the order of `LayerTrace`."""
    order = torch.from_numpy(layer.order)
    parts = {**layer.gates.activations, layer.gates.state_name: layer.gates.state}
    rounded = {name: part[0].T[order].numpy().round(3).tolist() for name, part in parts.items()}
    return {"name": layer.name, "state_name": layer.gates.state_name, "values": rounded}
