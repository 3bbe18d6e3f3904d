"""The article's epoch and test pass: `python -m sentiment.train` beside Keras on TensorFlow and on JAX.

    pip install -e '.[bench]'
    SENTIMENT_IMDB=DIR python -m tests.benchmarks.peers

Each of five turns starts a process per peer on the same padded ids. Keras trains and evaluates as it does by default,
in batches of 32, and compiles before its clocks start; the Trainer's clocks include its first steps.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning import Callback

from tests.benchmarks.turns import article, imdb, opened, tell

TURNS = 5
BACKENDS = ("tensorflow", "jax")

KERAS = """
import json, sys, time
import keras, numpy as np

data = np.load("imdb.npz")
model = keras.Sequential([
    keras.layers.Embedding(20000, 128),
    keras.layers.LSTM(64, dropout=0.2, recurrent_dropout=0.2),
    keras.layers.Dense(1, activation="sigmoid"),
])
model.compile(loss="binary_crossentropy", optimizer="adam", metrics=["accuracy"])

def seconds(work, half, rows):
    start = time.perf_counter()
    work(data["x_" + half][:rows], data["y_" + half][:rows], batch_size=32, verbose=0)
    return time.perf_counter() - start

for work, half in ((model.fit, "train"), (model.evaluate, "test")):
    seconds(work, half, 320)
times = [seconds(model.fit, "train", None), seconds(model.evaluate, "test", None)]
json.dump(times, open("times.json", "w"))
"""


class Clock(Callback):
    """Writes the seconds of the training epoch and of the test to `times.json` in the working folder."""

    def on_train_epoch_start(self, *_: Any) -> None:
        self.start = time.perf_counter()

    def on_validation_start(self, *_: Any) -> None:
        self.epoch = time.perf_counter() - self.start

    def on_test_start(self, *_: Any) -> None:
        self.start = time.perf_counter()

    def on_test_end(self, *_: Any) -> None:
        Path("times.json").write_text(json.dumps([self.epoch, time.perf_counter() - self.start]))


def measured(folder: Path, arguments: list[str], **environment: str) -> list[float]:
    """Seconds of the epoch and of the test in a process of its own."""
    environment |= {"PYTHONPATH": str(Path(__file__).parents[2]), "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run(
        [sys.executable, *arguments],
        cwd=folder, env=os.environ | environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    times: list[float] = json.loads((folder / "times.json").read_text())
    return times


def main() -> None:
    """Prints two lines per peer."""
    datamodule = opened(article())
    data: dict[str, Any] = {}
    for name in ("train", "test"):
        split = datamodule.splits[name]
        data[f"x_{name}"] = split.matrix().astype(np.int32)
        data[f"y_{name}"] = split.reviews.labels[split.reviews.rows].astype(np.float32)
    train = ["-m", "sentiment.train", "experiment=article", "trainer=cpu", imdb(), "trainer.max_epochs=1"]
    train += ["baseline=none", "callbacks.inspection=null", "+callbacks.clock._target_=tests.benchmarks.peers.Clock"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(folder / "imdb.npz", **data)
        turns = [
            [measured(folder, train), *(measured(folder, ["-c", KERAS], KERAS_BACKEND=peer) for peer in BACKENDS)]
            for _ in range(TURNS)
        ]
    for stage, what in enumerate(("epoch", "test")):
        ours, *peers = ([peer[stage] for peer in turn] for turn in zip(*turns, strict=True))
        tell(f"{what}: sentiment.train", ours, ours)
        for backend, taken in zip(BACKENDS, peers, strict=True):
            tell(f"{what}: Keras on {backend}", taken, ours)


if __name__ == "__main__":
    main()
