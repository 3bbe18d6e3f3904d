from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import pytest

from sentiment.data.files.layout import ALL_ROWS, FileSet, describe_files, find_files, find_ignored
from sentiment.runtime.errors import InputError
from tests.helpers import write_csv


def make(folder: Path, names: Iterable[str]) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    return folder


def find(folder: Path) -> dict[str, list[tuple[list[str], str | None]]]:
    def describe(found: FileSet) -> tuple[list[str], str | None]:
        return [str(file.relative_to(folder)) for file in found.files], found.label

    return {
        split: [describe(found) for found in of_split]
        for split, of_split in find_files(str(folder), [folder]).items()
    }


def files(**splits: list[str]) -> dict[str, list[tuple[list[str], None]]]:
    return {split: [([name], None) for name in names] for split, names in splits.items()}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["train.csv", "test.csv"], files(train=["train.csv"], test=["test.csv"])),
        (["Train.CSV", "TEST.tsv.gz"], files(train=["Train.CSV"], test=["TEST.tsv.gz"])),
        (
            [
                "train.csv",
                "test.csv",
                "train-copy.csv",
                "old/train.csv",
                ".ipynb_checkpoints/train-checkpoint.csv",
                "x",
            ],
            files(train=["train.csv"], test=["test.csv"]),
        ),
        *(
            (
                ["train.csv", f"{name}.csv", "test.csv"],
                files(train=["train.csv"], val=[f"{name}.csv"], test=["test.csv"]),
            )
            for name in ("val", "valid", "validation", "dev")
        ),
        (
            [
                "train-00000-of-00002.csv",
                "train-00001-of-00002.csv",
                "test-00000-of-00001-0123456789abcdef.csv",
            ],
            files(
                train=["train-00000-of-00002.csv", "train-00001-of-00002.csv"],
                test=["test-00000-of-00001-0123456789abcdef.csv"],
            ),
        ),
        (
            ["train-9.csv", "train-10.csv", "test.csv"],
            files(train=["train-9.csv", "train-10.csv"], test=["test.csv"]),
        ),
        (
            ["train.csv", "train.py", "train.log", "test.csv", "test/x.py"],
            files(train=["train.csv"], test=["test.csv"]),
        ),
        (
            ["data/train.csv", "data/test.csv", "README.md"],
            files(train=["data/train.csv"], test=["data/test.csv"]),
        ),
        (
            ["train/0.csv", "train/1.csv", "test/0.csv"],
            files(train=["train/0.csv", "train/1.csv"], test=["test/0.csv"]),
        ),
    ],
)
def test_files_of_the_splits(tmp_path: Path, names: list[str], expected: object) -> None:
    assert find(make(tmp_path, names)) == expected


def test_classes_are_folders_or_files(tmp_path: Path) -> None:
    acl = [
        f"{s}/{c}/{i}_7.txt"
        for s in ("train", "test")
        for c in ("neg", "pos", "unsup")
        for i in (2, 10)
    ]
    found = find(make(tmp_path / "acl", [*acl, "README", "imdb.vocab", "train/urls_pos.txt"]))
    assert found["train"] == [
        (["train/neg/2_7.txt", "train/neg/10_7.txt"], "neg"),
        (["train/pos/2_7.txt", "train/pos/10_7.txt"], "pos"),
    ]


@pytest.mark.parametrize(
    ("names", "read"),
    [
        (["pos/a.txt", "neg/a.TXT", "README.md"], ["neg/a.TXT", "pos/a.txt"]),
        (["pos/1", "neg/1"], ["neg/1", "pos/1"]),
        (["pos.txt", "neg.txt", "README.md", "LICENSE", "readme.txt"], ["neg.txt", "pos.txt"]),
        (
            ["pos.txt", "neg.txt", "CITATION.cff", "license.txt", "ChangeLog"],
            ["neg.txt", "pos.txt"],
        ),
    ],
)
def test_files_of_two_classes(tmp_path: Path, names: list[str], read: list[str]) -> None:
    found = find(make(tmp_path, names))
    assert found == {ALL_ROWS: [([read[0]], "neg"), ([read[1]], "pos")]}


def test_classes_whose_names_begin_as_those_of_documents_are_read(tmp_path: Path) -> None:
    names = [
        "background.txt",
        "citation.txt",
        "copying1.txt",
        "licensed.txt",
        "method.txt",
        "readmes.txt",
    ]
    assert find(make(tmp_path, names)) == {ALL_ROWS: [([name], name[:-4]) for name in names]}


@pytest.mark.parametrize(
    ("names", "ignored"),
    [
        (["pos/1.txt", "neg/1.txt", "neutral.txt", "_mixed/1.txt"], ["_mixed/", "neutral.txt"]),
        (["pos/1.txt", "neg/1.txt", "neutral/a.csv", "neg/_2.txt"], ["neg/_2.txt", "neutral/"]),
        (["pos.txt", "neg.txt", "copying.txt", "_mixed.txt"], ["_mixed.txt", "copying.txt"]),
        (["data/train.csv", "data/test.csv", "data/eval.csv", "a.txt"], ["a.txt", "data/eval.csv"]),
        (
            ["train/0.csv", "train/notes.txt", "test/0.csv", "old/train.csv"],
            ["old/", "train/notes.txt"],
        ),
        (
            ["train/pos/1", "train/neg/1", "train/unsup/1", "test/pos/1", "test/neg/1"],
            ["train/unsup/"],
        ),
        (
            [
                "train.csv",
                "test.csv",
                "README.md",
                "LICENSE",
                "plot.py",
                ".x.csv",
                "runs/x.log",
                "runs/a/1.csv",
            ],
            [],
        ),
    ],
)
def test_files_that_are_not_read_are_named(
    tmp_path: Path, names: list[str], ignored: list[str]
) -> None:
    folder = make(tmp_path, names)
    sets = find_files(str(folder), [folder])
    found = find_ignored(chain(*sets.values()), folder)
    assert found == ignored


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            [f"{i}.txt" for i in range(200)],
            ": 200 text files would be as many classes; put the texts of each class",
        ),
        (
            ["reviews.csv", "a.txt"],
            r"contains no train\.\* .*; it holds a.txt, reviews.csv; add or rename it, or name one file",
        ),
        (
            ["train_data.csv", "test.csv"],
            r"contains no train\.\* .*; it holds test.csv, train_data.csv; add or rename it",
        ),
        (
            ["train.csv"],
            r"contains no test\.\* beside train.csv; add it, or name one file, .* data.path=.*train.csv$",
        ),
        (
            ["train.csv", "train.jsonl", "test.csv"],
            r"sets of train rows \(train.csv, train.jsonl\); remove all but",
        ),
        (["train.csv", "train-0.csv", "test.csv"], "several sets of train rows"),
        (["train-0.csv", "train-00000-of-00001.csv", "test.csv"], "several sets of train rows"),
        (
            ["train.csv", "val.csv", "dev.csv", "test.csv"],
            r"several sets of val rows \(dev.csv, val.csv\)",
        ),
        (
            ["train-00001-of-00003.csv", "test.csv"],
            r"parts of train are missing \(train-00001-of-00003.csv\); add",
        ),
        (["train.csv", "test.csv", "test/a.csv"], r"several sets of test rows \(test.csv, test\)"),
        (
            ["a/train.csv", "a/test.csv", "b/train.csv", "b/test.csv"],
            r"several folders hold train files \(a, b\)",
        ),
        (["train.csv", "test.xlsx"], "test.xlsx: unknown format"),
        (
            ["train-1.csv", "train-3.csv", "test.csv"],
            r"parts of train are missing \(train-1.csv, train-3.csv\)",
        ),
        (
            ["pos/1.txt", "pos/2.csv", "neg/1.txt"],
            r": 1 in pos are no .txt files, such as 2.csv; rename or remove them",
        ),
    ],
)
def test_missing_and_ambiguous_files_raise(tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        find(make(tmp_path, names))


def test_paths_are_without_symbolic_links(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    path = write_csv(tmp_path / "a" / "reviews.csv", [("a", "1")])
    (tmp_path / "folder").symlink_to(tmp_path / "a")
    (tmp_path / "file.csv").symlink_to(path)
    links = [tmp_path / "folder" / "reviews.csv", tmp_path / "file.csv"]
    assert describe_files(links) == describe_files([path]) * 2
