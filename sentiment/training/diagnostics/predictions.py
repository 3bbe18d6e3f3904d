"""Diagnostics of predictions for the loggers; `analysis/figures/model.py` draws the figures."""

import re

import numpy as np
from pytorch_lightning import LightningModule, Trainer

from sentiment.analysis.figures.model import plot_confusion_matrix, plot_reliability_diagram
from sentiment.data.text.vocabulary import TextEncoder
from sentiment.runtime.cli import escape_control_chars
from sentiment.runtime.errors import check_at_least
from sentiment.training.diagnostics.evaluated import (
    EvaluatedSplit,
    TestDiagnostic,
    describe_origin,
    find_writer,
)
from sentiment.training.loggers import log_markdown, log_plot

MAX_CHARS = 5000  # that are shown of a review


class PRCurves(TestDiagnostic):
    """Precision-recall curves after every validation and the test, in TensorBoard.

    They are of the second of two classes, else of each class, and of the most frequent ones of more than `MAX_CLASSES`.
    """

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.write_split(trainer, pl_module, "val")

    def write(self, evaluated: EvaluatedSplit) -> None:
        writer, names = find_writer(evaluated.loggers), evaluated.label_names
        for label in [1] if len(names) == 2 else evaluated.shown_classes:
            if writer:
                tag, is_label = f"{evaluated.split}/{names[label]}", evaluated.labels == label
                probabilities = evaluated.probabilities[:, label]
                writer.add_pr_curve(tag, is_label, probabilities, evaluated.step)


class ReliabilityDiagram(TestDiagnostic):
    """A reliability diagram (calibration) of the test set."""

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._ece = float(trainer.callback_metrics["test/ece"])
        super().on_test_end(trainer, pl_module)

    def write(self, evaluated: EvaluatedSplit) -> None:
        labels, probabilities = evaluated.labels, evaluated.probabilities
        figure = plot_reliability_diagram(labels, probabilities, evaluated.label_names, self._ece)
        log_plot(evaluated.loggers, "test/reliability", figure, evaluated.step)


class ConfusionMatrix(TestDiagnostic):
    """The confusion matrix of the test set."""

    def write(self, evaluated: EvaluatedSplit) -> None:
        labels, names = evaluated.labels, evaluated.label_names
        figure = plot_confusion_matrix(labels, evaluated.predicted, names)
        log_plot(evaluated.loggers, "test/confusion", figure, evaluated.step)


class MostWrongReviews(TestDiagnostic):
    """The wrongly classified test reviews with the lowest predicted probability of their true class, as text.

    Args:
        count: maximum number of reviews.
    """

    def __init__(self, count: int = 10) -> None:
        check_at_least(1, count=count)
        self.count = count

    def write(self, evaluated: EvaluatedSplit) -> None:
        text = list_most_wrong(evaluated, self.count)
        log_markdown(evaluated.loggers, "test/most_wrong", text, evaluated.step)


def list_most_wrong(evaluated: EvaluatedSplit, count: int) -> str:
    """List the wrongly classified reviews with the lowest probability of their true class, in Markdown."""
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
