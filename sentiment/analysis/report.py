"""The report on runs: a table, report.md, report.csv and report.png."""

import csv
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.box import MARKDOWN, SIMPLE_HEAD, Box
from rich.console import Console
from rich.table import Table

from sentiment.analysis.run_figures import plot_study, plot_sweep
from sentiment.analysis.runs import (
    Result,
    Run,
    baseline_tags,
    find_objective,
    is_study,
    load_study,
    read_runs,
    shorten_keys,
    summarize,
    varying_keys,
)
from sentiment.runtime.config import format_setting
from sentiment.runtime.files import atomic_write, escape_csv_formula


def write_report(folders: Sequence[Path]) -> list[Run]:
    """Print the comparison of runs; write `report.md`, `.csv` and `.png` into the folder, or the parent of several.

    Returns:
        The runs.

    Raises:
        InputError: a folder contains no run, or a run cannot be read.
    """
    runs = read_runs(folders)
    parent = Path(os.path.commonpath([folder.resolve() for folder in folders]))
    objective = next((run.settings["objective"] for run in runs if "objective" in run.settings), "val/accuracy")
    results = summarize(runs, objective)
    status = Counter(run.status for run in runs)
    counts = f"{len(runs)} runs: " + ", ".join(f"{count} {name}" for name, count in status.most_common())
    failures = [f"{run.folder.path.name}: {run.metrics.get('error')}" for run in runs if run.status == "failed"]
    console = Console()
    if results:
        console.print(_make_table(results, objective, SIMPLE_HEAD))
    console.print(counts, *failures, sep="\n", highlight=False, markup=False, soft_wrap=True)

    _write_csv(parent / "report.csv", runs)
    lines = [f"# {parent.name}", "", counts]
    if results:
        figure = plot_study(load_study(parent)) if is_study(parent) else plot_sweep(results, objective)
        figure.savefig(parent / "report.png", dpi=150)
        lines += ["", f"Sorted by {objective}; accuracies in per cent, mean ± standard deviation over seeds.", ""]
        lines += [*_format_markdown(_make_table(results, objective, MARKDOWN)), "", "![comparison](report.png)"]
    lines += ["", *(f"- {failure}" for failure in failures)]
    (parent / "report.md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    written = "report.md, report.csv, report.png" if results else "report.md, report.csv"
    console.print(f"{parent}: {written}", highlight=False, markup=False, soft_wrap=True)
    return runs


def _make_table(results: Sequence[Result], objective: str, box: Box) -> Table:
    """Make a table with a row per result: settings, objective, test accuracy, baselines, number of seeds."""
    tested = any("test/accuracy" in result.mean for result in results)
    split = "test" if tested else "val"
    headings = {objective: objective.replace("/", " ")} | ({"test/accuracy": "test accuracy"} if tested else {})
    for tag, name in baseline_tags(results, f"{split}/accuracy").items():
        headings[tag] = f"{split} {name.replace('_', ' ')}"
    is_accuracy = dict.fromkeys(headings, True) | {objective: find_objective(objective).is_accuracy}
    seeds = ["seeds"] if any(result.seeds > 1 for result in results) else []
    table = Table(box=box, pad_edge=box is MARKDOWN, collapse_padding=True)
    for heading in (*shorten_keys(list(results[0].settings)).values(), *headings.values(), *seeds):
        table.add_column(heading, justify="right", overflow="fold")
    for result in results:
        settings = map(format_setting, result.settings.values())
        means = (_format_mean(result, tag, is_accuracy[tag]) for tag in headings)
        table.add_row(*settings, *means, *([str(result.seeds)] if seeds else []))
    return table


def _format_mean(result: Result, tag: str, is_accuracy: bool) -> str:
    """Return `84.00 ± 1.41`, without the standard deviation if it is 0; empty if the runs lack the metric."""
    if tag not in result.mean:
        return ""
    mean, sd = (f"{100 * value:.2f}" if is_accuracy else f"{value:.4f}" for value in (result.mean[tag], result.sd[tag]))
    return f"{mean}\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{sd}" if result.sd[tag] else mean


def _format_markdown(table: Table) -> list[str]:
    console = Console(width=1000, force_terminal=False)
    with console.capture() as text:
        console.print(table)
    return [line.strip() for line in text.get().splitlines() if line.strip()]


def _write_csv(path: Path, runs: Sequence[Run]) -> None:
    """Write a row per run: folder, status, the settings that vary, seed, and all metrics."""
    keys = [*varying_keys(runs), "seed"]
    tags = sorted({tag for run in runs for tag in run.metrics} - {"status", *keys})
    rows = [
        [run.folder.path.name, run.status, *map(run.settings.get, keys), *map(run.metrics.get, tags)] for run in runs
    ]
    with atomic_write(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["folder", "status", *keys, *tags])
        writer.writerows(map(escape_csv_formula, row) for row in rows)
