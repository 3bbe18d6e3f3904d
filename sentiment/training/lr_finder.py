"""Lightning's learning rate finder (Smith 2017): the loss of a few steps at rising learning rates."""

import logging
from collections.abc import Sequence
from functools import partial
from unittest.mock import patch

import numpy as np
import pandas as pd
from omegaconf import DictConfig
from pytorch_lightning import Trainer
from pytorch_lightning.tuner import lr_finder
from pytorch_lightning.tuner.tuning import Tuner
from rich import get_console
from rich.bar import Bar
from rich.table import Table
from tqdm import tqdm

from sentiment.analysis.fonts import Figure
from sentiment.data.datamodule import ReviewDataModule
from sentiment.model.module import SentimentModule
from sentiment.runtime.config import instantiate_checked
from sentiment.runtime.errors import InputError
from sentiment.runtime.run_folder import RunFolder
from sentiment.training.trainer import translate_lightning_errors

MIN_LR, MAX_LR, STEPS = 1e-6, 1.0, 500
DECADE = STEPS // 6  # steps from a learning rate to its tenfold
SMOOTHING = 0.98  # Lightning's β
SKIPPED = 50  # steps at the start, whose average is of few batches
ROWS = 20  # of the printed table

log = logging.getLogger("sentiment.training.experiment")


def find_learning_rate(cfg: DictConfig, run: RunFolder, module: SentimentModule, datamodule: ReviewDataModule) -> float:
    """Write `lr_find.csv` and `lr_find.png`, print the curve, and return the center of the decade of the fastest fall.

    Raises:
        InputError: the loss does not fall.
    """
    trainer: Trainer = instantiate_checked(
        cfg.trainer,
        "trainer",
        callbacks=[],
        logger=False,
        max_epochs=-1,  # the finder limits the steps
        max_time=None,
        overfit_batches=0,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    module.lr = float(cfg.optimizer.lr)  # type: ignore[assignment]  # Lightning looks for it
    module.make_scheduler = None
    module.may_diverge = True  # which is what the finder looks for
    bar = partial(tqdm, disable=not cfg.trainer.enable_progress_bar)
    with patch.object(lr_finder, "tqdm", bar), translate_lightning_errors():
        finder = Tuner(trainer).lr_find(
            module, datamodule=datamodule, min_lr=MIN_LR, max_lr=MAX_LR, num_training=STEPS, update_attr=False
        )
    assert finder
    # Lightning divides the moving average by 1 - β^(n + 1) after n steps, so that the first losses are too small.
    steps = np.arange(1, len(finder.results["loss"]) + 1)
    corrected = np.array(finder.results["loss"]) * (1 - SMOOTHING ** (steps + 1)) / (1 - SMOOTHING**steps)
    curve = pd.DataFrame({"lr": finder.results["lr"], "loss": corrected}).iloc[SKIPPED:].reset_index(drop=True)
    if not curve["loss"].min() < 0.99 * curve["loss"][0]:
        raise InputError(f"lr_find: the loss does not fall within {STEPS} steps; choose optimizer.lr by other means")
    # Lightning's suggestion goes by the slope over the rate itself, not its logarithm: noise at the smallest rates.
    suggestion = curve["lr"][curve["loss"].diff(DECADE).idxmin() - DECADE // 2]
    curve.to_csv(run.path / "lr_find.csv", index=False)
    plot_curve(curve["lr"], curve["loss"], suggestion).savefig(run.path / "lr_find.png", dpi=150)
    if cfg.trainer.enable_progress_bar:
        _print_curve(curve)
    log.info("suggestion: optimizer.lr=%.1g, where the loss falls fastest; lr_find.png shows the curve", suggestion)
    return float(suggestion)


def plot_curve(rates: Sequence[float], losses: Sequence[float], suggestion: float) -> Figure:
    """Plot the loss at each learning rate, and the suggested one."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    axis.plot(rates, losses)
    axis.axvline(suggestion, color="0.4", linestyle="--", label=f"{suggestion:.2g}")
    axis.set(xscale="log", xlabel="learning rate", ylabel="smoothed training loss")
    axis.legend(frameon=False)
    axis.grid(alpha=0.3)
    return figure


def _print_curve(curve: pd.DataFrame) -> None:
    """Print the curve as a table of bars."""
    table = Table.grid(padding=(0, 2))
    table.add_row("learning rate", "loss", "")
    for i in np.linspace(0, len(curve) - 1, ROWS).astype(int):
        rate, loss = curve["lr"][i], curve["loss"][i]
        table.add_row(f"{rate:.1e}", f"{loss:.3f}", Bar(curve["loss"].max(), 0, loss, width=40))
    get_console().print(table)
