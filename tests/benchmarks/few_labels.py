"""Writes a data set of which few training rows keep their label, to show what texts without one buy.

python -m tests.benchmarks.few_labels COUNT OUT data.path=DIR data.unlabelled=true
python -m tests.benchmarks.few_labels COUNT OUT data=files data.path=DIR data.text_column=sentence

OUT/train.parquet       COUNT rows, in proportion to the classes, in their order
OUT/test.parquet        the whole test set
OUT/unlabelled.parquet  the other training rows and the unlabelled ones, without labels
"""

import sys
from pathlib import Path

import numpy as np

from sentiment.data.labels import MISSING_LABEL
from sentiment.runtime.config import instantiate_checked
from sentiment.training import compose


def main() -> None:
    """Read the data that the overrides name and write the three files."""
    count, out, *arguments = sys.argv[1:]
    corpus = instantiate_checked(compose(*arguments).data, "data").source.load()
    rows = corpus.splits["train"]
    labels, names = corpus.labels, corpus.label_names
    others, few = corpus.draw(rows, int(count) / len(rows), 0, "COUNT")
    reviews = corpus.reviews.select_columns("text").add_column(
        "label", [None if label == MISSING_LABEL else names[label] for label in labels]
    )
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    for name, selected in {
        "train": few,
        "test": corpus.splits["test"],
        "unlabelled": np.concatenate([others, corpus.splits.get("unlabelled", [])]).astype(int),
    }.items():
        table = reviews.select(selected)
        table = table.remove_columns("label") if name == "unlabelled" else table
        table.to_parquet(folder / f"{name}.parquet")


if __name__ == "__main__":
    main()
