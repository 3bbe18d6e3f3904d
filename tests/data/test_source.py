import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import ClassLabel, Dataset

from sentiment.data.corpus import Corpus
from sentiment.data.source import FileSettings, Source, resolve_source
from sentiment.runtime.errors import InputError
from tests.helpers import write_csv

Rows = list[tuple[str, object]]

ROWS: Rows = [
    ("Good, really.", 1),
    ('Not "good"', 0),
    ("null", 1),
    ("a film in\ntwo lines", 0),
    ("a\tb", 1),
    ("电影很好", 0),
]


def resolve(path: Path, source: str = "files", **options: Any) -> Source:
    return resolve_source(source, FileSettings(str(path), **{"test_fraction": 0.34, **options}))


def load(path: Path, source: str = "files", **options: Any) -> Corpus:
    return resolve(path, source, **options).load()


def write(path: Path, rows: Rows) -> Path:
    table = Dataset.from_dict(
        {"text": [text for text, _ in rows], "label": [label for _, label in rows]}
    )
    match path.suffix:
        case ".parquet":
            table.to_parquet(path)
        case ".jsonl":
            path.write_text(
                "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)
            )
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
    assert corpus.reviews["text"][:] == [text for text, _ in ROWS + ROWS[:2]]
    assert corpus.labels.dtype == np.int64
    assert corpus.labels.tolist() == [1, 0, 1, 0, 1, 0, 1, 0]
    assert corpus.splits["train"].tolist() == [*range(6)]
    assert corpus.label_names == ["0", "1"]


def test_single_file_is_split_in_proportion_to_the_classes(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "reviews.csv", [(f"text {i}", i % 2) for i in range(100)])
    corpus = load(path)
    train, test = corpus.splits["train"], corpus.splits["test"]
    assert sorted([*train, *test]) == [*range(100)]
    assert len(train) == 66
    assert abs(corpus.labels[test].mean() - 0.5) < 0.02
    assert sorted(corpus.reviews["text"]) == sorted(f"text {i}" for i in range(100))
    assert corpus.labels.tolist() == [int(text.split()[1]) % 2 for text in corpus.reviews["text"]]


def test_single_file_is_the_test_set_if_its_fraction_is_1(tmp_path: Path) -> None:
    corpus = resolve(write_csv(tmp_path / "reviews.csv", ROWS), test_fraction=1.0).load()
    assert [*corpus.splits] == ["test"]
    assert corpus.reviews["text"][:] == [text for text, _ in ROWS]
    assert corpus.labels.tolist() == [1, 0, 1, 0, 1, 0]


def test_text_labels_are_numbered_alphabetically_and_integers_by_value(tmp_path: Path) -> None:
    rows: Rows = [(str(i), ("meh", "good", "bad")[i % 3]) for i in range(9)]
    assert load(write_csv(tmp_path / "words.csv", rows)).label_names == ["bad", "good", "meh"]
    rows = [(str(i), (10, 9, 2)[i % 3]) for i in range(9)]
    for suffix in ("csv", "jsonl"):
        corpus = load(write(tmp_path / f"stars.{suffix}", rows))
        assert corpus.label_names == ["2", "9", "10"]
        assert corpus.labels.tolist() == [2 - int(text) % 3 for text in corpus.reviews["text"]]


def test_boolean_labels_are_classes(tmp_path: Path) -> None:
    assert load(
        write(tmp_path / "x.jsonl", [(str(i), i % 2 == 0) for i in range(9)])
    ).label_names == ["False", "True"]


def test_named_classes_keep_their_names(tmp_path: Path) -> None:
    table = Dataset.from_dict({"text": list("abcdef"), "label": [0, 1, 2] * 2})
    table = table.cast_column("label", ClassLabel(names=["z", "y", "x"]))
    table.to_parquet(tmp_path / "train.parquet")
    table.to_parquet(tmp_path / "test.parquet")
    corpus = load(tmp_path)
    assert corpus.label_names == ["z", "y", "x"]
    assert corpus.labels.tolist() == [0, 1, 2] * 4


def test_each_file_is_read_with_its_own_class_names(tmp_path: Path) -> None:
    for split, names in (("train", ["anger", "joy", "sad"]), ("test", ["joy", "sad"])):
        table = Dataset.from_dict(
            {"text": [f"{split} {name}" for name in names], "label": range(len(names))}
        )
        table.cast_column("label", ClassLabel(names=names)).to_parquet(
            tmp_path / f"{split}.parquet"
        )
    corpus = load(tmp_path)
    assert corpus.label_names == ["anger", "joy", "sad"]
    assert all(
        text.endswith(corpus.label_names[n])
        for text, n in zip(corpus.reviews["text"], corpus.labels, strict=True)
    )


def test_columns_can_have_any_name(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "reviews.csv", ROWS, columns=("review", "stars"))
    assert set(load(path, text_column="review", label_column="stars").label_names) == {"0", "1"}
    with pytest.raises(
        InputError, match=r"data\.label_column=review is the column of the texts too"
    ):
        load(path, text_column="review", label_column="review")
    with pytest.raises(InputError, match=r"data\.label_column=1 is the column of the texts too"):
        load(path, text_column=1, label_column="1", header=False)


def test_fingerprint_changes_with_the_file(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "reviews.csv", ROWS)
    before = resolve(path).fingerprint
    assert resolve(path).fingerprint == before
    write_csv(path, [*ROWS, ("one more", 1)])
    assert resolve(path).fingerprint != before


def test_fingerprint_changes_with_the_settings_that_matter(tmp_path: Path) -> None:
    path = two_files(ROWS, ROWS)(tmp_path)
    plain = resolve(path).fingerprint
    assert (
        resolve(path, test_fraction=0.5, split_seed=1).fingerprint == plain
    )  # there is a test set
    assert resolve(path, empty="error").fingerprint != plain
    assert resolve(path, labels={1: "good"}).fingerprint != plain
    file = path / "train.jsonl"
    assert resolve(file, split_seed=1).fingerprint != resolve(file).fingerprint


def test_archive_and_parquet_give_the_same_imdb(tmp_path: Path) -> None:
    tree, table = tmp_path / "tree", tmp_path / "table"
    table.mkdir()
    for split in ("train", "test"):
        rows: Rows = []
        for label, name in enumerate(("neg", "pos")):
            (tree / "aclImdb" / split / name).mkdir(parents=True)
            for number in range(12):
                rows.append((f"{split} {name} {number}", label))
                (tree / "aclImdb" / split / name / f"{number}_{label * 9 + 1}.txt").write_text(
                    str(rows[-1][0])
                )
        write(table / f"{split}-00000-of-00001.parquet", rows)
    first, second = load(tree, "imdb"), load(table, "imdb")
    assert first.reviews["text"][:] == second.reviews["text"][:]
    assert np.array_equal(first.labels, second.labels)
    assert first.label_names == second.label_names == ["negative", "positive"]


def test_import_leaves_messages_and_progress_bars_of_datasets() -> None:
    code = """
import datasets, datasets.utils.logging as messages
before = messages.get_verbosity(), datasets.are_progress_bars_disabled()
import sentiment.data.source
assert before == (messages.get_verbosity(), datasets.are_progress_bars_disabled())
"""
    subprocess.run([sys.executable, "-c", code], check=True)


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
        (
            lambda folder: folder,
            r"contains no train\.\* \(.csv, .*\); add or rename it, or name one file",
        ),
        (one_file("reviews.xlsx", "x"), r"reviews.xlsx: unknown format \.xlsx"),
        (one_file("reviews.csv", ""), "reviews.csv: contains no rows"),
        (one_file("reviews.csv", "text,label\n"), "reviews.csv: contains no rows"),
        (
            one_file("reviews.csv", "text,label\n,1\na,\n"),
            "reviews.csv: no row has both a text and a label",
        ),
        (
            one_file("reviews.csv", "review,label\na,1\n"),
            "data.text_column=text: no such column .* review, label",
        ),
        (one_file("reviews.csv", "text,label\na,1\nb,1\nc,1\n"), "every label is 1"),
        (
            one_file("reviews.csv", "text,label\na,1\nb,0\nc,1\n"),
            "data.test_fraction=0.34: The least populated class.* too few; of 2 classes, 0 is the rarest; add rows",
        ),
        (
            one_file("reviews.csv", "text,label\n" + "".join(f"a,{i}\n" for i in range(9))),
            "The least populated class.* of 9 classes, .*, or name another data.label_column$",
        ),
        (
            one_file("reviews.csv", "text,label\n" + "".join(f"a,{i % 5}\n" for i in range(10))),
            "data.test_fraction=0.34: The test_size = 4 should be greater .* number of classes = 5",
        ),
        (
            two_files(ROWS, [("a", 2)]),
            r'only; .* .data.labels=\["2:null"\].$',
        ),
        (
            two_files([("a", "Good"), ("b", "bad")], [("c", "good")]),
            r'Good in train; type .data.labels=\["good:Good"\].$',
        ),
        (
            two_files(ROWS, [("", 1), ("a", None)]),
            r"test.jsonl: no row has both a text and a label",
        ),
        (
            two_files([("a", [1])], ROWS),
            r"train.jsonl: row 1, column label holds \[1\], not text, a number or a boolean",
        ),
    ],
)
def test_invalid_files_raise_one_line(
    tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    with pytest.raises(InputError, match=message) as raised:
        load(make(tmp_path))
    assert "\n" not in str(raised.value)


def test_labels_of_train_and_test_may_be_spelt_differently(tmp_path: Path) -> None:
    corpus = load(two_files([("a", "1"), ("b", "0")], [("c", 1.0), ("d", 0)])(tmp_path))
    assert corpus.label_names == ["0", "1"]
    assert corpus.labels.tolist() == [1, 0, 1, 0]


def test_labels_are_renamed_merged_and_dropped(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "reviews.csv", [(f"film {i}", i % 5 + 1) for i in range(50)])
    corpus = load(path, labels={1: "bad", "2": "bad", 3: None, 4: "good", 5.0: "good", "six": "x"})
    assert corpus.label_names == ["bad", "good"]
    assert len(corpus.labels) == 40
    assert all("film" in text and int(text[5:]) % 5 != 2 for text in corpus.reviews["text"])
    assert corpus.notes == [
        "reviews.csv (all rows): 50 rows",
        "left out: 10 rows whose label data.labels maps to null",
    ]
    assert corpus.warnings == ["data.labels: no row has the label six"]


def test_class_without_a_text_is_no_class(tmp_path: Path) -> None:
    rows: Rows = [("" if i % 3 == 2 else f"film {i}", "abc"[i % 3]) for i in range(30)]
    assert load(write_csv(tmp_path / "reviews.csv", rows)).label_names == ["a", "b"]


def test_labels_that_differ_in_case_only_are_reported(tmp_path: Path) -> None:
    rows: Rows = [(f"film {i}", ("Bad", "bad", "good ")[i % 3]) for i in range(30)]
    corpus = load(write_csv(tmp_path / "reviews.csv", rows))
    assert corpus.label_names == ["Bad", "bad", "good"]
    assert corpus.warnings == [
        "labels that may mean the same: Bad and bad; to merge them type 'data.labels=[\"Bad:bad\"]'"
    ]


def test_rows_without_text_or_label_are_left_out_or_rejected(tmp_path: Path) -> None:
    rows: Rows = [(f"film {i}", i % 2) for i in range(30)]
    rows[3:6] = [("", 1), (" \u200b", 0), ("film", "N/A")]
    path = write_csv(tmp_path / "reviews.csv", rows)
    corpus = load(path)
    assert len(corpus.labels) == len(corpus.reviews) == 27
    assert corpus.warnings == [
        "left out: 2 with an empty text (reviews.csv row 4, reviews.csv row 5)",
        "left out: 1 with no label (reviews.csv row 6)",
        "N/A counts as no label; to make it a class, type 'data.labels=[\"N/A:N/A\"]'",
    ]
    assert all(
        corpus.reviews[i]["text"] == f"film {corpus.reviews[i]['row'] - 1}" for i in range(27)
    )
    with pytest.raises(
        InputError,
        match=r"^2 with an empty text \(reviews.csv row 4, .*5\); .* data.empty=drop",
    ):
        load(path, empty="error")


def test_validation_file_and_names_of_rows(tmp_path: Path) -> None:
    for split, count in (("train", 6), ("dev", 4), ("test", 2)):
        write_csv(tmp_path / f"{split}.csv", [(f"{split} {i}", i % 2) for i in range(count)])
    corpus = load(tmp_path)
    assert {split: len(rows) for split, rows in corpus.splits.items()} == {
        "train": 6,
        "val": 4,
        "test": 2,
    }
    assert corpus.notes == [
        "train.csv (train): 6 rows",
        "dev.csv (val): 4 rows",
        "test.csv (test): 2 rows",
    ]
    assert corpus.reviews[7] == {"text": "dev 1", "file": "dev.csv", "row": 2}


def test_relative_path_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_csv(tmp_path / "reviews.csv", ROWS)
    monkeypatch.chdir(tmp_path)
    assert set(load(Path("reviews.csv")).reviews["file"]) == {"reviews.csv"}


def test_files_that_are_not_read_are_named(tmp_path: Path) -> None:
    for name in ("train", "test", "train-copy", "eval"):
        write_csv(tmp_path / f"{name}.csv", ROWS)
    assert load(tmp_path).warnings == ["not read: eval.csv, train-copy.csv"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"header": "no"}, "^data.header=no: must be one of True, False"),
        ({"labels": "x"}, "^data.labels=x: cannot be read"),
        (
            {"labels": {1: [2]}},
            r"^data.labels={1: \[2\]}: cannot be read .*; write data.labels={OLD:NEW,...}",
        ),
        ({"separator": "ab"}, "^data.separator=ab cannot be used; it must be one character"),
        ({"encoding": 1253}, None),
        ({"encoding": None, "separator": 1}, "cannot be read as csv"),
    ],
)
def test_invalid_options_raise_one_line(
    tmp_path: Path, options: dict[str, Any], message: str | None
) -> None:
    path = write_csv(tmp_path / "reviews.csv", ROWS[:2])
    with pytest.raises(InputError, match=message):
        load(path, test_fraction=0.5, **options)
    with pytest.raises(InputError, match=r"^data\.path: not set; name a file"):
        FileSettings([])
    with pytest.raises(InputError, match=r"reviews.csv: is read twice; name it once"):
        resolve_source("files", FileSettings([str(path), str(path)]))


def test_list_of_files_is_one_set(tmp_path: Path) -> None:
    files = [
        write_csv(tmp_path / name, [(f"{name} {i}", i % 2) for i in range(10)])
        for name in ("a.csv", "b.csv")
    ]
    corpus = resolve_source("files", FileSettings(list(map(str, files)), test_fraction=0.2)).load()
    assert len(corpus.labels) == 20
    assert set(corpus.reviews["file"]) == {"a.csv", "b.csv"}


def test_one_class_is_enough_for_an_evaluation(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "reviews.csv", [("a", "good"), ("b", "good")])
    assert load(path, test_fraction=1.0).label_names == ["good"]


def test_classes_are_those_of_imdb_only_if_there_are_two(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "reviews.csv", [(str(i), i % 3) for i in range(9)])
    assert load(path, "imdb").label_names == ["0", "1", "2"]


def test_archive_with_undecodable_or_missing_reviews_raises(tmp_path: Path) -> None:
    for name in ("neg", "pos"):
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "train" / name / "0_1.txt").write_bytes(b"caf\xe9")
    shutil.copytree(tmp_path / "train", tmp_path / "test")
    with pytest.raises(InputError, match=r"0_1.txt: not in UTF-8 near b'.*\\xe9';"):
        load(tmp_path, "imdb")
    shutil.rmtree(tmp_path / "test")
    with pytest.raises(InputError, match=r"contains no test\.\*"):
        load(tmp_path, "imdb")


def test_damaged_characters_are_counted(tmp_path: Path) -> None:
    lines = "".join(f"café {n},{n % 2}\n" for n in range(20))
    content = f"text,label\n{lines}".encode() + b"caf\xe9,0\n\xff\xff,1\n"
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(
        InputError, match=r"not in UTF-8 near .*caf\\xe9,0.*; .* data.encoding_errors=replace"
    ):
        resolve_source("files", FileSettings(tmp_path / "x.csv")).load()
    source = resolve_source("files", FileSettings(tmp_path / "x.csv", encoding_errors="replace"))
    damaged = "2 of them with a character that could not be decoded (U+FFFD)"
    assert source.load().notes[0] == f"x.csv (all rows): 22 rows, {damaged}"
    with pytest.raises(InputError, match=r"^data.encoding_errors=ignore: must be one of"):
        FileSettings(tmp_path / "x.csv", encoding_errors="ignore")
