import pickle
from pathlib import Path

import numpy as np
import pytest

from sentiment.data.datamodule import ReviewDataModule
from sentiment.data.encoding import Reviews
from sentiment.errors import InputError

from .conftest import write_csv


def prepared(**settings: object) -> ReviewDataModule:
    datamodule = ReviewDataModule(**settings)  # type: ignore[arg-type]
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule


def test_the_validation_rows_are_drawn_from_train_in_proportion(small: Path) -> None:
    splits = prepared(source="files", path=str(small)).splits
    train, val, test = (set(splits[name].reviews.rows.tolist()) for name in ("train", "val", "test"))
    assert not train & val
    assert train | val == set(range(300))
    assert test == set(range(300, 400))
    labels = splits["val"].reviews.labels[splits["val"].reviews.rows]
    assert labels.mean() == 0.5


def test_the_last_rows_of_each_class_are_held_out_where_asked(small: Path) -> None:
    splits = prepared(source="files", path=str(small), val_rows="last", val_fraction=0.2).splits
    train, val = splits["train"].reviews, splits["val"].reviews
    assert sorted([*train.rows, *val.rows]) == list(range(300))
    for label in (0, 1):
        rest, last = (split.rows[split.labels[split.rows] == label] for split in (train, val))
        assert len(last) == 30
        assert rest.max() < last.min()
    with pytest.raises(InputError, match=r"data\.val_fraction=0\.001: 0 of 150 rows of a class"):
        prepared(source="files", path=str(small), val_rows="last", val_fraction=0.001)


def test_validating_on_the_test_half_trains_on_the_whole_training_half(small: Path) -> None:
    splits = prepared(source="files", path=str(small), validate_on="test").splits
    assert len(splits["train"]) == 300
    assert np.array_equal(splits["val"].reviews.rows, splits["test"].reviews.rows)


def test_only_what_changes_the_encoding_encodes_again(small: Path) -> None:
    first = prepared(source="files", path=str(small))
    for unchanged in ({"maxlen": 10}, {"max_features": 50}, {"batch_size": 7}, {"padding": "post"}, {"seed": 3}):
        assert ReviewDataModule(source="files", path=str(small), **unchanged).folder == first.folder
    for changed in ({"tokenizer": "basic_english"}, {"split_seed": 1}, {"val_fraction": 0.2}, {"val_rows": "last"}):
        assert ReviewDataModule(source="files", path=str(small), **changed).folder != first.folder


def test_reviews_are_pickled_as_a_reference(small: Path) -> None:
    reviews = prepared(source="files", path=str(small)).splits["train"].reviews
    assert len(pickle.dumps(reviews)) < 1000
    copy: Reviews = pickle.loads(pickle.dumps(reviews))
    assert [ids.tolist() for ids in copy] == [ids.tolist() for ids in reviews]


def test_unusual_reviews_are_no_errors(tmp_path: Path) -> None:
    texts = ["", "?!", "电影 很好", "word " * 100_000, "ok"] * 8
    path = write_csv(tmp_path / "reviews.csv", [(text, i % 2) for i, text in enumerate(texts)])
    splits = prepared(source="files", path=str(path), max_features=3).splits
    for split in splits.values():
        matrix = split.matrix()
        assert matrix.shape == (len(split), 80)
        assert (matrix[:, -1] > 0).all()


def test_what_is_read_is_described(small: Path) -> None:
    text = prepared(source="files", path=str(small), maxlen=20, max_features=50).describe()
    for part in ("train (270 x 20)", "val (30 x 20)", "test (100 x 20)", "bad 135, good 135", "median", "cuts", "unk"):
        assert part in text


def test_what_would_go_unnoticed_is_told(tmp_path: Path) -> None:
    rows: list[tuple[str, object]] = [(f"film {i} and so on", ("good" if i % 4 else "bad")) for i in range(80)]
    folder = tmp_path / "reviews"
    folder.mkdir()
    write_csv(folder / "train.csv", rows)
    copies = [(text.upper() + "!", label) for text, label in rows[:5]]
    write_csv(folder / "test.csv", [*copies, ("another film", "good"), ("", "bad")])
    data = prepared(source="files", path=str(folder), maxlen=2)
    trained_on = set(data.splits["train"].reviews.rows)
    assert data.repeated == {"val": 0, "test": len(trained_on & {*range(5)})}
    text = data.describe()
    for part in (f"{data.repeated['test']} of test stand in train too", "unbalanced, good alone is right in 75%",
                 "60% of their words, more than half"):  # fmt: skip
        assert part in text
    balanced = prepared(source="demo").describe()
    for part in ("stand in train too", "unbalanced", "more than half"):
        assert part not in balanced


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"maxlen": 0}, "data.maxlen=0"),
        ({"maxlen": "long"}, "data.maxlen=long"),
        ({"batch_size": 0}, "data.batch_size=0"),
        ({"max_features": 0}, "data.max_features=0"),
        ({"padding": "middle"}, "data.padding=middle: must be one of pre, post"),
        ({"tokenizer": "bpe"}, "data.tokenizer=bpe"),
        ({"val_fraction": 1.5}, "data.val_fraction=1.5"),
        ({"source": "files"}, "data.path: not set"),
    ],
)
def test_settings_out_of_range_are_named(setting: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ReviewDataModule(**setting)  # type: ignore[arg-type]
