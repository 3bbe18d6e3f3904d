import csv
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset

from sentiment.analysis.run import Run
from sentiment.runtime.errors import InputError
from sentiment.runtime.run_folder import CHUNK_SIZE, RunFolder
from tests.helpers import compose_config


def test_predictions_say_where_a_review_stands_and_what_it_says(tmp_path: Path) -> None:
    count = CHUNK_SIZE + 2
    texts = ["two\nlines", "=1+1", *(f"film {i}" for i in range(2, count))]
    columns = {
        "text": texts,
        "file": ["a.csv"] * count,
        "row": range(1, count + 1),
        "id": [f"t{i}" for i in range(count)],
    }
    probabilities = np.array([[0.75, 0.25], [0.4, 0.6]] * (count // 2), dtype=np.float32)
    labels = np.zeros(count, dtype=np.int64)
    reviews = Dataset.from_dict(columns)
    run = RunFolder(tmp_path)
    run.write_predictions(reviews, labels, probabilities, ["bad", "good"])
    with open(run.predictions_file, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == count
    assert rows[0] == {
        "file": "a.csv",
        "row": "1",
        "id": "t0",
        "label": "bad",
        "predicted": "bad",
        "p(bad)": "0.750000",
        "p(good)": "0.250000",
        "text": "two\nlines",
    }
    assert (rows[1]["predicted"], rows[1]["text"]) == ("good", "'=1+1")
    assert [row["text"] for row in rows[2:]] == texts[2:]


def test_folder_is_held_by_one_process_at_a_time(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "a" / "run")
    with run.claim():
        with (
            pytest.raises(InputError, match=r"run: another process writes to this folder"),
            run.claim(),
        ):
            pytest.fail("claimed twice")
        run.write_metrics({})
    assert [path.name for path in run.path.iterdir()] == ["metrics.json"]
    with run.claim(new=False):
        pass


def test_new_run_needs_a_folder_without_visible_files(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    (tmp_path / ".gitkeep").touch()
    with run.claim():
        pass
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match=r": is not empty; choose a new folder$"), run.claim():
        pytest.fail("claimed")
    (tmp_path / "notes.txt").unlink()
    run.write_config(compose_config("output_dir=x"))
    with (
        pytest.raises(InputError, match=rf"or continue its run with resume={tmp_path}$"),
        run.claim(),
    ):
        pytest.fail("claimed")


def test_log_is_written_from_the_first_message_on(tmp_path: Path) -> None:
    run, log = RunFolder(tmp_path), logging.getLogger("sentiment.test")
    with run.log_to("train.log"):
        assert not [*tmp_path.iterdir()]
        log.warning("one")
    log.warning("two")
    assert (tmp_path / "train.log").read_text().endswith("[sentiment.test][WARNING] - one\n")


READERS: dict[str, Callable[[Path], Any]] = {
    ".hydra/config.yaml": lambda folder: RunFolder(folder).read_config(),
    "metrics.json": lambda folder: RunFolder(folder).read_metrics(),
    "test_predictions.csv": lambda folder: Run(RunFolder(folder), {}, {}).predictions,
    "history.csv": lambda folder: Run(RunFolder(folder), {}, {}).history,
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_not_waited_for(
    tmp_path: Path, name: str, make: Callable[[Path], Any]
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    make(path)
    with pytest.raises(InputError, match=f"^{path}: is no regular file; "):
        READERS[name](tmp_path)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5000, "[1]", "\x00"])
def test_damaged_metrics_are_reported_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(InputError, match=r"metrics\.json: cannot be read .*; remove it") as error:
        RunFolder(tmp_path).read_metrics()
    assert "\n" not in str(error.value)


def test_configuration_of_few_lines_cannot_stand_for_a_billion_values(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.config_file.parent.mkdir()
    lines = ["data: {}", "x0: &x0 [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"]
    lines += [f"x{n + 1}: &x{n + 1} [{', '.join([f'*x{n}'] * 10)}]" for n in range(8)]
    run.config_file.write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"config\.yaml: cannot be read"):
        run.read_config()
    run.config_file.write_text("data: {path: '*.csv', x: 2 * 3}")
    cfg = run.read_config()
    assert cfg is not None
    assert cfg.data == {"path": "*.csv", "x": "2 * 3"}


def test_claim_keeps_a_lock_file_of_another_program(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("mine")
    other = pytest.raises(InputError, match="another process writes to this folder")
    with RunFolder(tmp_path).claim(), other, RunFolder(tmp_path).claim():
        pass
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(".lock", "mine")]
