import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict

from sentiment.data.sources import Corpus, Source, resolve_source
from sentiment.runtime.errors import InputError
from tests.helpers import write_csv

Rows = list[tuple[str, object]]

ROWS: Rows = [
    ("Good, really.", 1),
    ('Not "good"', 0),
    ("null", 1),
    ("a film in\ntwo lines", 0),
    ("", 1),
    ("电影很好", 0),
]


def resolve(
    path: Path,
    source: str = "files",
    text_column: str = "text",
    label_column: str = "label",
    test_fraction: float = 0.34,
) -> Source:
    return resolve_source(source, str(path), text_column, label_column, test_fraction, split_seed=0)


def load(path: Path, source: str = "files", text_column: str = "text", label_column: str = "label") -> Corpus:
    return resolve(path, source, text_column, label_column).load()


def write(path: Path, rows: Rows) -> Path:
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
    return path


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_every_format_gives_the_same_corpus(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"train.{suffix}", ROWS)
    write(tmp_path / f"test.{suffix}", ROWS[:2])
    corpus = load(tmp_path)
    assert corpus.texts["text"][:] == [text for text, _ in ROWS + ROWS[:2]]
    assert corpus.labels.dtype == np.int64
    assert corpus.labels.tolist() == [1, 0, 1, 0, 1, 0, 1, 0]
    assert corpus.train_rows == 6
    assert corpus.label_names == ["0", "1"]


def test_single_file_is_split_in_proportion_to_the_classes(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "reviews.csv", [(f"text {i}", i % 2) for i in range(100)])
    corpus = load(path)
    assert corpus.train_rows == 66
    assert abs(corpus.labels[66:].mean() - 0.5) < 0.02
    assert sorted(corpus.texts["text"]) == sorted(f"text {i}" for i in range(100))
    assert corpus.labels.tolist() == [int(text.split()[1]) % 2 for text in corpus.texts["text"]]


def test_single_file_is_the_test_set_if_its_fraction_is_1(tmp_path: Path) -> None:
    corpus = resolve(write_csv(tmp_path / "reviews.csv", ROWS), test_fraction=1.0).load()
    assert corpus.train_rows == 0
    assert corpus.texts["text"][:] == [text for text, _ in ROWS]
    assert corpus.labels.tolist() == [1, 0, 1, 0, 1, 0]


def test_text_labels_are_numbered_alphabetically_and_integers_by_value(tmp_path: Path) -> None:
    rows: Rows = [(str(i), ("meh", "good", "bad")[i % 3]) for i in range(9)]
    assert load(write_csv(tmp_path / "words.csv", rows)).label_names == ["bad", "good", "meh"]
    rows = [(str(i), (10, 9, 2)[i % 3]) for i in range(9)]
    for suffix in ("csv", "jsonl"):
        corpus = load(write(tmp_path / f"stars.{suffix}", rows))
        assert corpus.label_names == ["2", "9", "10"]
        assert corpus.labels.tolist() == [2 - int(text) % 3 for text in corpus.texts["text"]]


def test_boolean_labels_are_classes(tmp_path: Path) -> None:
    assert load(write(tmp_path / "x.jsonl", [(str(i), i % 2 == 0) for i in range(9)])).label_names == ["False", "True"]


def test_named_classes_keep_their_names(tmp_path: Path) -> None:
    table = Dataset.from_dict({"text": list("abcdef"), "label": [0, 1, 2] * 2})
    table = table.cast_column("label", ClassLabel(names=["z", "y", "x"]))
    table.to_parquet(tmp_path / "train.parquet")
    table.to_parquet(tmp_path / "test.parquet")
    corpus = load(tmp_path)
    assert corpus.label_names == ["z", "y", "x"]
    assert corpus.labels.tolist() == [0, 1, 2] * 4


def test_columns_can_have_any_name(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "reviews.csv", ROWS, columns=("review", "stars"))
    assert set(load(path, text_column="review", label_column="stars").label_names) == {"0", "1"}
    with pytest.raises(InputError, match=r"data\.label_column=review: is data\.text_column too"):
        load(path, text_column="review", label_column="review")


def test_fingerprint_changes_with_the_file(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "reviews.csv", ROWS)
    before = resolve(path).fingerprint
    assert resolve(path).fingerprint == before
    write_csv(path, [*ROWS, ("one more", 1)])
    assert resolve(path).fingerprint != before


def test_archive_and_parquet_give_the_same_imdb(tmp_path: Path) -> None:
    tree, table = tmp_path / "tree", tmp_path / "table"
    table.mkdir()
    for split in ("train", "test"):
        rows: Rows = []
        for label, name in enumerate(("neg", "pos")):
            (tree / "aclImdb" / split / name).mkdir(parents=True)
            for number in range(12):
                rows.append((f"{split} {name} {number}", label))
                (tree / "aclImdb" / split / name / f"{number}_{label * 9 + 1}.txt").write_text(str(rows[-1][0]))
        write(table / f"{split}-00000-of-00001.parquet", rows)
    first, second = load(tree, "imdb"), load(table, "imdb")
    assert first.texts["text"][:] == second.texts["text"][:]
    assert np.array_equal(first.labels, second.labels)
    assert first.label_names == second.label_names == ["negative", "positive"]


def test_hub_and_parquet_give_the_same_imdb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split, rows in (("train", ROWS), ("test", ROWS[:2])):
        write(tmp_path / f"{split}.parquet", rows)
    splits = DatasetDict(
        {split: Dataset.from_parquet(str(tmp_path / f"{split}.parquet")) for split in ("train", "test")}
    )
    monkeypatch.setattr("sentiment.data.sources.HfApi.dataset_info", lambda *_, **__: None)
    monkeypatch.setattr("sentiment.data.sources.load_dataset", lambda _: splits)
    hub, table = resolve_source("imdb", None, "text", "label", 0.2, 0).load(), load(tmp_path, "imdb")
    assert hub.texts["text"][:] == table.texts["text"][:]
    assert hub.labels.tolist() == table.labels.tolist()
    assert hub.train_rows == table.train_rows == 6
    assert hub.label_names == ["negative", "positive"]


def two_files(train: Rows, test: Rows) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        write(folder / "train.jsonl", train)
        write(folder / "test.jsonl", test)
        return folder

    return make


def one_file(name: str, content: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_text(content)
        return folder / name

    return make


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "absent", "data.path=.*: no such file or folder"),
        (lambda folder: folder, r"contains no train\.\* \(csv, tsv, jsonl, parquet\); add it or name one file"),
        (one_file("reviews.xlsx", "x"), r"reviews.xlsx: unknown format \.xlsx"),
        (one_file("reviews.csv", ""), "reviews.csv: is empty"),
        (one_file("reviews.csv", "text,label\n"), "reviews.csv: contains no rows"),
        (one_file("reviews.csv", "review,label\na,1\n"), "data.text_column=text: no such column .* review, label"),
        (one_file("reviews.csv", "text,stars\na,1\n"), "data.label_column=label: no such column"),
        (one_file("reviews.csv", "text,label\na,1\nb,1\nc,1\n"), "every label is 1"),
        (one_file("reviews.csv", "text,label\na,1\nb,0\nc,1\n"), "data.test_fraction=.*too few rows"),
        (two_files(ROWS, [("a", 2)]), "label 2 occurs in the test set only; fix the split"),
        (two_files(ROWS, [("a", "1")]), "labels are int in train, str in test; use one type"),
        (two_files([("a", 0.5)], ROWS), "train.jsonl: row 1, column label holds 0.5"),
    ],
)
def test_invalid_files_raise_one_line(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        load(make(tmp_path))
    assert "\n" not in str(raised.value)


def test_imdb_has_two_classes(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "reviews.csv", [(str(i), i % 3) for i in range(9)])
    with pytest.raises(InputError, match="3 classes, but IMDB has 2; use data=files"):
        load(path, "imdb")


def test_archive_with_undecodable_or_missing_reviews_raises(tmp_path: Path) -> None:
    for name in ("neg", "pos"):
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "train" / name / "0_1.txt").write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match=r"0_1.txt: not UTF-8 \(.* at byte 3\)"):
        load(tmp_path, "imdb")
    shutil.rmtree(tmp_path / "train" / "neg")
    with pytest.raises(InputError, match="no reviews in train/neg; extract the aclImdb archive again"):
        load(tmp_path, "imdb")
