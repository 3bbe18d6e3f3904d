"""The record of the epochs outside TensorBoard: `history.csv` and a line per epoch in the log."""

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import cast

import pandas as pd
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from sentiment.model.module import SentimentModule
from sentiment.runtime.errors import InputError
from sentiment.runtime.files import atomic_write

TAGS = (
    *("train/loss", "train/accuracy"),
    *("val/loss", "val/accuracy", "val/f1", "val/balanced_accuracy"),
)
COLUMNS = ("epoch", "step", *TAGS, "lr", "seconds")

# A study silences its trials by the name of the parent.
log = logging.getLogger("sentiment.training.experiment.epochs")


class EpochHistory(Checkpoint):
    """Writes the metrics of every epoch to a CSV file and to the log.

    Lightning calls a callback that derives from `Checkpoint` after the metrics of the epoch are known, in the order of
    the configuration. Before `last.ckpt`, the file holds every epoch of a run that was killed; a resumed run removes
    what comes after its checkpoint. Epochs count from 1, steps as in TensorBoard; `lr` is the learning rate after the
    epoch, `seconds` includes the validation. What an epoch lacks, such as the metrics of a validation, is empty.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self._rows: list[dict[str, str]] = []
        self._validation: dict[str, float] = {}
        self._start = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the epochs of a run that is resumed."""
        if trainer.is_global_zero and trainer.current_epoch and self.path.exists():
            self._rows = [row for row in self._read() if int(row["epoch"]) <= trainer.current_epoch]

    def _read(self) -> list[dict[str, str]]:
        with suppress(ValueError):  # pandas' errors derive from it
            table = pd.read_csv(self.path, dtype=str, keep_default_na=False)
            if [*table] == [*COLUMNS] and table["epoch"].str.isdecimal().all():
                rows: list[dict[str, str]] = table.to_dict("records")
                return rows
        raise InputError(f"{self.path}: damaged; remove it to continue without the earlier epochs")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start = time.perf_counter()
        self._validation = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            known = trainer.callback_metrics
            self._validation = {tag: float(known[tag]) for tag in TAGS if tag.startswith("val/")}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        known = trainer.callback_metrics  # on all devices, which compute them together
        if not trainer.is_global_zero:
            return
        epoch, seconds = trainer.current_epoch + 1, time.perf_counter() - self._start
        metrics = {tag: float(known[tag]) for tag in ("train/loss", "train/accuracy")}
        metrics |= self._validation
        lr = cast(SentimentModule, pl_module).learning_rate
        row = {"epoch": epoch, "step": trainer.global_step - 1, **metrics, "lr": lr}
        self._rows.append(
            {key: str(value) for key, value in row.items()} | {"seconds": f"{seconds:.2f}"}
        )
        with atomic_write(self.path) as temporary:
            table = pd.DataFrame(self._rows, columns=COLUMNS)
            table.to_csv(temporary, index=False, lineterminator="\r\n")
        log.info("epoch %d/%d (%.1f s): %s", epoch, trainer.max_epochs, seconds, _describe(metrics))


def _describe(metrics: Mapping[str, float]) -> str:
    """`loss 0.5655, val 0.4328; accuracy 68.85%, val 78.50%`."""
    parts = []
    for name, form in (("loss", ".4f"), ("accuracy", ".2%")):
        val = f", val {metrics[f'val/{name}']:{form}}" if f"val/{name}" in metrics else ""
        parts.append(f"{name} {metrics[f'train/{name}']:{form}}{val}")
    return "; ".join(parts)
