"""Pruning: a trial of a study ends as soon as Optuna finds it unpromising."""

from optuna import Trial
from pytorch_lightning import Callback, LightningModule, Trainer


class Pruning(Callback):
    """Reports the objective after every epoch and stops the training if the pruner asks for it.

    Args:
        trial: the running trial.
        objective: a metric that validation logs.

    Attributes:
        pruned: whether the training was stopped.
    """

    def __init__(self, trial: Trial, objective: str) -> None:
        self.trial = trial
        self.objective = objective
        self.pruned = False
        self._validated = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the last validation of the epoch, if it had any."""
        if not self._validated:
            return
        self._validated = False
        self.trial.report(float(trainer.callback_metrics[self.objective]), trainer.current_epoch)
        if self.trial.should_prune():
            self.pruned = trainer.should_stop = True
