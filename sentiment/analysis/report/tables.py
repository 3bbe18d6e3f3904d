"""Tables of the runs of a report, for the terminal and Markdown."""

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rich.console import Console

from sentiment.analysis.evaluation_tables import draw_table, format_p_value
from sentiment.analysis.labels import label_values, shorten_keys
from sentiment.analysis.report.comparison import Comparison
from sentiment.analysis.results import Result, baseline_tags
from sentiment.runtime.cli import escape_control_chars
from sentiment.runtime.config import find_objective

NBSP = "\N{NO-BREAK SPACE}"


class ReportTable(NamedTuple):
    """A table of text, the same in all formats."""

    columns: dict[str, list[str]]  # cells by heading
    names: int  # how many columns, the first ones, hold settings and folders, not figures


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
    names = {"folder": [*map(_join_folders, folders)]} if folders else {}
    return _join_settings(results, names, columns, results)


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
    for c in compared.values():
        columns["vs best"].append(f"{100 * c.difference:+.2f}")
        columns["95 % interval"].append(f"{100 * c.low:+.2f}{NBSP}to{NBSP}{100 * c.high:+.2f}")
        columns[p_heading].append(format_p_value(c.adjusted_p).replace(" ", NBSP))
        columns["seeds"].append(str(c.seeds))
    return _join_settings([results[i] for i in compared], {}, columns, results)


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
    results: Sequence[Result],
    folders: dict[str, list[str]],
    figures: dict[str, list[str]],
    among: Sequence[Result],
) -> ReportTable:
    """Put settings before other columns; their labels differ where settings differ in `among`."""
    columns: dict[str, list[str]] = {}
    for key, name in shorten_keys(list(results[0].settings)).items():
        values = [result.settings[key] for result in among]
        labels = dict(zip(map(repr, values), label_values(values), strict=True))
        heading = key if name in {**folders, **figures} else name
        columns[heading] = [labels[repr(result.settings[key])] for result in results]
    names = columns | folders
    return ReportTable(names | figures, len(names))


def print_table(table: ReportTable, console: Console) -> None:
    """Print a table; where there is no room, settings are folded, but no cell is cut."""
    headings = {heading.replace(" ", "\n"): cells for heading, cells in table.columns.items()}
    drawn = draw_table(headings, table.names)
    narrowest = sum((column.min_width or 0) + 2 for column in drawn.columns)
    console.width = max(console.width, narrowest)
    console.print("", drawn, "", sep="\n", crop=False)


def format_markdown(table: ReportTable) -> str:
    alignment = ["---"] * table.names + ["--:"] * (len(table.columns) - table.names)
    rows = [table.columns, alignment, *zip(*table.columns.values(), strict=True)]
    escaped = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in escaped)
