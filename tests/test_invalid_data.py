"""Every fault that a file of reviews may have, in every format, told by every tool that reads one; and what is none."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from sentiment.errors import InputError
from sentiment.predict import predict
from sentiment.train import train

from .conftest import Compose
from .test_evaluate import evaluated
from .test_predict import arguments

RIGHT = pd.DataFrame({"text": ["a good film", "a café, bad", "good", "bad"] * 9, "label": ["good", "bad"] * 18})
TEXT = {"csv", "tsv"}  # formats in which everything is text
WRITERS: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    "csv": lambda table, path: table.to_csv(path, index=False),
    "tsv": lambda table, path: table.to_csv(path, index=False, sep="\t"),
    "jsonl": lambda table, path: table.to_json(path, orient="records", lines=True, force_ascii=False),
    "parquet": lambda table, path: table.to_parquet(path),
}
# fault: how the table or its bytes are spoilt, what is told, and the formats in which it is none
FAULTS: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame] | Callable[[bytes], bytes], str, set[str]]] = {
    "empty": (lambda content: b"", "reviews.*: (empty|cannot be read as parquet)", set()),
    "cut": (lambda content: content[:-3], "cannot be read as", TEXT),  # half a row of CSV is a row
    "latin1": (lambda content: content.replace("é".encode(), b"\xe9"), "cannot be read as|is not UTF-8", {"parquet"}),
    "no rows": (lambda table: table[:0], "no reviews in it|: empty", set()),
    "other column": (
        lambda table: table.rename(columns={"text": "review"}),
        "text: no such column in .* it has",
        set(),
    ),
    "null text": (lambda table: table.replace("good", None), "column text (holds|has)", TEXT),  # "" is a review
    "numbers": (lambda table: table.assign(text=range(36)), "column text holds", TEXT),
    "other label": (lambda table: table.rename(columns={"label": "stars"}), "data.label_column=label: no such", set()),
    "null label": (lambda table: table.assign(label=[None, *table["label"][1:]]), "column label has 1 empty", set()),
    "fractions": (lambda table: table.assign(label=[0.5, 1.5] * 18), "column label holds (float|double)", TEXT),
    "unknown label": (lambda table: table.assign(label=[0, 1] * 18), "class|every label", set()),
    "one class": (lambda table: table.assign(label="good"), "every label is good", set()),
}
NONE_FOR = {  # what a tool does not read, or need
    "train": {"unknown label"},
    "evaluate": set[str](),
    "predict": {"no rows", "other label", "null label", "fractions", "unknown label", "one class"},
}


def write(folder: Path, suffix: str, fault: str) -> Path:
    path = folder / f"reviews.{suffix}"
    spoil = FAULTS[fault][0]
    if fault in ("empty", "cut", "latin1"):
        WRITERS[suffix](RIGHT, path)
        path.write_bytes(spoil(path.read_bytes()))
    else:
        WRITERS[suffix](spoil(RIGHT), path)
    return path


def told(tool: str, run: Path, path: Path, composed: Compose, folder: Path) -> None:
    match tool:
        case "train":
            train(composed(f"data.path={path}"))
        case "evaluate":
            evaluated(folder / "evaluation", f"checkpoint={run}", "data=files", f"data.path={path}")
        case "predict":
            predict(arguments(run, file=path))


CASES = [
    (fault, suffix, tool)
    for fault, (_, _, none_in) in FAULTS.items()
    for suffix in sorted(WRITERS.keys() - none_in)
    for tool, needless in NONE_FOR.items()
    if fault not in needless
]


@pytest.mark.parametrize(("fault", "suffix", "tool"), CASES)
def test_wrong_data_is_told_in_one_line(
    run: Path, composed: Compose, tmp_path: Path, fault: str, suffix: str, tool: str
) -> None:
    with pytest.raises(InputError, match=FAULTS[fault][1]) as refused:
        told(tool, run, write(tmp_path, suffix, fault), composed, tmp_path)
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.glob("evaluation/*"))


@pytest.mark.parametrize("tool", ["train", "evaluate", "predict"])
@pytest.mark.parametrize("suffix", WRITERS)
def test_unusual_reviews_are_none(run: Path, composed: Compose, tmp_path: Path, suffix: str, tool: str) -> None:
    unusual = ["", "?!", "zzz qqq", "good " * 100_000, "电影 很好", "null", "NA", "\x00", "a\tb"]
    texts = [*unusual, *RIGHT["text"][: 36 - len(unusual)]]
    WRITERS[suffix](RIGHT.assign(text=texts), tmp_path / f"reviews.{suffix}")
    told(tool, run, tmp_path / f"reviews.{suffix}", composed, tmp_path)
