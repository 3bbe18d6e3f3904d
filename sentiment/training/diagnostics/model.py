"""Diagnostics of the model for the loggers: gradients, weights, embeddings, gates."""

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import grad_norm
from torch.optim import Optimizer

from sentiment.analysis.explain.explanation import trace
from sentiment.analysis.figures.model import plot_gates
from sentiment.analysis.labels import shorten_label
from sentiment.data.text.vocabulary import PADDING, SPECIALS
from sentiment.model.recurrent import RecurrentNetwork
from sentiment.runtime.cli import escape_control_chars
from sentiment.runtime.errors import check_at_least
from sentiment.training.diagnostics.evaluated import (
    EvaluatedSplit,
    TestDiagnostic,
    describe_origin,
    find_writer,
)
from sentiment.training.loggers import log_plot

HISTOGRAM_BINS = 64
MAX_TOKENS = 40  # of a review whose gates are plotted, if there is one as short


class GradientNorm(Callback):
    """The norm of the gradient of all weights before it is clipped, every `log_every_n_steps`."""

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]  # set outside the Trainer's __init__
        if every and trainer.global_step % every == 0:
            norm = grad_norm(pl_module, 2)["grad_2.0_norm_total"]
            for logger in trainer.loggers:
                logger.log_metrics({"train/gradient_norm": float(norm)}, step=trainer.global_step)


class WeightHistograms(Callback):
    """Histograms of all weights after every validation, in TensorBoard."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        writer, step = find_writer(trainer.loggers), trainer.global_step
        if writer is None or trainer.sanity_checking or not trainer.is_global_zero:
            return
        for name, weight in pl_module.named_parameters():
            values = weight.detach().float()
            values = values[values.isfinite()]  # a diverging training ends soon
            if len(values):
                writer.add_histogram(f"weights/{name}", values, step, bins=HISTOGRAM_BINS)


class EmbeddingProjector(TestDiagnostic):
    """The embeddings of the most frequent words with their polarities, after the test, in TensorBoard.

    Args:
        count: number of words.
    """

    def __init__(self, count: int = 2000) -> None:
        check_at_least(1, count=count)
        self.count = count

    def write(self, evaluated: EvaluatedSplit) -> None:
        writer = find_writer(evaluated.loggers)
        if not writer or not evaluated.net.has_embedding:
            return
        classifier, names = evaluated.classifier, evaluated.label_names
        words = classifier.encoder.vocabulary.words
        ids = list(range(len(SPECIALS), min(len(SPECIALS) + self.count, len(words))))
        polarities = classifier.polarity(ids).tolist()
        columns = ["polarity"] if len(names) == 2 else [f"polarity of {name}" for name in names]
        writer.add_embedding(
            evaluated.net.embedding.weight.detach()[ids].float(),
            [
                [words[id_], str(id_), *(f"{value:.3f}" for value in of_word)]
                for id_, of_word in zip(ids, polarities, strict=True)
            ],
            metadata_header=["word", "rank", *columns],
            global_step=evaluated.step,
            tag="words",
        )


class GatePlots(TestDiagnostic):
    """The gates of the last layer of a recurrent network over short test reviews.

    They are the review of each class whose true class has the highest predicted probability, and of those that were
    classified wrongly the one with the lowest. Of more than `MAX_CLASSES` classes it is the most frequent ones.
    """

    def write(self, evaluated: EvaluatedSplit) -> None:
        if isinstance(evaluated.net, RecurrentNetwork):
            chosen = _choose_reviews(evaluated)
            reviews = evaluated.datamodule.select_reviews(evaluated.rows[list(chosen.values())])
            for (name, i), review in zip(chosen.items(), reviews, strict=True):
                origin = escape_control_chars(describe_origin(review))
                self._plot(evaluated, evaluated.net.num_directions, name, i, origin)

    def _plot(
        self, evaluated: EvaluatedSplit, num_directions: int, name: str, i: int, origin: str
    ) -> None:
        ids = torch.from_numpy(evaluated.reviews.pad(evaluated.positions[[i]]))  # (1, T)
        vocabulary = evaluated.datamodule.encoder.vocabulary.words
        words = [vocabulary[id_] for id_ in ids[0].tolist() if id_ != PADDING]
        traced, names = trace(evaluated.classifier, ids), evaluated.label_names
        probabilities = traced.prefix_probabilities
        label, target = (shorten_label(names[k]) for k in (evaluated.labels[i], traced.target))
        predicted = f"true label: {label}, predicted p({target}) = {probabilities[-1]:.3f}"
        for layer in traced.layers[-num_directions:]:
            title, chance = f"{origin}; {layer.name}\n{predicted}", 1 / len(names)
            figure = plot_gates(words, probabilities, layer.gates, layer.order, chance, title)
            log_plot(evaluated.loggers, f"gates/{name}, {layer.name}", figure, evaluated.step)


def _choose_reviews(evaluated: EvaluatedSplit) -> dict[str, int]:
    """Choose short reviews: indices into `evaluated.rows` by the name of their plot."""
    lengths = evaluated.reviews.lengths[evaluated.positions]
    short = np.flatnonzero(lengths <= max(MAX_TOKENS, lengths.min()))
    ranked = short[evaluated.true_class_probability[short].argsort()[::-1]]
    labels = evaluated.labels[ranked]
    is_wrong = evaluated.predicted[ranked] != labels
    chosen = {"most wrong": ranked[is_wrong][-1]} if is_wrong.any() else {}
    for label in evaluated.shown_classes:
        for i in ranked[(labels == label) & ~is_wrong][:1]:
            chosen[f"confidently {evaluated.label_names[label]}"] = i
    return chosen
