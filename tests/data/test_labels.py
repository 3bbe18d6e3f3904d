import subprocess

import pyarrow as pa
import pytest

from sentiment.data.labels import (
    DROPPED_LABEL,
    MISSING_LABEL,
    check_classes,
    find_similar,
    number_classes,
    read_mapping,
    suggest_mapping,
)
from sentiment.runtime.config import parse_overrides
from sentiment.runtime.errors import InputError
from tests.helpers import time_limit


@pytest.mark.parametrize(
    ("labels", "classes", "numbers"),
    [
        (["b", "a", "b"], ["a", "b"], [1, 0, 1]),
        (["10", "9", "2"], ["2", "9", "10"], [2, 1, 0]),
        (["1.10", "1.1"], ["1.1", "1.10"], [1, 0]),
        (
            ["7", "007", "1e3", "1000", "01", "1"],
            ["01", "1", "007", "7", "1000", "1e3"],
            [3, 2, 5, 4, 0, 1],
        ),
        (["TRUE", "true", "False"], ["False", "TRUE", "true"], [1, 2, 0]),
        (["a", None, "NA", "b"], ["a", "b"], [0, MISSING_LABEL, MISSING_LABEL, 1]),
    ],
)
def test_text_is_text(labels: list[str | None], classes: list[str], numbers: list[int]) -> None:
    numbered = number_classes(pa.chunked_array([pa.array(labels)]), {}, [])
    assert (numbered.names, numbered.labels.tolist()) == (classes, numbers)


def number(labels: list[str | None], mapping: object) -> tuple[list[str], list[int]]:
    numbered = number_classes(pa.chunked_array([pa.array(labels)]), read_mapping(mapping), [])
    return numbered.names, numbered.labels.tolist()


def test_mapping_renames_and_drops() -> None:
    mapping = {1: "bad", "2": "bad", 3: None, 4.0: True}
    assert number(["1", "2", "3", "4", None], mapping) == (
        ["True", "bad"],
        [1, 1, DROPPED_LABEL, 0, MISSING_LABEL],
    )


def test_key_stands_for_its_spelling_before_it_stands_for_equal_numbers() -> None:
    assert number(["1.1", "1.10"], ["1.1:A", "1.10:B"]) == (["A", "B"], [0, 1])
    assert number(["1.1", "1.10"], {1.1: "A"}) == (["1.10", "A"], [1, 0])
    assert number(["1.0", "01", "2.0"], {1: "one"}) == (["2.0", "one"], [1, 1, 0])
    assert number(["TRUE", "false"], {True: "yes"}) == (["false", "yes"], [1, 0])
    labels = pa.chunked_array([pa.array(["1.0", "01", "2"])])
    numbered = number_classes(labels, read_mapping({1: "one", 5: "five"}), [])
    assert numbered.unused == ["5"]


def test_spelling_of_a_missing_label_that_is_a_key_is_a_class() -> None:
    assert number(["NA", "nan", "x"], ["NA:NA"]) == (["NA", "x"], [0, MISSING_LABEL, 1])
    assert number(["null", "x"], {None: "unsure"}) == (["unsure", "x"], [0, 1])


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (
            ["1:a", "1:b"],
            r"data.labels=\['1:a', '1:b'\]: cannot be read \(an old label is there twice\)",
        ),
        ({1: "a", "1": "b"}, "data.labels=.*: cannot be read .an old label is there twice"),
        (["a"], r"data.labels=\['a'\]: cannot be read .*; write data.labels={OLD:NEW,...}"),
        ("x", r"data.labels=x: cannot be read .*; write data.labels={OLD:NEW,...}"),
        (1, r"data.labels=1: cannot be read .*; write data.labels={OLD:NEW,...}"),
        ({"a": [1]}, r"data.labels={'a': \[1\]}: .*, with text, numbers, booleans or null$"),
    ],
)
def test_invalid_mappings(mapping: object, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        read_mapping(mapping)


def test_keys_that_hydra_reads_as_one_are_an_error() -> None:
    with pytest.raises(InputError) as error:
        parse_overrides(["data.labels={1.1:A,1.10:B}"])
    advice = 'write texts: data.labels=["1.1:A","1.10:B"]'
    assert str(error.value).endswith(advice)
    assert parse_overrides([advice.partition(": ")[2]])[0].value() == ["1.1:A", "1.10:B"]
    assert parse_overrides(["data.labels={a\\:b:x,c:y}"])[0].value() == {"a:b": "x", "c": "y"}


def test_hex_numbers_and_huge_exponents_are_quick() -> None:
    names = ["1e1000000", "1e3000000", "7e31592653"]
    with time_limit(1):
        assert number([*names], {}) == (names, [0, 1, 2])


@pytest.mark.parametrize("kind", ["fractions", "integers", "dates"])
def test_measurements_are_no_classes(kind: str) -> None:
    names = {
        "fractions": [f"{i / 7:.3f}" for i in range(40)],
        "integers": [str(i) for i in range(400)],
        "dates": [f"2026-01-{i:02}" for i in range(1, 31)],
    }[kind]
    with pytest.raises(
        InputError, match=rf"500 rows have {len(names)} different .*, such as {names[0]} and"
    ):
        check_classes(names, 500)
    check_classes([str(i) for i in range(150)], 22_500)  # numbered intents
    check_classes(names[:20], 500)
    check_classes([f"class {name}" for name in names], 500)


def test_classes_of_the_metadata_keep_their_order() -> None:
    labels = pa.chunked_array([pa.array(["World", "Sports", "-1"])])
    assert number_classes(labels, {}, ["World", "Sports", "Business"]).names == [
        "-1",
        "World",
        "Sports",
    ]
    mapping: dict[str, str | None] = {"World": "news", "-1": None}
    assert number_classes(labels, mapping, ["World", "Sports"]).names == ["Sports", "news"]


@pytest.mark.parametrize(
    "mapping",
    [
        {"Neg": "bad", "not good": "bad"},
        {"very odd": None, "007": "7", "1.10": "1.1"},
        {"好": "good", "it's": "x", 'a"b': "y", "a:b": "z", "😀": "{}"},
        {"1": "true", "NA": "NA", "$HOME": "`x`"},
    ],
)
def test_suggestions_can_be_typed(mapping: dict[str, str | None]) -> None:
    typed = suggest_mapping(mapping)
    shell = subprocess.run(["sh", "-c", f"printf %s {typed}"], capture_output=True, text=True)
    [override] = parse_overrides([shell.stdout])
    assert read_mapping(override.value()) == mapping


def test_similar_names_are_found() -> None:
    assert find_similar(["a", "A", "b"]) == [["a", "A"]]
    assert find_similar(["01", "1", "1.0", "2"]) == [["01", "1", "1.0"]]
    assert find_similar(["True", "true", "1"]) == [["True", "true"]]
    assert find_similar(["no", "yes", "maybe"]) == []
