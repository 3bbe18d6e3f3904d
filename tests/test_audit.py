"""The audit: ten kinds of planted faults, its files, and labels that are accepted from it."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sentiment.analysis.audit.audit import Findings, audit
from sentiment.analysis.audit.doubts import judge_labels
from sentiment.analysis.audit.features import count_words
from sentiment.data.corpus import Corpus
from sentiment.data.encoded.store import EncodedReviews
from sentiment.data.source import FileSettings, resolve_source
from sentiment.data.summary import count_repeated
from sentiment.runtime.errors import InputError
from tests.helpers import command, compose_config, prepare_datamodule, snapshot, write_csv

ROWS = 400
WORDS = {"bad": ["awful", "boring", "dull", "poor"], "good": ["fine", "great", "lovely", "superb"]}
THINGS = ["actor", "cast", "film", "hero", "music", "plot", "scene", "script", "story", "voice"]


def make_review(label: str, generator: random.Random) -> str:
    parts = ((generator.choice(THINGS), generator.choice(WORDS[label])) for _ in range(6))
    return " ".join(
        f"the {thing} of the {generator.choice(THINGS)} was {word}" for thing, word in parts
    )


@pytest.fixture(scope="module")
def messy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with faults; the numbers of their rows are those in the tests, from 1."""
    generator = random.Random(0)
    labels = [("bad", "good")[i % 2] for i in range(ROWS)]
    rows: list[tuple[str, Any]] = [(make_review(label, generator), label) for label in labels]
    rows[0] = (f"=1+1 <script>alert(1)</script> \x1b[31m {rows[0][0]}", "good")  # 1: wrong label
    rows[1] = (rows[1][0], "bad")  # 2: wrong label
    rows[100:140:2] = [(f"{text} 2/10", label) for text, label in rows[100:140:2]]  # a rating
    rows += [
        (rows[10][0], rows[10][1]),  # 401: a copy
        (rows[11][0].upper() + "!", rows[11][1]),  # 402: a copy but for case and punctuation
        (rows[12][0], "good"),  # 403: a copy with another label
        (rows[13][0] + " indeed", rows[13][1]),  # 404: nearly a copy
        ("", "good"),  # 405: no text
        ("It was lovely.", ""),  # 406: no label
    ]
    rows += [(make_review("good", generator), "Good") for _ in range(20)]  # another spelling
    rows += [("这家酒店非常好服务员很热情房间干净下次还会来住" * 40, "good")]  # no spaces
    return write_csv(tmp_path_factory.mktemp("messy") / "reviews.csv", rows)


@pytest.fixture(scope="module")
def folder(messy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("audit")


@pytest.fixture(scope="module")
def findings(messy: Path, folder: Path) -> Findings:
    return audit(
        compose_config("data=files", f"data.path={messy}", f"output_dir={folder}", name="audit")
    )


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def test_planted_faults_are_found(findings: Findings, folder: Path) -> None:
    doubtful = read(folder / "audit.csv")
    places = dict(
        zip(doubtful.row, zip(doubtful.label, doubtful.suggested, strict=True), strict=True)
    )
    assert places["1"] == ("good", "bad")
    assert places["2"] == ("bad", "good")
    assert {"1", "2", "403"} <= {*doubtful[doubtful.label != "Good"].row[:4]}
    assert doubtful.probability.astype(float).is_monotonic_decreasing
    copies = read(folder / "copies.csv")
    pairs = {
        frozenset(pair): float(similarity)
        for *pair, similarity in copies[["row", "other_row", "similarity"]].values
    }
    for pair in (("401", "11"), ("402", "12"), ("403", "13")):
        assert pairs[frozenset(pair)] == 1
    assert 0.8 < pairs[frozenset(("404", "14"))] < 1
    text = "\n".join(findings.problems)
    for problem in (
        "1 with an empty text (reviews.csv row 405)",
        "1 with no label (reviews.csv row 406)",
        "labels that may mean the same: Good and good",
        "2 reviews have a text that also has another label",
        "numbers that give the label away, perhaps ratings or identifiers: 2, 10",
    ):
        assert problem in text
    assert {"2", "10"} <= {*findings.telling[findings.telling.label == "bad"].word}
    assert findings.rows.contradicts.sum() == 2


def test_languages_without_spaces_are_named(tmp_path: Path) -> None:
    rows = [(f"这家酒店非常好服务员很热情房间干净{i % 7}下次还会来住", i % 2) for i in range(60)]
    path = write_csv(tmp_path / "reviews.csv", [*rows])
    found = audit(
        compose_config("data=files", f"data.path={path}", f"output_dir={tmp_path}", name="audit")
    )
    assert any("data.tokenizer=characters" in problem for problem in found.problems)


def test_nothing_is_found_in_clean_data(tmp_path: Path) -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    pairs = [f"{first}{second}" for first in letters for second in letters]
    texts = [f"{word}x {('worse', 'better')[i % 2]} {word}y" for i, word in enumerate(pairs[:100])]
    path = write_csv(tmp_path / "reviews.csv", [(text, i % 2) for i, text in enumerate(texts)])
    overrides = ["data=files", f"data.path={path}", f"output_dir={tmp_path}"]
    found = audit(compose_config(*overrides, name="audit"))
    assert found.copies.empty
    assert not (found.rows.doubt > 0).any()
    for name in ("audit", "copies"):
        assert len(read(tmp_path / f"{name}.csv")) == 0
    assert (tmp_path / "audit.html").read_text().count("<p>None.</p>") == 2


def test_page_is_self_contained_and_escaped(findings: Findings, folder: Path) -> None:
    page = (folder / "audit.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "src=" not in page
    assert "'=1+1" in (folder / "audit.csv").read_text()


def test_copies_with_two_labels_get_one_suggestion(tmp_path: Path) -> None:
    """Whichever copy a model has learned, it does not judge the other one."""
    rows: list[tuple[str, object]] = [
        (f"{'awful bore' if i % 2 else 'great fun'} {chr(97 + i % 26)}{i}", ("good", "bad")[i % 2])
        for i in range(60)
    ]
    rows += [(text, "bad" if label == "good" else "good") for text, label in rows[:6]]
    path = write_csv(tmp_path / "reviews.csv", rows)
    audit(compose_config("data=files", f"data.path={path}", f"output_dir={tmp_path}", name="audit"))
    doubtful = read(tmp_path / "audit.csv")
    assert {*doubtful.row} == {str(row) for row in range(61, 67)}


def test_rare_classes_are_not_judged() -> None:
    ids = np.arange(60, dtype=np.int32) % 7
    reviews = EncodedReviews(ids, np.arange(0, 61, 2), np.zeros(30), np.arange(30))
    labels = np.array([0, 1] * 14 + [2, 2])
    other, probability, doubt = judge_labels(count_words(reviews).matrix, labels, np.arange(30))
    assert [*other[-2:], *probability[-2:], *doubt[-2:]] == [-1, -1, 0, 0, -np.inf, -np.inf]
    assert {*other[:-2]} == {0, 1}
    assert {*judge_labels(count_words(reviews).matrix, np.arange(30), np.arange(30))[0]} == {-1}


def test_words_and_pairs_are_counted() -> None:
    ids = np.array([5, 6, 5, 6, 7, 5, 6, 7], dtype=np.int32)
    counts = count_words(EncodedReviews(ids, np.array([0, 4, 8]), np.zeros(2), np.arange(2)))
    assert dict(
        zip(map(tuple, counts.grams.tolist()), counts.matrix.toarray().T.tolist(), strict=True)
    ) == {
        (5, -1): [2, 1],
        (6, -1): [2, 1],
        (5, 6): [2, 1],
    }
    assert [*counts.sizes] == [4, 6]  # 5, 6, 56, 65; 7, 5, 6, 75, 56, 67


def load(path: Path, accepted: Path) -> Corpus:
    return resolve_source("files", FileSettings(str(path), labels_from=str(accepted))).load()


def accept(folder: Path, target: Path, **changes: str) -> Path:
    """Accept the suggestion for row 1, with changes of its cells."""
    table = read(folder / "audit.csv")
    (number,) = table.index[table.row == "1"]
    for name, cell in ({"accept": "yes"} | changes).items():
        table.loc[number, name] = cell
    table.to_csv(target, index=False)
    return target


def test_accepted_labels_are_trained_on(
    messy: Path, findings: Findings, folder: Path, tmp_path: Path
) -> None:
    before, after = (
        load(messy, path) for path in (folder / "audit.csv", accept(folder, tmp_path / "audit.csv"))
    )
    (changed,) = np.flatnonzero(before.labels != after.labels)
    assert before.reviews[int(changed)]["row"] == 1
    assert [corpus.label_names[corpus.labels[changed]] for corpus in (before, after)] == [
        "good",
        "bad",
    ]
    assert ": 1 of " in after.notes[-1]
    assert before.reviews["text"] == after.reviews["text"]
    assert len({corpus.reviews._fingerprint for corpus in (before, after)}) == 2


def test_table_may_be_saved_with_semicolons(
    messy: Path, findings: Findings, folder: Path, tmp_path: Path
) -> None:
    accepted = accept(folder, tmp_path / "commas.csv")
    read(accepted).to_csv(tmp_path / "semicolons.csv", index=False, sep=";")
    first, second = load(messy, accepted), load(messy, tmp_path / "semicolons.csv")
    assert first.labels.tolist() == second.labels.tolist()


def test_accepted_labels_leave_two_classes(tmp_path: Path) -> None:
    rows: list[tuple[str, object]] = [(f"film {i}", "good" if i > 1 else "bad") for i in range(20)]
    data = write_csv(tmp_path / "data.csv", rows)
    line = {"file": "data.csv", "label": "bad", "suggested": "good", "accept": "yes"}
    lines = [line | {"row": i + 1, "text": f"film {i}"} for i in range(2)]
    pd.DataFrame(lines).to_csv(tmp_path / "audit.csv", index=False)
    settings = FileSettings(str(data), test_fraction=0.5, labels_from=tmp_path / "audit.csv")
    with pytest.raises(InputError, match="every label is good"):
        resolve_source("files", settings).load()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accept": "perhaps"}, "accept is 'perhaps'; write yes, or leave it empty"),
        ({"label": "bad"}, "is not as it was audited"),
        ({"text": "another"}, "is not as it was audited"),
        ({"row": "3"}, "is not as it was audited"),
        ({"file": "others.csv"}, "is not as it was audited"),
        ({"suggested": "excellent"}, "is not as it was audited"),
    ],
)
def test_rows_that_do_not_match_are_refused(
    messy: Path, findings: Findings, folder: Path, tmp_path: Path, changes: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load(messy, accept(folder, tmp_path / "audit.csv", **changes))


def test_other_files_are_refused(messy: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data.labels_from=.*name the audit.csv"):
        load(messy, messy)
    with pytest.raises(InputError, match=r"data.labels_from=.*: no such file"):
        load(messy, tmp_path / "absent.csv")


def test_repeated_texts_are_counted(tmp_path: Path) -> None:
    rows = [(f"A film {i} of many words.", i % 2) for i in range(60)]
    write_csv(tmp_path / "test.csv", [*rows[:10]])
    write_csv(tmp_path / "train.csv", [*rows, rows[3], rows[3], (rows[4][0], 1)])
    write_csv(tmp_path / "dev.csv", [*rows[:10]])
    data = prepare_datamodule(source="files", path=str(tmp_path))
    assert count_repeated(data) == (2, 1)


def test_command_needs_a_new_folder_and_ends_with_one_line(messy: Path, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "audit.csv").write_text("mine")
    before = snapshot(tmp_path)
    for argument, message in (
        (f"data.path={messy}", "work: is not empty; choose a new folder"),
        ("data.path=absent.csv", "data.path=absent.csv: no such file or folder"),
    ):
        folder = "work" if "empty" in message else "new"
        done = command(
            "data=files", argument, f"hydra.run.dir={folder}", cwd=tmp_path, module="audit"
        )
        assert done.returncode == 2
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert snapshot(tmp_path) == before
