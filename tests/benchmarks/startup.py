"""Waiting time: for `--help`, for the error of a wrong key, and from the launch to the first training step.

    SENTIMENT_IMDB=DIR python -m tests.benchmarks.startup

Complete processes in turns, compared with importing the libraries. Compiled Python files and the encoded reviews are
cached.
"""

import os
from typing import Any

from pytorch_lightning import Callback

from tests.benchmarks.timing import imdb_folder, print_times, time_process

TURNS = 7
WRONG_KEY = """
import os, runpy, sys
sys.argv[1:], sys.stderr = ["modle.units=3"], open(os.devnull, "w")
try: runpy.run_module("sentiment.train", run_name="__main__")
except SystemExit as error: assert error.code == 2
"""


class ExitAfterFirstStep(Callback):
    """Ends the process."""

    def on_train_batch_end(self, *_: Any) -> None:
        os._exit(0)


def main() -> None:
    """Print a line per command."""
    callback = "+callbacks.exit._target_=tests.benchmarks.startup.ExitAfterFirstStep"
    first_step = ["-m", "sentiment.train", f"data.path={imdb_folder()}", callback]
    commands = {
        "import torch, pytorch_lightning, datasets": [
            "-c",
            "import os, torch, pytorch_lightning, datasets; os._exit(0)",
        ],
        "python -m sentiment.train --help": ["-m", "sentiment.train", "--help"],
        "python -m sentiment.train modle.units=3": ["-c", WRONG_KEY],
        "python -m sentiment.train, to the first step": first_step,
    }
    time_process(*first_step)  # encodes the reviews
    turns = [[time_process(*command) for command in commands.values()] for _ in range(TURNS)]
    times = list(zip(*turns, strict=True))
    for name, seconds in zip(commands, times, strict=True):
        print_times(name, seconds, times[0])


if __name__ == "__main__":
    main()
