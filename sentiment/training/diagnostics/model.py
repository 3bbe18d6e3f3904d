"""Diagnostics of the model for the loggers: gradients, weights, embeddings, gates."""

from typing import cast

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import grad_norm
from torch.optim import Optimizer

from sentiment.analysis.explain.explanation import trace
from sentiment.analysis.figures.model import plot_gates, shorten_label
from sentiment.classifier import Classifier
from sentiment.data.text.vocabulary import PADDING, SPECIALS
from sentiment.model.module import SentimentModule
from sentiment.model.network import Network
from sentiment.model.recurrent import RecurrentNetwork
from sentiment.runtime.cli import escape_control_chars
from sentiment.runtime.errors import check_at_least
from sentiment.training.diagnostics.predictions import (
    EvaluatedSplit,
    describe_origin,
    find_tensorboard_writer,
    get_evaluated_split,
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
        writer = find_tensorboard_writer(trainer)
        if writer and not trainer.sanity_checking:
            for name, weight in pl_module.named_parameters():
                values = weight.detach().float()
                values = values[values.isfinite()]  # a diverging training ends soon
                if len(values):
                    writer.add_histogram(
                        f"weights/{name}", values, trainer.global_step, bins=HISTOGRAM_BINS
                    )


class EmbeddingProjector(Callback):
    """The embeddings of the most frequent words with their polarities, after the test, in TensorBoard.

    Args:
        count: number of words.
    """

    def __init__(self, count: int = 2000) -> None:
        check_at_least(1, count=count)
        self.count = count

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        writer, evaluated = (
            find_tensorboard_writer(trainer),
            get_evaluated_split(trainer, pl_module, "test"),
        )
        if writer and evaluated and _get_net(pl_module).has_embedding:
            classifier = _make_classifier(evaluated, pl_module)
            words = classifier.encoder.vocabulary.words
            ids = range(len(SPECIALS), min(len(SPECIALS) + self.count, len(words)))
            is_binary = len(evaluated.label_names) == 2
            columns = (
                ["polarity"]
                if is_binary
                else [f"polarity of {name}" for name in evaluated.label_names]
            )
            metadata = [
                [words[id_], str(id_), *(f"{polarity:.3f}" for polarity in polarities)]
                for id_, polarities in zip(ids, classifier.polarity(ids).tolist(), strict=True)
            ]
            vectors = classifier.net.embedding.weight.detach()[list(ids)].float()
            header = ["word", "rank", *columns]
            writer.add_embedding(
                vectors, metadata, global_step=evaluated.step, tag="words", metadata_header=header
            )


class GatePlots(Callback):
    """The gates of the last layer of a recurrent network over short test reviews.

    They are the review of each class whose true class has the highest predicted probability, and of those that were
    classified wrongly the one with the lowest. Of more than `MAX_CLASSES` classes it is the most frequent ones.
    """

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        evaluated = get_evaluated_split(trainer, pl_module, "test")
        if evaluated and isinstance(_get_net(pl_module), RecurrentNetwork):
            classifier = _make_classifier(evaluated, pl_module)
            chosen = _choose_reviews(evaluated)
            reviews = evaluated.datamodule.select_reviews(evaluated.rows[list(chosen.values())])
            for (name, i), review in zip(chosen.items(), reviews, strict=True):
                self._write(
                    evaluated, classifier, name, i, escape_control_chars(describe_origin(review))
                )

    def _write(
        self, evaluated: EvaluatedSplit, classifier: Classifier, name: str, i: int, origin: str
    ) -> None:
        ids = torch.from_numpy(evaluated.reviews.pad(evaluated.positions[[i]]))  # (1, T)
        words = [
            classifier.encoder.vocabulary.words[id_] for id_ in ids[0].tolist() if id_ != PADDING
        ]
        traced = trace(classifier, ids)
        names = evaluated.label_names
        label, target = (
            shorten_label(names[number]) for number in (evaluated.labels[i], traced.target)
        )
        probability = f"predicted p({target}) = {traced.prefix_probabilities[-1]:.3f}"
        for layer in traced.layers[-cast(RecurrentNetwork, classifier.net).num_directions :]:
            title = f"{origin}; {layer.name}\ntrue label: {label}, {probability}"
            figure = plot_gates(
                words, traced.prefix_probabilities, layer.gates, layer.order, 1 / len(names), title
            )
            log_plot(evaluated.loggers, f"gates/{name}, {layer.name}", figure, evaluated.step)


def _choose_reviews(evaluated: EvaluatedSplit) -> dict[str, int]:
    """Choose short reviews: indices into `evaluated.rows` by the name of their plot."""
    lengths = evaluated.reviews.lengths[evaluated.positions]
    short = np.flatnonzero(lengths <= max(MAX_TOKENS, lengths.min()))
    ranked = short[evaluated.true_class_probability[short].argsort()[::-1]]
    is_wrong = evaluated.probabilities[ranked].argmax(1) != evaluated.labels[ranked]
    chosen = {"most wrong": ranked[is_wrong][-1]} if is_wrong.any() else {}
    for label in evaluated.shown_classes:
        is_label = evaluated.labels[ranked] == label
        chosen |= {
            f"confidently {evaluated.label_names[label]}": i
            for i in ranked[is_label & ~is_wrong][:1]
        }
    return chosen


def _make_classifier(evaluated: EvaluatedSplit, module: LightningModule) -> Classifier:
    return Classifier(_get_net(module), evaluated.datamodule.encoder, evaluated.label_names)


def _get_net(module: LightningModule) -> Network:
    return cast(SentimentModule, module).net
