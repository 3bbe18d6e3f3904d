"""Data sets of the Hub: folders in its layout, and its cache, read by the `datasets` library."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from sentiment.data import hub
from sentiment.data.corpus import Corpus
from sentiment.data.source import IMDB, REVISION, FileSettings, resolve_source
from sentiment.runtime.errors import InputError
from tests.helpers import prepare_datamodule

FEATURES = Features({"review": Value("string"), "stars": ClassLabel(names=["poor", "fine"])})


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the library without anything in it, and no connection."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(hub, "_is_online", lambda: False)
    return tmp_path / "cache"


def make_rows(name: str, count: int, features: Features | None = None) -> Dataset:
    rows = {
        "review": [f"{name} {'bad' if i % 3 else 'good'} film {i}" for i in range(count)],
        "stars": [int(i % 3 == 0) for i in range(count)],
    }
    return Dataset.from_dict(rows, features=features or FEATURES)


def write_folder(folder: Path, splits: Mapping[str, Dataset]) -> Path:
    """A data set as it is laid out in a repository of the Hub."""
    (folder / "data").mkdir(parents=True)
    for name, rows in splits.items():
        rows.to_parquet(folder / "data" / f"{name}-00000-of-00001.parquet")
    return folder


def write_cache(cache: Path, name: str, revision: str, splits: Mapping[str, Dataset]) -> None:
    """What the library leaves in its cache when it has loaded a data set of the Hub."""
    folder = cache / name.replace("/", "___") / "plain_text" / "0.0.0" / revision
    splits_info = {}
    for split, rows in splits.items():
        file = folder / f"{name.split('/')[1]}-{split}.arrow"
        file.parent.mkdir(parents=True, exist_ok=True)
        saved = cache / "saved"
        rows.save_to_disk(saved)
        (part,) = saved.glob("*.arrow")
        part.rename(file)
        shutil.rmtree(saved)
        splits_info[split] = {
            "name": split,
            "num_bytes": 1,
            "num_examples": len(rows),
            "dataset_name": name.split("/")[1],
        }
    info = {
        "builder_name": "parquet",
        "dataset_name": name.split("/")[1],
        "config_name": "plain_text",
        "version": {"version_str": "0.0.0", "major": 0, "minor": 0, "patch": 0},
        "features": rows.features.to_dict(),
        "splits": splits_info,
    }
    (folder / "dataset_info.json").write_text(json.dumps(info))


def load(source: str = "hub", **settings: Any) -> Corpus:
    return resolve_source(source, FileSettings(**settings)).load()


def test_folder_with_all_splits(tmp_path: Path) -> None:
    sizes = {"train": 30, "validation": 6, "test": 9, "unsupervised": 5}
    name = str(write_folder(tmp_path / "set", {n: make_rows(n, c) for n, c in sizes.items()}))
    corpus = load(name=name)
    assert {split: len(rows) for split, rows in corpus.splits.items()} == {
        "train": 30,
        "val": 6,
        "test": 9,
    }
    assert corpus.label_names == ["poor", "fine"]  # in the order of the classes
    assert corpus.reviews[0] == {"text": "train good film 0", "file": "train", "row": 1}
    assert corpus.label_names[corpus.labels[0]] == "fine"
    texts = load(name=name, unlabelled=True)
    assert len(texts.splits["unlabelled"]) == 5
    swapped = load(name=name, splits={"test": "validation", "val": "test"})
    assert [len(swapped.splits[split]) for split in ("val", "test")] == [9, 6]
    data = prepare_datamodule(source="hub", name=name)
    assert [len(data.splits[split]) for split in ("train", "val", "test")] == [30, 6, 9]


def test_test_set_is_drawn_if_there_is_none_or_one_without_labels(tmp_path: Path) -> None:
    train = make_rows("train", 30)
    alone = str(write_folder(tmp_path / "alone", {"train": train}))
    hidden = make_rows("test", 8).map(lambda _: {"stars": -1}, features=FEATURES)
    competition = str(write_folder(tmp_path / "hidden", {"train": train, "test": hidden}))
    for name in (alone, competition):
        corpus = load(name=name)
        assert [len(corpus.splits[split]) for split in ("train", "test")] == [24, 6]
    source = resolve_source("hub", FileSettings(name=alone))
    drawn = resolve_source("hub", FileSettings(name=alone, test_fraction=0.5))
    assert source.fingerprint != drawn.fingerprint


def test_changed_folder_has_another_fingerprint(tmp_path: Path) -> None:
    prints = []
    for count in (30, 31):
        shutil.rmtree(tmp_path / "set", ignore_errors=True)
        write_folder(tmp_path / "set", {"train": make_rows("train", count)})
        settings = FileSettings(name=str(tmp_path / "set"))
        prints.append(resolve_source("hub", settings).fingerprint)
        assert resolve_source("hub", settings).fingerprint == prints[-1]
    assert prints[0] != prints[1]


def test_columns_of_other_names(tmp_path: Path) -> None:
    rows = make_rows("train", 30).add_column("title", ["a"] * 30)
    name = str(write_folder(tmp_path / "set", {"train": rows}))
    with pytest.raises(InputError, match=r"data\.text_column=text: .* choose from review, title$"):
        load(name=name)
    assert load(name=name, text_column="review").label_names == ["poor", "fine"]
    features = Features({"review": Value("string"), "stars": Value("int64")})
    plain = str(write_folder(tmp_path / "plain", {"train": make_rows("train", 30, features)}))
    with pytest.raises(InputError, match=r"data\.label_column=label: .* from review, stars$"):
        load(name=plain)
    assert load(name=plain, label_column="stars").label_names == ["0", "1"]
    by_id = load(name=plain, label_column="stars", id_column="stars")
    assert by_id.reviews[0]["id"] == "1"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"splits": {"test": "nope"}}, r"data.splits=\{test:nope\}: .* has the splits train"),
        ({"splits": {"tests": "train"}}, "the keys are train, val, test, unlabelled"),
        ({"name": None}, "data.name: not set"),
        ({"name": "owner/absent"}, "data.name=owner/absent: cannot be loaded"),
        ({"config": "absent"}, "BuilderConfig 'absent' not found"),
    ],
)
def test_problems_are_told_in_one_line(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    name = str(write_folder(tmp_path / "set", {"train": make_rows("train", 30)}))
    with pytest.raises(InputError, match=message) as error:
        load(**{"name": name, **settings})
    assert len(str(error.value).splitlines()) == 1


def test_cached_copy_is_used_without_a_connection(cache: Path) -> None:
    revision = "1" * 40
    splits = {"train": make_rows("train", 30), "test": make_rows("test", 9)}
    write_cache(cache, "owner/reviews", revision, splits)
    for chosen in (None, "main", revision):
        assert len(load(name="owner/reviews", revision=chosen).splits["test"]) == 9
    with pytest.raises(InputError, match=f"the cached copy is of revision {revision}"):
        load(name="owner/reviews", revision="2" * 40)


def test_imdb_is_the_data_set_at_its_revision(cache: Path) -> None:
    names = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    sizes = {"train": 9, "test": 6, "unsupervised": 3}
    splits = {
        split: Dataset.from_dict(
            {"text": [f"{split} {i}" for i in range(count)],
             "label": [-1 if split == "unsupervised" else i % 2 for i in range(count)]}, names)
        for split, count in sizes.items()
    }  # fmt: skip
    write_cache(cache, IMDB, REVISION, splits)
    corpus = load("imdb")
    assert corpus.label_names == ["negative", "positive"]
    assert {split: len(rows) for split, rows in corpus.splits.items()} == {"train": 9, "test": 6}
    assert len(load("imdb", unlabelled=True).splits["unlabelled"]) == 3
    settings = FileSettings(), FileSettings(unlabelled=True)
    prints = {resolve_source("imdb", one).fingerprint for one in settings}
    assert len(prints) == 2


def test_absent_imdb_is_told_in_one_line_and_the_library_stays_as_it_is() -> None:
    before = datasets.config.HF_HUB_OFFLINE
    with pytest.raises(InputError, match=r"^data=imdb: .*; name a local copy .*demo$"):
        load("imdb")
    assert before == datasets.config.HF_HUB_OFFLINE
