"""Texts without a label: which files hold them, and that no text of a validation or test row is learned from."""

import gzip
import json
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from sentiment.data.corpus import Corpus
from sentiment.data.datamodule import ReviewDataModule
from sentiment.data.encoded.store import read_vocabulary
from sentiment.data.labels import MISSING_LABEL
from sentiment.data.source import FileSettings, resolve_source
from sentiment.data.summary import describe, find_problems
from sentiment.data.text.vocabulary import SPECIALS
from sentiment.runtime.errors import InputError
from sentiment.training.module_setup import learn_vectors
from tests.helpers import prepare_datamodule, write_csv

TRAIN, TEST = 40, 10
TEXTS = ["a sad story", "the band plays on"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Labelled rows, each with a word of its own."""
    for split, count in (("train", TRAIN), ("test", TEST)):
        write_csv(
            tmp_path / f"{split}.csv",
            [(f"The {split}{i} film was good.", i % 2) for i in range(count)],
        )
    return tmp_path


def write_lines(path: Path, texts: Sequence[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{text}\n" for text in texts))
    return path


def load(path: Path, unlabelled: Any = True, source: str = "files", **options: Any) -> Corpus:
    return resolve_source(source, FileSettings(str(path), unlabelled, **options)).load()


def added(corpus: Corpus) -> list[str]:
    """The texts without a label, which are the last rows."""
    rows = corpus.splits.get("unlabelled", np.array([], dtype=int))
    first = len(corpus.labels) - len(rows)
    assert rows.tolist() == [*range(first, len(corpus.labels))]
    assert set(corpus.labels[:first]) == {0, 1}
    assert set(corpus.labels[first:]) <= {MISSING_LABEL}
    texts: list[str] = corpus.reviews["text"][first:]
    return texts


@pytest.mark.parametrize("tokenizer", ["words", "bpe"])
def test_no_text_of_a_held_out_row_is_learned_from(
    folder: Path, tmp_path: Path, tokenizer: str
) -> None:
    clean = [f"a {i} story of love and war, told {'very ' * i}well" for i in range(20)]

    def prepare(name: str, texts: Sequence[str]) -> ReviewDataModule:
        unlabelled = write_lines(tmp_path / name / "texts.txt", texts)
        options: dict[str, Any] = {
            "tokenizer": tokenizer,
            "max_features": 60,
            "unlabelled": str(unlabelled),
        }
        return prepare_datamodule(source="files", path=str(folder), **options)

    expected = prepare("clean", clean)
    held_out = [
        expected.select_reviews(expected.splits[split].reviews.rows)["text"][:]
        for split in ("test", "val")
    ]
    copies = [
        *held_out[0],
        *held_out[1],
        *(f" {text.lower()}" for text in held_out[0]),
    ]  # of the same tokens
    poisoned = prepare("poisoned", [*copies[::2], *clean, *copies[1::2]])
    assert poisoned.unlabelled_copies == {"test": 2 * TEST, "val": 4, "train": 0}
    assert read_vocabulary(poisoned.folder) == read_vocabulary(expected.folder)
    assert (
        poisoned.encoder.to_dict() == expected.encoder.to_dict()
    )  # with the state of the tokenizer
    for first, second in (
        (poisoned.training_texts, expected.training_texts),
        (poisoned.splits["unlabelled"].reviews, expected.splits["unlabelled"].reviews),
    ):
        assert [ids.tolist() for ids in first] == [ids.tolist() for ids in second]
    assert torch.equal(learn_vectors(poisoned, 5), learn_vectors(expected, 5))


def test_vocabulary_and_vectors_are_those_of_the_training_and_unlabelled_rows(folder: Path) -> None:
    write_csv(
        folder / "unlabelled.csv",
        [("music music music film", ""), ("the Train0 film was good", "")],
    )
    data = prepare_datamodule(source="files", path=str(folder), unlabelled=True, validate_on="test")
    without = prepare_datamodule(source="files", path=str(folder), validate_on="test")
    words = data.encoder.vocabulary.words
    assert words[2:6] == ["film", "good", "the", "was"]
    assert words.index("music") == 6  # 3 times; every other word once or twice
    assert "music" not in without.encoder.vocabulary.words
    texts = [[words[id_] for id_ in ids] for ids in data.training_texts]
    assert len(texts) == TRAIN + 2
    assert texts[-2] == ["music", "music", "music", "film"]
    assert texts[:-2] == [
        [without.encoder.vocabulary.words[i] for i in ids] for ids in without.training_texts
    ]
    vectors = learn_vectors(data, 4)
    assert (
        vectors[words.index("music") - len(SPECIALS)].norm() > 0.1
    )  # zero if learned from the training rows alone
    assert [ids.tolist() for ids in pickle.loads(pickle.dumps(data.training_texts))] == [
        *map(list, data.training_texts)
    ]
    assert (data.splits["unlabelled"][np.arange(2)].labels == MISSING_LABEL).all()
    assert data.unlabelled_copies == {"test": 0, "val": 0, "train": 1}
    assert "read       unlabelled.csv (unlabelled): 2 rows" in describe(data)
    assert describe(data).splitlines()[4] == (
        "unlabelled 2 texts, 9 tokens; left out: 0 copies of test reviews, 0 of validation reviews; 1 are copies of "
        "training reviews"
    )
    assert find_problems(data) == []


def test_nothing_changes_without_unlabelled_texts(folder: Path) -> None:
    plain, null = (
        prepare_datamodule(source="files", path=str(folder), **kw)
        for kw in ({}, {"unlabelled": None})
    )
    assert null.folder == plain.folder
    assert [*null.splits] == ["train", "val", "test"]
    assert np.array_equal(null.training_texts.rows, null.splits["train"].reviews.rows)
    assert "unlabelled" not in describe(null) + (null.folder / "metadata.json").read_text()


def test_texts_in_another_language_are_reported(folder: Path) -> None:
    write_lines(folder / "unlabelled.txt", ["这部 电影 很好 good", "ein schöner Film"])
    data = prepare_datamodule(source="files", path=str(folder), unlabelled=True)
    assert find_problems(data) == [
        "71 % of the tokens of the unlabelled texts occur in no training row; check them"
    ]


WRITERS: dict[str, Callable[[Path], object]] = {
    "unlabelled.csv": lambda path: pd.DataFrame({"text": TEXTS}).to_csv(path, index=False),
    "Unlabelled.TSV": lambda path: write_lines(
        path, ["n\ttext", f"1\t{TEXTS[0]}", f"2\t{TEXTS[1]}"]
    ),
    "unlabeled.txt": lambda path: write_lines(path, TEXTS),
    "unlabelled.txt.gz": lambda path: path.write_bytes(gzip.compress("\n".join(TEXTS).encode())),
    "unlabelled.jsonl": lambda path: path.write_text(
        "".join(json.dumps({"text": t, "label": 7}) + "\n" for t in TEXTS)
    ),
    "unsupervised.parquet": lambda path: pd.DataFrame({"text": TEXTS, "label": -1}).to_parquet(
        path
    ),
    "unlabelled/a.csv": lambda path: write_lines(path, ["text", *TEXTS]),
    "unlabelled/b.txt": lambda path: [
        write_lines(path.with_stem(f"{i}"), [text]) for i, text in enumerate(TEXTS)
    ],
    "unlabelled-0.csv": lambda path: [
        write_lines(path.with_stem(f"unlabelled-{i}"), ["text", text])
        for i, text in enumerate(TEXTS)
    ],
}


@pytest.mark.parametrize("name", WRITERS)
def test_texts_beside_the_training_rows_are_found_in_every_format(folder: Path, name: str) -> None:
    WRITERS[name](folder / name)
    write_csv(folder / "other.csv", [])
    corpus = load(folder)
    assert added(corpus) == TEXTS
    assert corpus.warnings == ["not read: other.csv"]
    assert corpus.split("train", 0.1, "random", 0)["unlabelled"].tolist() == [
        TRAIN + TEST,
        TRAIN + TEST + 1,
    ]
    assert "unlabelled" not in load(folder, None).splits


def test_named_files_are_read(folder: Path, tmp_path: Path) -> None:
    files = [
        write_lines(tmp_path / "more" / "a.txt", [TEXTS[0]]),
        write_lines(tmp_path / "b.csv", ["text", TEXTS[1]]),
    ]
    assert added(load(folder, list(map(str, files)))) == TEXTS
    assert added(load(folder, str(tmp_path / "more"))) == TEXTS[:1]
    assert added(load(folder / "train.csv", str(files[1]))) == TEXTS[1:]
    demo = resolve_source("demo", FileSettings(unlabelled=str(files[0])))
    assert demo.fingerprint != resolve_source("demo", FileSettings()).fingerprint
    assert added(demo.load()) == TEXTS[:1]


@pytest.mark.parametrize("path", ["train.csv", "."])
def test_texts_are_found_by_a_relative_path(
    folder: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    write_lines(folder / "unlabelled.txt", TEXTS)
    monkeypatch.chdir(folder)
    assert added(load(Path(path))) == TEXTS


@pytest.mark.parametrize("suffix", ["", ".txt"])
def test_a_folder_or_file_beside_those_of_the_classes_is_no_class(
    tmp_path: Path, suffix: str
) -> None:
    for name in ("pos", "neg", "unlabelled"):
        for file in ("1.txt", "2.txt", "3.txt") if not suffix else ("",):
            write_lines(
                tmp_path / f"{name}{suffix}" / file, [f"{name} {file}"] * (1 if not suffix else 3)
            )
    assert load(tmp_path, None, test_fraction=0.34).label_names == ["neg", "pos", "unlabelled"]
    corpus = load(tmp_path, test_fraction=0.34)
    assert corpus.label_names == ["neg", "pos"]
    assert len(added(corpus)) == 3


def test_archive_and_hub_have_unlabelled_reviews(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for split in ("train", "test"):
        for name in ("neg", "pos", "unsup"):
            for i in range(2):
                write_lines(
                    tmp_path / "acl" / "aclImdb" / split / name / f"{i}_0.txt",
                    [f"{split} {name} {i}"],
                )
    assert added(load(tmp_path / "acl", source="imdb")) == ["train unsup 0", "train unsup 1"]


def test_empty_texts_are_left_out_or_rejected(folder: Path) -> None:
    write_lines(folder / "unlabelled.txt", [TEXTS[0], "", "\u200b", TEXTS[1]])
    corpus = load(folder)
    assert added(corpus) == TEXTS
    assert corpus.warnings == [
        "left out: 2 with an empty text (unlabelled.txt row 2, unlabelled.txt row 3)"
    ]
    assert corpus.reviews[TRAIN + TEST + 1] == {
        "text": TEXTS[1],
        "file": "unlabelled.txt",
        "row": 4,
    }
    with pytest.raises(InputError, match=r"^2 with an empty text \(unlabelled.txt row 2, .*3\)"):
        load(folder, empty="error")


def test_identifiers_are_read_if_there_are_any(tmp_path: Path) -> None:
    for name in ("train", "test"):
        write_lines(tmp_path / f"{name}.csv", ["id,text,label", "7,a,0", "8,b,1"])
    for unlabelled, id_ in (("text,id\nc,9\n", "9"), ("text\nc\n", None)):
        (tmp_path / "unlabelled.csv").write_text(unlabelled)
        assert load(tmp_path, id_column="id").reviews["id"][:] == ["7", "8", "7", "8", id_]


@pytest.mark.parametrize(
    ("unlabelled", "message"),
    [
        (
            True,
            r"^data.unlabelled=true: .* contains no texts without a label, such as .* \(.csv, .*\); add",
        ),
        ("absent.csv", r"^data.unlabelled=absent.csv: no such file or folder"),
        ([], r"^data.unlabelled: not set; name a file"),
        (
            "{folder}/train.csv",
            r"^/.*/train.csv: is read twice; name it once, in data.path or in data.unlabelled$",
        ),
        ("{folder}", r"^/.*/train.csv: is read twice; name it once"),
        ("{folder}/other", r"^data.unlabelled=.*other contains no texts without a label.*; add"),
        (["{folder}/u/empty.txt"] * 2, r"empty.txt: is read twice; name it once"),
        (["{folder}/u/one", "{folder}/u/one/1.txt"], r"1.txt: is read twice; name it once"),
        ("{folder}/u/empty.txt", r"^empty.txt: no row has a text"),
        ("{folder}/u/empty.csv", r"empty.csv: contains no rows"),
        ("{folder}/u/cp1252.csv", r"cp1252.csv: not in UTF-8 near .*; name its encoding"),
        (
            "{folder}/u/column.csv",
            r"^data.text_column=text: no such column in .*column.csv; it has review, n; type",
        ),
        ("{folder}/u/utf16.csv", r"utf16.csv: .*UTF-16 without a mark; name utf-16-le"),
        ("{folder}/u/x.pdf", r"x.pdf: unknown format"),
    ],
)
def test_invalid_files_raise_one_line(folder: Path, unlabelled: Any, message: str) -> None:
    (folder / "other").mkdir()
    contents = {
        "empty.txt": "\n \n",
        "empty.csv": "",
        "column.csv": "review,n\nc,1\n",
        "x.pdf": "c",
        "one/1.txt": "one film",
    }
    for name, content in contents.items():
        write_lines(folder / "u" / name, []).write_text(content)
    (folder / "u" / "cp1252.csv").write_text("text\ncafé\n", encoding="cp1252")
    (folder / "u" / "utf16.csv").write_bytes("text,n\nsome film,1\n".encode("utf-16-le"))
    places = json.loads(json.dumps(unlabelled).replace("{folder}", str(folder)))
    with pytest.raises(InputError, match=message) as raised:
        load(folder, places)
    assert "\n" not in str(raised.value)


def test_unlabelled_texts_are_needed(folder: Path) -> None:
    with pytest.raises(
        InputError,
        match=r"^data.unlabelled=true: data=demo contains no texts without a label.*name a file",
    ):
        resolve_source("demo", FileSettings(unlabelled=True))
    write_lines(folder / "unlabelled.txt", ["the test1 film was good"])
    with pytest.raises(
        InputError, match=r"^data.unlabelled: all 1 texts are copies of validation or test reviews"
    ):
        prepare_datamodule(source="files", path=str(folder), unlabelled=True)


@pytest.mark.slow
def test_unlabelled_reviews_of_imdb(imdb: Path) -> None:
    data = prepare_datamodule(
        source="imdb", path=str(imdb), tokenizer="words_and_punctuation", unlabelled=True
    )
    assert data.unlabelled_copies == {"test": 261, "val": 32, "train": 327}
    assert len(data.splits["unlabelled"]) == 50_000 - 261 - 32
