"""The article's forest, 1000 trees on 25,000 × 80 ids: the baseline compared with scikit-learn alone on all cores.

    SENTIMENT_IMDB=DIR python -m tests.benchmarks.forest

Both fit and predict the validation and the test set, which are the same here. The baseline also writes its cache.
"""

import os
import tempfile
import time

from hydra.utils import instantiate
from sklearn.ensemble import RandomForestClassifier

from sentiment.baselines.fitting import CachedFit
from tests.benchmarks.timing import compose_article, prepare, print_times

TURNS = 5


def main() -> None:
    """Print both times and their ratio."""
    cfg = compose_article()
    datamodule = prepare(cfg)
    settings = instantiate(cfg.baseline.random_forest)
    X = {name: split.pad() for name, split in datamodule.splits.items()}
    y = {
        name: split.reviews.labels[split.reviews.rows] for name, split in datamodule.splits.items()
    }

    def time_scikit_learn() -> float:
        start = time.perf_counter()
        forest = RandomForestClassifier(n_estimators=1000, random_state=0, n_jobs=-1).fit(
            X["train"], y["train"]
        )
        forest.predict(X["val"])
        forest.predict(X["test"])
        return time.perf_counter() - start

    def time_baseline() -> float:
        with tempfile.TemporaryDirectory() as cache:
            os.environ["SENTIMENT_CACHE"] = cache
            start = time.perf_counter()
            CachedFit(**settings, splits=datamodule.splits, data_fingerprint="imdb").fit()
            return time.perf_counter() - start

    turns = [(time_scikit_learn(), time_baseline()) for _ in range(TURNS)]
    scikit_learn, baseline = zip(*turns, strict=True)
    print_times("scikit-learn alone", scikit_learn, scikit_learn)
    print_times("baseline=random_forest", baseline, scikit_learn)


if __name__ == "__main__":
    main()
