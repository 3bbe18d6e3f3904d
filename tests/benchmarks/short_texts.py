"""`experiment=files` beside what one would pick instead, fastText and NB-SVM, on the sets of `public_sets`.

    pip install -e '.[bench]'
    OMP_NUM_THREADS=1 python -m tests.benchmarks.short_texts DIR

A line for each set and model: test accuracy, seconds of training, size of the model, texts per second from raw text to
label. All read the same tokens and rows. fastText (Joulin et al. 2017) has word pairs, and those of `EPOCHS` and
`LEARNING_RATES` that are best on the validation rows.
"""

import itertools
import pickle
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import fasttext
import numpy as np
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.pipeline import make_pipeline

from sentiment import load
from sentiment.baselines.nb_svm import nb_svm
from sentiment.data.text.tokenizers import Tokenizer
from sentiment.runtime.config import instantiate_checked
from sentiment.training import compose, train

SETS = {
    "films": ["data.text_column=sentence"],
    "topics": ["data.header=false", "data.text_column=2", "data.label_column=1"],
    "reviews": ["data.encoding=latin-1"],
    "chinese.csv": ["data.text_column=review", "data.tokenizer=characters"],
}
EPOCHS, LEARNING_RATES = (5, 25, 50), (0.1, 0.5)
PREFIX = "__label__"


class Rows(NamedTuple):
    """Texts of a split and their classes."""

    texts: list[str]
    labels: list[int]


Predict = Callable[[Sequence[str]], Sequence[int]]


def measure_accuracy(predict: Predict, rows: Rows) -> float:
    return float(np.mean([*map(int.__eq__, predict(rows.texts), rows.labels)]))


def train_fasttext(file: Path, target: Path, epochs: int, lr: float) -> float:
    """Seconds of training; the model is written to `target`."""
    start = time.perf_counter()
    options = {"wordNgrams": 2, "thread": 1, "verbose": 0}
    model = fasttext.train_supervised(str(file), epoch=epochs, lr=lr, **options)
    seconds = time.perf_counter() - start
    model.save_model(str(target))
    return seconds


def fit_fasttext(splits: dict[str, Rows], tokenizer: Tokenizer) -> tuple[float, int, Predict]:
    """Seconds of training, bytes of the model, and its predictions."""

    def join(texts: Sequence[str]) -> list[str]:
        return [" ".join(tokenizer(text)) for text in texts]

    train, fits = splits["train"], []
    with TemporaryDirectory() as folder:
        file, target = Path(folder) / "train.txt", Path(folder) / "model"
        lines = zip(train.labels, join(train.texts), strict=True)
        file.write_text("".join(f"{PREFIX}{label} {text}\n" for label, text in lines))
        for setting in itertools.product(EPOCHS, LEARNING_RATES):
            # In memory that was used before, it ends now and then with "Encountered NaN".
            with ProcessPoolExecutor(1, get_context("spawn")) as process:
                seconds = process.submit(train_fasttext, file, target, *setting).result()
            size = target.stat().st_size
            model = fasttext.load_model(str(target))

            def predict(texts: Sequence[str], model: Any = model) -> list[int]:
                found, _ = model.predict(join(texts))
                return [int(names[0].removeprefix(PREFIX)) for names in found]

            fits.append((measure_accuracy(predict, splits["val"]), seconds, size, predict))
    return max(fits, key=itemgetter(0))[1:]


def fit_nb_svm(splits: dict[str, Rows], tokenizer: Tokenizer) -> tuple[float, int, Predict]:
    """Likewise."""
    counts = CountVectorizer(
        lowercase=False, tokenizer=tokenizer, token_pattern=None, ngram_range=(1, 2)
    )
    start = time.perf_counter()
    model = make_pipeline(counts, nb_svm()).fit(*splits["train"])
    seconds = time.perf_counter() - start
    return seconds, len(pickle.dumps(model)), lambda texts: model.predict(texts).tolist()


def fit_network(overrides: Sequence[str]) -> tuple[float, int, Predict]:
    """Likewise; the time is that of the whole run, its test included."""
    start = time.perf_counter()
    run = train(compose(*overrides, "quiet=true"))
    seconds = time.perf_counter() - start
    classifier = load(run.folder)
    size = (Path(run.folder) / "checkpoints" / "best.ckpt").stat().st_size

    def predict(texts: Sequence[str]) -> list[int]:
        names = classifier.label_names
        return [names.index(prediction.label) for prediction in classifier.predict(texts)]

    return seconds, size, predict


def main() -> None:
    """Print the lines."""
    for name, columns in SETS.items():
        path = f"data.path={Path(sys.argv[1]) / name}"
        overrides = ["experiment=files", path, *columns, "baseline=none", "seed=1"]
        datamodule = instantiate_checked(compose(*overrides).data, "data", seed=1)
        datamodule.prepare_data()
        datamodule.setup()
        splits = {}
        for split, padded in datamodule.splits.items():
            rows = padded.reviews.rows
            texts = [text.replace("\n", " ") for text in datamodule.select_reviews(rows)["text"]]
            splits[split] = Rows(texts, padded.reviews.labels[rows].tolist())
        tokenizer = datamodule.encoder.tokenizer
        models = {
            "fastText": fit_fasttext(splits, tokenizer),
            "NB-SVM": fit_nb_svm(splits, tokenizer),
            "experiment=files": fit_network(overrides),
        }
        for model, (seconds, size, predict) in models.items():
            start = time.perf_counter()
            accuracy = measure_accuracy(predict, splits["test"])
            speed = len(splits["test"].texts) / (time.perf_counter() - start)
            figures = f"{accuracy:.2%} {seconds:7.1f} s {size / 1e6:6.1f} MB {speed:9,.0f} texts/s"
            print(f"{name:12} {model:18} {figures}", flush=True)


if __name__ == "__main__":
    main()
