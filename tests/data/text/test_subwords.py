import html
import json
import os
import pickle
import subprocess
import sys
from typing import Any

import pytest

from sentiment.data.demo import reviews
from sentiment.data.text.tokenizers import Tokenizer, is_plain
from sentiment.data.text.vocabulary import TextEncoder, Vocabulary
from sentiment.runtime.errors import InputError
from sentiment.training.diagnostics import format_review
from tests.helpers import ROOT, time_limit

DEMO = [text for text, _ in reviews(150)]


@pytest.fixture(scope="module", params=["bpe", "unigram"])
def subwords(request: pytest.FixtureRequest) -> Tokenizer:
    """A tokenizer that knows some English, and the word 电影."""
    return Tokenizer(request.param).fit(
        [*DEMO, *["这部电影！", "好电影", "电影", "don't; 8/10!!!"] * 30], 600
    )


def test_subwords_are_readable_pieces_of_words(subwords: Tokenizer) -> None:
    assert subwords("The  FILM\n<br /><br />") == ["▁the", "▁film"]
    assert subwords("the film.") == ["▁the", "▁film", "."]
    assert subwords("电影 好电影！") == ["▁电影", "▁好电影", "!"]
    assert subwords("Don\u2019t") == subwords("don't") == ["▁don't"]
    assert subwords("\uff26ilm") == subwords("film")  # NFKC
    assert subwords("") == subwords(" <br>\t") == []
    text = "the unforgettable film!!! it isn't 8/10!!! 电影"
    assert "".join(subwords(text)).replace("▁", " ").strip() == text


def test_number_of_subwords_is_at_most_that_of_the_vocabulary(subwords: Tokenizer) -> None:
    assert subwords.state
    assert 300 < len(subwords.state["model"]["vocab"]) <= 599


def test_unknown_characters_and_special_tokens_in_a_text_are_unknown(subwords: Tokenizer) -> None:
    vocabulary = Vocabulary(["<pad>", "<unk>", "▁the", "▁film"])
    assert subwords("the ☃ film") == ["▁the", "▁", "<unk>", "▁film"]
    for special in ("<unk>", "<pad>", "<s>", "[UNK]", "\ud800"):
        assert len(subwords(f"the {special} film")) > 3
        assert {*vocabulary.look_up(subwords(f"the {special} film"))[1:-1]} == {1}


def test_subwords_survive_plain_values_and_pickling(subwords: Tokenizer) -> None:
    assert is_plain(subwords.state)
    restored = Tokenizer(subwords.settings, json.loads(json.dumps(subwords.state)))
    for other in (restored, pickle.loads(pickle.dumps(subwords))):
        assert other == subwords
        assert hash(other) == hash(subwords)
        assert [other(text) for text in DEMO[:20]] == [subwords(text) for text in DEMO[:20]]
    assert subwords != Tokenizer(subwords.settings)


def test_state_is_a_file_of_hugging_face_tokenizers(subwords: Tokenizer) -> None:
    from tokenizers import Tokenizer as HuggingFaceTokenizer

    state = HuggingFaceTokenizer.from_str(json.dumps(subwords.state))
    assert state.encode("The film, 8/10, isn't\nfun!").tokens == subwords(
        "The film, 8/10, isn't\nfun!"
    )


@pytest.mark.parametrize("truncating", ["pre", "post"])
def test_what_maxlen_cuts_off_consists_of_whole_subwords(
    subwords: Tokenizer, truncating: str
) -> None:
    vocabulary = Vocabulary(["<pad>", "<unk>"])
    for maxlen in range(1, 12):
        encoder = TextEncoder(vocabulary, subwords, maxlen, "pre", truncating)
        tokens, kept = encoder.split("the unforgettable film was moving")
        shown = html.unescape(format_review(encoder, "the unforgettable film was moving"))
        assert tokens[kept] == shown.removeprefix("… ").removesuffix(" …").split() or maxlen >= len(
            tokens
        )


TRAIN = """
import hashlib, json, sys
from sentiment.data.demo import reviews
from sentiment.data.text.tokenizers import Tokenizer
texts = [text for text, _ in reviews(150)]
states = [Tokenizer(name).fit(texts, 400).state for name in ("bpe", "unigram")]
print(hashlib.sha256(json.dumps(states).encode()).hexdigest())
"""


@pytest.mark.slow
@pytest.mark.parametrize("piece", ["a", "1/", "电影"])
def test_long_line_is_split_in_linear_time(subwords: Tokenizer, piece: str) -> None:
    with time_limit(10):
        tokens = subwords(piece * 500_000)
    assert len("".join(tokens).replace("<unk>", "?")) <= 1_000_001


@pytest.mark.slow
def test_training_is_the_same_in_every_process() -> None:
    hashes: set[str] = set()
    for parallelism in ("false", "true"):
        environment = {
            "TOKENIZERS_PARALLELISM": parallelism,
            "PYTHONHASHSEED": str(len(hashes)),
            "PATH": "",
        }
        arguments: dict[str, Any] = {
            "capture_output": True,
            "text": True,
            "cwd": ROOT,
        }
        done = subprocess.run(
            [sys.executable, "-c", TRAIN], env=environment, check=True, **arguments
        )
        assert not done.stderr
        hashes.add(done.stdout)
    assert len(hashes) == 1


def test_subwords_leave_the_environment_as_it_is(subwords: Tokenizer) -> None:
    assert subwords("the film")
    assert "TOKENIZERS_PARALLELISM" not in os.environ


def test_subwords_that_cannot_be_trained_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    message = "^unigram: its training fails, RuntimeError: .*Vocabulary size is smaller"
    with pytest.raises(InputError, match=message):
        Tokenizer("unigram").fit(DEMO, 9)
    with pytest.raises(InputError, match=r"^unigram: its training fails, RuntimeError: "):
        Tokenizer("unigram").fit(["", " "], 9)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(
        InputError,
        match=r"^tokenizer=bpe: cannot be made, ModuleNotFoundError: .* tokenizers ",
    ):
        Tokenizer("bpe")


def test_encoder_carries_settings_and_state_as_plain_values(subwords: Tokenizer) -> None:
    vocabulary = Vocabulary(["<pad>", "<unk>", "▁the", "▁film"])
    encoder = TextEncoder(vocabulary, subwords, 9, "pre", "pre")
    values = json.loads(json.dumps(encoder.to_dict()))
    assert values["tokenizer"] == subwords.settings
    restored = TextEncoder.from_dict(values)
    assert restored.to_dict() == encoder.to_dict()
    assert (
        restored.encode("The film")
        == pickle.loads(pickle.dumps(encoder)).encode("The film")
        == [2, 3]
    )
