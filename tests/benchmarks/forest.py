"""The article's forest, 1000 trees on 25,000 × 80 ids, as the baseline fits it beside scikit-learn alone on all cores.

    SENTIMENT_IMDB=DIR python -m tests.benchmarks.forest

Both fit and predict the test half; the baseline also predicts validation rows (here the test half again), shows its
progress and writes a file.
"""

import os
import tempfile
import time

from hydra.utils import instantiate
from sklearn.ensemble import RandomForestClassifier

from sentiment.callbacks.baseline import Fit
from tests.benchmarks.turns import article, opened, tell

TURNS = 5


def main() -> None:
    """Prints both and their ratio."""
    cfg = article()
    datamodule = opened(cfg)
    settings = instantiate(cfg.baseline.random_forest)
    X, y = {}, {}
    for name, split in datamodule.splits.items():
        X[name], y[name] = split.matrix(), split.reviews.labels[split.reviews.rows]

    def alone() -> float:
        start = time.perf_counter()
        forest = RandomForestClassifier(n_estimators=1000, random_state=0, n_jobs=-1).fit(X["train"], y["train"])
        forest.predict(X["test"])
        forest.predict(X["val"])
        return time.perf_counter() - start

    def baseline() -> float:
        with tempfile.TemporaryDirectory() as cache:
            os.environ["SENTIMENT_CACHE"] = cache
            start = time.perf_counter()
            Fit(settings["estimator"], settings["features"], 1, datamodule.splits, "imdb").run()
            return time.perf_counter() - start

    forests, baselines = zip(*((alone(), baseline()) for _ in range(TURNS)), strict=True)
    tell("scikit-learn alone", forests, forests)
    tell("baseline=random_forest", baselines, forests)


if __name__ == "__main__":
    main()
