"""What a training shows in the terminal: the layers of the network and a progress bar."""

import logging
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelSummary, RichProgressBar
from pytorch_lightning.callbacks.progress.rich_progress import (
    BatchesProcessedColumn,
    RichProgressBarTheme,
)
from rich import get_console
from rich.box import SIMPLE_HEAD
from rich.progress import BarColumn, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table


class ProgressBar(RichProgressBar):
    """Lightning's progress bar on one line of 80 columns; epochs count from 1.

    Args:
        refresh_rate: redraws per second.
    """

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
        """Loss and accuracy of the training and the validation, each as `0.123 95.8%`."""
        metrics = super().get_metrics(trainer, pl_module)
        return {
            split: f"{metrics[f'{split}/loss']:.3f} {metrics[f'{split}/accuracy']:.1%}"
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
