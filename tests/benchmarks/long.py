"""Long texts: 400 words, batches of 64, both directions, masked. Length buckets beside padding to 400; bfloat16.

    SENTIMENT_IMDB=DIR python -m tests.benchmarks.long [units, 64 by default]

Each alternative trains nets of its own from three seeds for an epoch of IMDB each, an eighth of it at a turn, and ends
with their mean accuracy on the 2,500 validation reviews.
"""

import statistics
import sys
import time
from collections.abc import Iterator

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor
from torch.nn import functional as F

from sentiment.data.batching import Batch, ShuffledBatches
from sentiment.data.datamodule import ReviewDataModule
from sentiment.train import build_module, keep_freed_memory
from tests.benchmarks.turns import article, opened, tell

TURNS, SEEDS = 8, 3
SETTINGS = ["data.maxlen=400", "data.batch_size=64", "data.padding=post", "model.bidirectional=true"]
ALTERNATIVES = {  # bucketed, bfloat16
    "all padded to 400": (False, False),
    "length buckets": (True, False),
    "length buckets, bfloat16": (True, True),
}


class Training:
    """A net that learns, and the batches of its epoch."""

    def __init__(
        self, cfg: DictConfig, datamodule: ReviewDataModule, bucketed: bool, bfloat16: bool, seed: int
    ) -> None:
        torch.manual_seed(seed)
        self.net = build_module(cfg, datamodule).net.train()
        self.optimizer = instantiate(cfg.optimizer)(self.net.parameters())
        self.splits = datamodule.splits
        self.bfloat16 = bfloat16
        self.batches = self._epoch(cfg.data.batch_size, cfg.data.maxlen, bucketed, seed)

    def _epoch(self, batch_size: int, maxlen: int, bucketed: bool, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        split = self.splits["train"]
        for positions in ShuffledBatches(len(split), batch_size, seed, split.bucketed if bucketed else None):
            batch: Batch = split[positions]
            missing = 0 if bucketed else maxlen - batch.ids.shape[1]
            yield F.pad(batch.ids, (0, missing)), batch.labels.float()

    def turn(self, steps: int) -> float:
        """Seconds of some steps."""
        start = time.perf_counter()
        for _, (ids, labels) in zip(range(steps), self.batches, strict=False):
            self.optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
                logits = self.net(ids)[:, 0].float()
            torch.autograd.backward(F.binary_cross_entropy_with_logits(logits, labels))
            self.optimizer.step()
        return time.perf_counter() - start

    @torch.inference_mode()
    def accuracy(self) -> float:
        """Share of the validation reviews that are classified right."""
        val = self.splits["val"]
        self.net.eval()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            batches = (val[positions] for positions in val.batches())
            right = sum(int(((self.net(batch.ids)[:, 0] > 0) == batch.labels).sum()) for batch in batches)
        return right / len(val)


def main() -> None:
    """Prints a line per alternative."""
    keep_freed_memory()
    cfg = article("data.validate_on=train", *SETTINGS, f"model.units={sys.argv[1] if len(sys.argv) > 1 else 64}")
    datamodule = opened(cfg)
    steps = len(datamodule.splits["train"]) // cfg.data.batch_size // TURNS
    turns: list[list[float]] = []
    accuracies: list[list[float]] = []
    for seed in range(SEEDS):
        trainings = [Training(cfg, datamodule, *kind, seed) for kind in ALTERNATIVES.values()]
        turns += ([training.turn(steps) for training in trainings] for _ in range(TURNS))
        accuracies.append([training.accuracy() for training in trainings])
    times = list(zip(*turns, strict=True))
    for name, taken, right in zip(ALTERNATIVES, times, zip(*accuracies, strict=True), strict=True):
        tell(f"{name}, accuracy {statistics.mean(right):.4f} ± {statistics.stdev(right):.4f}", taken, times[0])


if __name__ == "__main__":
    main()
