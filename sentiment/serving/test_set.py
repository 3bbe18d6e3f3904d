"""The test set of a run, to search and to sort."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sentiment.analysis.run import Run
from sentiment.runtime.errors import check_choice


class TestSet:
    """The test texts of a run and the predictions for them."""

    __test__ = False  # pytest takes the name for that of a test

    def __init__(self, run: Path) -> None:
        tested = Run.read(run)
        self.reviews, self.names = tested.predictions, tested.label_names
        self.probabilities = tested.probabilities  # (N, classes)
        numbers = pd.Index(self.names).get_indexer(self.reviews["label"])
        of_label = self.probabilities[np.arange(len(numbers)), numbers]
        self.orders = {
            "most wrong": of_label.argsort(kind="stable"),
            "least sure": self.probabilities.max(1).argsort(kind="stable"),
            "row": np.arange(len(numbers)),
            "class": numbers.argsort(kind="stable"),
            "predicted": self.probabilities.argmax(1).argsort(kind="stable"),
            "length": self.reviews["text"].str.len().to_numpy().argsort(kind="stable"),
        }

    def find(
        self,
        search: str,
        label: str | None,
        predicted: str | None,
        order: str,
        start: int,
        count: int,
        wrong: bool = False,
        reverse: bool = False,
    ) -> dict[str, Any]:
        """The texts of these classes that contain `search`: figures of all, and some of the `reviews`."""
        found = self.reviews.iloc[self.orders[order][:: -1 if reverse else 1]]
        for key, name in (("label", label), ("predicted", predicted)):
            if name is not None:
                check_choice(tuple(self.names), **{key: name})
                found = found[found[key] == name]
        if search:
            found = found[found["text"].str.lower().str.contains(search.lower(), regex=False)]
        if wrong:
            found = found[found["label"] != found["predicted"]]
        confusion = pd.crosstab(found["label"], found["predicted"]).to_dict("index")
        return {
            "total": len(found),
            "size": len(self.reviews),
            "correct": sum(guesses.get(name, 0) for name, guesses in confusion.items()),
            "confusion": confusion,
            "reviews": [self._describe(i) for i in found.index[start : start + count]],
        }

    def _describe(self, i: int) -> dict[str, Any]:
        keys = ("file", "row", "id", "text", "label", "predicted")
        known = [key for key in keys if key in self.reviews]
        review: dict[str, Any] = self.reviews.loc[i, known].to_dict()
        probabilities = zip(self.names, self.probabilities[i].tolist(), strict=True)
        return review | {"probabilities": dict(probabilities)}
