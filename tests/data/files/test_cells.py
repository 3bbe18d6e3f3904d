import pytest

from sentiment.data.files.cells import is_empty, to_label


@pytest.mark.parametrize("text", ["", " \n\t", "\u200b\ufeff", "\xa0"])
def test_invisible_texts_are_empty(text: str) -> None:
    assert is_empty(text)
    assert not is_empty(f"{text}.{text}")


def test_number_of_any_size_is_a_label() -> None:
    cells = (10**30, 1e20, 0.1, float("inf"))
    assert [to_label(cell) for cell in cells] == ["1" + "0" * 30, "1" + "0" * 20, "0.1", "inf"]
