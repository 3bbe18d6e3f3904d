"""The report on runs: tables in the terminal, report.md, .tex and .csv, report_mean.csv, and a picture per data set."""

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from sentiment.analysis.figures.study import plot_study
from sentiment.analysis.figures.sweep import plot_sweep
from sentiment.analysis.report.comparison import Comparison, compare_with_best
from sentiment.analysis.report.tables import (
    ReportTable,
    describe_baselines,
    format_latex,
    format_markdown,
    make_comparison_table,
    make_result_table,
    print_table,
)
from sentiment.analysis.results import (
    Result,
    data_has_changed,
    group_by_data,
    has_result,
    is_study,
    load_study,
    read_runs,
    summarize,
    varying_keys,
)
from sentiment.analysis.run import Run
from sentiment.runtime.cli import escape_control_chars
from sentiment.runtime.errors import InputError
from sentiment.runtime.files import escape_csv_formula, output_file

_OWN_FILE = re.compile(r"report(_mean|_[0-9]+)?\.(csv|md|png|tex)")
# At the start of report.md; the names of the files follow.
_MARK = "<!-- written by python -m sentiment.report, which replaces"


class Section(NamedTuple):
    """The finished runs on one data set.

    Attributes:
        name: settings that distinguish the data set.
        objective: that the results are sorted by.
        results: the best first, at least one.
        comparisons: with the best result, by index of the others.
        folders: of the runs of each result, relative to that of the report.
        table: of the results.
        comparison_table: None if nothing is compared.
        caption: of the second table.
        notes: what else readers should know.
    """

    name: str
    objective: str
    results: list[Result]
    comparisons: Mapping[int, Comparison | str]
    folders: list[list[str]]
    table: ReportTable
    comparison_table: ReportTable | None
    caption: str
    notes: list[str]


def write_report(paths: Sequence[Path], output: Path | None = None) -> list[Run]:
    """Print the comparison of runs, and write its files.

    Args:
        paths: folders of runs, sweeps and studies, among which may be others, as in `outputs/runs/*`.
        output: folder for the files; the one of the runs by default, or the parent of several.

    Returns:
        The runs.

    Raises:
        InputError: no run can be read, or a file would replace one that no report wrote.
        OSError: a file cannot be written.
    """
    runs, skipped = _read_all(paths)
    parent = Path(os.path.commonpath([path.resolve() for path in paths]))
    output = output.resolve() if output else parent
    sections, failures = [], [*skipped]
    for name, group in group_by_data(runs).items():
        objective = _find_objective(group)
        if results := summarize(group, objective):
            sections.append(_make_section(name, objective, group, results, output))
        for run in group:
            if run.status == "failed":
                failures.append(f"{_name(run, output)}: {run.metrics.get('error')}")
            elif run.status == "finished" and not has_result(run, objective):
                failures.append(f"{_name(run, output)}: finished without {objective}")
    status = Counter(run.status for run in runs).most_common()
    counts = ", ".join(f"{count} {name}" for name, count in status)
    summary = f"{len(runs)} run{'s' * (len(runs) != 1)}: {counts}"

    console = Console()
    for section in sections:
        if len(sections) > 1:
            _print_lines(console, "", section.name)
        _print_section(section, console)
    _print_lines(console, summary, *failures)

    figures = _draw_figures(parent, sections)
    lines = [f"# {parent.name}", "", summary]
    for section, figure in zip(sections, figures, strict=True):
        lines += ["", *_format_section(section, figure)]
    lines += ["", *(f"- {failure}" for failure in failures)]
    files = {
        "report.md": "\n".join(lines).rstrip() + "\n",
        "report.csv": _format_csv(_run_rows(runs, output)),
    }
    if sections:
        latex = [line for section in sections for line in _format_latex_section(section)]
        files["report_mean.csv"] = _format_csv(_mean_rows(sections, varying_keys(runs)))
        files["report.tex"] = "\n".join(latex) + "\n"
    texts = {name: text.encode(errors="backslashreplace") for name, text in files.items()}
    _write_files(output, texts | figures)
    _print_lines(console, f"{output}: {', '.join([*files, *figures])}")
    return runs


def _name(run: Run, output: Path) -> str:
    """Return the folder of a run, relative to that of the report."""
    path = run.path.resolve()
    return path.name if path == output else Path(os.path.relpath(path, output)).as_posix()


def _read_all(paths: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """Read the runs in all folders.

    Returns:
        The runs, and a line for each that cannot be read and for each path that has none.
    """
    runs: dict[Path, Run] = {}
    unreadable: list[str] = []
    empty: list[str] = []
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: no such folder; pass a run, a sweep or a study")
        found, problems = read_runs(path) if path.is_dir() else ([], [])
        runs |= {run.path.resolve(): run for run in found}
        unreadable += problems
        if not found and not problems and not (path.is_file() and _OWN_FILE.fullmatch(path.name)):
            empty.append(f"{path}: contains no run")
    if not runs and unreadable:
        raise InputError(unreadable[0])
    if not runs:
        contain = "contains" if len(paths) == 1 else "and the other arguments contain"
        raise InputError(
            f"{paths[0]}: {contain} no run (no .hydra/config.yaml); pass a run, a sweep or a study"
        )
    return list(runs.values()), [f"skipped {line}" for line in [*unreadable, *empty]]


def _find_objective(runs: Sequence[Run]) -> str:
    """Return the objective of the first run that has one."""
    found = (run.settings["objective"] for run in runs if "objective" in run.settings)
    return str(next(found, "val/accuracy"))


def _make_section(
    name: str, objective: str, runs: Sequence[Run], results: list[Result], output: Path
) -> Section:
    comparisons = compare_with_best(results)
    compared = [value for value in comparisons.values() if not isinstance(value, str)]
    reasons = Counter(value for value in comparisons.values() if isinstance(value, str))
    notes = describe_baselines(results)
    notes += [
        f"Not compared with the best: {n} of {len(comparisons)}, {reason}"
        for reason, n in reasons.items()
    ]
    if compared and any(run.settings.get("data.validate_on") == "test" for run in runs):
        notes.append(
            "data.validate_on=test: the best setting was chosen on the test set, so its lead is optimistic"
        )
    for result in results:
        if result.repeated:
            earlier = ", ".join(_name(run, output) for run in result.repeated)
            counted = ", ".join(_name(run, output) for run in result.runs.values())
            notes.append(f"Of runs with the same settings and seed, {counted} count, not {earlier}")
    if data_has_changed(runs):
        notes.append(
            "The data changed between these runs: data_fingerprint differs although their settings do not"
        )
    table = make_result_table(results, objective)
    comparison_table = make_comparison_table(results, comparisons) if compared else None
    folders = [[_name(run, output) for run in result.runs.values()] for result in results]
    caption = _describe_tests(compared)
    return Section(
        name, objective, results, comparisons, folders, table, comparison_table, caption, notes
    )


def _with_folders(section: Section) -> ReportTable:
    """Return the table of the results, with the folders of the runs: `units-8_seed-{1,2}`."""
    cells, settings = section.table
    names = []
    for folders in section.folders:
        prefix = os.path.commonprefix(folders)  # noqa: RUF071 (of characters, not of folders)
        rests = ",".join(folder.removeprefix(prefix) for folder in folders)
        names.append(escape_control_chars(prefix if len(folders) == 1 else f"{prefix}{{{rests}}}"))
    cells = cells.copy()
    cells.insert(settings, "folder", names)
    return ReportTable(cells, settings + 1)


def _describe_tests(compared: Sequence[Comparison]) -> str:
    """Return the caption of the comparisons, empty if there is none."""
    if not compared:
        return ""
    tests = []
    if any(comparison.seeds == 1 for comparison in compared):
        tests.append("McNemar's exact test of single runs, which says nothing of other seeds")
    if any(comparison.seeds > 1 for comparison in compared):
        tests.append(
            "t-test over the seeds that both have, whose variance includes that between reviews"
        )
    correction = f", corrected for {len(compared)} comparisons (Holm)" if len(compared) > 1 else ""
    return (
        "Compared with the best setting: difference of the test accuracies in points on the same "
        f"{compared[0].reviews:,} reviews, 95 % interval, p-value{correction}; {'; '.join(tests)}."
    )


def _print_section(section: Section, console: Console) -> None:
    print_table(_with_folders(section), console)
    if section.comparison_table:
        console.print(section.caption, highlight=False, markup=False)
        print_table(section.comparison_table, console)
    _print_lines(console, *section.notes)


def _print_lines(console: Console, *lines: str) -> None:
    if lines:
        console.print(
            *map(escape_control_chars, lines),
            sep="\n",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def _draw_figures(folder: Path, sections: Sequence[Section]) -> dict[str, bytes]:
    """Draw `report.png`, or `report_1.png` and so on of several data sets; return them by name."""
    figures = {}
    for i, section in enumerate(sections, 1):
        figure = (
            plot_study(load_study(folder))
            if is_study(folder)
            else plot_sweep(section.results, section.objective)
        )
        file = io.BytesIO()
        figure.savefig(file, dpi=150)
        figures["report.png" if len(sections) == 1 else f"report_{i}.png"] = file.getvalue()
    return figures


def _write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files of a report, report.md first, in place of those of an earlier one.

    Raises:
        InputError: a file would replace one that no report wrote.
    """
    earlier = _find_earlier_files(folder)
    for name in files.keys() - earlier:
        if os.path.lexists(folder / name):
            advice = "move it, or use --output FOLDER"
            raise InputError(f"{folder / name}: is not of an earlier report; {advice}")
    folder.mkdir(parents=True, exist_ok=True)
    for name in earlier - files.keys():
        (folder / name).unlink(missing_ok=True)
    files = {**files, "report.md": f"{_MARK} {' '.join(files)} -->\n".encode() + files["report.md"]}
    for name, content in files.items():
        with output_file(folder / name) as temporary:
            temporary.write_bytes(content)


def _find_earlier_files(folder: Path) -> set[str]:
    """Return the names of the files of the last report in a folder, as its report.md lists them."""
    file = folder / "report.md"
    if not file.is_file():
        return set()
    with file.open(encoding="utf-8", errors="replace") as lines:
        first = lines.readline(1000)
    if not first.startswith(_MARK):
        return set()
    return {name for name in first.split() if _OWN_FILE.fullmatch(name)}


def _format_section(section: Section, figure: str) -> list[str]:
    """Return the lines of a section of report.md."""
    table = format_markdown(_with_folders(section))
    lines = [f"## {section.name}", "", f"{_describe_order(section)}.", "", table]
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


def _run_rows(runs: Sequence[Run], output: Path) -> Iterator[list[Any]]:
    """Yield the header, and a row per run: folder, status, the settings that vary, seed, and all metrics."""
    keys = [*varying_keys(runs), "seed"]
    tags = sorted({tag for run in runs for tag in run.metrics} - {"status", *keys})
    yield ["folder", "status", *keys, *tags]
    for run in runs:
        yield [
            _name(run, output),
            run.status,
            *map(run.settings.get, keys),
            *map(run.metrics.get, tags),
        ]


def _mean_rows(sections: Sequence[Section], keys: Sequence[str]) -> Iterator[list[Any]]:
    """Yield the header, and a row per result: folders, settings, number, mean and sd of each metric.

    Then follows the comparison with the best result of the same data set; accuracies are fractions.
    """
    tags = sorted(
        {tag for section in sections for result in section.results for tag in result.mean}
    )
    compared = [f"vs best {name}" for name in ("difference", "low", "high", "p", "p_holm", "seeds")]
    yield [
        "folders",
        *keys,
        *(f"{tag} {name}" for tag in tags for name in ("n", "mean", "sd")),
        *compared,
    ]
    for section in sections:
        for i, result in enumerate(section.results):
            settings = next(iter(result.runs.values())).settings
            counts = result.metrics.count()
            row = [", ".join(section.folders[i]), *(settings.get(key) for key in keys)]
            for tag in tags:
                row += [counts.get(tag, 0), result.mean.get(tag), result.sd.get(tag)]
            comparison = section.comparisons.get(i)
            if isinstance(comparison, Comparison):
                row += [*comparison.difference, comparison.adjusted_p, comparison.seeds]
            yield row + [None] * (1 + len(keys) + 3 * len(tags) + len(compared) - len(row))


def _format_csv(rows: Iterable[Sequence[Any]]) -> str:
    file = io.StringIO(newline="")
    csv.writer(file).writerows(map(escape_csv_formula, row) for row in rows)
    return file.getvalue()
