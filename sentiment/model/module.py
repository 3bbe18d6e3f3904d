"""SentimentModule: how a network is trained — loss, metrics, optimizer, and what its checkpoints carry."""

import inspect
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from sentiment.data.encoded.batching import Batch
from sentiment.data.text.vocabulary import PADDING, TextEncoder
from sentiment.model.adversarial import (
    KnownGradients,
    adversarial_perturbation,
    divergence,
    entropy,
)
from sentiment.model.metrics import ClassificationMetrics, Predictions
from sentiment.model.network import build_network, cross_entropy, log_probabilities, predict_classes
from sentiment.runtime.errors import DivergedError, InputError

DIVERGENCE_INTERVAL = 50  # steps; each look waits for the device
DIVERGENCE_THRESHOLD = 100.0  # a cross-entropy; float32 cannot represent a probability of e^-104

_EQUAL_ON_ALL_DEVICES: dict[str, Any] = {"sync_dist": True, "reduce_fx": "max"}  # a mean may round


class SentimentModule(LightningModule):
    """Trains a `Network` and computes its metrics.

    Its checkpoints carry all that is needed to classify a text, as plain values and tensors.

    Args:
        text_encoder: the values of `TextEncoder.to_dict`.
        model: the settings for `build_network`.
        scheduler: makes one for an optimizer, and `total_steps` if it has such an argument. It is stepped after every
            batch, `ReduceLROnPlateau` after every epoch, which monitors `objective`.
        loss: makes a loss of log-probabilities `(B, classes)` and labels `(B,)`; takes `weight`, the `class_weights`.
        adversarial_epsilon: RMS norm per token of the perturbation of the embeddings; the model learns from the
            original and the perturbed batch (Miyato et al. 2017).
        adversarial_weight: of the loss of the perturbed batch.
        virtual_adversarial_weight: of the divergence of the predictions for perturbed texts from those for the original
            ones (Miyato et al. 2017), labelled or not.
        entropy_weight: of the entropy of the predictions (Grandvalet & Bengio 2005), for texts labelled or not.
        seed: of the dropout masks of each epoch, so that a resumed run draws the same ones.
    """

    data_contents = ""  # see `ReviewDataModule.contents`
    temperature: float | None = None  # by which the tested network divides its logits
    num_trained = 0  # reviews in all training batches of this device, repeated ones included
    predictions: Predictions  # of the latest validation or test epoch

    def __init__(
        self,
        text_encoder: Mapping[str, Any],
        label_names: Sequence[str],
        model: Mapping[str, Any],
        optimizer: Callable[[Iterable[Tensor]], Optimizer] = torch.optim.Adam,
        scheduler: Callable[..., LRScheduler] | None = None,
        loss: Callable[..., nn.Module] = nn.CrossEntropyLoss,
        class_weights: Sequence[float] | None = None,
        objective: str = "val/accuracy",
        adversarial_epsilon: float = 0.0,
        adversarial_weight: float = 1.0,
        virtual_adversarial_weight: float = 0.0,
        entropy_weight: float = 0.0,
        seed: int = 0,
        trust: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.save_hyperparameters("text_encoder", "label_names", "model", "seed", logger=False)
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.make_loss = loss
        self.class_weights = class_weights
        self.objective = objective
        self.adversarial_epsilon = adversarial_epsilon
        self.adversarial_weight = adversarial_weight
        self.virtual_adversarial_weight = virtual_adversarial_weight
        self.entropy_weight = entropy_weight
        self.seed = seed
        encoder = TextEncoder.from_dict(text_encoder, trust)
        self.net = build_network(model, encoder, label_names, trust)
        self.metrics = ClassificationMetrics(label_names)
        self._metrics_step: dict[str, int] = {}  # step of the latest metrics of `train` and `val`
        numbers = {
            "adversarial_epsilon": adversarial_epsilon,
            "adversarial_weight": adversarial_weight,
            "virtual_adversarial_weight": virtual_adversarial_weight,
            "entropy_weight": entropy_weight,
        }
        for key, number in numbers.items():
            if not isinstance(number, int | float) or not 0 <= number < math.inf:
                raise InputError(f"{key}={number}: must be a finite number >= 0")
        problem = ""
        if virtual_adversarial_weight and not adversarial_epsilon:
            problem = "virtual_adversarial_weight needs a perturbation; set it, for example to 0.05"
        elif adversarial_epsilon and not self.net.has_forward_embedded:
            problem = f"{self.net.display_name} has no forward_embedded; use 0"
        if problem:
            raise InputError(f"adversarial_epsilon={adversarial_epsilon}: {problem}")

    def forward(self, ids: Tensor) -> Tensor:
        """Probabilities of the classes, float `(B, classes)`, for word ids, int64 `(B, T)`."""
        return log_probabilities(self.net(ids)).exp()

    @cached_property  # which nn.Module does not register: a resumed run may have another loss
    def loss_of_logits(self) -> Callable[[Tensor, Tensor], Tensor]:
        """The loss that is minimized, of logits `(B, C)` and labels as in `cross_entropy`."""
        options = {}
        if self.class_weights:
            options["weight"] = torch.tensor(self.class_weights, dtype=torch.float32)
        loss = self.make_loss(**options).to(self.device)
        is_default = type(loss) is nn.CrossEntropyLoss and loss.weight is None
        if is_default and loss.reduction == "mean" and not loss.label_smoothing:
            return cross_entropy  # the same, but faster
        return lambda logits, labels: loss(log_probabilities(logits), labels)

    def _compute_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        if labels.is_floating_point():
            labels = labels.to(logits.dtype)  # Lightning casts them to trainer.precision
        return self.loss_of_logits(logits, labels)

    def on_train_epoch_start(self) -> None:
        seeds = np.random.SeedSequence([self.seed, self.current_epoch, self.global_rank])
        torch.manual_seed(int(seeds.generate_state(1)[0]))
        # A torchmetrics metric per step costs more than the step.
        self._loss_sum = torch.zeros((), device=self.device)
        self._num_correct = torch.zeros((), dtype=torch.int64, device=self.device)
        self._num_reviews = 0

    def training_step(self, batch: Batch | tuple[Batch, Batch]) -> Tensor:
        """The loss of labelled reviews, and perhaps of unlabelled texts, whose labels are not read."""
        labelled, unlabelled = (batch, None) if isinstance(batch, Batch) else batch
        self.num_trained += len(unlabelled.rows) if unlabelled else 0

        def loss_of_labels(logits: Tensor) -> Tensor:
            loss = self._compute_loss(logits, labelled.labels)
            self._count(labelled, logits, loss)
            return loss + self.entropy_weight * entropy(logits) if self.entropy_weight else loss

        def loss_of_perturbed(logits: Tensor, original: Tensor) -> Tensor:
            loss = self.adversarial_weight * self._compute_loss(logits, labelled.labels)
            return loss + self._divergence(logits, original)

        if not self.adversarial_epsilon:
            loss = loss_of_labels(self.net(labelled.ids).float())
            if unlabelled:
                loss = loss + self.entropy_weight * entropy(self.net(unlabelled.ids).float())
            return loss
        loss, perturbed = self._perturbed_losses(labelled.ids, loss_of_labels, loss_of_perturbed)
        loss = loss + perturbed
        if unlabelled:
            losses = self._perturbed_losses(unlabelled.ids, entropy, self._divergence)
            loss = loss + self.entropy_weight * losses[0] + losses[1]
        return loss

    def _perturbed_losses(
        self,
        ids: Tensor,
        loss_of_logits: Callable[[Tensor], Tensor],
        loss_of_perturbed: Callable[[Tensor, Tensor], Tensor],
    ) -> tuple[Tensor, Tensor]:
        """The loss of texts, and one of the same texts with embeddings that are perturbed along its gradient.

        The functions take logits `(B, C)`, the second one also those of the original texts, without a gradient.
        """
        x, lengths = self.net.embed(ids), self.net.lengths(ids)  # (B, T, E), (B,)
        detached = x.detach().requires_grad_()
        original = self.net.forward_embedded(detached, lengths).float()  # (B, C)
        loss = loss_of_logits(original)
        weights = self._trained_weights()
        gradients = torch.autograd.grad(loss, [detached, *weights], allow_unused=True)
        known: Tensor = KnownGradients.apply(loss.detach(), gradients, x, *weights)  # type: ignore[no-untyped-call]
        num_tokens = (ids != PADDING).sum(1)  # (B,)
        perturbed = x + adversarial_perturbation(gradients[0], num_tokens, self.adversarial_epsilon)
        logits = self.net.forward_embedded(perturbed, lengths).float()
        return known, loss_of_perturbed(logits, original.detach())

    def _divergence(self, logits: Tensor, original: Tensor) -> Tensor:
        if not self.virtual_adversarial_weight:
            return logits.new_zeros(())
        return self.virtual_adversarial_weight * divergence(logits, original)

    def _count(self, batch: Batch, logits: Tensor, loss: Tensor) -> None:
        """Add a batch to the figures of the training epoch."""
        labels = batch.labels.argmax(1) if batch.labels.is_floating_point() else batch.labels
        self._loss_sum.add_(loss.detach(), alpha=len(labels))
        self._num_correct.add_((predict_classes(logits) == labels).sum())
        self._num_reviews += len(labels)
        self.num_trained += len(labels)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Weight every batch of an incomplete last group by its size; Lightning divides by the full one."""
        trainer, full = self.trainer, self.trainer.accumulate_grad_batches
        size = trainer.num_training_batches % full  # of the last group; 0 if it is complete
        if trainer.fit_loop.batch_idx >= trainer.num_training_batches - size:
            loss = loss * (full / size)
        super().backward(loss, *args, **kwargs)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip before fused optimizers too; Lightning refuses to, since they may unscale gradients of float16."""
        if gradient_clip_val and self.trainer.precision == "bf16-mixed":
            plugin, by_value = self.trainer.precision_plugin, gradient_clip_algorithm == "value"
            clip = plugin.clip_grad_by_value if by_value else plugin.clip_grad_by_norm
            clip(optimizer, gradient_clip_val)
        else:
            super().configure_gradient_clipping(
                optimizer, gradient_clip_val, gradient_clip_algorithm
            )

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        if self.global_step == self.trainer.max_steps:
            self.trainer.should_stop = True  # so that Lightning validates within the epoch
        if self.global_step % DIVERGENCE_INTERVAL == 0:
            self._raise_if_diverged(outputs["loss"])

    def on_train_epoch_end(self) -> None:
        self._metrics_step["train"] = self.global_step
        num_reviews = torch.tensor(self._num_reviews, device=self.device)
        loss_sum, num_correct, num_reviews = (
            self.trainer.strategy.reduce(part, reduce_op="sum")
            for part in (self._loss_sum, self._num_correct, num_reviews)
        )
        loss, accuracy = loss_sum / int(num_reviews), num_correct / int(num_reviews)
        self._raise_if_diverged(loss)
        values = {"train/loss": loss, "train/accuracy": accuracy}
        self.log_dict(values, prog_bar=True, logger=False, **_EQUAL_ON_ALL_DEVICES)
        self._step_plateau()
        # Lightning would log them after the checkpoint: a run that is killed in between would lack the points.
        points = {tag: float(value) for tag, value in values.items()}
        points |= {"train/lr": self.learning_rate, "epoch": self.current_epoch}
        for logger in self.loggers:
            logger.log_metrics(points, step=self.global_step - 1)
            logger.save()

    def _step_plateau(self) -> None:
        """Before the checkpoint of the epoch; Lightning would do so after it."""
        for config in self.trainer.lr_scheduler_configs:
            validated = self._metrics_step.get("val") == self.global_step
            if isinstance(config.scheduler, ReduceLROnPlateau) and validated:
                config.scheduler.step(float(self.trainer.callback_metrics[self.objective]))

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Step the other schedulers; called by Lightning."""
        if not isinstance(scheduler, ReduceLROnPlateau):
            super().lr_scheduler_step(scheduler, metric)

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
        with torch.autocast(self.device.type, enabled=False):  # so that `predict` computes the same
            logits = self.net(batch.ids).float()  # (B, C)
        loss, probabilities = cross_entropy(logits, batch.labels), log_probabilities(logits).exp()
        self.metrics.update(split, loss, probabilities, batch.labels, batch.rows)

    def on_validation_epoch_end(self) -> None:
        self._metrics_step["val"] = self.global_step
        values, self.predictions = self.metrics.compute("val")
        for tag, value in values.items():
            shown = tag in ("val/loss", "val/accuracy")
            self.log(tag, value, prog_bar=shown, **_EQUAL_ON_ALL_DEVICES)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.temperature = checkpoint.get("temperature")

    def on_test_start(self) -> None:
        if self.temperature:
            self.net.divide_logits(self.temperature)

    def on_test_epoch_end(self) -> None:
        values, self.predictions = self.metrics.compute("test")
        # Final figures, no points of a curve. Lightning would warn of True if there is no logger.
        self.log_dict(values, logger=False, **_EQUAL_ON_ALL_DEVICES)

    def _trained_weights(self) -> list[nn.Parameter]:
        return [weight for weight in self.net.parameters() if weight.requires_grad]

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer(self._trained_weights())
        if self.make_scheduler is None:
            return optimizer
        options = {}
        if takes_total_steps(self.make_scheduler):
            options["total_steps"] = int(self.trainer.estimated_stepping_batches)
        scheduler = self.make_scheduler(optimizer, **options)
        plan = {"scheduler": scheduler, "interval": "step"}
        if isinstance(scheduler, ReduceLROnPlateau):
            plan |= {"interval": "epoch", "monitor": self.objective, "strict": False}
        return {"optimizer": optimizer, "lr_scheduler": plan}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what a resumed run compares, and the metrics of these weights; Lightning keeps older ones too."""
        checkpoint["data_contents"] = self.data_contents
        checkpoint["num_threads"] = torch.get_num_threads()
        checkpoint["metrics"] = {
            tag: float(value)
            for tag, value in self.trainer.callback_metrics.items()
            if self._metrics_step.get(tag.partition("/")[0], self.global_step) == self.global_step
        }


def takes_total_steps(make_scheduler: Callable[..., LRScheduler]) -> bool:
    """Whether a schedule is planned over all steps."""
    try:
        return "total_steps" in inspect.signature(make_scheduler).parameters
    except ValueError:  # it has arguments that the scheduler does not take
        return False
