"""Tables of one test set for logs and the terminal: models, classes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

MIN_WIDTH = 5  # of a column of names, in columns of a terminal

Correct = npt.NDArray[np.bool_]  # which rows were classified correctly, `(N,)` or `(seeds, N)`


def format_result_table(
    title: str, correct: Mapping[str, Correct], fit_seconds: Mapping[str, float]
) -> str:
    """A line per model, of which `correct` says whether it classified each row correctly, `(N,)`.

    It has the accuracy in per cent with its 95 % confidence interval (Wilson 1927), and the exact
    McNemar test (McNemar 1947) of the rows on which the model and the first one disagree.
    """
    (reference, expected), *_ = correct.items()
    columns: dict[str, list[str]] = {"model": [*correct], "accuracy": [], "95 % interval": []}
    for rows in correct.values():
        low, high = wilson_interval(rows)
        accuracy = float(np.float32(rows.mean()))  # rounded as in metrics.json
        columns["accuracy"].append(f"{100 * accuracy:.2f}")
        columns["95 % interval"].append(f"{100 * low:.2f} – {100 * high:.2f}")
    if others := [*correct.values()][1:]:
        differences = [100 * (rows.mean() - expected.mean()) for rows in others]
        p_values = [format_p_value(mcnemar_p_value(rows, expected)) for rows in others]
        columns[f"vs {reference}"] = ["", *(f"{difference:+.2f}" for difference in differences)]
        columns["McNemar p"] = ["", *p_values]
    if fit_seconds:
        seconds = [f"{fit_seconds[name]:.0f}" if name in fit_seconds else "" for name in correct]
        columns["seconds"] = seconds
    return format_columns(title, columns)


def format_class_table(
    labels: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64], label_names: Sequence[str]
) -> str:
    """A line per class: its number of reviews, precision, recall and F1 in per cent.

    They are those of `ClassificationMetrics.compute`; a dash if one is undefined.
    """
    from sklearn.metrics import precision_recall_fscore_support  # takes seconds

    numbers: Any = {"labels": range(len(label_names)), "zero_division": np.nan}
    *scores, counts = precision_recall_fscore_support(labels, predicted, **numbers)
    scores[0][(counts > 0) & np.isnan(scores[0])] = 0  # never predicted
    columns = {"class": [*label_names], "reviews": [f"{int(count):,}" for count in counts]}
    for heading, of_classes in zip(("precision", "recall", "F1"), scores, strict=True):
        texts = [f"{100 * score:.2f}" for score in of_classes]
        columns[heading] = ["–" if text == "nan" else text for text in texts]
    return format_columns("Classes, in per cent", columns)


def format_columns(title: str, columns: Mapping[str, Sequence[str]]) -> str:
    """A title and a table for log files of 80 columns; the first column holds names."""
    console = Console(force_terminal=False, width=80)
    with console.capture() as text:
        table = draw_table(columns, names=1)
        console.print(title, "", table, sep="\n", highlight=False, markup=False, soft_wrap=True)
    return text.get()


def draw_table(columns: Mapping[str, Sequence[str]], names: int) -> Table:
    """Draw a table whose first columns hold names, which are folded where there is no room."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    for i, (heading, cells) in enumerate(columns.items()):
        widest = max(map(cell_len, [*heading.split("\n"), *cells]))
        if i < names:
            table.add_column(Text(heading), overflow="fold", min_width=min(widest, MIN_WIDTH))
        else:
            table.add_column(Text(heading), justify="right", no_wrap=True, min_width=widest)
    for row in zip(*columns.values(), strict=True):
        table.add_row(*map(Text, row))
    return table


def wilson_interval(correct: Correct) -> tuple[float, float]:
    """95 % interval of an accuracy (Wilson 1927)."""
    from scipy.stats import binomtest  # takes half a second

    interval = binomtest(int(correct.sum()), len(correct)).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar_p_value(first: Correct, second: Correct) -> float:
    """Exact two-sided p-value of the rows that only one model classified correctly."""
    from scipy.stats import binomtest

    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    disagreements = only_first + only_second
    return float(binomtest(only_first, disagreements).pvalue) if disagreements else 1.0


def format_p_value(p_value: float) -> str:
    """`0.031`, or `< 0.001`."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"
