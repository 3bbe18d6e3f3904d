"""The article's training epoch and test: `python -m sentiment.train` compared with Keras on TensorFlow and on JAX.

    pip install -e '.[bench]'
    SENTIMENT_IMDB=DIR python -m tests.benchmarks.peers

Each of five turns starts a process per program, on the same padded ids. Keras trains and evaluates in its default
batches of 32 and compiles before its time is taken; the time of the Trainer includes its first steps.
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

from tests.benchmarks.timing import CHECKOUT, compose_article, imdb_folder, prepare, print_times

TURNS = 5
BACKENDS = ("tensorflow", "jax")

KERAS = """
import json, time
import keras, numpy as np

data = np.load("imdb.npz")
model = keras.Sequential([
    keras.layers.Embedding(20000, 128),
    keras.layers.LSTM(64, dropout=0.2, recurrent_dropout=0.2),
    keras.layers.Dense(1, activation="sigmoid"),
])
model.compile(loss="binary_crossentropy", optimizer="adam", metrics=["accuracy"])

def time_call(method, split, rows):
    start = time.perf_counter()
    method(data["x_" + split][:rows], data["y_" + split][:rows], batch_size=32, verbose=0)
    return time.perf_counter() - start

for method, split in ((model.fit, "train"), (model.evaluate, "test")):
    time_call(method, split, 320)
times = [time_call(model.fit, "train", None), time_call(model.evaluate, "test", None)]
json.dump(times, open("times.json", "w"))
"""


class Clock(Callback):
    """Writes the seconds of the training epoch and of the test to `times.json` in the working directory."""

    def on_train_epoch_start(self, *_: Any) -> None:
        self.start = time.perf_counter()

    def on_validation_start(self, *_: Any) -> None:
        self.epoch = time.perf_counter() - self.start

    def on_test_start(self, *_: Any) -> None:
        self.start = time.perf_counter()

    def on_test_end(self, *_: Any) -> None:
        Path("times.json").write_text(json.dumps([self.epoch, time.perf_counter() - self.start]))


def time_process(folder: Path, arguments: list[str], **environment: str) -> list[float]:
    """Seconds of the epoch and of the test in a new process."""
    environment |= {"PYTHONPATH": str(CHECKOUT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run(
        [sys.executable, *arguments],
        cwd=folder, env=os.environ | environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    times: list[float] = json.loads((folder / "times.json").read_text())
    return times


def main() -> None:
    """Print a line per program for the epoch, and for the test."""
    datamodule = prepare(compose_article())
    data: dict[str, Any] = {}
    for name in ("train", "test"):
        split = datamodule.splits[name]
        data[f"x_{name}"] = split.pad().astype(np.int32)
        data[f"y_{name}"] = split.reviews.labels[split.reviews.rows].astype(np.float32)
    train = ["-m", "sentiment.train", "experiment=article", "trainer=cpu", f"data.path={imdb_folder()}",
             "trainer.max_epochs=1", "baseline=none", "callbacks.diagnostics=null",
             "+callbacks.clock._target_=tests.benchmarks.peers.Clock"]  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(folder / "imdb.npz", **data)
        turns = [
            [
                time_process(folder, train),
                *(
                    time_process(folder, ["-c", KERAS], KERAS_BACKEND=backend)
                    for backend in BACKENDS
                ),
            ]
            for _ in range(TURNS)
        ]
    for stage, stage_name in enumerate(("epoch", "test")):
        reference, *keras = ([times[stage] for times in turn] for turn in zip(*turns, strict=True))
        print_times(f"{stage_name}: sentiment.train", reference, reference)
        for backend, seconds in zip(BACKENDS, keras, strict=True):
            print_times(f"{stage_name}: Keras on {backend}", seconds, reference)


if __name__ == "__main__":
    main()
