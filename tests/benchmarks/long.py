"""Long texts: 400 words, batches of 64, both directions, masked. Length buckets beside padding to 400; bfloat16.

    SENTIMENT_IMDB=DIR python -m tests.benchmarks.long [units, 64 by default]

Each alternative trains a net of its own over the same epoch of IMDB, an eighth of it at a turn. Whether accuracy is the
same, whole runs tell, see the README.
"""

import sys
import time
from collections.abc import Iterator

import torch
from hydra.utils import instantiate
from torch import Tensor
from torch.nn import functional as F

from sentiment.data.batching import Batch, ShuffledBatches
from sentiment.train import build_module, keep_freed_memory
from tests.benchmarks.turns import article, tell

TURNS = 8
SETTINGS = ["data.maxlen=400", "data.batch_size=64", "data.padding=post", "model.bidirectional=true"]


def main() -> None:
    """Prints a line per alternative."""
    keep_freed_memory()
    units = sys.argv[1] if len(sys.argv) > 1 else "64"
    cfg = article(*SETTINGS, f"model.units={units}")
    datamodule = instantiate(cfg.data)
    datamodule.prepare_data()
    datamodule.setup()
    split = datamodule.splits["train"]

    def padded(bucketed: bool) -> Iterator[tuple[Tensor, Tensor]]:
        for positions in ShuffledBatches(len(split), cfg.data.batch_size, 0, split.bucketed if bucketed else None):
            batch: Batch = split[positions]
            missing = 0 if bucketed else cfg.data.maxlen - batch.ids.shape[1]
            yield F.pad(batch.ids, (0, missing)), batch.labels.float()

    class Training:
        def __init__(self, bucketed: bool, bfloat16: bool) -> None:
            self.net = build_module(cfg, datamodule).net.train()
            self.optimizer = instantiate(cfg.optimizer)(self.net.parameters())
            self.batches = padded(bucketed)
            self.bfloat16 = bfloat16

        def turn(self, steps: int) -> float:
            start = time.perf_counter()
            for _, (ids, labels) in zip(range(steps), self.batches, strict=False):
                self.optimizer.zero_grad()
                with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
                    logits = self.net(ids)[:, 0].float()
                torch.autograd.backward(F.binary_cross_entropy_with_logits(logits, labels))
                self.optimizer.step()
            return time.perf_counter() - start

    alternatives = {
        "all padded to 400": Training(bucketed=False, bfloat16=False),
        "length buckets": Training(bucketed=True, bfloat16=False),
        "length buckets, bfloat16": Training(bucketed=True, bfloat16=True),
    }
    for training in alternatives.values():
        training.turn(2)  # warms up
    steps = len(split) // cfg.data.batch_size // TURNS
    times = list(zip(*([one.turn(steps) for one in alternatives.values()] for _ in range(TURNS)), strict=True))
    for name, taken in zip(alternatives, times, strict=True):
        tell(f"{steps} steps, {name}", taken, times[0])


if __name__ == "__main__":
    main()
