"""Inspection: what TensorBoard shows of a run beyond its curves."""

import re
from collections.abc import Sequence
from typing import Any

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
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
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
            self._add_pr_curves(writer, trainer, pl_module, "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        writer = _writer(trainer)
        if writer is None:
            return
        assert isinstance(pl_module, SentimentModule)
        step = trainer.global_step
        datamodule: ReviewDataModule = trainer.datamodule  # type: ignore[attr-defined]
        test = datamodule.splits["test"]
        rows, probabilities = pl_module.evaluated
        labels, names = test.reviews.labels[rows], datamodule.label_names
        binary = len(names) == 2
        if self.pr_curves:
            self._add_pr_curves(writer, trainer, pl_module, "test")
        if self.reliability:
            said = probabilities[:, 1] if binary else probabilities.max(1)
            happened = labels == 1 if binary else probabilities.argmax(1) == labels
            ece = float(trainer.callback_metrics["test/ece"])
            figure = inspection.reliability(said, happened, ece, names[1] if binary else "what was predicted")
            writer.add_figure("test/reliability", figure, step)
        if self.confusion:
            figure = inspection.confusion(labels, probabilities.argmax(1), names)
            writer.add_figure("test/confusion", figure, step)
        of_truth = probabilities[np.arange(len(labels)), labels]
        positions = np.searchsorted(test.reviews.rows, rows)
        if self.most_wrong:
            chosen = of_truth.argsort()[: self.most_wrong]
            words = read_words(datamodule.folder)
            entries = (_entry(test, positions[i], words, names[labels[i]], of_truth[i]) for i in chosen)
            writer.add_text("test/most_wrong", "\n".join(["In italics: cut off by maxlen.\n", *entries]), step)
        text: Any = pl_module.hparams["text"]
        classifier = Classifier(pl_module.net, text)
        if self.gates:
            self._add_gates(writer, step, classifier, test, positions, labels, of_truth)
        if self.projector:
            ids = range(len(SPECIALS), min(len(SPECIALS) + self.projector, len(classifier.vocabulary)))
            polarity = classifier.polarity(ids).tolist()
            columns = ["polarity"] if binary else [f"polarity of {name}" for name in names]
            metadata = [
                [classifier.vocabulary.words[id_], str(id_), *(f"{logit:.3f}" for logit in logits)]
                for id_, logits in zip(ids, polarity, strict=True)
            ]
            vectors = classifier.net.embedding.weight.detach()[list(ids)].float()
            writer.add_embedding(vectors, metadata, None, step, "words", ["word", "rank", *columns])

    def _add_pr_curves(self, writer: SummaryWriter, trainer: Trainer, module: LightningModule, split: str) -> None:
        assert isinstance(module, SentimentModule)
        datamodule: ReviewDataModule = trainer.datamodule  # type: ignore[attr-defined]
        rows, probabilities = module.evaluated
        labels, names = datamodule.splits[split].reviews.labels[rows], datamodule.label_names
        for number, name in list(enumerate(names))[1 if len(names) == 2 else 0 :]:
            writer.add_pr_curve(f"{split}/{name}", labels == number, probabilities[:, number], trainer.global_step)

    def _add_gates(
        self,
        writer: SummaryWriter,
        step: int,
        classifier: Classifier,
        test: PaddedReviews,
        positions: npt.NDArray[np.int64],
        labels: npt.NDArray[np.int64],
        of_truth: npt.NDArray[np.float32],
    ) -> None:
        lengths = test.lengths[positions]
        short = np.flatnonzero(lengths <= max(MOST_WORDS, lengths.min()))
        surest = short[of_truth[short].argsort()[::-1]]
        of_classes = [surest[labels[surest] == number] for number in range(min(CLASSES, len(classifier.label_names)))]
        drawn = {f"surely {classifier.label_names[n]}": ranked[0] for n, ranked in enumerate(of_classes) if len(ranked)}
        for name, i in (drawn | {"most wrong": surest[-1]}).items():
            ids = torch.from_numpy(test.matrix(positions[[i]]))
            reading = classifier.follow(ids)
            words = classifier.vocabulary.decode(ids[0].tolist()).split(" ")
            label, toward = classifier.label_names[labels[i]], classifier.label_names[reading.toward]
            for layer in reading.layers[-1 if not classifier.net.backwards else -2 :]:
                row, p = test.reviews.rows[positions[i]], reading.running[-1]
                title = f"row {row}: truly {label}, said with p({toward}) = {p:.3f}; {layer.name}"
                figure = inspection.gates(words, reading.running, layer.gates, layer.order, title)
                writer.add_figure(f"gates/{name}, {layer.name}", figure, step)


def _writer(trainer: Trainer) -> SummaryWriter | None:
    """TensorBoard's, where this is the process that writes to one."""
    loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    return loggers[0].experiment if loggers and trainer.is_global_zero else None


def _entry(test: PaddedReviews, position: int, words: Sequence[str], label: str, probability: float) -> str:
    """A review as an entry of a Markdown list, what the net does not read of it in italics."""
    row = test.reviews.rows[position]
    ids = test.reviews.ids[test.reviews.offsets[row] : test.reviews.offsets[row + 1]]
    text = [_plain(words[id_]) for id_ in ids]
    if len(text) > test.maxlen:
        unread = slice(len(text) - test.maxlen) if test.truncating == "pre" else slice(test.maxlen, None)
        text[unread] = [f"*{' '.join(text[unread])}*"]
    return f"1. **truly {_plain(label)}, said with p = {probability:.4f}** (row {row}): {' '.join(text)}"


def _plain(text: str) -> str:
    """Without what Markdown or HTML would take for its own."""
    return re.sub(r"[\\`*_{}\[\]<>()#+.!|&$~-]", lambda found: f"&#{ord(found[0])};", text)
