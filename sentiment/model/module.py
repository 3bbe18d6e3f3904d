"""SentimentModule: how an LSTMClassifier is trained — loss, metrics, optimizer, and what its checkpoints carry."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from sentiment.data.batching import Batch
from sentiment.data.text import PADDING, TextEncoder
from sentiment.model.lstm import LSTMClassifier, log_probabilities
from sentiment.model.metrics import ClassificationMetrics, Predictions
from sentiment.runtime.errors import DivergedError, InputError

DIVERGENCE_THRESHOLD = 100.0  # a cross-entropy; float32 cannot represent a probability of e^-104


class SentimentModule(LightningModule):
    """Trains an `LSTMClassifier` and computes its metrics.

    Its checkpoints carry all that is needed to classify a text, as plain values and tensors.

    Args:
        text_encoder: the values of `TextEncoder.to_dict`.
        label_names: names of the classes.
        model: the other arguments of `LSTMClassifier`.
        optimizer: takes the parameters and returns an optimizer.
        scheduler: takes an optimizer and `total_steps` and returns a scheduler, stepped after every batch; None keeps
            the learning rate constant.
        adversarial_epsilon: RMS norm per token of the adversarial perturbation of the embeddings; the model learns
            from the original and the perturbed batch (Miyato et al. 2017). 0 disables it.
        seed: seeds the dropout masks of each epoch, so that a resumed run draws the same ones.

    Attributes:
        predictions: of the latest validation or test epoch.

    Raises:
        InputError: an argument is out of range.
    """

    predictions: Predictions

    def __init__(
        self,
        text_encoder: Mapping[str, Any],
        label_names: Sequence[str],
        model: Mapping[str, Any],
        optimizer: Callable[[Iterable[Tensor]], Optimizer] = torch.optim.Adam,
        scheduler: Callable[..., LRScheduler] | None = None,
        adversarial_epsilon: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not isinstance(adversarial_epsilon, int | float) or not 0 <= adversarial_epsilon < math.inf:
            raise InputError(f"adversarial_epsilon={adversarial_epsilon}: must be a finite number >= 0")
        hyperparameters = {
            "text_encoder": dict(text_encoder),
            "label_names": list(label_names),
            "model": dict(model),
            "seed": seed,
        }
        self.save_hyperparameters(hyperparameters, logger=False)
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.adversarial_epsilon = adversarial_epsilon
        self.seed = seed
        self.net = LSTMClassifier.from_config(TextEncoder.from_dict(text_encoder), label_names, model)
        self.metrics = ClassificationMetrics(label_names)

    def forward(self, ids: Tensor) -> Tensor:
        """Probabilities of the classes, float `(B, classes)`, for word ids, int64 `(B, T)`."""
        return log_probabilities(self.net(ids)).exp()

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of logits `(B, C)`, binary for `C` = 1, and labels `(B,)`."""
        if logits.shape[1] == 1:
            return F.binary_cross_entropy_with_logits(logits[:, 0], labels.to(logits.dtype))
        return F.cross_entropy(logits, labels)

    def on_train_epoch_start(self) -> None:
        torch.manual_seed(_derive_seed(self.seed, self.current_epoch, self.global_rank))
        self._loss_sum = torch.zeros((), device=self.device)  # a torchmetrics metric per step costs more than the step
        self._num_correct = torch.zeros((), dtype=torch.int64, device=self.device)
        self._num_reviews = 0

    def training_step(self, batch: Batch) -> Tensor:
        x, lengths = self.net.embed(batch.ids), self.net.lengths(batch.ids)  # (B, T, E), (B,)
        logits = self.net.forward_embedded(x, lengths).float()  # (B, C)
        loss = self._loss(logits, batch.labels)
        self._loss_sum.add_(loss.detach(), alpha=len(batch.labels))
        self._num_correct.add_((_predict(logits) == batch.labels).sum())
        self._num_reviews += len(batch.labels)
        if self.adversarial_epsilon:
            perturbed = x + self._adversarial_perturbation(x, loss, (batch.ids != PADDING).sum(1))
            loss = loss + self._loss(self.net.forward_embedded(perturbed, lengths).float(), batch.labels)
        return loss

    def _adversarial_perturbation(self, x: Tensor, loss: Tensor, num_tokens: Tensor) -> Tensor:
        """Perturbation along the gradient of the loss with RMS norm `adversarial_epsilon` per token.

        `(B, T, E)` and `(B,)` → `(B, T, E)` (Miyato et al. 2017).
        """
        (gradient,) = torch.autograd.grad(loss, x, retain_graph=True)
        direction = F.normalize(gradient.flatten(1)).view_as(x)  # of norm 1 per text
        norm = self.adversarial_epsilon * num_tokens.sqrt()  # (B,)
        return direction * norm[:, None, None]

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]  # set outside the Trainer's __init__
        if every and self.global_step % every == 0:
            self._raise_if_diverged(outputs["loss"])

    def on_train_epoch_end(self) -> None:
        loss = self._loss_sum / self._num_reviews
        self._raise_if_diverged(loss)
        self.log("train/loss", loss, sync_dist=True, prog_bar=True, logger=False)
        accuracy = self._num_correct / self._num_reviews
        self.log("train/accuracy", accuracy, sync_dist=True, prog_bar=True, logger=False)
        # Lightning would log them after the checkpoint: a run that is killed in between would lack the points.
        known = self.trainer.callback_metrics  # mean over the devices
        points = {tag: float(known[tag]) for tag in ("train/loss", "train/accuracy")}
        for logger in self.loggers:
            logger.log_metrics(points | {"train/lr": self.learning_rate}, step=self.global_step - 1)
            logger.save()

    @property
    def learning_rate(self) -> float:
        """That of the next step."""
        return float(self.trainer.optimizers[0].param_groups[0]["lr"])

    def _raise_if_diverged(self, loss: Tensor) -> None:
        """Raise `DivergedError` on all devices if the loss of one is NaN or above the threshold."""
        trainer = self.trainer
        if not trainer.strategy.reduce_boolean_decision(float(loss) < DIVERGENCE_THRESHOLD):
            lr = trainer.optimizers[0].defaults["lr"]
            raise DivergedError(
                f"step {self.global_step}: training diverged, the loss is {float(loss):.3g}; lower "
                f"optimizer.lr={lr:g}, or clip with trainer.gradient_clip_val=1 (now {trainer.gradient_clip_val})"
            )

    def validation_step(self, batch: Batch) -> None:
        self._evaluate(batch, "val")

    def test_step(self, batch: Batch) -> None:
        self._evaluate(batch, "test")

    def _evaluate(self, batch: Batch, split: str) -> None:
        logits = self.net(batch.ids).float()  # (B, C)
        self.metrics.update(split, log_probabilities(logits).exp(), batch.labels, batch.rows)
        loss, prog_bar = self._loss(logits, batch.labels), split == "val"
        self.log(f"{split}/loss", loss, on_epoch=True, batch_size=len(batch.labels), prog_bar=prog_bar, sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.metrics.val, prog_bar=True)
        self.predictions = self.metrics.gather_predictions()

    def on_test_epoch_end(self) -> None:
        self.log_dict(self.metrics.compute_test(), sync_dist=True)
        self.predictions = self.metrics.gather_predictions()

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.net.parameters())
        if self.scheduler is None:
            return optimizer
        scheduler = self.scheduler(optimizer, total_steps=int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the metrics of the epoch."""
        checkpoint["metrics"] = {name: float(value) for name, value in self.trainer.callback_metrics.items()}


def _predict(logits: Tensor) -> Tensor:
    """The most probable classes, int64 `(B,)`, of logits `(B, C)`."""
    return (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(1)


def _derive_seed(*seeds: int) -> int:
    return int(np.random.SeedSequence(seeds).generate_state(1)[0])
