"""The `--help` of commands that Hydra configures."""

import re
import textwrap
from typing import Any

import pytest

from sentiment.runtime.config import CONF_DIR
from sentiment.runtime.help import format_help
from tests.helpers import compose_config


@pytest.mark.parametrize("name", ["config", "tune", "evaluate"])
def test_help_shows_the_files_of_the_default_options(name: str) -> None:
    shown = format_help("Do it.", name)
    assert shown.startswith("Do it.\n")
    cfg: Any = compose_config(name=name)
    files = [*CONF_DIR.glob(f"{name}.yaml"), *CONF_DIR.glob("*/default.yaml")]
    for file in files:
        if file.parent == CONF_DIR or file.parent.name in cfg:
            assert textwrap.indent(file.read_text().rstrip(), "  ", lambda line: True) in shown


def test_help_shows_every_option_of_every_group() -> None:
    shown = format_help(None, "tune") + format_help(None, "config")
    listed = dict(re.findall(r"^  ([\w/]+)=(\S+\|\S+|default|cross_entropy)$", shown, re.MULTILINE))
    for file in CONF_DIR.glob("*/*.yaml"):
        if ": ???" not in file.read_text():
            assert file.stem in listed[file.parent.name].split("|")
    assert {"basic", "joblib", "slurm"} <= {*listed["hydra/launcher"].split("|")}
