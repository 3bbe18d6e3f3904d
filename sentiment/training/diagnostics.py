"""What TensorBoard and other loggers show besides loss and metrics: plots, texts, histograms."""

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from matplotlib import colormaps
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from pytorch_lightning.utilities import grad_norm
from torch.optim import Optimizer
from torch.utils.tensorboard import SummaryWriter

from sentiment.analysis.explain.explanation import trace
from sentiment.analysis.figures.model import (
    plot_confusion_matrix,
    plot_gates,
    plot_reliability_diagram,
)
from sentiment.analysis.labels import shorten_label
from sentiment.classifier import Classifier
from sentiment.data.datamodule import ReviewDataModule
from sentiment.data.encoded.batching import PaddedReviews
from sentiment.data.text.vocabulary import PADDING, SPECIALS, TextEncoder
from sentiment.model.module import SentimentModule
from sentiment.model.network import Network
from sentiment.model.recurrent import RecurrentNetwork
from sentiment.runtime.cli import escape_control_chars
from sentiment.runtime.errors import check_at_least
from sentiment.training.loggers import PLOTTING, log_markdown, log_plot

MAX_CLASSES = 10  # that have a curve or a plot of their own
MAX_CHARS = 5000  # that are shown of a review
MAX_TOKENS = 40  # of a review whose gates are plotted, if there is one as short
HISTOGRAM_BINS = 64


@dataclass(eq=False)
class EvaluatedSplit:
    """The predictions of the latest validation or test."""

    loggers: Sequence[Logger]  # those that take plots and texts
    step: int  # the last one of the training, from 0 as in the curves
    datamodule: ReviewDataModule
    net: Network
    split: str  # `val` or `test`
    rows: npt.NDArray[np.int64]  # numbers of the evaluated reviews, (N,)
    probabilities: npt.NDArray[np.float32]  # (N, classes)
    metrics: Mapping[str, torch.Tensor] = field(default_factory=dict)

    @property
    def writer(self) -> SummaryWriter | None:
        """Of the first TensorBoard logger."""
        writers = (o.experiment for o in self.loggers if isinstance(o, TensorBoardLogger))
        return next(writers, None)

    @property
    def classifier(self) -> Classifier:
        return Classifier(self.net, self.datamodule.encoder, self.label_names)

    @property
    def label_names(self) -> list[str]:
        return self.datamodule.label_names

    @property
    def reviews(self) -> PaddedReviews:
        """All reviews of the split."""
        return self.datamodule.splits[self.split]

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """True classes, `(N,)`."""
        return self.reviews.reviews.labels[self.rows]

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """Predicted classes, `(N,)`."""
        predicted: npt.NDArray[np.int64] = self.probabilities.argmax(1)
        return predicted

    @property
    def shown_classes(self) -> list[int]:
        """All classes, or the most frequent ones of more than `MAX_CLASSES`."""
        counts = np.bincount(self.labels, minlength=len(self.label_names))
        return sorted((-counts).argsort(kind="stable")[:MAX_CLASSES].tolist())

    @property
    def true_class_probability(self) -> npt.NDArray[np.float32]:
        """The predicted probability of each true class, `(N,)`."""
        return self.probabilities[np.arange(len(self.rows)), self.labels]


def describe_origin(review: Mapping[str, Any]) -> str:
    """Where a row of `ReviewDataModule.select_reviews` comes from."""
    id_ = f", id {review['id']}" if "id" in review else ""
    return f"{review['file']}, row {review['row']}{id_}"


class Diagnostic(Callback):
    """Writes something after every validation or the test, if a logger takes plots and texts, on the first rank."""

    splits: tuple[str, ...] = ("test",)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write_split(trainer, cast(SentimentModule, pl_module), "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write_split(trainer, cast(SentimentModule, pl_module), "test")

    def _write_split(self, trainer: Trainer, module: SentimentModule, split: str) -> None:
        loggers = [logger for logger in trainer.loggers if isinstance(logger, PLOTTING)]
        is_due = split in self.splits and not trainer.sanity_checking
        if loggers and is_due and trainer.is_global_zero:
            datamodule: ReviewDataModule = trainer.datamodule  # type: ignore[attr-defined]  # set outside the Trainer's __init__
            of_split = trainer.global_step - 1, datamodule, module.net, split, *module.predictions
            self.write(EvaluatedSplit(loggers, *of_split, trainer.callback_metrics))

    @abstractmethod
    def write(self, evaluated: EvaluatedSplit) -> None:
        """Write it."""


class PRCurves(Diagnostic):
    """Precision-recall curves in TensorBoard: of the second of two classes, else of each of `shown_classes`."""

    splits = ("val", "test")

    def write(self, evaluated: EvaluatedSplit) -> None:
        names = evaluated.label_names
        for label in [1] if len(names) == 2 else evaluated.shown_classes:
            if writer := evaluated.writer:
                is_label, p = evaluated.labels == label, evaluated.probabilities[:, label]
                writer.add_pr_curve(
                    f"{evaluated.split}/{names[label]}", is_label, p, evaluated.step
                )


class ReliabilityDiagram(Diagnostic):
    """A reliability diagram (calibration) of the test set."""

    def write(self, evaluated: EvaluatedSplit) -> None:
        ece = float(evaluated.metrics["test/ece"])
        labels, probabilities = evaluated.labels, evaluated.probabilities
        figure = plot_reliability_diagram(labels, probabilities, evaluated.label_names, ece)
        log_plot(evaluated.loggers, "test/reliability", figure, evaluated.step)


class ConfusionMatrix(Diagnostic):
    """The confusion matrix of the test set."""

    def write(self, evaluated: EvaluatedSplit) -> None:
        labels, names = evaluated.labels, evaluated.label_names
        figure = plot_confusion_matrix(labels, evaluated.predicted, names)
        log_plot(evaluated.loggers, "test/confusion", figure, evaluated.step)


class MostWrongReviews(Diagnostic):
    """At most `count` wrong test reviews, the lowest predicted probability of the true class first, as text."""

    def __init__(self, count: int = 10) -> None:
        check_at_least(1, count=count)
        self.count = count

    def write(self, evaluated: EvaluatedSplit) -> None:
        text = list_most_wrong(evaluated, self.count)
        log_markdown(evaluated.loggers, "test/most_wrong", text, evaluated.step)


def list_most_wrong(evaluated: EvaluatedSplit, count: int) -> str:
    labels, predicted, number = evaluated.labels, evaluated.predicted, f"{len(evaluated.rows):,}"
    wrong = np.flatnonzero(predicted != labels)
    chosen = wrong[evaluated.true_class_probability[wrong].argsort(kind="stable")][:count]
    if not len(wrong):
        return f"None of the {number} test reviews is classified wrongly."
    encoder = evaluated.datamodule.encoder
    names = [escape_markdown(name) for name in evaluated.label_names]
    end = "last" if encoder.truncating == "pre" else "first"
    lines = [
        f"{len(wrong):,} of {number} test reviews are classified wrongly. Listed: "
        f"{len(chosen):,}, the lowest probability of the true class first. The model reads the "
        f"{end} {encoder.maxlen:,} tokens of a review, which are shown.\n"
    ]
    reviews = evaluated.datamodule.select_reviews(evaluated.rows[chosen])
    for i, review in zip(chosen, reviews, strict=True):
        label, prediction = (
            f"{names[k]}, p = {evaluated.probabilities[i, k]:.4f}"
            for k in (labels[i], predicted[i])
        )
        origin = escape_markdown(describe_origin(review))
        text = format_review(encoder, review["text"])
        lines.append(f"1. **true label: {label}; predicted: {prediction}** ({origin}): {text}")
    return "\n".join(lines)


def format_review(encoder: TextEncoder, text: str) -> str:
    """Return what the model reads of a review, in Markdown on one line.

    It is the text or, of a review longer than `maxlen`, the tokens that are kept; at most `MAX_CHARS` characters.
    """
    tokens, kept = encoder.split(text)
    is_cut = len(tokens) > encoder.maxlen
    read = " ".join(tokens[kept] if is_cut else text.split())
    if encoder.truncating == "pre":
        return ("… " if is_cut else "") + escape_markdown(read[-MAX_CHARS:])
    return escape_markdown(read[:MAX_CHARS]) + (" …" if is_cut else "")


def escape_markdown(text: str) -> str:
    """Escape control characters, and replace those with a meaning in Markdown or HTML by HTML entities."""
    safe = escape_control_chars(text)
    return re.sub(r"[\\`*_{}\[\]<>()#+.!|&$~-]", lambda found: f"&#{ord(found[0])};", safe)


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


class WeightHistograms(Diagnostic):
    """Histograms of all weights after every validation, in TensorBoard."""

    splits = ("val",)

    def write(self, evaluated: EvaluatedSplit) -> None:
        for name, weight in evaluated.net.named_parameters():
            values = weight.detach().float()
            values = values[values.isfinite()]  # a diverging training ends soon
            if len(values) and (writer := evaluated.writer):
                tag = f"weights/{name_weight(name)}"
                writer.add_histogram(tag, values, evaluated.step, bins=HISTOGRAM_BINS)


def name_weight(parameter: str) -> str:
    """`layer 1, forward: bias_hh` for `forward_layers.0.bias_hh_l0`."""
    layer = re.fullmatch(r"(forward|backward)_layers\.(\d+)\.(.*)_l0", parameter)
    return f"layer {int(layer[2]) + 1}, {layer[1]}: {layer[3]}" if layer else parameter


class EmbeddingProjector(Diagnostic):
    """The embeddings of the `count` most frequent words with their polarities, after the test, in TensorBoard.

    They are coloured by the polarity, of more than two classes by that of the last one: bluer if it is greater, redder
    if it is smaller. The colours are pictures, since TensorBoard opens with no color map.
    """

    def __init__(self, count: int = 2000) -> None:
        check_at_least(1, count=count)
        self.count = count

    def write(self, evaluated: EvaluatedSplit) -> None:
        writer = evaluated.writer
        if not writer or not evaluated.net.has_embedding:
            return
        classifier, names = evaluated.classifier, evaluated.label_names
        words = classifier.encoder.vocabulary.words
        ids = list(range(len(SPECIALS), min(len(SPECIALS) + self.count, len(words))))
        polarities = classifier.polarity(ids)
        columns = ["polarity"] if len(names) == 2 else [f"polarity of {name}" for name in names]
        limit = float(polarities[:, -1].abs().max()) or 1.0
        shades = polarities[:, -1].numpy(force=True) / (2 * limit) + 0.5
        colors = torch.from_numpy(colormaps["coolwarm_r"](shades)[:, :3])  # (words, 3)
        writer.add_embedding(
            evaluated.net.embedding.weight.detach()[ids].float(),
            [
                [words[id_], str(id_), *(f"{value:.3f}" for value in of_word)]
                for id_, of_word in zip(ids, polarities.tolist(), strict=True)
            ],
            colors[:, :, None, None].expand(-1, -1, 8, 8),
            metadata_header=["word", "rank", *columns],
            global_step=evaluated.step,
            tag="words",
        )


class GatePlots(Diagnostic):
    """The gates of the last layer of a recurrent network over short test reviews.

    They are the review of each class whose true class has the highest predicted probability, and of those that were
    classified wrongly the one with the lowest. Of more than `MAX_CLASSES` classes it is the most frequent ones.
    """

    def write(self, evaluated: EvaluatedSplit) -> None:
        if not isinstance(evaluated.net, RecurrentNetwork):
            return
        chosen, names = _choose_reviews(evaluated), evaluated.label_names
        indices = list(chosen.values())
        encoded = evaluated.reviews
        positions = np.searchsorted(encoded.reviews.rows, evaluated.rows[indices])
        reviews = evaluated.datamodule.select_reviews(evaluated.rows[indices])
        vocabulary = evaluated.datamodule.encoder.vocabulary.words
        for (plot, i), position, review in zip(chosen.items(), positions, reviews, strict=True):
            ids = torch.from_numpy(encoded.pad(position[None]))  # (1, T)
            words = [vocabulary[id_] for id_ in ids[0].tolist() if id_ != PADDING]
            traced = trace(evaluated.classifier, ids)
            label, target = (shorten_label(names[k]) for k in (evaluated.labels[i], traced.target))
            predicted = f"predicted p({target}) = {traced.prefix_probabilities[-1]:.3f}"
            origin = escape_control_chars(describe_origin(review))
            for layer in traced.layers[-evaluated.net.num_directions :]:
                title = f"{origin}; {layer.name}\ntrue label: {label}, {predicted}"
                figure = plot_gates(words, traced, layer, names, title)
                log_plot(
                    evaluated.loggers, f"test_gates/{plot}, {layer.name}", figure, evaluated.step
                )


def _choose_reviews(evaluated: EvaluatedSplit) -> dict[str, int]:
    """Choose short reviews: indices into `evaluated.rows` by the name of their plot."""
    rows = evaluated.reviews.reviews.rows
    lengths = evaluated.reviews.lengths[np.searchsorted(rows, evaluated.rows)]
    short = np.flatnonzero(lengths <= max(MAX_TOKENS, lengths.min()))
    ranked = short[evaluated.true_class_probability[short].argsort()[::-1]]
    labels = evaluated.labels[ranked]
    is_wrong = evaluated.predicted[ranked] != labels
    chosen = {"most wrong": ranked[is_wrong][-1]} if is_wrong.any() else {}
    for label in evaluated.shown_classes:
        for i in ranked[(labels == label) & ~is_wrong][:1]:
            chosen[f"confidently {evaluated.label_names[label]}"] = i
    return chosen
