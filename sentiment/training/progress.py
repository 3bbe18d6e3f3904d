"""What a run shows and records of its epochs: layers, a progress bar, `history.csv`, a line of the log."""

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pandas as pd
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, ModelSummary, RichProgressBar
from pytorch_lightning.callbacks.progress.rich_progress import (
    BatchesProcessedColumn,
    RichProgressBarTheme,
)
from rich import get_console
from rich.box import SIMPLE_HEAD
from rich.progress import BarColumn, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from sentiment.model.module import SentimentModule
from sentiment.runtime.errors import InputError
from sentiment.runtime.files import atomic_write
from sentiment.runtime.run_folder import RUN_LOG

TAGS = (
    *("train/loss", "train/accuracy"),
    *("val/loss", "val/accuracy", "val/f1", "val/balanced_accuracy"),
)
COLUMNS = ("epoch", "step", *TAGS, "lr", "seconds", "num_threads")

log = logging.getLogger(f"{RUN_LOG}.epochs")


class ProgressBar(RichProgressBar):
    """Lightning's progress bar on one line of 80 columns, `refresh_rate` times a second."""

    def __init__(self, refresh_rate: int = 10) -> None:
        super().__init__(refresh_rate, theme=RichProgressBarTheme(metrics_text_delimiter=", "))

    def configure_columns(self, trainer: Trainer) -> list[ProgressColumn]:
        return [
            TextColumn("{task.description}"),
            BarColumn(bar_width=10),
            BatchesProcessedColumn(style="none"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        ]

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Loss and accuracy of the training and the validation, each as `0.123 95.8 %`."""
        metrics: dict[str, Any] = super().get_metrics(trainer, pl_module)
        return {
            split: f"{metrics[f'{split}/loss']:.3f} {100 * metrics[f'{split}/accuracy']:.1f} %"
            for split in ("train", "val")
            if f"{split}/loss" in metrics
        }

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the metrics of the last epoch, which were not known when it ended."""
        self.on_train_epoch_end(trainer, pl_module)

    def _get_train_description(self, current_epoch: int) -> str:
        epochs = self.trainer.max_epochs or -1
        return f"Epoch {current_epoch + 1}" + (f"/{epochs}" if epochs > 0 else "")


class LayerSummary(ModelSummary):
    """Prints the layers of the network with their numbers of parameters before the training."""

    @staticmethod
    def summarize(
        summary_data: list[tuple[str, list[str]]], total_parameters: int, *_: Any, **__: Any
    ) -> None:
        columns = dict(summary_data)
        table = Table("layer", "type", box=SIMPLE_HEAD, pad_edge=False)
        table.add_column("parameters", justify="right")
        layers = zip(columns["Name"], columns["Type"], columns["Params"], strict=True)
        for name, kind, count in layers:
            if name.startswith("net.") and count.strip() != "0":
                table.add_row(name.removeprefix("net."), kind, count)
        table.add_row("all", "", f"{total_parameters:,}")
        get_console().print(table)


def disable_console_output() -> None:
    """Print only warnings and errors: no progress bar, no table of layers."""
    get_console().quiet = True
    for handler in logging.getLogger().handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.setLevel(logging.WARNING)


class EpochHistory(Checkpoint):
    """Writes the metrics of every epoch to a CSV file and to the log.

    Lightning calls a callback that derives from `Checkpoint` after the metrics of the epoch are known, in the order of
    the configuration. Before `last.ckpt`, the file holds every epoch of a run that was killed; a resumed run removes
    what comes after its checkpoint. Epochs count from 1, steps as in TensorBoard; `lr` and `num_threads` are
    those at the end of the epoch, `seconds` includes the validation. What an epoch lacks, such as the metrics of a
    validation, is empty.
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
        texts = {key: str(value) for key, value in row.items()}
        texts |= {"seconds": f"{seconds:.2f}", "num_threads": str(torch.get_num_threads())}
        self._rows.append(texts)
        with atomic_write(self.path) as temporary:
            table = pd.DataFrame(self._rows, columns=COLUMNS)
            table.to_csv(temporary, index=False, lineterminator="\r\n")
        log.info("epoch %d/%d (%.1f s): %s", epoch, trainer.max_epochs, seconds, _describe(metrics))


def _describe(metrics: Mapping[str, float]) -> str:
    """`loss 0.5655, val 0.4328; accuracy 68.85 %, val 78.50 %`."""
    parts = []
    for name, scale, form in (("loss", 1, "{:.4f}"), ("accuracy", 100, "{:.2f} %")):
        values = [
            scale * metrics[tag] for tag in (f"train/{name}", f"val/{name}") if tag in metrics
        ]
        parts.append(f"{name} {', val '.join(map(form.format, values))}")
    return "; ".join(parts)
