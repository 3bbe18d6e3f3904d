"""One epoch of the article through the Trainer beside a bare PyTorch loop: same model, same batches, in turn.

    SENTIMENT_IMDB=DIR python -m tests.benchmarks.epoch

The Trainer's time is all that a user waits for but the validation, which the bare loop has not: progress bar, logging
and checkpoints are in it.
"""

import os
import statistics
import sys
import tempfile
import time

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Timer
from torch.nn import functional as F

from sentiment.data import ReviewDataModule
from sentiment.model.checkpoint import AtomicCheckpointIO
from sentiment.train import CONF, build_module

ROUNDS = 5


def bare_epoch(cfg: DictConfig, datamodule: ReviewDataModule) -> float:
    """Seconds of one epoch without Lightning."""
    net = build_module(cfg, datamodule).net.train()
    optimizer = instantiate(cfg.optimizer)(net.parameters())
    batches = datamodule.train_dataloader()
    start = time.perf_counter()
    for batch in batches:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(net(batch.ids)[:, 0], batch.labels.float())
        torch.autograd.backward(loss)
        optimizer.step()
    return time.perf_counter() - start


def trainer_epoch(cfg: DictConfig, datamodule: ReviewDataModule) -> float:
    """Seconds of one epoch of `sentiment.train`, without the validation."""
    timer = Timer()
    callbacks = [*(instantiate(callback) for callback in cfg.callbacks.values() if callback), timer]
    trainer = instantiate(
        cfg.trainer, callbacks=callbacks, logger=instantiate(cfg.logger), plugins=[AtomicCheckpointIO()]
    )
    trainer.fit(build_module(cfg, datamodule), datamodule)
    return timer.time_elapsed("train") - timer.time_elapsed("validate")


def main() -> None:
    """Prints the seconds of each round and the median ratio."""
    if "SENTIMENT_IMDB" not in os.environ:
        sys.exit("set SENTIMENT_IMDB to a folder with IMDB's train.parquet and test.parquet")
    with tempfile.TemporaryDirectory() as folder, initialize_config_dir(str(CONF), version_base="1.3"):
        overrides = ["experiment=article", "trainer.max_epochs=1", f"data.path={os.environ['SENTIMENT_IMDB']}"]
        cfg = compose("config", [*overrides, f"output_dir={folder}"])
        datamodule = instantiate(cfg.data)
        datamodule.prepare_data()
        datamodule.setup()
        bare_epoch(cfg, datamodule)
        rounds = [(trainer_epoch(cfg, datamodule), bare_epoch(cfg, datamodule)) for _ in range(ROUNDS)]
    for ours, bare in rounds:
        print(f"Trainer {ours:.2f} s, bare loop {bare:.2f} s, ratio {ours / bare:.3f}")
    print(f"median ratio {statistics.median(ours / bare for ours, bare in rounds):.3f}")


if __name__ == "__main__":
    main()
