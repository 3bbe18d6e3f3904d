"""One epoch of the article through the Trainer beside a bare PyTorch loop: same net, same batches, one process.

    SENTIMENT_IMDB=DIR python -m tests.benchmarks.epoch [profile]

The two train the very same net with the same optimizer and take turns every 30 steps, so that a machine whose speed
drifts treats both alike. The Trainer has all that `sentiment.train` gives it: progress bar, TensorBoard, inspection,
checkpoints. What it does once at the end of an epoch, besides the validation (which the bare loop has not), is told
apart: saving `best.ckpt` and `last.ckpt`. `profile` tells where the Trainer's own time goes.
"""

import cProfile
import pstats
import statistics
import sys
import tempfile
import time
from typing import Any

import torch
from hydra.utils import instantiate
from pytorch_lightning import Callback
from torch.nn import functional as F

from sentiment.data.datamodule import ReviewDataModule
from sentiment.model.module import AtomicCheckpointIO
from sentiment.train import build_module, keep_freed_memory
from tests.benchmarks.turns import article, opened

TURN = 30  # steps


class Turns(Callback):
    """Stops the Trainer's clock after every turn and gives the bare loop one."""

    def __init__(self, datamodule: ReviewDataModule) -> None:
        self.batches = iter(datamodule.train_dataloader())
        self.turns: list[tuple[float, float]] = []

    def bare_turn(self, net: torch.nn.Module, optimizer: torch.optim.Optimizer) -> float:
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
        self.start = time.perf_counter()

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (batch_idx + 1) % TURN == 0:
            self.turns.append((time.perf_counter() - self.start, self.bare_turn(module.net, trainer.optimizers[0])))
            self.start = time.perf_counter()

    def on_validation_end(self, *_: Any) -> None:
        self.start = time.perf_counter()

    def on_train_end(self, *_: Any) -> None:
        self.saving = time.perf_counter() - self.start


def main() -> None:
    """Prints the ratio of the steps, and of the whole epoch."""
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        cfg = article("trainer.max_epochs=1", f"output_dir={folder}")
        datamodule = opened(cfg)
        turns = Turns(datamodule)
        callbacks = [*(instantiate(callback) for callback in cfg.callbacks.values() if callback), turns]
        logger = instantiate(cfg.logger)
        trainer = instantiate(cfg.trainer, callbacks=callbacks, logger=logger, plugins=[AtomicCheckpointIO()])
        module = build_module(cfg, datamodule)
        profile = cProfile.Profile()
        if "profile" in sys.argv:
            profile.enable()
        trainer.fit(module, datamodule)
        profile.disable()
    ours, bare = (sum(seconds) for seconds in zip(*turns.turns, strict=True))
    median = statistics.median(ours / bare for ours, bare in turns.turns)
    print(f"{len(turns.turns) * TURN} steps: Trainer {ours:.2f} s, bare loop {bare:.2f} s")
    print(f"ratio {ours / bare:.3f} (median of {len(turns.turns)} turns {median:.3f})")
    print(f"with {turns.saving:.2f} s of saving two checkpoints: ratio {(ours + turns.saving) / bare:.3f}")
    if "profile" in sys.argv:
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()
