"""SentimentModule: the training of an LSTMClassifier — loss, metrics, optimizer, and what its checkpoints carry."""

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import AUROC, Accuracy, CalibrationError, CatMetric, F1Score, MetricCollection

from sentiment.data.batching import Batch
from sentiment.data.text import PADDING
from sentiment.errors import DivergedError, InputError
from sentiment.files import whole
from sentiment.model.lstm import LSTMClassifier, log_probabilities

HOPELESS = 100.0  # nats; float32 has no probability of e^-104


class Measures(nn.Module):
    """The metrics of torchmetrics, under the tags that TensorBoard shows.

    Attributes:
        val: of the validation rows.
        test: of the test rows. Where there are two classes, F1 is the second one's and the expected calibration error
            (15 bins) that of its probability; else F1 is the mean over classes, and calibration the winner's.
        rows: row numbers of the reviews of either, `(N,)`, in the order in which they are read.
        probabilities: of the classes for each of them, `(N, classes)`.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        task: dict[str, Any] = {"task": "binary" if classes == 2 else "multiclass", "num_classes": classes}
        self.val = MetricCollection({"val/accuracy": Accuracy(**task, average="micro")})
        self.test = MetricCollection(
            {
                "test/accuracy": Accuracy(**task, average="micro"),
                "test/auroc": AUROC(**task),
                "test/f1": F1Score(**task, average="macro"),
                "test/ece": CalibrationError(**task, n_bins=15),
            },
            compute_groups=False,
        )
        self.rows = CatMetric(nan_strategy="disable").set_dtype(torch.float64)  # exact for any number of rows
        self.probabilities = CatMetric(nan_strategy="disable")


class Evaluated(NamedTuple):
    """What was said of each review of a validation or test.

    Attributes:
        rows: row numbers of the reviews in their source, int64 `(N,)`, ascending.
        probabilities: of the classes, float32 `(N, classes)`.
    """

    rows: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float32]


class SentimentModule(LightningModule):
    """Trains an `LSTMClassifier` and measures it.

    Its checkpoints carry, as plain values and tensors, all that reading a text needs.

    Args:
        text: how a text becomes ids, and classes names: `words` (the vocabulary by id), `tokenizer`, `maxlen`,
            `padding`, `truncating`, `label_names`.
        model: arguments of `LSTMClassifier` besides sizes that follow from `text`.
        optimizer: makes an optimizer of parameters.
        scheduler: makes a per-step schedule of an optimizer and `total_steps`; None keeps the learning rate.
        adversarial: length, as a root mean square over words, by which the embedded words of each text are pushed to
            where its loss rises fastest; the net learns from both (Miyato et al. 2017). 0 for none.
        seed: together with the epoch it draws the dropout masks, so that a resumed run draws the same.

    Raises:
        InputError: a setting is out of range.

    Attributes:
        evaluated: what the latest validation or test said of each review.
    """

    def __init__(
        self,
        text: Mapping[str, Any],
        model: Mapping[str, Any],
        optimizer: Callable[[Iterable[Tensor]], Optimizer] = torch.optim.Adam,
        scheduler: Callable[..., LRScheduler] | None = None,
        adversarial: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not isinstance(adversarial, int | float) or not 0 <= adversarial < math.inf:
            raise InputError(f"adversarial={adversarial}: must be a length of at least 0")
        self.save_hyperparameters({"text": dict(text), "model": dict(model), "seed": seed}, logger=False)
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.adversarial = adversarial
        self.seed = seed
        classes = len(text["label_names"])
        self.binary = classes == 2
        self.net = LSTMClassifier.of(text, model)
        self.measures = Measures(classes)

    def forward(self, ids: Tensor) -> Tensor:
        """Probabilities of the classes, float `(B, classes)`, for word ids, int64 `(B, T)`."""
        return log_probabilities(self.net(ids)).exp()

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.binary:
            return F.binary_cross_entropy_with_logits(logits[:, 0], labels.to(logits.dtype))
        return F.cross_entropy(logits, labels)

    def on_train_epoch_start(self) -> None:
        torch.manual_seed(_mixed(self.seed, self.current_epoch, self.global_rank))
        self._loss_sum = torch.zeros((), device=self.device)  # a metric per step would cost more than all else here
        self._reviews = 0

    def training_step(self, batch: Batch) -> Tensor:
        x, lengths = self.net.embed(batch.ids), self.net.lengths(batch.ids)
        loss = self._loss(self.net.logits(x, lengths).float(), batch.labels)
        self._loss_sum.add_(loss.detach(), alpha=len(batch.labels))
        self._reviews += len(batch.labels)
        if self.adversarial:
            pushed = x + self._worst_push(x, loss, (batch.ids != PADDING).sum(1))
            loss = loss + self._loss(self.net.logits(pushed, lengths).float(), batch.labels)
        return loss

    def _worst_push(self, x: Tensor, loss: Tensor, words: Tensor) -> Tensor:
        """Along the gradient of the loss, as long as `adversarial` says: `(B, T, E)` and `(B,)` → `(B, T, E)`."""
        (gradient,) = torch.autograd.grad(loss, x, retain_graph=True)
        return F.normalize(gradient.flatten(1)).view_as(x) * (self.adversarial * words.sqrt())[:, None, None]

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]  # set by Lightning outside its __init__
        if every and self.global_step % every == 0:
            self._require_sane(outputs["loss"])

    def on_train_epoch_end(self) -> None:
        loss = self._loss_sum / self._reviews
        self._require_sane(loss)
        self.log("train/loss", loss, sync_dist=True, prog_bar=True)

    def _require_sane(self, loss: Tensor) -> None:
        """Raises `DivergedError`, in the processes of all devices, where the training of one has diverged."""
        trainer = self.trainer
        if not trainer.strategy.reduce_boolean_decision(float(loss) < HOPELESS):
            lr = trainer.optimizers[0].defaults["lr"]
            raise DivergedError(
                f"step {self.global_step}: training diverged, the loss is {float(loss):.3g}; lower "
                f"optimizer.lr={lr:g}, or clip with trainer.gradient_clip_val=1 (now {trainer.gradient_clip_val})"
            )

    def validation_step(self, batch: Batch) -> None:
        self._evaluate(batch, "val")

    def test_step(self, batch: Batch) -> None:
        self._evaluate(batch, "test")

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.measures.val, prog_bar=True)
        self._leave_evaluated()

    def on_test_epoch_end(self) -> None:
        self.log_dict(self.measures.test)
        self._leave_evaluated()

    def _leave_evaluated(self) -> None:
        """Gathers what all devices said as `evaluated`."""
        rows, probabilities = self.measures.rows.compute(), self.measures.probabilities.compute()
        self.measures.rows.reset()
        self.measures.probabilities.reset()
        order = rows.argsort()
        self.evaluated = Evaluated(rows[order].long().cpu().numpy(), probabilities[order].float().cpu().numpy())

    def _evaluate(self, batch: Batch, stage: str) -> None:
        logits = self.net(batch.ids).float()
        probabilities = log_probabilities(logits).exp()
        metrics = self.measures.test if stage == "test" else self.measures.val
        metrics.update(probabilities[:, 1] if self.binary else probabilities, batch.labels)
        loss = self._loss(logits, batch.labels)
        shown = stage == "val"
        self.log(f"{stage}/loss", loss, on_epoch=True, batch_size=len(batch.labels), prog_bar=shown, sync_dist=True)
        self.measures.rows.update(batch.rows)
        self.measures.probabilities.update(probabilities)

    def configure_optimizers(self) -> Any:
        try:
            optimizer = self.optimizer(self.net.parameters())
            if self.scheduler is None:
                return optimizer
            schedule = self.scheduler(optimizer, total_steps=int(self.trainer.estimated_stepping_batches))
        except (TypeError, ValueError) as error:
            raise InputError(f"optimizer or scheduler: {error}; change that key") from error
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the metrics of the epoch, so that a checkpoint says how good it is."""
        checkpoint["metrics"] = {name: float(value) for name, value in self.trainer.callback_metrics.items()}


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target and renames, where Lightning writes elsewhere and may have to copy."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Saves `checkpoint` at `path`, which at no moment holds half of it."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with whole(target) as unfinished, open(unfinished, "wb") as file:
                torch.save(checkpoint, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # what the disk said, over which torch puts its own
                raise error.__context__ from None
            raise


def _mixed(*seeds: int) -> int:
    return int(np.random.SeedSequence(seeds).generate_state(1)[0])
