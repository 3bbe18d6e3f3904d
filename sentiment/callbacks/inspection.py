"""Inspection: what TensorBoard shows of a run beyond its curves."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import grad_norm
from torch.optim import Optimizer
from torch.utils.tensorboard import SummaryWriter

from sentiment.classifier import Classifier
from sentiment.data.batching import PaddedReviews
from sentiment.data.datamodule import ReviewDataModule
from sentiment.data.encoding import read_words
from sentiment.data.text import SPECIALS
from sentiment.figures import inspection
from sentiment.model.module import SentimentModule

MOST_WORDS = 40  # of a review whose gates are drawn, where there are so short ones
MOST_UNREAD = 500  # words of a most wrong review that are shown though the net does not read them
CLASSES = 5  # of which a review is drawn


class Inspection(Callback):
    """Looks into the model after every validation, and once more after the test, at the rows that were tested.

    Args:
        histograms: of all weights, after every validation.
        gradient_norm: over all weights, before it is clipped, every `log_every_n_steps`.
        pr_curves: precision against recall, after every validation and after the test.
        reliability: a figure of how far the probabilities can be believed.
        confusion: a figure of which class was taken for which.
        most_wrong: how many of the reviews with the least probability of their true class are shown as text.
        projector: how many of the most frequent words are shown in the embedding projector, with their polarity.
        gates: figures of the gates of the last layer, over short reviews: a surely right one of each class, and the
            most wrong one.
    """

    def __init__(
        self,
        histograms: bool = True,
        gradient_norm: bool = True,
        pr_curves: bool = True,
        reliability: bool = True,
        confusion: bool = True,
        most_wrong: int = 10,
        projector: int = 2000,
        gates: bool = True,
    ) -> None:
        self.histograms = histograms
        self.gradient_norm = gradient_norm
        self.pr_curves = pr_curves
        self.reliability = reliability
        self.confusion = confusion
        self.most_wrong = most_wrong
        self.projector = projector
        self.gates = gates

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]  # which its connector sets
        if self.gradient_norm and trainer.global_step % every == 0:
            norm = grad_norm(pl_module, 2)["grad_2.0_norm_total"]
            for logger in trainer.loggers:
                logger.log_metrics({"gradients/norm": float(norm)}, step=trainer.global_step)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        writer = _writer(trainer)
        if writer is None or trainer.sanity_checking:
            return
        if self.histograms:
            for name, weight in pl_module.named_parameters():
                writer.add_histogram(f"weights/{name}", weight.detach().float(), trainer.global_step, bins=64)
        if self.pr_curves:
            _add_pr_curves(_seen(trainer, pl_module, writer, "val"))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        writer = _writer(trainer)
        if writer is None:
            return
        tested = _seen(trainer, pl_module, writer, "test")
        if self.pr_curves:
            _add_pr_curves(tested)
        if self.reliability:
            _add_reliability(tested, float(trainer.callback_metrics["test/ece"]))
        if self.confusion:
            figure = inspection.confusion(tested.labels, tested.probabilities.argmax(1), tested.names)
            writer.add_figure("test/confusion", figure, tested.step)
        if self.most_wrong:
            _add_most_wrong(tested, self.most_wrong)
        module = cast(SentimentModule, pl_module)
        classifier = Classifier(module.net, cast(dict[str, Any], module.hparams["text"]))
        if self.gates:
            _add_gates(tested, classifier)
        if self.projector:
            _add_projector(tested, classifier, self.projector)


@dataclass(eq=False)
class Seen:
    """What was said of reviews, and where to show it.

    Attributes:
        writer: TensorBoard's.
        step: of the training.
        datamodule: that the reviews came from.
        split: `val` or `test`.
        rows: row numbers of the reviews, int64 `(N,)`.
        probabilities: that were said of the classes, float32 `(N, classes)`.
    """

    writer: SummaryWriter
    step: int
    datamodule: ReviewDataModule
    split: str
    rows: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float32]

    @property
    def names(self) -> list[str]:
        """What the classes are called."""
        return self.datamodule.label_names

    @property
    def reviews(self) -> PaddedReviews:
        """The split."""
        return self.datamodule.splits[self.split]

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """The true classes, `(N,)`."""
        return self.reviews.reviews.labels[self.rows]

    @property
    def positions(self) -> npt.NDArray[np.int64]:
        """Which of the split's reviews were read, `(N,)`."""
        return np.searchsorted(self.reviews.reviews.rows, self.rows)

    @property
    def of_truth(self) -> npt.NDArray[np.float32]:
        """The probability that each true class was given, `(N,)`."""
        return self.probabilities[np.arange(len(self.rows)), self.labels]


def _seen(trainer: Trainer, module: LightningModule, writer: SummaryWriter, split: str) -> Seen:
    datamodule: ReviewDataModule = trainer.datamodule  # type: ignore[attr-defined]  # which its connector sets
    return Seen(writer, trainer.global_step, datamodule, split, *cast(SentimentModule, module).evaluated)


def _writer(trainer: Trainer) -> SummaryWriter | None:
    """TensorBoard's, where this is the process that writes to one."""
    loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    return loggers[0].experiment if loggers and trainer.is_global_zero else None


def _add_pr_curves(seen: Seen) -> None:
    """A curve per class; of two classes the second's says all."""
    for number, name in list(enumerate(seen.names))[1 if len(seen.names) == 2 else 0 :]:
        happened, said = seen.labels == number, seen.probabilities[:, number]
        seen.writer.add_pr_curve(f"{seen.split}/{name}", happened, said, seen.step)


def _add_reliability(seen: Seen, ece: float) -> None:
    if len(seen.names) == 2:
        said, happened, of = seen.probabilities[:, 1], seen.labels == 1, seen.names[1]
    else:
        said, happened = seen.probabilities.max(1), seen.probabilities.argmax(1) == seen.labels
        of = "what was predicted"
    seen.writer.add_figure("test/reliability", inspection.reliability(said, happened, ece, of), seen.step)


def _add_most_wrong(seen: Seen, count: int) -> None:
    words = read_words(seen.datamodule.folder)
    entries = ["In italics: cut off by maxlen.\n"]
    for i in seen.of_truth.argsort()[:count]:
        row = seen.rows[i]
        text = _as_markdown(seen.reviews, row, words)
        label, p = _plain(seen.names[seen.labels[i]]), seen.of_truth[i]
        entries.append(f"1. **truly {label}, said with p = {p:.4f}** (row {row}): {text}")
    seen.writer.add_text("test/most_wrong", "\n".join(entries), seen.step)


def _as_markdown(reviews: PaddedReviews, row: int, words: Sequence[str]) -> str:
    """A review, what is not read of it in italics, and left out where that is very long."""
    ids = reviews.reviews.ids[reviews.reviews.offsets[row] : reviews.reviews.offsets[row + 1]]
    longest = reviews.maxlen + MOST_UNREAD
    ids = ids[-longest:] if reviews.truncating == "pre" else ids[:longest]
    text = [_plain(words[id_]) for id_ in ids]
    if len(text) > reviews.maxlen:
        unread = slice(-reviews.maxlen) if reviews.truncating == "pre" else slice(reviews.maxlen, None)
        text[unread] = [f"*{' '.join(text[unread])}*"]
    return " ".join(text)


def _plain(text: str) -> str:
    """Without what Markdown or HTML would take for its own."""
    return re.sub(r"[\\`*_{}\[\]<>()#+.!|&$~-]", lambda found: f"&#{ord(found[0])};", text)


def _add_gates(seen: Seen, classifier: Classifier) -> None:
    lengths = seen.reviews.lengths[seen.positions]
    short = np.flatnonzero(lengths <= max(MOST_WORDS, lengths.min()))
    surest = short[seen.of_truth[short].argsort()[::-1]]
    drawn = {"most wrong": surest[-1]}
    for number, name in enumerate(seen.names[:CLASSES]):
        drawn |= {f"surely {name}": i for i in surest[seen.labels[surest] == number][:1]}
    for name, i in drawn.items():
        ids = torch.from_numpy(seen.reviews.matrix(seen.positions[[i]]))
        reading = classifier.follow(ids)
        words = classifier.vocabulary.decode(ids[0].tolist()).split(" ")
        toward, p = seen.names[reading.toward], reading.running[-1]
        answer = f"truly {seen.names[seen.labels[i]]}, said with p({toward}) = {p:.3f}"
        for layer in reading.layers[-classifier.net.directions :]:
            title = f"row {seen.rows[i]}: {answer}; {layer.name}"
            figure = inspection.gates(words, reading.running, layer.gates, layer.order, title)
            seen.writer.add_figure(f"gates/{name}, {layer.name}", figure, seen.step)


def _add_projector(seen: Seen, classifier: Classifier, count: int) -> None:
    ids = range(len(SPECIALS), min(len(SPECIALS) + count, len(classifier.vocabulary)))
    columns = ["polarity"] if len(seen.names) == 2 else [f"polarity of {name}" for name in seen.names]
    metadata = [
        [classifier.vocabulary.words[id_], str(id_), *(f"{logit:.3f}" for logit in logits)]
        for id_, logits in zip(ids, classifier.polarity(ids).tolist(), strict=True)
    ]
    vectors = classifier.net.embedding.weight.detach()[list(ids)].float()
    seen.writer.add_embedding(vectors, metadata, None, seen.step, "words", ["word", "rank", *columns])
