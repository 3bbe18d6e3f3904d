"""The report on runs: tables in the terminal, report.md, .tex and .csv, report_mean.csv, and a picture per data set."""

import csv
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from sentiment.analysis.comparison import Comparison, compare_with_best
from sentiment.analysis.report_tables import (
    ReportTable,
    describe_baselines,
    format_latex,
    format_markdown,
    make_comparison_table,
    make_result_table,
    print_table,
)
from sentiment.analysis.run import Run
from sentiment.analysis.run_figures import plot_sweep
from sentiment.analysis.runs import (
    Result,
    data_has_changed,
    group_by_data,
    is_study,
    load_study,
    read_runs,
    summarize,
    varying_keys,
)
from sentiment.analysis.study_figure import plot_study
from sentiment.runtime.cli import escape_control_chars
from sentiment.runtime.errors import InputError
from sentiment.runtime.files import atomic_write, escape_csv_formula

_OWN_FILE = re.compile(r"report(_mean|_[0-9]+)?\.(csv|md|png|tex)")


class Section(NamedTuple):
    """The finished runs on one data set.

    Attributes:
        name: settings that distinguish the data set.
        objective: that the results are sorted by.
        results: the best first, at least one.
        comparisons: with the best result, by index of the others.
        table: of the results.
        comparison_table: None if nothing is compared.
        caption: of the second table.
        notes: what else readers should know.
    """

    name: str
    objective: str
    results: list[Result]
    comparisons: Mapping[int, Comparison | str]
    table: ReportTable
    comparison_table: ReportTable | None
    caption: str
    notes: list[str]


def write_report(paths: Sequence[Path]) -> list[Run]:
    """Print the comparison of runs, and write its files into the folder, or into the parent of several.

    Args:
        paths: folders of runs, sweeps and studies, among which may be others, as in `outputs/runs/*`.

    Returns:
        The runs.

    Raises:
        InputError: there is no run, or one cannot be read.
    """
    console = Console()
    runs, skipped = _read_all(paths)
    parent = Path(os.path.commonpath([path.resolve() for path in paths]))
    sections = [section for name, group in group_by_data(runs).items() if (section := _make_section(name, group))]
    status = Counter(run.status for run in runs)
    counts = f"{len(runs)} run{'s' * (len(runs) != 1)}: " + ", ".join(f"{n} {name}" for name, n in status.most_common())
    failures = [f"{run.folder.path.name}: {run.metrics.get('error')}" for run in runs if run.status == "failed"]
    for section in sections:
        if len(sections) > 1:
            _print_lines(console, "", section.name)
        print_table(section.table, console)
        if section.comparison_table:
            console.print(section.caption, highlight=False, markup=False)
            print_table(section.comparison_table, console)
        _print_lines(console, *section.notes)
    _print_lines(console, *skipped, counts, *failures)

    figures = _save_figures(parent, sections)
    lines = [f"# {parent.name}", "", counts]
    for section, figure in zip(sections, figures, strict=True):
        lines += ["", *_format_section(section, figure)]
    lines += ["", *(f"- {failure}" for failure in failures)]
    (parent / "report.md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    _write_csv(parent / "report.csv", _run_rows(runs))
    written = ["report.md", "report.csv"]
    if sections:
        _write_csv(parent / "report_mean.csv", _mean_rows(sections, varying_keys(runs)))
        latex = [line for section in sections for line in _format_latex_section(section)]
        (parent / "report.tex").write_text("\n".join(latex) + "\n", encoding="utf-8")
        written += ["report_mean.csv", "report.tex", *figures]
    _print_lines(console, f"{parent}: {', '.join(written)}")
    return runs


def _read_all(paths: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """Read the runs in all folders; also return a line for each path that has none, but for files of the report."""
    runs: dict[Path, Run] = {}
    skipped = []
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: no such folder; pass a run, a sweep or a study")
        found = read_runs(path) if path.is_dir() else []
        runs |= {run.folder.path.resolve(): run for run in found}
        if not found and not (path.is_file() and _OWN_FILE.fullmatch(path.name)):
            skipped.append(f"{path}: skipped, contains no run")
    if not runs:
        contain = "contains" if len(paths) == 1 else "and the other arguments contain"
        raise InputError(f"{paths[0]}: {contain} no run (no .hydra/config.yaml); pass a run, a sweep or a study")
    return list(runs.values()), skipped


def _make_section(name: str, runs: Sequence[Run]) -> Section | None:
    objective = next((run.settings["objective"] for run in runs if "objective" in run.settings), "val/accuracy")
    results = summarize(runs, objective)
    if not results:
        return None
    comparisons = compare_with_best(results)
    compared = [value for value in comparisons.values() if not isinstance(value, str)]
    reasons = Counter(value for value in comparisons.values() if isinstance(value, str))
    notes = describe_baselines(results)
    notes += [f"Not compared with the best: {n} of {len(comparisons)}, {reason}" for reason, n in reasons.items()]
    if compared and any(run.settings.get("data.validate_on") == "test" for run in runs):
        notes.append("data.validate_on=test: the best setting was chosen on the test set, so its lead is optimistic")
    if data_has_changed(runs):
        notes.append("The data changed between these runs: data_fingerprint differs although their settings do not")
    table = make_result_table(results, objective)
    comparison_table = make_comparison_table(results, comparisons) if compared else None
    return Section(name, objective, results, comparisons, table, comparison_table, _describe_tests(compared), notes)


def _describe_tests(compared: Sequence[Comparison]) -> str:
    """Return the caption of the comparisons, empty if there is none."""
    if not compared:
        return ""
    tests = []
    if any(comparison.seeds == 1 for comparison in compared):
        tests.append("McNemar's exact test of single runs, which says nothing of other seeds")
    if any(comparison.seeds > 1 for comparison in compared):
        tests.append("t-test over the seeds that both have, whose variance includes that between reviews")
    correction = f", corrected for {len(compared)} comparisons (Holm)" if len(compared) > 1 else ""
    return (
        "Compared with the best setting: difference of the test accuracies in points on the same "
        f"{compared[0].reviews:,} reviews, 95 % interval, p-value{correction}; {'; '.join(tests)}."
    )


def _print_lines(console: Console, *lines: str) -> None:
    if lines:
        console.print(*map(escape_control_chars, lines), sep="\n", highlight=False, markup=False, soft_wrap=True)


def _save_figures(folder: Path, sections: Sequence[Section]) -> list[str]:
    """Save `report.png`, or `report_1.png` and so on of several data sets; return the names."""
    for earlier in folder.glob("report_[0-9]*.png"):
        earlier.unlink()
    names = ["report.png"] if len(sections) == 1 else [f"report_{i}.png" for i in range(1, len(sections) + 1)]
    for name, section in zip(names, sections, strict=True):
        figure = plot_study(load_study(folder)) if is_study(folder) else plot_sweep(section.results, section.objective)
        figure.savefig(folder / name, dpi=150)
    return names


def _format_section(section: Section, figure: str) -> list[str]:
    """Return the lines of a section of report.md."""
    lines = [f"## {section.name}", "", f"{_describe_order(section)}.", "", format_markdown(section.table)]
    lines += ["", f"![comparison]({figure})"]
    if section.comparison_table:
        lines += ["", section.caption, "", format_markdown(section.comparison_table)]
    for note in section.notes:
        lines += ["", f"{note}."]
    return lines


def _describe_order(section: Section) -> str:
    return f"Sorted by {section.objective}; accuracies in per cent, mean ± standard deviation over seeds"


def _format_latex_section(section: Section) -> list[str]:
    """Return comments and tables; they need the package booktabs."""
    lines = [f"% {section.name}", f"% {_describe_order(section)}", format_latex(section.table)]
    if section.comparison_table:
        lines += [f"% {section.caption}", format_latex(section.comparison_table)]
    return lines


def _run_rows(runs: Sequence[Run]) -> Iterator[list[Any]]:
    """Yield the header, and a row per run: folder, status, the settings that vary, seed, and all metrics."""
    keys = [*varying_keys(runs), "seed"]
    tags = sorted({tag for run in runs for tag in run.metrics} - {"status", *keys})
    yield ["folder", "status", *keys, *tags]
    for run in runs:
        yield [run.folder.path.name, run.status, *map(run.settings.get, keys), *map(run.metrics.get, tags)]


def _mean_rows(sections: Sequence[Section], keys: Sequence[str]) -> Iterator[list[Any]]:
    """Yield the header, and a row per result: its settings, number, mean and standard deviation of each metric.

    Then follows the comparison with the best result of the same data set; accuracies are fractions.
    """
    tags = sorted({tag for section in sections for result in section.results for tag in result.mean})
    compared = [f"vs best {name}" for name in ("difference", "low", "high", "p", "p_holm", "seeds")]
    yield [*keys, *(f"{tag} {name}" for tag in tags for name in ("n", "mean", "sd")), *compared]
    for section in sections:
        for i, result in enumerate(section.results):
            settings = next(iter(result.runs.values())).settings
            counts = result.metrics.count()
            row = [settings.get(key) for key in keys]
            for tag in tags:
                row += [counts.get(tag, 0), result.mean.get(tag), result.sd.get(tag)]
            comparison = section.comparisons.get(i)
            if isinstance(comparison, Comparison):
                row += [*comparison.difference, comparison.adjusted_p, comparison.seeds]
            yield row + [None] * (len(keys) + 3 * len(tags) + len(compared) - len(row))


def _write_csv(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    with atomic_write(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(map(escape_csv_formula, row) for row in rows)
