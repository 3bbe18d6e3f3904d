"""Learning rate range test (Smith 2017): the loss of a few steps at rising learning rates."""

import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
from pytorch_lightning import Callback, LightningModule, Trainer

from sentiment.analysis.figures.fonts import Figure
from sentiment.data.datamodule import ReviewDataModule
from sentiment.model.module import SentimentModule
from sentiment.runtime.errors import DivergedError, InputError
from sentiment.runtime.run_folder import RUN_LOG
from sentiment.training.trainer import translate_lightning_errors

MIN_LR, MAX_LR, STEPS = 1e-6, 1.0, 500
DECADE = STEPS // 6  # steps from a learning rate to its tenfold
SMOOTHING = 0.98  # weight of the earlier losses in the moving average
SKIPPED = 50  # steps at the start, whose average is of few batches
DIVERGED = 4.0  # times the lowest loss, which ends the test
RANGE_TEST: dict[str, Any] = {  # arguments of its trainer
    **{"max_epochs": -1, "max_steps": STEPS, "min_epochs": None, "min_steps": None},
    **{"limit_val_batches": 0, "enable_checkpointing": False, "fast_dev_run": False},
}

log = logging.getLogger(RUN_LOG)


class RangeTest(Callback):
    """Raises the learning rate with every optimizer step, until the loss diverges.

    The losses are smoothed by a moving average without the bias of its start.
    """

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.losses: list[float] = []
        self._average = 0.0

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        rate = MIN_LR * (MAX_LR / MIN_LR) ** (trainer.global_step / STEPS)
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = rate

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record the step, of which a batch may be but a part."""
        if trainer.global_step == len(self.rates):
            return
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self._average = SMOOTHING * self._average + (1 - SMOOTHING) * float(outputs["loss"])
        self.losses.append(self._average / (1 - SMOOTHING ** len(self.rates)))
        if not self.losses[-1] < DIVERGED * min(self.losses):
            trainer.should_stop = True


def find_learning_rate(
    test: RangeTest,
    trainer: Trainer,
    module: SentimentModule,
    datamodule: ReviewDataModule,
    folder: Path,
) -> dict[str, float]:
    """Write `lr_find.csv` and `lr_find.png`; return the center of the decade of the fastest fall."""
    module.make_scheduler = None
    with translate_lightning_errors(), suppress(DivergedError):  # which is what the test looks for
        trainer.fit(module, datamodule)
    curve = pd.DataFrame({"lr": test.rates, "loss": test.losses}).iloc[SKIPPED:]
    curve = curve.reset_index(drop=True)
    if not curve["loss"].min() < 0.99 * curve["loss"].iloc[:1].max():
        advice = "choose optimizer.lr by other means"
        raise InputError(f"lr_find: the loss does not fall within {STEPS} steps; {advice}")
    # By the slope over the logarithm of the rate; that over the rate is noise at the smallest rates.
    suggestion = float(curve["lr"][curve["loss"].diff(DECADE).idxmin() - DECADE // 2])
    curve.to_csv(folder / "lr_find.csv", index=False)
    figure = Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    axis.plot(curve["lr"], curve["loss"])
    axis.axvline(suggestion, color="0.4", linestyle="--", label=f"{suggestion:.2g}")
    axis.set(xscale="log", xlabel="learning rate", ylabel="smoothed training loss")
    axis.legend(frameon=False)
    figure.savefig(folder / "lr_find.png", dpi=150)
    log.info(f"suggestion: optimizer.lr={suggestion:.1g}; lr_find.png shows the curve")
    return {"lr_find/suggestion": suggestion}
