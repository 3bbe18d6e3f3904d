import pytest

from sentiment.data.text.tokenizers import Tokenizer
from sentiment.data.text.vocabulary import TextEncoder, Vocabulary, rank_words
from sentiment.runtime.errors import ArgumentError
from sentiment.runtime.trust import UntrustedError

VOCABULARY = Vocabulary(["<pad>", "<unk>", "good"])


def test_words_are_ranked_by_frequency_then_alphabetically() -> None:
    assert rank_words({"rare": 1, "often": 5, "b": 2, "a": 2}) == [
        "<pad>",
        "<unk>",
        "often",
        "a",
        "b",
        "rare",
    ]


def test_vocabulary_maps_other_words_and_an_empty_text_to_unknown() -> None:
    assert VOCABULARY.look_up(["good", "电影"]) == [2, 1]
    assert VOCABULARY.look_up([]) == [1]
    assert VOCABULARY.decode([0, 0, 2, 1]) == "good <unk>"
    assert VOCABULARY.look_up(["<pad>", "<unk>"]) == [1, 1]  # in a text they are ordinary words


@pytest.mark.parametrize(
    ("truncating", "kept", "ids"),
    [("pre", ["bad", "good"], [1, 2]), ("post", ["good", "bad"], [2, 1])],
)
def test_encoder_truncates_long_texts(truncating: str, kept: list[str], ids: list[int]) -> None:
    encoder = TextEncoder(
        VOCABULARY, Tokenizer("words"), maxlen=2, padding="pre", truncating=truncating
    )
    tokens, read = encoder.split("Good, bad, good!")
    assert tokens == ["good", "bad", "good"]
    assert tokens[read] == kept
    assert encoder.encode("Good, bad, good!") == ids
    assert encoder.encode("good") == [2]
    assert encoder.encode("") == [1]


def test_encoder_survives_a_round_trip_through_plain_values() -> None:
    encoder = TextEncoder(
        VOCABULARY, Tokenizer("basic_english"), maxlen=7, padding="post", truncating="pre"
    )
    values = encoder.to_dict()
    assert values == {"vocabulary": ["<pad>", "<unk>", "good"], "tokenizer": "basic_english", "maxlen": 7,
                      "padding": "post", "truncating": "pre"}  # fmt: skip
    assert TextEncoder.from_dict(values).to_dict() == values
    assert TextEncoder.from_dict(values).encode("Good!") == encoder.encode("Good!") == [2, 1]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"maxlen": 0}, ArgumentError, "maxlen=0: must be an integer >= 1"),
        ({"padding": "middle"}, ArgumentError, "padding=middle: must be one of pre, post"),
        ({"tokenizer": "stems"}, ArgumentError, "tokenizer=stems: must be one of words, "),
        ({"tokenizer": "bpe"}, ValueError, "tokenizer_state: missing"),
        (
            {"tokenizer": "bpe", "tokenizer_state": {}},
            ArgumentError,
            "tokenizer=bpe: its state cannot be loaded",
        ),
        (
            {"tokenizer_state": {}},
            ArgumentError,
            "tokenizer=words: its state cannot be loaded, AttributeError",
        ),
        (
            {
                "tokenizer": {"_target_": "tests.data.text.test_tokenizers.Commas"},
                "trust": ["tests"],
            },
            UntrustedError,
            "--trust",
        ),
        ({"vocabulary": [1, 2, 3]}, ValueError, "vocabulary: not a list of strings"),
        (
            {"vocabulary": ["good"]},
            ValueError,
            "vocabulary: not a list of strings that starts with",
        ),
        ({"stemming": True}, TypeError, "stemming"),
    ],
)
def test_encoder_rejects_invalid_values(
    change: dict[str, object], error: type[Exception], message: str
) -> None:
    values = TextEncoder(
        VOCABULARY, Tokenizer("words"), maxlen=7, padding="pre", truncating="pre"
    ).to_dict()
    with pytest.raises(error, match=message):
        TextEncoder.from_dict(values | change)
