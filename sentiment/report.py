"""Compares runs: a table, report.md, report.csv and report.png of a sweep, a study, or any set of runs.

python -m sentiment.report outputs/sweeps/2026-01-31_12-00-00
python -m sentiment.report outputs/runs/*

It writes into the folder, or the one that holds them all; it reads what the runs left, and a study's storage. Sweeps
and studies call it when they end.
"""

import csv
import io
import os
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import MARKDOWN, SIMPLE_HEAD, Box
from rich.console import Console
from rich.table import Table

from sentiment.errors import Parser
from sentiment.figures import comparison
from sentiment.files import whole
from sentiment.results import cell
from sentiment.runs import Group, Run, differing, grouped, is_study, load_study, read
from sentiment.settings import shown

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
        figure = comparison.study(load_study(home)) if is_study(home) else _sweep_figure(groups, objective)
        figure.savefig(home / "report.png", dpi=150)
    lines += ["", *(f"- {failure}" for failure in failures)]
    (home / "report.md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    written = "report.md, report.csv, report.png" if groups else "report.md, report.csv"
    console.print(f"{home}: {written}", highlight=False, markup=False, soft_wrap=True)
    return runs


def _sweep_figure(groups: Sequence[Group], objective: str) -> "Figure":
    names = short(list(groups[0].settings))
    points = []
    for group in groups:
        tags = _baseline_tags([group], objective.replace("/", "_"))
        baselines = {tag.split("/")[1]: group.mean(tag) for tag in tags}
        settings = {names[key]: value for key, value in group.settings.items()}
        points.append(comparison.Point(settings, group.mean(objective), group.sd(objective), baselines))
    return comparison.sweep(points, objective)


def _baseline_tags(groups: Sequence[Group], figure: str) -> list[str]:
    """`baseline/<name>/<figure>` of every baseline that some run has."""
    tags = {tag for group in groups for run in group.runs for tag in run.metrics}
    return sorted(tag for tag in tags if tag.startswith("baseline/") and tag.endswith(f"/{figure}"))


def short(keys: Sequence[str]) -> dict[str, str]:
    """`data.maxlen` as `maxlen`, where that tells it apart from the others."""
    last = Counter(key.rpartition(".")[2] for key in keys)
    return {key: name if last[name := key.rpartition(".")[2]] == 1 else key for key in keys}


def _table(groups: Sequence[Group], objective: str, box: Box) -> Table:
    table = Table(box=box, pad_edge=box is MARKDOWN, collapse_padding=True)
    several = any(group.seeds > 1 for group in groups)
    tested = [tag for tag in ("test/accuracy",) if any(group.values(tag) for group in groups)]
    half = "test" if tested else "val"
    baselines = _baseline_tags(groups, f"{half}_accuracy")
    tags = [objective, *tested, *baselines]
    headings = [*short(list(groups[0].settings)).values(), objective.replace("/", " ")]
    headings += [tag.replace("/", " ") for tag in tested]
    headings += [f"{half} {tag.split('/')[1].replace('_', ' ')}" for tag in baselines]
    for heading in [*headings, *(["seeds"] if several else [])]:
        table.add_column(heading, justify="right", overflow="fold")
    for group in groups:
        cells = [*map(shown, group.settings.values()), *(_figure(group, tag) for tag in tags)]
        table.add_row(*cells, *([str(group.seeds)] if several else []))
    return table


def _figure(group: Group, tag: str) -> str:
    """Mean ± standard deviation over the seeds, an accuracy in per cent."""
    if not group.values(tag):
        return ""
    scale, digits = (100, 2) if tag.endswith("accuracy") else (1, 4)
    mean, sd = (f"{scale * value:.{digits}f}" for value in (group.mean(tag), group.sd(tag)))
    return f"{mean}\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{sd}" if len(set(group.values(tag))) > 1 else mean


def _write_csv(path: Path, runs: Sequence[Run]) -> None:
    """A line per run: folder, status, seed, the settings that differ, every figure."""
    keys = [*differing(runs), "seed"]
    tags = sorted({tag for run in runs for tag in run.metrics} - {"status"})
    with whole(path) as unfinished, open(unfinished, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["folder", "status", *keys, *tags])
        for run in runs:
            settings, figures_ = (run.settings.get(key) for key in keys), (run.metrics.get(tag) for tag in tags)
            writer.writerow(map(cell, [run.folder.name, run.status, *settings, *figures_]))


if __name__ == "__main__":
    parser = Parser("report", __doc__)
    parser.add_argument("folder", type=Path, nargs="+", help="of a run, a sweep or a study")
    parser.run(lambda arguments: write(arguments.folder))
