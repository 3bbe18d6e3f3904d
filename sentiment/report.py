"""Compares runs: a table, report.md, report.csv and report.png of a sweep, a study, or any set of runs.

python -m sentiment.report outputs/sweeps/2026-01-31_12-00-00
python -m sentiment.report outputs/runs/*

It writes into the folder, or the one that holds them all; it reads what the runs left, and a study's storage. Sweeps
and studies call it when they end.
"""

import argparse
import csv
import io
import os
import statistics
import sys
from argparse import RawDescriptionHelpFormatter as RawText
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import MARKDOWN, SIMPLE_HEAD, Box
from rich.console import Console
from rich.table import Table

from sentiment import figures
from sentiment.errors import InputError
from sentiment.runs import Group, Run, differing, grouped, is_study, load_study, read

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write(folders: Sequence[Path]) -> list[Run]:
    """Prints the comparison and writes `report.md`, `.csv` and `.png` into the folder, or the one that holds them all.

    Returns:
        The runs.

    Raises:
        InputError: a folder holds no run.
    """
    runs = read(folders)
    home = Path(os.path.commonpath([folder.resolve() for folder in folders]))
    objective = str(runs[0].settings["objective"]) if runs else "val/accuracy"
    groups = grouped(runs, objective)
    states = Counter(run.status for run in runs)
    counts = f"{len(runs)} runs: " + ", ".join(f"{count} {status}" for status, count in states.most_common())
    failures = [f"{run.folder.name}: {run.metrics['error']}" for run in runs if run.status == "failed"]

    table = partial(_table, groups, objective)
    console = Console()
    if groups:
        console.print(table(SIMPLE_HEAD))
    console.print(counts, *failures, sep="\n", highlight=False, markup=False, soft_wrap=True)

    _write_csv(home / "report.csv", runs)
    lines = [f"# {home.name}", "", counts]
    if groups:
        plain = Console(width=1000, force_terminal=False, file=io.StringIO())
        with plain.capture() as text:
            plain.print(table(MARKDOWN))
        lines += ["", f"Sorted by {objective}, which alone chooses; accuracies in per cent.", ""]
        lines += [line.strip() for line in text.get().splitlines() if line.strip()]
        lines += ["", "![comparison](report.png)"]
        figure = figures.study(load_study(home)) if is_study(home) else _sweep_figure(groups, objective)
        figure.savefig(home / "report.png", dpi=150)
    lines += ["", *(f"- {failure}" for failure in failures)]
    (home / "report.md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    written = "report.md, report.csv, report.png" if groups else "report.md, report.csv"
    console.print(f"{home}: {written}", highlight=False, markup=False, soft_wrap=True)
    return runs


def _sweep_figure(groups: Sequence[Group], objective: str) -> "Figure":
    names = short(list(groups[0].settings))
    ending = f"/{objective.replace('/', '_')}"
    points = []
    for group in groups:
        values = group.values(objective)
        tags = {
            tag for run in group.runs for tag in run.metrics if tag.startswith("baseline/") and tag.endswith(ending)
        }
        baselines = {tag.split("/")[1]: statistics.fmean(group.values(tag)) for tag in tags}
        settings = {names[key]: value for key, value in group.settings.items()}
        sd = statistics.stdev(values) if len(values) > 1 else 0.0
        points.append(figures.Point(settings, statistics.fmean(values), sd, baselines))
    return figures.sweep(points, objective)


def short(keys: Sequence[str]) -> dict[str, str]:
    """`data.maxlen` as `maxlen`, where that tells it apart from the others."""
    last = Counter(key.rpartition(".")[2] for key in keys)
    return {key: name if last[name := key.rpartition(".")[2]] == 1 else key for key in keys}


def shown(value: Any) -> str:
    """A setting as a person writes it: `none`, `0.00123`."""
    return "none" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def _table(groups: Sequence[Group], objective: str, box: Box) -> Table:
    table = Table(box=box, pad_edge=box is MARKDOWN, collapse_padding=True)
    names = short(list(groups[0].settings))
    for name in names.values():
        table.add_column(name, justify="right", overflow="fold")
    several = any(group.seeds > 1 for group in groups)
    tags = [objective, *(tag for tag in ("test/accuracy",) if any(group.values(tag) for group in groups))]
    half = "test" if "test/accuracy" in tags else "val"
    tags += sorted({tag for group in groups for run in group.runs for tag in run.metrics
                    if tag.startswith("baseline/") and tag.endswith(f"/{half}_accuracy")})  # fmt: skip
    for tag in tags:
        baseline = tag.startswith("baseline/")
        table.add_column(
            f"{half} {tag.split('/')[1].replace('_', ' ')}" if baseline else tag.replace("/", " "), justify="right"
        )
    if several:
        table.add_column("seeds", justify="right", overflow="fold")
    for group in groups:
        cells = [*map(shown, group.settings.values()), *(_figure(group.values(tag), tag) for tag in tags)]
        table.add_row(*cells, *([str(group.seeds)] if several else []))
    return table


def _figure(values: Sequence[float], tag: str) -> str:
    """Mean ± standard deviation over the seeds, an accuracy in per cent."""
    scale, digits = (100, 2) if tag.endswith("accuracy") else (1, 4)
    if not values:
        return ""
    mean = f"{scale * statistics.fmean(values):.{digits}f}"
    if len(set(values)) == 1:
        return mean
    return f"{mean}\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{scale * statistics.stdev(values):.{digits}f}"


def _write_csv(path: Path, runs: Sequence[Run]) -> None:
    """A line per run: folder, status, seed, the settings that differ, every figure."""
    keys = [*differing(runs), "seed"]
    tags = sorted({tag for run in runs for tag in run.metrics} - {"status"})
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["folder", "status", *keys, *tags])
        for run in runs:
            settings, figures_ = (run.settings.get(key) for key in keys), (run.metrics.get(tag) for tag in tags)
            writer.writerow([run.folder.name, run.status, *settings, *figures_])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m sentiment.report", description=__doc__, formatter_class=RawText)
    parser.add_argument("folder", type=Path, nargs="+", help="of a run, a sweep or a study")
    try:
        write(parser.parse_args().folder)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
