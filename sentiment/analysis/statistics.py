"""Tests whether models that were scored on the same rows differ in accuracy."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

Correct = npt.NDArray[np.bool_]


def format_result_table(title: str, correct: Mapping[str, Correct], fit_seconds: Mapping[str, float]) -> str:
    """Compare models on the same rows.

    Args:
        title: first line, which says what the rows are.
        correct: whether each model classified each row correctly, `(N,)`; the first model is the reference.
        fit_seconds: training time of each model; empty omits the column.

    Returns:
        A line per model: accuracy in per cent with its 95 % confidence interval (Wilson 1927), and the exact McNemar
        test (McNemar 1947) of the rows on which the model and the reference disagree.
    """
    from scipy.stats import binomtest  # takes half a second

    (reference, reference_correct), *_ = correct.items()
    comparison = [f"vs {reference}", "McNemar p"] if len(correct) > 1 else []
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("model", no_wrap=True)
    for heading in ("accuracy", "95 % interval", *comparison, *(["seconds"] if fit_seconds else [])):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, model_correct in correct.items():
        interval = binomtest(int(model_correct.sum()), len(model_correct)).proportion_ci(method="wilson")
        difference = p_value = ""
        if name != reference:
            difference = f"{100 * (model_correct.mean() - reference_correct.mean()):+.2f}"
            p = _mcnemar_p_value(model_correct, reference_correct)
            p_value = "< 0.001" if p < 0.001 else f"{p:.3f}"
        table.add_row(
            name,
            f"{100 * model_correct.mean():.2f}",
            f"{100 * interval.low:.2f} – {100 * interval.high:.2f}",
            *([difference, p_value] if comparison else []),
            *([f"{fit_seconds[name]:.0f}"] if fit_seconds else []),
        )
    console = Console(force_terminal=False, width=80)  # the text also goes into log files
    with console.capture() as text:
        console.print(title, table, highlight=False, markup=False, soft_wrap=True)
    return text.get()


def _mcnemar_p_value(first: Correct, second: Correct) -> float:
    """Exact two-sided p-value of the rows that only one model classified correctly."""
    from scipy.stats import binomtest

    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    disagreements = only_first + only_second
    return float(binomtest(only_first, disagreements).pvalue) if disagreements else 1.0
