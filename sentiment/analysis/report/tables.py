"""Tables of one test set and of the runs of a report, for the terminal, Markdown and LaTeX."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sentiment.analysis.labels import label_values, shorten_keys
from sentiment.analysis.report.comparison import (
    Comparison,
    Correct,
    format_p_value,
    mcnemar_p_value,
)
from sentiment.analysis.results import Result, baseline_tags
from sentiment.runtime.cli import escape_control_chars
from sentiment.runtime.config import find_objective

FOLDER = "folder"  # column of a `ReportTable`
NBSP = "\N{NO-BREAK SPACE}"
MIN_WIDTH = 5  # of a column of settings, in columns of a terminal
_LATEX = str.maketrans(
    {"±": r"$\pm$", NBSP: "~", "…": r"\dots{}", "<": "$<$", ">": "$>$", "|": "$|$"}
)


def format_result_table(
    title: str, correct: Mapping[str, Correct], fit_seconds: Mapping[str, float]
) -> str:
    """A line per model, of which `correct` says whether it classified each row correctly, `(N,)`.

    It has the accuracy in per cent with its 95 % confidence interval (Wilson 1927), and the exact
    McNemar test (McNemar 1947) of the rows on which the model and the first one disagree.
    """
    from scipy.stats import binomtest  # takes half a second

    (reference, expected), *_ = correct.items()
    columns: dict[str, list[str]] = {"model": [*correct], "accuracy": [], "95 % interval": []}
    for rows in correct.values():
        interval = binomtest(int(rows.sum()), len(rows)).proportion_ci(method="wilson")
        accuracy = float(np.float32(rows.mean()))  # rounded as in metrics.json
        columns["accuracy"].append(f"{100 * accuracy:.2f}")
        columns["95 % interval"].append(f"{100 * interval.low:.2f} – {100 * interval.high:.2f}")
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
        table = _draw(pd.DataFrame(columns), names=1)
        console.print(title, "", table, sep="\n", highlight=False, markup=False, soft_wrap=True)
    return text.get()


def _draw(cells: pd.DataFrame, names: int) -> Table:
    """Draw a table whose first columns hold names, which are folded where there is no room."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    for i, heading in enumerate(cells):
        widest = max(map(cell_len, [*heading.split("\n"), *cells[heading]]))
        if i < names:
            table.add_column(Text(heading), overflow="fold", min_width=min(widest, MIN_WIDTH))
        else:
            table.add_column(Text(heading), justify="right", no_wrap=True, min_width=widest)
    for row in cells.values:
        table.add_row(*map(Text, row))
    return table


class ReportTable(NamedTuple):
    """A table of text, the same in all formats: a column per setting, then those of figures."""

    cells: pd.DataFrame
    settings: int


def make_result_table(
    results: Sequence[Result], objective: str, folders: Sequence[Sequence[str]] = ()
) -> ReportTable:
    """A row per result: settings, folders `units-8_seed-{1,2}`, metrics, baselines, seeds.

    Baselines that are the same for all results are left to `describe_baselines`.
    """
    columns = {objective.replace("/", " "): _format_means(results, objective, objective)}
    if any("test/accuracy" in result.mean for result in results):
        columns["test accuracy"] = _format_means(results, "test/accuracy")
    split, baselines = _format_baselines(results)
    for name, column in baselines.items():
        if len(set(column)) > 1:
            columns[f"{split} {name}"] = column
    if any(len(result.runs) > 1 for result in results):
        columns["seeds"] = [str(len(result.runs)) for result in results]
    cells, settings = _join_settings(results, columns, results)
    if folders:
        cells.insert(settings, FOLDER, [*map(_join_folders, folders)])
    return ReportTable(cells, settings + bool(folders))


def _join_folders(folders: Sequence[str]) -> str:
    prefix = os.path.commonprefix(folders)  # noqa: RUF071 (of characters, not of folders)
    rests = ",".join(folder.removeprefix(prefix) for folder in folders)
    return escape_control_chars(prefix if len(folders) == 1 else f"{prefix}{{{rests}}}")


def describe_baselines(results: Sequence[Result]) -> list[str]:
    """A line on the baselines that are the same for all results, if there are any."""
    split, baselines = _format_baselines(results)
    shared = [f"{name} {column[0]}" for name, column in baselines.items() if len(set(column)) == 1]
    return [f"Baselines, {split} accuracy: {', '.join(shared)}"] if shared else []


def _format_baselines(results: Sequence[Result]) -> tuple[str, dict[str, list[str]]]:
    """The split on which baselines are compared, and their accuracies in per cent by name."""
    split = "test" if any("test/accuracy" in result.mean for result in results) else "val"
    names = baseline_tags(results, f"{split}/accuracy")
    return split, {names[tag].replace("_", " "): _format_means(results, tag) for tag in names}


def make_comparison_table(
    results: Sequence[Result], comparisons: Mapping[int, Comparison | str]
) -> ReportTable:
    """A row per setting that was compared with the best one."""
    compared = {i: value for i, value in comparisons.items() if not isinstance(value, str)}
    p_heading = "p (Holm)" if len(compared) > 1 else "p"
    columns: dict[str, list[str]] = {"vs best": [], "95 % interval": [], p_heading: [], "seeds": []}
    for (value, low, high, _), adjusted_p, seeds, _ in compared.values():
        columns["vs best"].append(f"{100 * value:+.2f}")
        columns["95 % interval"].append(f"{100 * low:+.2f}{NBSP}to{NBSP}{100 * high:+.2f}")
        columns[p_heading].append(format_p_value(adjusted_p).replace(" ", NBSP))
        columns["seeds"].append(str(seeds))
    return _join_settings([results[i] for i in compared], columns, results)


def _format_means(results: Sequence[Result], tag: str, objective: str = "") -> list[str]:
    """`84.00 ± 1.41` of each result, `84.00` of a single run, empty if the runs lack the metric.

    A baseline has a standard deviation only if its fits differ: those on the same rows are one fit
    for all seeds.
    """
    is_accuracy = tag != objective or find_objective(objective).is_accuracy
    scale, digits = (100, 2) if is_accuracy else (1, 4)
    cells = []
    for result in results:
        mean, sd = result.mean.get(tag), result.sd.get(tag)
        if sd == 0 and tag.startswith("baseline/"):
            sd = None
        numbers = [scale * number for number in (mean, sd) if number is not None]
        cells.append(f"{NBSP}±{NBSP}".join(f"{number:.{digits}f}" for number in numbers))
    return cells


def _join_settings(
    results: Sequence[Result], columns: dict[str, list[str]], among: Sequence[Result]
) -> ReportTable:
    """Put settings before other columns; their labels differ where settings differ in `among`."""
    names = shorten_keys(list(results[0].settings))
    settings = {}
    for key, name in names.items():
        values = [result.settings[key] for result in among]
        labels = dict(zip(map(repr, values), label_values(values), strict=True))
        settings[name] = [labels[repr(result.settings[key])] for result in results]
    return ReportTable(pd.DataFrame(settings | columns), len(names))


def print_table(table: ReportTable, console: Console) -> None:
    """Print a table; where there is no room, settings are folded, but no cell is cut."""
    cells = table.cells.rename(columns=lambda heading: heading.replace(" ", "\n"))
    drawn = _draw(cells, table.settings)
    narrowest = sum((column.min_width or 0) + 2 for column in drawn.columns)
    console.width = max(console.width, narrowest)
    console.print("", drawn, "", sep="\n", crop=False)


def format_markdown(table: ReportTable) -> str:
    """Format a table as Markdown."""
    alignment = ["---"] * table.settings + ["--:"] * (len(table.cells.columns) - table.settings)
    rows = [table.cells.columns, alignment, *table.cells.values]
    escaped = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in escaped)


def format_latex(table: ReportTable) -> str:
    """Format a table without the folders as a `tabular` of LaTeX, with the rules of booktabs."""
    cells = table.cells.drop(columns=FOLDER, errors="ignore")
    figures = len(table.cells.columns) - table.settings
    style = cells.style.hide(axis="index")
    style = style.format_index(_format_latex_cell, axis="columns", escape="latex")
    style = style.format(_format_latex_cell, escape="latex")  # escapes before the call
    columns = "l" * (len(cells.columns) - figures) + "r" * figures
    return str(style.to_latex(hrules=True, column_format=columns))


def _format_latex_cell(text: str) -> str:
    return re.sub(r"^-(?=[0-9])|(?<=~)-(?=[0-9])", "$-$", text.translate(_LATEX))
