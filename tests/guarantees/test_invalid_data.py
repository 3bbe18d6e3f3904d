"""Faults of a file of reviews, in every format and read by every command, and unusual reviews that are valid."""

import csv
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from sentiment import predict
from sentiment.runtime.config import instantiate_checked
from sentiment.runtime.errors import InputError
from sentiment.runtime.run_folder import RunFolder
from sentiment.training.experiment import run_experiment
from tests.helpers import Compose, evaluate_quick, read_metrics

VALID = pd.DataFrame(
    {"text": ["a good film", "a café, bad", "good", "bad"] * 9, "label": ["good", "bad"] * 18}
)
UNUSUAL = ["", "?!", "zzz qqq", "good " * 100_000, "电影 很好", "null", "NA", "\x00", "a\tb"]
UNTYPED = {"csv", "tsv"}  # formats in which every cell is text
WRITERS: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    "csv": lambda table, path: table.to_csv(path, index=False),
    "tsv": lambda table, path: table.to_csv(path, index=False, sep="\t"),
    "jsonl": lambda table, path: table.to_json(
        path, orient="records", lines=True, force_ascii=False
    ),
    "parquet": lambda table, path: table.to_parquet(path),
}
# fault: what it does to the bytes or the table, the message, and the formats that cannot have it
BYTE_FAULTS: dict[str, tuple[Callable[[bytes], bytes], str, set[str]]] = {
    "empty": (
        lambda content: b"",
        r"reviews\.\w+: (contains no rows|cannot be read as parquet)",
        set(),
    ),
    "truncated": (
        lambda content: content[:-3],
        "cannot be read as",
        UNTYPED,
    ),  # part of a word is a word
    "latin1": (
        lambda content: content.replace("é".encode(), b"\xe9"),
        r"not in UTF-8 near .*caf.*; .*cp1252",
        {"parquet"},
    ),
}
TABLE_FAULTS: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], str, set[str]]] = {
    "no rows": (lambda table: table[:0], "contains no rows|is empty", set()),
    "other text column": (
        lambda table: table.rename(columns={"text": "review"}),
        "text: no such column in .*; it has review, label; type .*NAME",
        set(),
    ),
    "numbers": (
        lambda table: table.assign(text=range(36)),
        "row 1, column text holds 0, not text",
        UNTYPED,
    ),
    "other label column": (
        lambda table: table.rename(columns={"label": "stars"}),
        "data.label_column=label: no such column .*; type data.label_column=NAME",
        set(),
    ),
    "lists": (
        lambda table: table.assign(label=[[1]] * 36),
        r"row 1, column label holds \[1\]",
        UNTYPED,
    ),
    "unknown label": (lambda table: table.assign(label=[0, 1] * 18), "class|every label", set()),
    "one class": (lambda table: table.assign(label="good"), "every label is good", set()),
}
FAULTS = BYTE_FAULTS | TABLE_FAULTS
VALID_FOR = {  # what a command does not read, or does not need
    "train": {"unknown label"},
    "evaluate": {"one class"},
    "predict": {"no rows", "other label column", "lists", "unknown label", "one class"},
}
CASES = [
    (fault, suffix, command)
    for fault, (_, _, impossible) in FAULTS.items()
    for suffix in sorted(WRITERS.keys() - impossible)
    for command, valid in VALID_FOR.items()
    if fault not in valid
]


def write(folder: Path, suffix: str, fault: str) -> Path:
    path = folder / f"reviews.{suffix}"
    if fault in BYTE_FAULTS:
        WRITERS[suffix](VALID, path)
        path.write_bytes(BYTE_FAULTS[fault][0](path.read_bytes()))
    else:
        WRITERS[suffix](TABLE_FAULTS[fault][0](VALID), path)
    return path


def predict_file(checkpoint: Path, file: Path) -> None:
    settings = {
        "text": [],
        "format": "jsonl",
        "ensemble": [],
        "no_header": False,
        "min_probability": 0.0,
        "column": None,
    }
    settings |= {"separator": None, "encoding": None, "encoding_errors": None, "trust": []}
    predict.run(Namespace(checkpoint=checkpoint, file=file, **settings))


@pytest.mark.parametrize(("fault", "suffix", "command"), CASES)
def test_invalid_data_raises_one_line(
    run: Path, composed: Compose, tmp_path: Path, fault: str, suffix: str, command: str
) -> None:
    path = write(tmp_path, suffix, fault)
    read: dict[str, Callable[[], object]] = {
        "train": lambda: run_experiment(composed(f"data.path={path}")),
        "evaluate": lambda: evaluate_quick(
            tmp_path / "e", f"checkpoint={run}", "data=files", f"data.path={path}"
        ),
        "predict": lambda: predict_file(run, path),
    }
    with pytest.raises(InputError, match=FAULTS[fault][1]) as raised:
        read[command]()
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.glob("e/*"))


@pytest.fixture(params=WRITERS)
def unusual(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A file of unusual reviews, in every format."""
    path = tmp_path / f"reviews.{request.param}"
    WRITERS[request.param](VALID.assign(text=[*UNUSUAL, *VALID["text"][len(UNUSUAL) :]]), path)
    return path


def test_unusual_reviews_are_trained_on(unusual: Path, composed: Compose, tmp_path: Path) -> None:
    cfg = composed(f"data.path={unusual}")
    run_experiment(cfg)
    assert read_metrics(tmp_path)["status"] == "finished"
    datamodule = instantiate_checked(cfg.data, "data", seed=cfg.seed)
    datamodule.setup()
    assert sum(map(len, datamodule.splits.values())) == len(VALID) - 1  # without the empty text
    with open(RunFolder(tmp_path).predictions_file, newline="") as file:
        assert len(list(csv.DictReader(file))) == len(datamodule.splits["test"])


def test_unusual_reviews_are_evaluated(unusual: Path, run: Path, tmp_path: Path) -> None:
    evaluate_quick(
        tmp_path / "evaluation", f"checkpoint={run}", "data=files", f"data.path={unusual}"
    )
    assert read_metrics(tmp_path / "evaluation")["reviews"] == len(VALID) - 1


def test_unusual_reviews_are_predicted(
    unusual: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predict_file(run, unusual)
    assert len(capsys.readouterr().out.splitlines()) == len(VALID)
