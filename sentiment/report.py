"""Compare the runs of a sweep, of a study or any others: tables, pictures, report.md and .csv.

python -m sentiment.report outputs/sweeps/2026-01-31_12-00-00
python -m sentiment.report outputs/studies/default
python -m sentiment.report outputs/runs/*
python -m sentiment.report RUN1 RUN2

Runs on different data sets have tables and pictures of their own. The setting that is best on the validation set is
compared with each other one on the reviews of the test set: McNemar's exact test for single runs, a t-test for several
seeds. The files are written into the folder, or into the parent of several, or into --output FOLDER, but never in
place of a file that no report wrote: report.csv has a row per run, report_mean.csv one per setting. Sweeps and studies
write them at their end.
"""

from argparse import Namespace
from pathlib import Path

from sentiment.runtime.cli import CommandParser


def run(arguments: Namespace) -> None:
    from sentiment.analysis.report.report import write_report  # takes seconds

    write_report(arguments.folder, arguments.output)


def main() -> None:
    parser = CommandParser("report", __doc__)
    folders = "folder of a run, a sweep or a study; others are skipped"
    parser.add_argument("folder", type=Path, nargs="+", help=folders)
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="folder for the files")
    parser.run(run)


if __name__ == "__main__":
    main()
