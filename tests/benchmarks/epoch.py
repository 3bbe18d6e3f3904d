"""One epoch of the article through the Trainer, compared with a bare PyTorch loop in the same process.

    SENTIMENT_IMDB=DIR python -m tests.benchmarks.epoch [barebones | profile]

Both train the same network on the same batches with the same optimizer and take turns every 30 steps. The Trainer has
all that `sentiment.train` gives it: progress bar, TensorBoard, diagnostics, checkpoints. The validation is not counted;
saving `best.ckpt` and `last.ckpt` at the end of the epoch is counted separately. `barebones` compares with Lightning
alone instead: `Trainer(barebones=True)` around a module that computes a loss and nothing else. `profile` shows where
the Trainer spends its time.
"""

import cProfile
import pstats
import statistics
import sys
import tempfile
import time
from typing import Any

import torch
from omegaconf import DictConfig
from pytorch_lightning import Callback, LightningModule, Trainer
from torch.nn import functional as F

from sentiment.data.datamodule import ReviewDataModule
from sentiment.data.encoded.batching import Batch
from sentiment.training.experiment import run_experiment
from sentiment.training.module_setup import make_module
from sentiment.training.process import disable_malloc_trim
from tests.benchmarks.timing import compose_article, prepare

TURN = 30  # steps


class CompareWithBareLoop(Callback):
    """Runs the bare loop after every turn of the Trainer, and times both.

    Args:
        datamodule: source of the batches of the bare loop.
        profile: enabled during the training.

    Attributes:
        turns: seconds of the Trainer and of the bare loop.
        saving: seconds between the validation and the end of the training.
    """

    def __init__(self, datamodule: ReviewDataModule, profile: cProfile.Profile | None) -> None:
        self.batches = iter(datamodule.train_dataloader())
        self.profile = profile
        self.turns: list[tuple[float, float]] = []
        self.saving = 0.0

    def time_bare_loop(self, net: torch.nn.Module, optimizer: torch.optim.Optimizer) -> float:
        """Seconds of as many steps without Lightning."""
        start = time.perf_counter()
        for _ in range(TURN):
            batch = next(self.batches)
            optimizer.zero_grad()
            loss = F.binary_cross_entropy_with_logits(net(batch.ids)[:, 0], batch.labels.float())
            torch.autograd.backward(loss)
            optimizer.step()
        return time.perf_counter() - start

    def on_train_epoch_start(self, *_: Any) -> None:
        if self.profile:
            self.profile.enable()
        self.start = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % TURN == 0:
            seconds = time.perf_counter() - self.start
            self.turns.append((seconds, self.time_bare_loop(module.net, trainer.optimizers[0])))
            self.start = time.perf_counter()

    def on_validation_end(self, *_: Any) -> None:
        self.start = time.perf_counter()

    def on_train_end(self, *_: Any) -> None:
        self.saving = time.perf_counter() - self.start
        if self.profile:
            self.profile.disable()


class Barebones(LightningModule):
    """The network and optimizer of a configuration, without anything that is not needed to train."""

    def __init__(
        self, cfg: DictConfig, datamodule: ReviewDataModule, comparison: CompareWithBareLoop
    ) -> None:
        super().__init__()
        self.comparison = comparison
        module = make_module(cfg, datamodule.encoder, datamodule.label_names)
        self.net, self.optimizer = module.net, module.make_optimizer

    def training_step(self, batch: Batch) -> torch.Tensor:
        return F.binary_cross_entropy_with_logits(self.net(batch.ids)[:, 0], batch.labels.float())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer(self.net.parameters())

    def on_train_epoch_start(self) -> None:
        self.comparison.on_train_epoch_start()

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        self.comparison.on_train_batch_end(self.trainer, self, outputs, batch, batch_idx)


def main() -> None:
    """Print the ratio of the steps and, unless `barebones`, that of the epoch."""
    disable_malloc_trim()
    profile = cProfile.Profile() if "profile" in sys.argv else None
    with tempfile.TemporaryDirectory() as folder:
        cfg = compose_article(
            "trainer.max_epochs=1", "test_ckpt=null", "baseline=none", f"output_dir={folder}"
        )
        datamodule = prepare(cfg)
        comparison = CompareWithBareLoop(datamodule, profile)
        if "barebones" in sys.argv:
            module = Barebones(cfg, datamodule, comparison)
            trainer = Trainer(
                barebones=True, accelerator="cpu", max_epochs=1, use_distributed_sampler=False
            )
            trainer.fit(module, datamodule.train_dataloader())
        else:
            run_experiment(cfg, [comparison])
    seconds, bare = (sum(turns) for turns in zip(*comparison.turns, strict=True))
    median = statistics.median(a / b for a, b in comparison.turns)
    print(f"{len(comparison.turns) * TURN} steps: Trainer {seconds:.2f} s, bare loop {bare:.2f} s")
    print(f"ratio {seconds / bare:.3f} (median of {len(comparison.turns)} turns {median:.3f})")
    if saving := comparison.saving:
        print(
            f"with {saving:.2f} s of saving two checkpoints: ratio {(seconds + saving) / bare:.3f}"
        )
    if profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()
