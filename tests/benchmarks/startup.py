"""How long one waits: for `--help`, and from the launch to the first training step, beside importing the libraries.

    SENTIMENT_IMDB=DIR python -m tests.benchmarks.startup

Whole processes in turns, with warm caches: the files of Python and the encoded reviews.
"""

import os
from typing import Any

from pytorch_lightning import Callback

from tests.benchmarks.turns import imdb, seconds, tell

TURNS = 7


class EndAtFirstStep(Callback):
    """Ends the process."""

    def on_train_batch_end(self, *_: Any) -> None:
        os._exit(0)


def main() -> None:
    """Prints a line per command, beside the import."""
    first_step = [imdb(), "+callbacks.end._target_=tests.benchmarks.startup.EndAtFirstStep"]
    commands = {
        "import torch, pytorch_lightning, datasets": [
            "-c",
            "import os, torch, pytorch_lightning, datasets; os._exit(0)",
        ],
        "python -m sentiment.train --help": ["-m", "sentiment.train", "--help"],
        "python -m sentiment.train, to the first step": ["-m", "sentiment.train", *first_step],
    }
    seconds("-m", "sentiment.train", *first_step)  # encodes the reviews
    times = list(zip(*([seconds(*command) for command in commands.values()] for _ in range(TURNS)), strict=True))
    for name, taken in zip(commands, times, strict=True):
        tell(name, taken, times[0])


if __name__ == "__main__":
    main()
