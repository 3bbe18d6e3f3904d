"""The report on runs: tables in the terminal, report.md and .csv, report_mean.csv, pictures."""

import csv
import io
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from sentiment.analysis.figures.sweep import plot_sweep
from sentiment.analysis.figures.training import plot_study
from sentiment.analysis.report import tables
from sentiment.analysis.report.comparison import (
    BySeed,
    Comparison,
    compare_with_best,
    find_interval,
    read_correct,
)
from sentiment.analysis.report.learning_curve import describe_learning_curve
from sentiment.analysis.results import (
    Result,
    data_has_changed,
    group_by_data,
    has_result,
    load_study,
    read_runs,
    summarize,
    varying_keys,
)
from sentiment.analysis.run import Run
from sentiment.runtime.cli import escape_control_chars
from sentiment.runtime.errors import InputError
from sentiment.runtime.files import escape_csv_formula, output_file

_OWN_FILE = re.compile(r"report(_mean|_[0-9]+)?\.(csv|md|png)")
# At the start of report.md; the names of the files follow.
_MARK = "<!-- written by python -m sentiment.report, which replaces"
_COMPARED = ("difference", "low", "high", "p", "p_holm", "seeds")  # as the fields of `Comparison`


class Section(NamedTuple):
    """The finished runs on one data set."""

    name: str  # settings that distinguish the data set
    objective: str  # that the results are sorted by
    results: list[Result]  # the best first, at least one
    correct: list[BySeed | str]  # see `read_correct`
    comparisons: Mapping[int, Comparison | str]  # with the best result, by index of the others
    tables: list[tuple[str, tables.ReportTable]]  # of the results and comparisons, with captions
    notes: list[str]


def write_report(paths: Sequence[Path], output: Path | None = None) -> list[Run]:
    """Print the comparison of runs, and write its files; return the runs.

    The paths are folders of runs, sweeps and studies, or others, as in `outputs/runs/*`. The files
    go to `output`, by default the folder of the runs, or the parent of several.
    """
    runs, problems = _read_all(paths)
    parent = Path(os.path.commonpath([path.resolve() for path in paths]))
    output = output.resolve() if output else parent
    sections = []
    for name, group in group_by_data(runs).items():
        named = (run.settings["objective"] for run in group if "objective" in run.settings)
        objective = str(next(named, "val/accuracy"))
        if results := summarize(group, objective):
            sections.append(_make_section(name, objective, group, results, output))
        problems += _find_problems(group, objective, output)
    status = Counter(run.status for run in runs).most_common()
    counts = ", ".join(f"{count} {name}" for name, count in status)
    summary = f"{len(runs)} run{'s' * (len(runs) != 1)}: {counts}"
    _print_report(sections, [summary, *problems])

    figures = {}
    for i, section in enumerate(sections, 1):
        name = "report.png" if len(sections) == 1 else f"report_{i}.png"
        figures[name] = _draw_figure(parent, section)
    texts = {
        "report.md": _format_markdown(parent.name, summary, sections, [*figures], problems),
        "report.csv": _format_csv(_run_rows(runs, output)),
    }
    if sections:
        rows = _mean_rows(sections, varying_keys(runs), output)
        texts["report_mean.csv"] = _format_csv(rows)
    files = {name: text.encode(errors="backslashreplace") for name, text in texts.items()}
    _write_files(output, files | figures)
    _print_lines(f"{output}: {', '.join([*files, *figures])}")
    return runs


def _read_all(paths: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """The runs, and a line for each that cannot be read and for each path that has none."""
    runs: dict[Path, Run] = {}
    advice = "pass a run, a sweep or a study"
    missing = [f"{path}: no such folder; {advice}" for path in paths if not path.exists()]
    unreadable, empty = [], []
    for path in paths:
        found, problems = read_runs(path) if path.is_dir() else ([], [])
        runs |= {run.path.resolve(): run for run in found}
        unreadable += problems
        is_report = path.is_file() and _OWN_FILE.fullmatch(path.name)
        if not found and not problems and not is_report:
            empty.append(f"{path}: contains no run")
    if missing or not runs:
        nothing = f"{paths[0]}: contains no run (no .hydra/config.yaml); {advice}"
        raise InputError([*missing, *unreadable, nothing][0])
    return list(runs.values()), [f"skipped {line}" for line in [*unreadable, *empty]]


def _name(run: Run, output: Path) -> str:
    """The folder of a run, relative to that of the report."""
    path = run.path.resolve()
    return path.name if path == output else Path(os.path.relpath(path, output)).as_posix()


def _folders(result: Result, output: Path) -> list[str]:
    return [_name(run, output) for run in result.runs.values()]


def _find_problems(runs: Sequence[Run], objective: str, output: Path) -> Iterator[str]:
    for run in runs:
        if run.status == "failed":
            yield f"{_name(run, output)}: {run.metrics.get('error')}"
        elif run.status == "finished" and not has_result(run, objective):
            yield f"{_name(run, output)}: finished without {objective}"


def _make_section(
    name: str, objective: str, runs: Sequence[Run], results: list[Result], output: Path
) -> Section:
    correct = [read_correct(result) for result in results]
    comparisons = compare_with_best(correct)
    compared = [value for value in comparisons.values() if isinstance(value, Comparison)]
    reasons = Counter(value for value in comparisons.values() if isinstance(value, str))
    notes = tables.describe_baselines(results)
    if curve := describe_learning_curve(results, correct):
        notes.append(curve)
    for reason, number in reasons.items():
        notes.append(f"Not compared with the best: {number} of {len(comparisons)}, {reason}")
    if compared and any(run.settings.get("data.validate_on") == "test" for run in runs):
        chosen = "the best setting was chosen on the test set, so its lead is optimistic"
        notes.append(f"data.validate_on=test: {chosen}")
    for result in results:
        if result.repeated:
            earlier = ", ".join(_name(run, output) for run in result.repeated)
            counted = ", ".join(_folders(result, output))
            notes.append(f"Of runs with the same settings and seed, {counted} count, not {earlier}")
    if data_has_changed(runs):
        change = "data_fingerprint differs although their settings do not"
        notes.append(f"The data changed between these runs: {change}")
    folders = [_folders(result, output) for result in results]
    shown = "accuracies in per cent, mean ± standard deviation over seeds"
    order = f"Sorted by {objective}; {shown}."
    captioned = [(order, tables.make_result_table(results, objective, folders))]
    if compared:
        table = tables.make_comparison_table(results, comparisons)
        captioned.append((_describe_tests(compared), table))
    return Section(name, objective, results, correct, comparisons, captioned, notes)


def _describe_tests(compared: Sequence[Comparison]) -> str:
    single = "McNemar's exact test of single runs, which says nothing of other seeds"
    paired = "t-test over the seeds that both have, whose variance includes that between reviews"
    tests = [single] if any(comparison.seeds == 1 for comparison in compared) else []
    tests += [paired] if any(comparison.seeds > 1 for comparison in compared) else []
    correction = f", corrected for {len(compared)} comparisons (Holm)" if len(compared) > 1 else ""
    return (
        "Compared with the best setting: difference of the test accuracies in points on the same "
        f"{compared[0].reviews:,} reviews, 95 % interval, p-value{correction}; {'; '.join(tests)}."
    )


def _print_report(sections: Sequence[Section], lines: Sequence[str]) -> None:
    for section in sections:
        if len(sections) > 1:
            _print_lines("", section.name)
        for caption, table in section.tables:
            Console().print(caption, highlight=False, markup=False)
            tables.print_table(table, Console())
        _print_lines(*section.notes)
    _print_lines(*lines)


def _print_lines(*lines: str) -> None:
    for line in lines:
        Console().print(escape_control_chars(line), highlight=False, markup=False, soft_wrap=True)


def _draw_figure(folder: Path, section: Section) -> bytes:
    study = load_study(folder)
    if study:
        figure = plot_study(study)
    else:
        intervals = [find_interval(correct) for correct in section.correct]
        figure = plot_sweep(section.results, section.objective, intervals)
    file = io.BytesIO()
    figure.savefig(file, dpi=150)
    return file.getvalue()


def _write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files of a report, report.md first, in place of those of an earlier one."""
    earlier = _find_earlier_files(folder)
    for path in (folder / name for name in files.keys() - earlier):
        if os.path.lexists(path):
            advice = "move it, or use --output FOLDER"
            raise InputError(f"{path}: is not of an earlier report; {advice}")
    folder.mkdir(parents=True, exist_ok=True)
    for name in earlier - files.keys():
        (folder / name).unlink(missing_ok=True)
    files = {**files, "report.md": f"{_MARK} {' '.join(files)} -->\n".encode() + files["report.md"]}
    for name, content in files.items():
        with output_file(folder / name) as temporary:
            temporary.write_bytes(content)


def _find_earlier_files(folder: Path) -> set[str]:
    """The files of the last report in a folder, as its report.md lists them."""
    file = folder / "report.md"
    if not file.is_file():
        return set()
    with file.open(encoding="utf-8", errors="replace") as lines:
        first = lines.readline(1000)
    is_own = first.startswith(_MARK)
    return {name for name in first.split() if is_own and _OWN_FILE.fullmatch(name)}


def _format_markdown(
    title: str,
    summary: str,
    sections: Sequence[Section],
    figures: Sequence[str],
    problems: Sequence[str],
) -> str:
    blocks = [f"# {title}", summary]
    for section, figure in zip(sections, figures, strict=True):
        blocks.append(f"## {section.name}")
        for caption, table in section.tables:
            blocks += [caption, tables.format_markdown(table)]
        blocks += [f"![comparison]({figure})", *(f"{note}." for note in section.notes)]
    blocks += ["\n".join(f"- {problem}" for problem in problems)] * bool(problems)
    return "\n\n".join(blocks) + "\n"


def _run_rows(runs: Sequence[Run], output: Path) -> Iterator[dict[str, Any]]:
    """A row per run: folder, status, the settings that vary, seed, and all metrics."""
    keys = [*varying_keys(runs), "seed"]
    for run in runs:
        row: dict[str, Any] = {"folder": _name(run, output), "status": run.status}
        row |= {key: run.settings.get(key) for key in keys}
        yield row | {tag: value for tag, value in run.metrics.items() if tag not in row}


def _mean_rows(
    sections: Sequence[Section], keys: Sequence[str], output: Path
) -> Iterator[dict[str, Any]]:
    """A row per result: folders, settings, number, mean and sd of each metric.

    Then follows the comparison with the best result of the same data set; accuracies are fractions.
    """
    tags = sorted({tag for section in sections for one in section.results for tag in one.mean})
    for section in sections:
        for i, result in enumerate(section.results):
            settings = next(iter(result.runs.values())).settings
            row: dict[str, Any] = {"folders": ", ".join(_folders(result, output))}
            row |= {key: settings.get(key) for key in keys}
            for tag in tags:
                row[f"{tag} n"] = result.metrics.count().get(tag, 0)
                row |= {f"{tag} mean": result.mean.get(tag), f"{tag} sd": result.sd.get(tag)}
            if isinstance(comparison := section.comparisons.get(i), Comparison):
                row |= {f"vs best {k}": v for k, v in zip(_COMPARED, comparison, strict=False)}
            yield row


def _format_csv(rows: Iterator[dict[str, Any]]) -> str:
    escaped = [{escape_csv_formula(k): escape_csv_formula(row[k]) for k in row} for row in rows]
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, dict.fromkeys(key for row in escaped for key in row))
    writer.writeheader()
    writer.writerows(escaped)
    return file.getvalue()
