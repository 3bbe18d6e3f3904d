import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sentiment.data.datamodule import ReviewDataModule
from sentiment.data.encoded.store import EncodedReviews
from sentiment.data.labels import MISSING_LABEL
from sentiment.data.summary import describe, find_problems
from sentiment.runtime.errors import InputError
from tests.helpers import labelled_reviews, prepare_datamodule, write_csv


def test_validation_rows_are_drawn_from_the_training_set_by_class(small: Path) -> None:
    splits = prepare_datamodule(source="files", path=str(small)).splits
    train, val, test = (
        set(splits[name].reviews.rows.tolist()) for name in ("train", "val", "test")
    )
    assert not train & val
    assert train | val == set(range(300))
    assert test == set(range(300, 400))
    labels = splits["val"].reviews.labels[splits["val"].reviews.rows]
    assert labels.mean() == 0.5


def test_tail_split_holds_out_the_last_rows_of_each_class(small: Path) -> None:
    splits = prepare_datamodule(
        source="files", path=str(small), val_split="tail", val_fraction=0.2
    ).splits
    train, val = splits["train"].reviews, splits["val"].reviews
    assert sorted([*train.rows, *val.rows]) == list(range(300))
    for label in (0, 1):
        rest, held_out = (split.rows[split.labels[split.rows] == label] for split in (train, val))
        assert len(held_out) == 30
        assert rest.max() < held_out.min()
    with pytest.raises(InputError, match=r"data\.val_fraction=0\.001: 0 of 150 rows of a class"):
        prepare_datamodule(source="files", path=str(small), val_split="tail", val_fraction=0.001)


def test_validating_on_the_test_set_trains_on_the_complete_training_set(small: Path) -> None:
    splits = prepare_datamodule(source="files", path=str(small), validate_on="test").splits
    assert len(splits["train"]) == 300
    assert np.array_equal(splits["val"].reviews.rows, splits["test"].reviews.rows)


def test_only_settings_that_change_the_encoding_change_its_folder(small: Path) -> None:
    def folder(**settings: object) -> Path:
        return ReviewDataModule(source="files", path=str(small), **settings).folder  # type: ignore[arg-type]

    first = folder()
    for unchanged in (
        {"maxlen": 10},
        {"max_features": 50},
        {"batch_size": 7},
        {"padding": "post"},
        {"seed": 3},
    ):
        assert folder(**unchanged) == first
    for changed in (
        {"tokenizer": "basic_english"},
        {"split_seed": 1},
        {"val_fraction": 0.2},
        {"val_split": "tail"},
    ):
        assert folder(**changed) != first


def test_settings_of_a_split_that_is_given_do_not_change_the_folder(tmp_path: Path) -> None:
    def folder(path: Path, **settings: object) -> Path:
        return ReviewDataModule(source="files", path=str(path), **settings).folder  # type: ignore[arg-type]

    for name in ("train", "test", "val"):
        write_csv(tmp_path / f"{name}.csv", [("good", 1), ("bad", 0)] * 9)
    split: list[dict[str, object]] = [
        {"test_fraction": 0.5},
        {"val_fraction": 0.5},
        {"split_seed": 1},
    ]
    split += [{"val_split": "tail"}]
    assert {folder(tmp_path, **settings) for settings in split} == {folder(tmp_path)}
    (tmp_path / "val.csv").unlink()
    assert (
        len({folder(tmp_path, **settings) for settings in [{}, *split]}) == 4
    )  # test_fraction changes nothing
    alone = tmp_path / "train.csv"
    assert len({folder(alone, **settings) for settings in [{}, *split]}) == 5


def test_reviews_are_pickled_as_a_reference(small: Path) -> None:
    reviews = prepare_datamodule(source="files", path=str(small)).splits["train"].reviews
    assert len(pickle.dumps(reviews)) < 1000
    copy: EncodedReviews = pickle.loads(pickle.dumps(reviews))
    assert [ids.tolist() for ids in copy] == [ids.tolist() for ids in reviews]


def test_unusual_reviews_are_encoded(tmp_path: Path) -> None:
    texts = ["", "?!", "电影 很好", "word " * 100_000, "ok"] * 8
    path = write_csv(tmp_path / "reviews.csv", [(text, i % 2) for i, text in enumerate(texts)])
    splits = prepare_datamodule(source="files", path=str(path), max_features=3).splits
    for split in splits.values():
        ids = split.pad()
        assert ids.shape == (len(split), 80)
        assert (ids[:, -1] > 0).all()


def test_description_of_the_data(tmp_path: Path) -> None:
    train: list[tuple[str, object]] = [
        ("the film was " + "very " * i + "good", "good") for i in range(10)
    ]
    train += [("the film was bad", "bad"), ("the film was weak", "bad")] * 5
    write_csv(tmp_path / "train.csv", train)
    write_csv(tmp_path / "test.csv", [("a novel", "good"), ("a play", "bad")])
    datamodule = prepare_datamodule(
        source="files",
        path=str(tmp_path),
        val_split="tail",
        val_fraction=0.2,
        maxlen=6,
        max_features=7,
    )
    assert describe(datamodule).splitlines() == [
        "read       train.csv (train): 20 rows",
        "read       test.csv (test): 2 rows",
        "reviews    train (16 x 6), val (4 x 6), test (2 x 6); 2 val reviews also occur in the training set",
        "labels     bad 8, good 8 (train)",
        "lengths    mean 6, median 4, longest 11",
        "maxlen     6 truncates 31 % of the reviews and drops 16 % of their tokens",
        "vocabulary 7 words; 10.9 % of the tokens are unknown",
        "first one  good: the film was good",
    ]


def test_description_warns_of_duplicates_imbalance_and_short_maxlen(tmp_path: Path) -> None:
    rows: list[tuple[str, object]] = [
        (f"film {i} and so on", ("good" if i % 4 else "bad")) for i in range(80)
    ]
    write_csv(tmp_path / "train.csv", rows)
    copies = [(text.upper() + "!", label) for text, label in rows[:5]]
    write_csv(tmp_path / "test.csv", [*copies, ("another film", "good"), ("", "bad")])
    datamodule = prepare_datamodule(source="files", path=str(tmp_path), maxlen=2)
    copied = len({*datamodule.splits["train"].reviews.rows} & {*range(5)})
    assert datamodule.duplicates == {"val": 0, "test": copied}
    *_, reviews, labels, _, maxlen, _, _ = describe(datamodule).splitlines()
    assert reviews.endswith(f"; {copied} test reviews also occur in the training set")
    assert (
        labels
        == 'labels     bad 18, good 54 (train); imbalanced: always predicting "good" gives 75 % accuracy'
    )
    assert (
        maxlen
        == "maxlen     2 truncates 100 % of the reviews and drops 60 % of their tokens, more than half"
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"maxlen": 0}, "maxlen=0: must be an integer >= 1"),
        ({"maxlen": "long"}, "maxlen=long: must be an integer >= 1"),
        ({"batch_size": 0}, "batch_size=0: must be an integer >= 1"),
        ({"max_features": 2}, "max_features=2: must be an integer >= 3"),
        ({"padding": "middle"}, "padding=middle: must be one of pre, post"),
        (
            {"tokenizer": "stems"},
            "tokenizer=stems: must be one of words, words_and_punctuation, basic_english",
        ),
        ({"val_fraction": 1.5}, "val_fraction=1.5: must be between 0 and 1, both excluded"),
        ({"val_split": "first"}, "val_split=first: must be one of random, tail"),
        ({"source": "files"}, "path: not set"),
    ],
)
def test_invalid_arguments_are_rejected(setting: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ReviewDataModule(**setting)  # type: ignore[arg-type]


def test_text_without_spaces_is_reported(tmp_path: Path) -> None:
    rows: list[tuple[str, object]] = [
        (f"这部电影真的很好看我非常喜欢第{i}次", i % 2) for i in range(60)
    ]
    path = str(write_csv(tmp_path / "reviews.csv", rows))
    (unknown,) = find_problems(prepare_datamodule(source="files", path=path))
    assert unknown.startswith(
        "100 % of the tokens of the validation rows are not in the vocabulary; for texts without"
    )
    assert (
        find_problems(prepare_datamodule(source="files", path=path, tokenizer="characters")) == []
    )


def test_validation_rows_of_a_file_are_used(tmp_path: Path, small: Path) -> None:
    shutil.copytree(small, tmp_path / "data")
    write_csv(tmp_path / "data" / "dev.csv", [("a convincing film", "good"), ("dull", "bad")])
    datamodule = prepare_datamodule(source="files", path=str(tmp_path / "data"))
    assert {split: len(reviews) for split, reviews in datamodule.splits.items()} == {
        "train": 300,
        "val": 2,
        "test": 100,
    }
    rows = datamodule.splits["val"].reviews.rows
    assert datamodule.select_reviews(rows)[0] == {
        "text": "a convincing film",
        "file": "dev.csv",
        "row": 1,
    }
    on_test = prepare_datamodule(source="files", path=str(tmp_path / "data"), validate_on="test")
    assert len(on_test.splits["val"]) == 100


def test_rows_are_read_although_their_file_is_gone(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "reviews.csv", [(f"film {i}", i % 2) for i in range(40)])
    datamodule = prepare_datamodule(source="files", path=str(path))
    path.unlink()
    assert set(datamodule.select_reviews(np.arange(40))["text"]) == {f"film {i}" for i in range(40)}


def test_fewer_training_rows_are_among_more_in_proportion_to_the_classes(tmp_path: Path) -> None:
    labels = [*["bad"] * 30, *["good"] * 60, *["fair"] * 10]
    write_csv(tmp_path / "train.csv", [(f"text {i}", label) for i, label in enumerate(labels)])
    write_csv(tmp_path / "test.csv", [("text", label) for label in ("bad", "good", "fair")])
    kept = []
    for size in (30, 0.5, None):
        data = prepare_datamodule(source="files", path=str(tmp_path), train_rows=size)
        parts = [data.splits[split].reviews for split in ("train", "val")]
        rows = np.concatenate([part.rows for part in parts])
        kept.append({*rows.tolist()})
        shares = np.bincount(parts[0].labels[rows]) / len(rows)
        np.testing.assert_allclose(shares, [0.3, 0.1, 0.6], atol=0.02)
        assert len(data.splits["test"]) == 3
        assert "unlabelled" not in data.splits
    assert [*map(len, kept)] == [30, 50, 100]
    assert kept[0] < kept[1] < kept[2]
    others = [
        prepare_datamodule(source="files", path=str(tmp_path), train_rows=30, split_seed=seed)
        for seed in (1, 2)
    ]
    assert (
        others[0].splits["train"].reviews.rows.tolist()
        != others[1].splits["train"].reviews.rows.tolist()
    )


def test_rows_beyond_train_rows_join_the_texts_without_a_label(tmp_path: Path) -> None:
    write_csv(tmp_path / "train.csv", labelled_reviews(100))
    write_csv(tmp_path / "test.csv", [("another text", label) for label in ("bad", "good")])
    settings: dict[str, Any] = {"source": "files", "path": str(tmp_path), "train_rows": 40}
    data = prepare_datamodule(**settings, unlabelled=True)
    known = data.splits["train"].reviews, data.splits["val"].reviews
    assert sum(map(len, known)) == 40
    corpus = data.source.load()
    assert len(corpus.splits["unlabelled"]) == 60
    assert {*corpus.labels[corpus.splits["unlabelled"]]} == {MISSING_LABEL}
    assert "40 of 100 labelled rows; the others are among the texts" in corpus.notes[-1]
    (tmp_path / "unlabelled.txt").write_text("one more text\n")
    corpus = prepare_datamodule(**settings, unlabelled=True).source.load()
    assert len(corpus.splits["unlabelled"]) == 61


@pytest.mark.parametrize(
    ("size", "problem"),
    [
        (1, "data.train_rows=1: must be an integer >= 2"),
        (1.5, "data.train_rows=1.5: must be"),
        (0.001, "0 of 100 labelled rows; choose from 2 to all"),
        (101, "101 of 100 labelled rows"),
        (2, "every label is|occurs in the test or validation set only|data.val_fraction"),
    ],
)
def test_impossible_train_rows_are_refused(tmp_path: Path, size: float, problem: str) -> None:
    write_csv(tmp_path / "train.csv", labelled_reviews(100))
    write_csv(tmp_path / "test.csv", labelled_reviews(10))
    with pytest.raises(InputError, match=problem):
        prepare_datamodule(source="files", path=str(tmp_path), train_rows=size)
