"""How many of the training labels that are wrong on purpose `python -m sentiment.audit` finds.

python -m tests.benchmarks.audit data=imdb data.path=DIR
python -m tests.benchmarks.audit --seeds 1,2,3 data=files data.path=DIR data.text_column=sentence

Of the training and validation rows, 3 % get another label, drawn at random. `first 100`, `first N`:
which part of the most doubtful of these rows, as many as were planted, have a planted label; AUROC:
of the doubt; seconds: of all that the audit computes once the data is prepared.
"""

import argparse
import time

import numpy as np
from sklearn.metrics import roc_auc_score

from sentiment.analysis.audit.doubts import judge_labels
from sentiment.analysis.audit.features import count_words
from sentiment.data.datamodule import ReviewDataModule
from sentiment.data.encoded.store import EncodedReviews, read_array
from sentiment.runtime.config import instantiate_checked
from sentiment.training import compose

FRACTION = 0.03


def main() -> None:
    """Print a line per seed of the wrong labels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0")
    arguments, overrides = parser.parse_known_args()
    data: ReviewDataModule = instantiate_checked(compose(*overrides).data, "data")
    data.prepare_data()
    data.setup()
    splits = [data.splits[name].reviews for name in ("train", "val", "test")]
    trained = np.sort(np.concatenate([split.rows for split in splits[:2]]))
    rows = np.concatenate([trained, splits[2].rows])
    reviews = EncodedReviews(splits[0].ids, splits[0].offsets, splits[0].labels, rows)
    hashes = np.asarray(read_array(data.folder, "hashes"))[rows]
    print("| seed | rows | planted | first 100 | first N | AUROC | seconds |")
    print("|---|---|---|---|---|---|---|")
    for seed in map(int, arguments.seeds.split(",")):
        generator = np.random.default_rng(seed)
        planted = generator.choice(len(trained), round(FRACTION * len(trained)), replace=False)
        labels, classes = reviews.labels[rows].copy(), len(data.label_names)
        labels[planted] = (labels[planted] + generator.integers(1, classes, len(planted))) % classes
        is_planted = np.isin(np.arange(len(trained)), planted)
        start = time.perf_counter()
        doubts = judge_labels(count_words(reviews).matrix, labels, hashes)[2][: len(trained)]
        seconds = time.perf_counter() - start
        order = np.argsort(-doubts, kind="stable")
        parts = [is_planted[order[:count]].mean() for count in (100, len(planted))]
        area = roc_auc_score(is_planted, doubts)
        figures = f"{parts[0]:.2f} | {parts[1]:.3f} | {area:.4f} | {seconds:.1f}"
        print(f"| {seed} | {len(rows):,} | {len(planted):,} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
