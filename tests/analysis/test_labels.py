"""Labels of settings and classes, in tables and figures."""

from sentiment.analysis.labels import MAX_WIDTH, label_values, shorten_keys, shorten_label
from sentiment.runtime.config import ClassName


def test_keys_are_shortened_unless_ambiguous() -> None:
    assert shorten_keys(["optimizer", "optimizer.lr", "a.b", "c.b"]) == {
        "optimizer": "optimizer", "optimizer.lr": "lr", "a.b": "a.b", "c.b": "c.b",
    }  # fmt: skip


def test_values_are_shortened_unless_they_would_look_alike() -> None:
    path = f"/{'folder/' * 10}vectors.txt"
    none, short, shortened = label_values([None, 0.12345, path])
    assert (none, short) == ("none", "0.123")
    assert len(shortened) == MAX_WIDTH
    assert shortened.endswith("vectors.txt")
    assert label_values([0.12345, 0.12346]) == ["0.12345", "0.12346"]
    assert label_values([0.00123, 0.001234]) == ["0.00123", "0.001234"]
    assert label_values([ClassName("one.CNN"), ClassName("b.LSTM")]) == ["CNN", "LSTM"]
    assert label_values([ClassName("one.CNN"), ClassName("two.CNN")]) == ["one.CNN", "two.CNN"]
    assert label_values([path, path.replace("/folder", "/FOLDER", 1), path])[0] == shortened
    assert label_values([path, path.replace("r/v", "r/x/v").replace("folder/", "", 1)]) != [
        shortened,
        shortened,
    ]
    assert len(label_values(["長" * 30])[0]) < MAX_WIDTH  # two columns each
    assert label_values(["\x1b[31m\n"]) == [r"\x1b[31m\n"]


def test_names_of_classes_are_shortened_to_their_width_on_the_screen() -> None:
    assert shorten_label("x" * 24) == "x" * 24
    assert shorten_label("x" * 25) == "x" * 8 + "…" + "x" * 15
    assert shorten_label("好" * 13) == "好" * 4 + "… " + "好" * 7
    assert shorten_label("a\nb") == r"a\nb"
