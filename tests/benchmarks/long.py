"""Long texts: 400 tokens, batches of 64, bidirectional, masked. Length buckets compared with padding to 400; bfloat16.

    SENTIMENT_IMDB=DIR python -m tests.benchmarks.long [units, 64 by default]

Each alternative trains its own networks from three seeds for an epoch of IMDB each, an eighth of it per turn. Its mean
accuracy on the 2,500 validation reviews is shown, too.
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

from sentiment.data.datamodule import ReviewDataModule
from sentiment.data.encoded.batching import Batch, BucketBatchSampler
from sentiment.training.module_setup import make_module
from sentiment.training.process import disable_malloc_trim
from tests.benchmarks.timing import compose_article, prepare, print_times

TURNS, SEEDS = 8, 3
SETTINGS = [
    "data.maxlen=400",
    "data.batch_size=64",
    "data.padding=post",
    "model.bidirectional=true",
]
ALTERNATIVES = {  # bucketed, bfloat16 (needs AVX-512)
    "all padded to 400": (False, False),
    "length buckets": (True, False),
    "length buckets, bfloat16": (True, True),
}


class Training:
    """A network, and the batches of its epoch.

    Args:
        cfg: of the network and the optimizer.
        datamodule: source of the reviews.
        bucketed: put reviews of similar length into the same batch.
        bfloat16: use mixed precision.
        seed: of the weights and batches.
    """

    def __init__(
        self,
        cfg: DictConfig,
        datamodule: ReviewDataModule,
        bucketed: bool,
        bfloat16: bool,
        seed: int,
    ) -> None:
        torch.manual_seed(seed)
        self.net = make_module(cfg, datamodule.encoder, datamodule.label_names).net.train()
        self.optimizer = instantiate(cfg.optimizer)(self.net.parameters())
        self.splits = datamodule.splits
        self.bfloat16 = bfloat16
        self.batches = self._batches(cfg.data.batch_size, cfg.data.maxlen, bucketed, seed)

    def _batches(
        self, batch_size: int, maxlen: int, bucketed: bool, seed: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        split = self.splits["train"]
        lengths = split.lengths if bucketed else None
        for positions in BucketBatchSampler(len(split), batch_size, lengths, seed=seed):
            batch: Batch = split[positions]
            missing = 0 if bucketed else maxlen - batch.ids.shape[1]
            yield F.pad(batch.ids, (0, missing)), batch.labels.float()

    def time_steps(self, count: int) -> float:
        """Seconds of the next steps."""
        start = time.perf_counter()
        for _, (ids, labels) in zip(range(count), self.batches, strict=False):
            self.optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
                logits = self.net(ids)[:, 0].float()
            torch.autograd.backward(F.binary_cross_entropy_with_logits(logits, labels))
            self.optimizer.step()
        return time.perf_counter() - start

    @torch.inference_mode()
    def accuracy(self) -> float:
        """Accuracy on the validation set."""
        val = self.splits["val"]
        self.net.eval()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            batches = (val[positions] for positions in val.sampler())
            correct = sum(
                int(((self.net(batch.ids)[:, 0] > 0) == batch.labels).sum()) for batch in batches
            )
        return correct / len(val)


def main() -> None:
    """Print a line per alternative."""
    disable_malloc_trim()
    units = sys.argv[1] if len(sys.argv) > 1 else 64
    cfg = compose_article("data.validate_on=train", *SETTINGS, f"model.units={units}")
    datamodule = prepare(cfg)
    steps = len(datamodule.splits["train"]) // cfg.data.batch_size // TURNS
    turns: list[list[float]] = []
    accuracies: list[list[float]] = []
    for seed in range(SEEDS):
        trainings = [
            Training(cfg, datamodule, *alternative, seed) for alternative in ALTERNATIVES.values()
        ]
        turns += ([training.time_steps(steps) for training in trainings] for _ in range(TURNS))
        accuracies.append([training.accuracy() for training in trainings])
    times = list(zip(*turns, strict=True))
    for name, seconds, values in zip(
        ALTERNATIVES, times, zip(*accuracies, strict=True), strict=True
    ):
        accuracy = f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}"
        print_times(f"{name}, accuracy {accuracy}", seconds, times[0])


if __name__ == "__main__":
    main()
