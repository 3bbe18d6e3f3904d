"""Pruning: a trial of a study ends as soon as Optuna finds it unpromising."""

from optuna import Trial
from pytorch_lightning import Callback, LightningModule, Trainer


class Pruning(Callback):
    """Reports the objective after every epoch and ends a trial that Optuna finds unpromising.

    Args:
        trial: the running one.
        objective: a tag that validation logs.

    Attributes:
        pruned_: whether it was ended.
    """

    def __init__(self, trial: Trial, objective: str) -> None:
        self.trial = trial
        self.objective = objective
        self.pruned_ = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.trial.report(float(trainer.callback_metrics[self.objective]), trainer.current_epoch)
        if self.trial.should_prune():
            self.pruned_ = trainer.should_stop = True
