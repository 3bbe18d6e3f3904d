import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset

from sentiment.data.sources import Corpus, find
from sentiment.errors import InputError

from .conftest import write_csv

ROWS: list[tuple[str, object]] = [
    ("Good, really.", 1),
    ('Not "good"', 0),
    ("null", 1),
    ("a film in\ntwo lines", 0),
    ("", 1),
    ("电影很好", 0),
]


def load(path: Path, source: str = "files", **columns: str) -> Corpus:
    named = {"text_column": "text", "label_column": "label"} | columns
    return find(source, str(path), test_fraction=0.34, split_seed=0, **named).load()


def write(path: Path, rows: list[tuple[str, object]]) -> None:
    table = Dataset.from_dict({"text": [text for text, _ in rows], "label": [label for _, label in rows]})
    match path.suffix:
        case ".parquet":
            table.to_parquet(path)
        case ".jsonl":
            path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
        case ".tsv":
            table.to_csv(path, sep="\t", index=False)
        case _:
            write_csv(path, rows)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_every_format_gives_the_same_corpus(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"train.{suffix}", ROWS)
    write(tmp_path / f"test.{suffix}", ROWS[:2])
    corpus = load(tmp_path)
    assert corpus.texts["text"][:] == [text for text, _ in ROWS + ROWS[:2]]
    assert corpus.labels.tolist() == [1, 0, 1, 0, 1, 0, 1, 0]
    assert corpus.train_rows == 6
    assert corpus.label_names == ["0", "1"]


def test_a_single_file_is_split_with_every_class_in_proportion(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "reviews.csv", [(f"text {i}", i % 2) for i in range(100)])
    corpus = load(path)
    assert corpus.train_rows == 66
    assert abs(corpus.labels[66:].mean() - 0.5) < 0.02
    assert sorted(corpus.texts["text"]) == sorted(f"text {i}" for i in range(100))


def test_text_labels_are_numbered_by_alphabet_and_whole_numbers_by_value(tmp_path: Path) -> None:
    rows: list[tuple[str, object]] = [(str(i), ("meh", "good", "bad")[i % 3]) for i in range(9)]
    assert load(write_csv(tmp_path / "words.csv", rows)).label_names == ["bad", "good", "meh"]
    rows = [(str(i), (10, 9, 2)[i % 3]) for i in range(9)]
    assert load(write_csv(tmp_path / "stars.csv", rows)).label_names == ["2", "9", "10"]


def test_named_classes_keep_their_names(tmp_path: Path) -> None:
    table = Dataset.from_dict({"text": list("abcdef"), "label": [0, 1, 2] * 2})
    table = table.cast_column("label", ClassLabel(names=["z", "y", "x"]))
    table.to_parquet(tmp_path / "train.parquet")
    table.to_parquet(tmp_path / "test.parquet")
    assert load(tmp_path).label_names == ["z", "y", "x"]


def test_other_columns_can_hold_the_reviews(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "reviews.csv", ROWS, columns=("review", "stars"))
    assert set(load(path, text_column="review", label_column="stars").label_names) == {"0", "1"}


def test_a_changed_file_is_another_source(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "reviews.csv", ROWS)
    before = find("files", str(path), "text", "label", 0.34, 0).fingerprint
    write_csv(path, [*ROWS, ("one more", 1)])
    assert find("files", str(path), "text", "label", 0.34, 0).fingerprint != before


def test_the_original_tree_and_parquet_give_the_same_imdb(tmp_path: Path) -> None:
    tree, table = tmp_path / "tree", tmp_path / "table"
    table.mkdir()
    for half in ("train", "test"):
        rows: list[tuple[str, object]] = []
        for label, name in enumerate(("neg", "pos")):
            (tree / "aclImdb" / half / name).mkdir(parents=True)
            for number in range(12):
                rows.append((f"{half} {name} {number}", label))
                (tree / "aclImdb" / half / name / f"{number}_{label * 9 + 1}.txt").write_text(str(rows[-1][0]))
        write(table / f"{half}-00000-of-00001.parquet", rows)
    first, second = load(tree, "imdb"), load(table, "imdb")
    assert first.texts["text"][:] == second.texts["text"][:]
    assert np.array_equal(first.labels, second.labels)
    assert first.label_names == second.label_names == ["negative", "positive"]


def _two_files(train: list[tuple[str, object]], test: list[tuple[str, object]]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        write(folder / "train.jsonl", train)
        write(folder / "test.jsonl", test)
        return folder

    return make


def _one_file(name: str, content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def _truncated_parquet(folder: Path) -> Path:
    write(folder / "whole.parquet", ROWS)
    (folder / "reviews.parquet").write_bytes((folder / "whole.parquet").read_bytes()[:-40])
    return folder / "reviews.parquet"


def _broken_tree(folder: Path) -> Path:
    for name in ("neg", "pos"):
        (folder / "train" / name).mkdir(parents=True)
        (folder / "train" / name / "0_1.txt").write_bytes(b"caf\xe9")
    return folder


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "absent", "data.path=.*: no such file or folder"),
        (lambda folder: folder, r"no train\.\* there"),
        (_one_file("reviews.xlsx", b"x"), r"cannot read \.xlsx"),
        (_one_file("reviews.csv", b""), "empty"),
        (_one_file("reviews.csv", b"text,label\n"), "no reviews in it"),
        (_one_file("reviews.csv", b"review,label\na,1\n"), "data.text_column=text: no such column .* review, label"),
        (_one_file("reviews.csv", b"text,stars\na,1\n"), "data.label_column=label: no such column"),
        (_one_file("reviews.csv", b"text,label\ncaf\xe9,1\n"), "cannot be read as csv in UTF-8"),
        (_one_file("reviews.csv", b"text,label\na,1\nb,1\nc,1\n"), "every label is 1"),
        (_one_file("reviews.csv", b"text,label\na, b,1\nc, d,0\n"), "cannot be read as csv"),
        (_one_file("reviews.csv", b"text,label\na,1\nc, d,0\n"), "cannot be read as csv"),
        (_one_file("reviews.jsonl", b'{"text": "a", "label": [1]}\n{"text": "b", "label": [0]}\n'), "labels are whole"),
        (_one_file("reviews.jsonl", b'{"text": "a", "label": 0.5}\n{"text": "b", "label": 1.5}\n'), "labels are whole"),
        (_one_file("reviews.csv", b"text,label\na,1\nb,0\nc,1\n"), "data.test_fraction=.*too few rows"),
        (_one_file("reviews.jsonl", b'{"text": null, "label": 1}\n{"text": "a", "label": 0}\n'), "1 empty cells"),
        (_one_file("reviews.jsonl", b'{"text": "a", "label": null}\n{"text": "a", "label": 0}\n'), "1 empty cells"),
        (_one_file("reviews.jsonl", b'{"text": 7, "label": 1}\n{"text": 8, "label": 0}\n'), "holds int64, not text"),
        (_one_file("reviews.jsonl", b'{"text": "a", "la'), "cannot be read as jsonl"),
        (_two_files(ROWS, [("a", 2)]), "label 2 stands in the test half but not in train"),
        (_truncated_parquet, "cannot be read as parquet"),
    ],
)
def test_wrong_files_are_told_in_one_line(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        load(make(tmp_path))
    assert "\n" not in str(refused.value)


def test_undecodable_or_missing_files_of_the_tree_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not UTF-8"):
        load(_broken_tree(tmp_path), "imdb")
