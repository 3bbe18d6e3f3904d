"""The test set of a run, to search and to sort."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sentiment.analysis.run import Run
from sentiment.runtime.errors import check_choice


class TestSet:
    """The test texts of a run and the predictions for them.

    Args:
        path: folder of the run.

    Raises:
        InputError: nothing was tested, or the file is damaged.
    """

    __test__ = False  # pytest takes the name for that of a test

    def __init__(self, path: Path) -> None:
        frame = Run.read(path).predictions
        self.names = [column[2:-1] for column in frame.columns if column.startswith("p(")]
        self.places = frame[[name for name in ("file", "row", "id") if name in frame]].to_dict(
            "records"
        )
        self.texts: list[str] = frame["text"].tolist()
        self.labels, self.predicted = frame["label"].to_numpy(str), frame["predicted"].to_numpy(str)
        self.probabilities = frame[[f"p({name})" for name in self.names]].to_numpy(
            np.float32
        )  # (N, classes)
        index = {name: i for i, name in enumerate(self.names)}
        of_label = self.probabilities[
            np.arange(len(frame)), [index[label] for label in self.labels]
        ]
        self.orders = {
            "most wrong": of_label.argsort(kind="stable"),
            "least sure": self.probabilities.max(1).argsort(kind="stable"),
            "row": np.arange(len(frame)),
        }

    def find(
        self,
        search: str,
        label: str | None,
        predicted: str | None,
        order: str,
        start: int,
        count: int,
    ) -> dict[str, Any]:
        """Find texts.

        Args:
            search: what they contain, in any case.
            label: their class.
            predicted: their predicted class.
            order: a key of `orders`.
            start: how many of those found to skip.
            count: how many to return.

        Returns:
            The number of texts found, `total`, and the `reviews`.

        Raises:
            InputError: there is no such class.
        """
        mask = np.ones(len(self.texts), bool)
        for key, name, values in (
            ("label", label, self.labels),
            ("predicted", predicted, self.predicted),
        ):
            if name is not None:
                check_choice(tuple(self.names), **{key: name})
                mask &= values == name
        positions = self.orders[order]
        positions = positions[mask[positions]]
        if search:
            wanted = search.lower()
            positions = np.array(
                [i for i in positions if wanted in self.texts[i].lower()], np.int64
            )
        return {"total": len(positions), "reviews": self.describe(positions[start : start + count])}

    def describe(self, positions: Sequence[int]) -> list[dict[str, Any]]:
        """The reviews at some positions: where they are from, text, class and prediction."""
        return [
            self.places[i]
            | {
                "text": self.texts[i],
                "label": str(self.labels[i]),
                "predicted": str(self.predicted[i]),
            }
            | {"probabilities": dict(zip(self.names, self.probabilities[i].tolist(), strict=True))}
            for i in positions
        ]
