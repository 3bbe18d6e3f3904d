import pyarrow as pa
import pytest

from sentiment.data.labels import (
    DROPPED_LABEL,
    MISSING_LABEL,
    find_similar,
    is_empty,
    number_classes,
    suggest_mapping,
    to_label,
)


@pytest.mark.parametrize("text", ["", " \n\t", "\u200b\ufeff", "\xa0"])
def test_invisible_texts_are_empty(text: str) -> None:
    assert is_empty(text)
    assert not is_empty(f"{text}.{text}")


def test_number_of_any_size_is_a_label() -> None:
    cells = (10**30, 1e20, 0.1, float("inf"))
    assert [to_label(cell) for cell in cells] == ["1" + "0" * 30, "1" + "0" * 20, "0.1", "inf"]


@pytest.mark.parametrize(
    ("labels", "classes", "numbers"),
    [
        (["b", "a", "b"], ["a", "b"], [1, 0, 1]),
        (["10", "9", "2"], ["2", "9", "10"], [2, 1, 0]),
        (["1", "1.0", "01", "-2.50"], ["-2.5", "1"], [1, 1, 1, 0]),
        (["1", "1.0", "one"], ["1", "one"], [0, 0, 1]),
        (["TRUE", "true", "False"], ["False", "True"], [1, 1, 0]),
        (["true", "false", "mixed"], ["false", "mixed", "true"], [2, 0, 1]),
        (["a", None, "b"], ["a", "b"], [0, MISSING_LABEL, 1]),
    ],
)
def test_classes_are_numbered_in_order(labels: list[str | None], classes: list[str], numbers: list[int]) -> None:
    found, codes = number_classes(pa.chunked_array([pa.array(labels)]), {}, [])
    assert (found, codes.tolist()) == (classes, numbers)


def test_mapping_renames_and_drops() -> None:
    labels = pa.chunked_array([pa.array(["1", "2.0", "3"]), pa.array(["4", None])])
    mapping = {1: "bad", "2": "bad", 3: None, 4.0: True}
    names, numbers = number_classes(labels, mapping, [])
    assert names == ["True", "bad"]
    assert numbers.tolist() == [1, 1, DROPPED_LABEL, 0, MISSING_LABEL]


def test_classes_of_the_metadata_keep_their_order() -> None:
    labels = pa.chunked_array([pa.array(["World", "Sports", "-1"])])
    assert number_classes(labels, {}, ["World", "Sports", "Business"])[0] == ["-1", "World", "Sports"]
    assert number_classes(labels, {"World": "news", -1: None}, ["World", "Sports"])[0] == ["Sports", "news"]


def test_suggestions_follow_hydras_grammar() -> None:
    assert suggest_mapping(["Neg", "not good"], "bad") == "data.labels={Neg:bad,'not good':bad}"
    assert find_similar(["a", "A", "b"]) == [["a", "A"]]
