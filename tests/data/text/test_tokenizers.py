import pickle
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from sentiment.classifier import load
from sentiment.data.datamodule import ReviewDataModule
from sentiment.data.text.tokenizers import TOKENIZERS, Tokenizer
from sentiment.data.text.vocabulary import TextEncoder, Vocabulary
from sentiment.runtime.errors import ArgumentError, InputError
from sentiment.runtime.trust import UntrustedError
from tests.helpers import evaluate_quick, prepare_datamodule, train_quick, write_csv

HERE = "tests.data.text.test_tokenizers"


class Commas:
    """Splits at a separator."""

    def __init__(self, separator: str = ",") -> None:
        self.separator = separator

    def __call__(self, text: str) -> Any:
        """Split a text."""
        if text == "fail":
            raise ValueError("two\nlines")
        return {"none": None, "tuple": ("a",), "numbers": [1]}.get(text, text.split(self.separator))


class FrequentWords:
    """Keeps the words that it was trained on, and how often it saw them."""

    def __init__(self, state: Any = None) -> None:
        self.counts: dict[str, Any] = {}
        self.state = state

    def fit(self, texts: Iterable[str], max_features: int) -> None:
        """Count the words."""
        for word in " ".join(texts).split()[:max_features]:
            self.counts[word] = self.counts.get(word, 0) + 1

    def state_dict(self) -> Any:
        """The counts, or whatever the test wants."""
        return self.state or {"counts": self.counts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the counts."""
        self.counts = state["counts"]

    def __call__(self, text: str) -> list[str]:
        """Keep known words."""
        return [word for word in text.split() if word in self.counts]


def split_at(text: str, separator: str = "-") -> list[str]:
    """Split at a separator."""
    return text.split(separator)


def own(name: str, **arguments: Any) -> Tokenizer:
    """A tokenizer of this file, which is trusted."""
    return Tokenizer({"_target_": f"{HERE}.{name}"} | arguments, trust=[HERE])


@pytest.mark.parametrize(
    ("tokenizer", "text", "tokens"),
    [
        ("words", 'It\'s NOT "bad"... <br />at\tall!', ["it's", "not", "bad", "br", "at", "all"]),
        (
            "words_and_punctuation",
            "I DON\u2019T think it's 'bad' <br /><br />8/10!!! :-) so...",
            [
                "i",
                "do",
                "n't",
                "think",
                "it",
                "'s",
                "'",
                "bad",
                "'",
                "8/10",
                "!!!",
                ":-)",
                "so",
                "...",
            ],
        ),
        ("basic_english", "Not bad!", ["not", "bad", "!"]),
        ("characters", "很好看！\n OK\u3000", ["很", "好", "看", "！", "o", "k"]),
    ],
)
def test_tokenizer_splits_text(tokenizer: str, text: str, tokens: list[str]) -> None:
    assert TOKENIZERS[tokenizer](text) == Tokenizer(tokenizer)(text) == tokens


def test_own_class_or_function_is_called_with_a_text() -> None:
    assert own("Commas")("a,,b c") == ["a", "b c"]
    assert own("Commas", separator=" ")("a,,b c") == ["a,,b", "c"]
    assert own("split_at", _partial_=True, separator=".")("a.b") == ["a", "b"]
    assert str(own("Commas")) == f"{HERE}.Commas"
    assert (
        own("Commas") == pickle.loads(pickle.dumps(own("Commas"))) != own("Commas", separator=" ")
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            "stems",
            "tokenizer=stems: must be one of words, words_and_punctuation, basic_english, characters, bpe, unigram",
        ),
        (7, "tokenizer=7: must be a name, or _target_ and plain arguments"),
        ({}, "tokenizer={}: must be a name, or _target_ and plain arguments"),
        (
            {"_target_": f"{HERE}.Commas", "separator": Path("a")},
            "must be a name, or _target_ and plain arguments",
        ),
        (
            {"_target_": f"{HERE}.Commas", "limit": 3},
            r"Commas: cannot be made, TypeError: .*unexpected keyword argument 'limit' ",
        ),
        (
            {"_target_": f"{HERE}.split_at"},
            r"cannot be made \(a function needs _partial_: true\), TypeError: ",
        ),
        (
            {"_target_": f"{HERE}.HERE"},
            r"HERE: not one of words, .*, nor a class with a method __call__\(text\)",
        ),
        ({"_target_": f"{HERE}.Missing"}, "Missing: cannot be imported"),
        (
            {"_target_": "sentiment.data.text.tokenizers.Tokenizer", "settings": "words"},
            "Tokenizer: not one of words, ",
        ),
        (
            {"_target_": "optuna.storages.RDBStorage", "url": "sqlite:///new.db"},
            "not run unless you trust it",
        ),
    ],
)
def test_invalid_settings_are_rejected(settings: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        Tokenizer(settings, trust=[HERE])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["none", "tuple", "numbers", "fail"])
def test_wrong_result_or_error_of_an_own_tokenizer_is_one_line(text: str) -> None:
    message = (
        r"fails on 'fail', ValueError: two lines \(test_tokenizers\.py, line \d+\)"
        if text == "fail"
        else "it must return a list of strings"
    )
    with pytest.raises(InputError, match=rf"^{HERE}\.Commas .*{message}") as error:
        own("Commas")(text)
    assert "\n" not in str(error.value)


def test_own_tokenizer_is_trained_and_restored() -> None:
    untrained = own("FrequentWords")
    assert untrained.needs_training
    trained = untrained.fit(iter(["a b a", "c d"]), 4)
    assert trained.state == {"counts": {"a": 2, "b": 1, "c": 1}}
    assert trained("d c a") == ["c", "a"]
    with pytest.raises(
        ArgumentError, match=r"FrequentWords: its state cannot be loaded, KeyError: 'counts' "
    ):
        Tokenizer(untrained.settings, {}, trust=[HERE])


@pytest.mark.parametrize(
    "state",
    [
        {"counts": {1: 2}},
        {"counts": (1, 2)},
        {"counts": Commas},
        ["counts"],
        {"counts": float("nan")},
    ],
)
def test_state_that_a_checkpoint_cannot_hold_is_rejected(
    monkeypatch: pytest.MonkeyPatch, state: Any
) -> None:
    monkeypatch.setattr(FrequentWords, "state_dict", lambda _: state)
    with pytest.raises(
        InputError, match=r"FrequentWords: its state_dict\(\) must be a dict of plain values"
    ):
        own("FrequentWords").fit(["a"], 4)


def test_checkpoint_does_not_import_an_own_tokenizer_unless_it_is_trusted() -> None:
    vocabulary = Vocabulary(["<pad>", "<unk>", "b"])
    values = TextEncoder(vocabulary, own("Commas"), 9, "pre", "pre").to_dict()
    assert values["tokenizer"] == {"_target_": f"{HERE}.Commas"}
    with pytest.raises(
        UntrustedError, match=f"^{HERE}.Commas, code that is not run unless you trust it"
    ):
        TextEncoder.from_dict(values)
    assert TextEncoder.from_dict(values, trust=[HERE]).encode("a,b") == [1, 2]


def write_module(folder: Path, body: str) -> None:
    """Write a module with the tokenizer `Own`."""
    (folder / "own_tokens.py").write_text(
        f"class Own:\n    def __call__(self, text):\n        return {body}\n"
    )


def test_cache_depends_on_the_tokenizer(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def folder(tokenizer: Any, max_features: int = 100) -> Path:
        data: Any = {"source": "files", "path": str(small)}
        return ReviewDataModule(**data, tokenizer=tokenizer, max_features=max_features).folder

    assert folder("characters", 100) == folder("characters", 200)
    assert folder("bpe", 100) != folder("bpe", 200)
    assert folder("bpe") != folder("unigram")
    target = {"_target_": f"{HERE}.Commas"}
    assert folder(target, 100) == folder(target, 200) != folder(target | {"separator": " "})
    monkeypatch.syspath_prepend(tmp_path)
    write_module(tmp_path, "text.split()")
    first = folder({"_target_": "own_tokens.Own"})
    write_module(tmp_path, "text.lower().split()")
    assert folder({"_target_": "own_tokens.Own"}) != first


def test_failing_text_is_named(tmp_path: Path) -> None:
    rows: list[tuple[str, object]] = [
        (text, i % 2) for i, text in enumerate(["a,b"] * 11 + ["fail"] + ["c"] * 12)
    ]
    path = write_csv(tmp_path / "reviews.csv", rows)
    with pytest.raises(InputError, match=r"test_tokenizers\.Commas fails on 'fail', ValueError"):
        prepare_datamodule(source="files", path=str(path), tokenizer={"_target_": f"{HERE}.Commas"})


@pytest.mark.slow
def test_own_tokenizer_of_a_run_is_imported_only_if_it_is_trusted(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    write_module(tmp_path, "text.split()")
    run = train_quick(
        tmp_path / "run", small, "data.tokenizer={_target_:own_tokens.Own}", "trainer.max_epochs=1"
    )
    del sys.modules["own_tokens"]
    with pytest.raises(
        InputError, match=r"own_tokens\.Own, code that is not run unless you trust it"
    ):
        load(run)
    with pytest.raises(
        InputError, match=r"own_tokens\.Own, code that is not run unless you trust it"
    ):
        evaluate_quick(tmp_path / "evaluation", f"checkpoint={run}")
    assert "own_tokens" not in sys.modules
    assert load(run, trust=["own_tokens"]).encoder.split("a Film")[0] == ["a", "Film"]
    assert evaluate_quick(tmp_path / "evaluation", f"checkpoint={run}", "trust=[own_tokens]")


def test_cache_key_has_the_code_and_the_versions_of_its_libraries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokenizers = [Tokenizer(name) for name in ("words", "bpe", "unigram")] + [
        own("Commas"),
        own("split_at", _partial_=True),
    ]
    before = [tokenizer.cache_key for tokenizer in tokenizers]
    assert all(code for _, code, *_ in before)
    assert len({code for _, code, *_ in before}) == 3  # tokenizers.py, subwords.py and this file
    for library, changed in (("tokenizers", [1, 2]), ("sentencepiece", [2])):
        with monkeypatch.context() as patch:
            patch.setattr(
                "sentiment.data.text.tokenizers.version",
                lambda name, library=library: f"{name} {name == library}",
            )
            keys = [tokenizer.cache_key for tokenizer in tokenizers]
        assert [
            i for i, key in enumerate(keys) if any("True" in str(part) for part in key[2:])
        ] == changed
