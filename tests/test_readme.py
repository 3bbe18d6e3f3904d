"""The README shows recorded results, and its links and keys exist."""

import re

from sentiment.runtime.config import CONF_DIR
from tests.benchmarks.results import format_table, read_results
from tests.helpers import ROOT

DOCUMENTS = [
    ROOT / name
    for name in ("README.md", "CONTRIBUTING.md", "tests/README.md", "conf/experiment/README.md")
]


def test_table_of_results_is_that_of_the_recorded_metrics() -> None:
    assert format_table(read_results()) in (ROOT / "README.md").read_text()


def test_readme_has_at_most_200_lines() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


def test_links_lead_to_files() -> None:
    for document in DOCUMENTS:
        links = re.findall(r"\]\((?!https?://)([^)#]+)\)", document.read_text())
        assert not [link for link in links if not (document.parent / link).exists()]


def test_options_in_the_readme_are_those_of_the_configuration() -> None:
    text = (ROOT / "README.md").read_text()
    for group in (
        "data",
        "model",
        "optimizer",
        "scheduler",
        "baseline",
        "trainer",
        "callbacks",
        "logger",
        "self_training",
        "experiment",
    ):
        row = re.search(rf"^\| `{group}` \| ([^|]+) \|", text, re.MULTILINE)
        assert row, group
        options = {path.stem for path in (CONF_DIR / group).glob("*.yaml")}
        if group == "data":
            options -= {"default"}
        assert set(re.findall(r"`(\w+)`", row[1])) == options
