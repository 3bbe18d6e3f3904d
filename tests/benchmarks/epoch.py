"""One epoch of the article through the Trainer beside a bare PyTorch loop: same model, same batches, one process.

    SENTIMENT_IMDB=DIR python -m tests.benchmarks.epoch

The two take turns every 30 steps, so that a machine whose speed drifts treats both alike. The Trainer has all that
`sentiment.train` gives it: progress bar, TensorBoard, checkpoints. What it does once at the end of an epoch, besides
the validation (which the bare loop has not), is told apart: saving `best.ckpt` and `last.ckpt`.
"""

import os
import statistics
import sys
import tempfile
import time
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning import Callback
from torch.nn import functional as F

from sentiment.data.datamodule import ReviewDataModule
from sentiment.model.module import AtomicCheckpointIO
from sentiment.settings import CONF
from sentiment.train import build_module

TURN = 30  # steps


class Turns(Callback):
    """Stops the Trainer's clock after every turn and gives the bare loop one."""

    def __init__(self, cfg: DictConfig, datamodule: ReviewDataModule) -> None:
        self.net = build_module(cfg, datamodule).net.train()
        self.optimizer = instantiate(cfg.optimizer)(self.net.parameters())
        self.batches = iter(datamodule.train_dataloader())
        self.turns: list[tuple[float, float]] = []

    def bare_turn(self) -> float:
        """Seconds of as many steps without Lightning."""
        start = time.perf_counter()
        for _ in range(TURN):
            batch = next(self.batches)
            self.optimizer.zero_grad()
            loss = F.binary_cross_entropy_with_logits(self.net(batch.ids)[:, 0], batch.labels.float())
            torch.autograd.backward(loss)
            self.optimizer.step()
        return time.perf_counter() - start

    def on_train_epoch_start(self, *_: Any) -> None:
        self.start = time.perf_counter()

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (batch_idx + 1) % TURN == 0:
            self.turns.append((time.perf_counter() - self.start, self.bare_turn()))
            self.start = time.perf_counter()

    def on_validation_end(self, *_: Any) -> None:
        self.start = time.perf_counter()

    def on_train_end(self, *_: Any) -> None:
        self.saving = time.perf_counter() - self.start


def main() -> None:
    """Prints the ratio of the steps, and of the whole epoch."""
    if "SENTIMENT_IMDB" not in os.environ:
        sys.exit("set SENTIMENT_IMDB to a folder with IMDB's train.parquet and test.parquet")
    with tempfile.TemporaryDirectory() as folder, initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = ["experiment=article", "trainer.max_epochs=1", f"data.path={os.environ['SENTIMENT_IMDB']}"]
        cfg = compose("config", [*overrides, f"output_dir={folder}"])
        datamodule = instantiate(cfg.data)
        datamodule.prepare_data()
        datamodule.setup()
        turns = Turns(cfg, datamodule)
        callbacks = [*(instantiate(callback) for callback in cfg.callbacks.values() if callback), turns]
        logger = instantiate(cfg.logger)
        trainer = instantiate(cfg.trainer, callbacks=callbacks, logger=logger, plugins=[AtomicCheckpointIO()])
        trainer.fit(build_module(cfg, datamodule), datamodule)
    ours, bare = (sum(seconds) for seconds in zip(*turns.turns, strict=True))
    median = statistics.median(ours / bare for ours, bare in turns.turns)
    print(f"{len(turns.turns) * TURN} steps: Trainer {ours:.2f} s, bare loop {bare:.2f} s")
    print(f"ratio {ours / bare:.3f} (median of {len(turns.turns)} turns {median:.3f})")
    print(f"with {turns.saving:.2f} s of saving two checkpoints: ratio {(ours + turns.saving) / bare:.3f}")


if __name__ == "__main__":
    main()
