"""What a training shows in the terminal or in a notebook: its layers and a progress bar of one line."""

import logging
import time
from typing import Any

from omegaconf import DictConfig
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ModelSummary, RichProgressBar
from pytorch_lightning.callbacks.progress.rich_progress import (
    BatchesProcessedColumn,
    CustomProgress,
    MetricsTextColumn,
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
        """The columns before the metrics."""
        return [
            TextColumn("{task.description}"),
            BarColumn(bar_width=10),
            BatchesProcessedColumn(style="none"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        ]

    def _init_progress(self, trainer: Trainer) -> None:
        """Start the bar of the training or of the test."""
        if not get_console().is_jupyter:
            super()._init_progress(trainer)
        elif self.is_enabled and (self.progress is None or self._progress_stopped):
            self._reset_progress_bar_ids()
            theme = self.theme
            metrics = MetricsTextColumn(trainer, theme.metrics, theme.metrics_text_delimiter, theme.metrics_format)
            self._metric_component = metrics
            columns = self.configure_columns(trainer)
            self.progress = NotebookProgress(*columns, metrics, refresh_per_second=self.refresh_rate)
            self.progress.start()
            self._progress_stopped = False

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
        self._update_metrics(trainer, pl_module)
        self.refresh()

    def _get_train_description(self, current_epoch: int) -> str:
        return f"Epoch {current_epoch + 1}/{self.trainer.max_epochs}"


class NotebookProgress(CustomProgress):
    """Redraws itself in the output of a cell, for which rich alone needs the package ipywidgets."""

    def start(self) -> None:
        """Show the bars below what the cell has printed."""
        from IPython.display import display  # part of every notebook

        self._output: Any = display(self, display_id=True)  # type: ignore[no-untyped-call]
        self._drawn = time.monotonic()

    def refresh(self) -> None:
        """Redraw the bars, unless they were drawn just now."""
        if time.monotonic() - self._drawn >= 1 / self.live.refresh_per_second:
            self._redraw()

    def soft_refresh(self) -> None:
        """The same, which Lightning calls."""
        self.refresh()

    def stop(self) -> None:
        """Draw the final state."""
        self._redraw()

    def _redraw(self) -> None:
        self._output.update(self)
        self._drawn = time.monotonic()


class LayerSummary(ModelSummary):
    """Prints the layers of the network with their numbers of parameters before the training."""

    @staticmethod
    def summarize(summary_data: list[tuple[str, list[str]]], total_parameters: int, *_: Any, **__: Any) -> None:
        """Print the table; called by Lightning."""
        columns = dict(summary_data)
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for heading, justify in (("layer", "left"), ("type", "left"), ("parameters", "right")):
            table.add_column(heading, justify=justify)  # type: ignore[arg-type]  # not inferred as literals
        for name, kind, count in zip(columns["Name"], columns["Type"], columns["Params"], strict=True):
            if name.startswith("net.") and count.strip() != "0":
                table.add_row(name.removeprefix("net."), kind, count)
        table.add_row("all", "", f"{total_parameters:,}")
        get_console().print(table)


def disable_console_output(cfg: DictConfig) -> None:
    """Switch off progress bars and the table of layers, and print only warnings and errors."""
    get_console().quiet = True  # of bars outside the trainer
    cfg.trainer.enable_progress_bar = cfg.trainer.enable_model_summary = False
    for handler in logging.getLogger().handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.setLevel(logging.WARNING)
