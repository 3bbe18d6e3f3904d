import ssl
from pathlib import Path

import pytest
import torch

from sentiment.data.text import TOKENIZERS, Vocabulary, rank_words
from sentiment.errors import InputError


def test_words_are_split_as_keras_splits_them() -> None:
    assert TOKENIZERS["words"]('It\'s NOT "bad"... <br />at\tall!') == ["it's", "not", "bad", "br", "at", "all"]


def test_words_and_marks_keep_what_carries_a_verdict() -> None:
    text = "I DON\u2019T think it's 'bad' <br /><br />8/10!!! :-) so..."
    tokens = ["i", "do", "n't", "think", "it", "'s", "'", "bad", "'", "8/10", "!!!", ":-)", "so", "..."]
    assert TOKENIZERS["words_and_marks"](text) == tokens


def test_basic_english_keeps_punctuation_as_words() -> None:
    assert TOKENIZERS["basic_english"]("Not bad!") == ["not", "bad", "!"]


def test_ids_are_frequency_ranks_and_ties_go_by_alphabet() -> None:
    assert rank_words({"rare": 1, "often": 5, "b": 2, "a": 2}) == ["<pad>", "<unk>", "often", "a", "b", "rare"]


def test_a_text_without_a_known_word_is_unknown_and_never_empty() -> None:
    vocabulary = Vocabulary(["<pad>", "<unk>", "good"])
    assert vocabulary.encode(["good", "电影"]) == [2, 1]
    assert vocabulary.encode([]) == [1]
    assert vocabulary.decode([0, 0, 2, 1]) == "good <unk>"
    assert vocabulary.encode(["<pad>", "<unk>"]) == [1, 1]  # words like any other in a text


def test_vectors_of_a_local_file_come_with_the_ids_of_their_words(tmp_path: Path) -> None:
    file = tmp_path / "vectors.txt"
    file.write_text("good 1 2 3\nelsewhere 4 5 6\nbad 7 8 9\n")
    checked = ssl._create_default_https_context
    vectors, ids = Vocabulary(["<pad>", "<unk>", "bad", "odd", "good"]).vectors(str(file))
    assert ids.tolist() == [2, 4]
    assert torch.equal(vectors, torch.tensor([[7.0, 8, 9], [1, 2, 3]]))
    assert ssl._create_default_https_context is checked
    file.write_text("good 3 2 1\n")
    assert Vocabulary(["<pad>", "<unk>", "good"]).vectors(str(file))[0].tolist() == [[3, 2, 1]]


@pytest.mark.parametrize("content", [None, "", "no numbers here\n"])
def test_vectors_that_cannot_be_read_are_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "vectors.txt").write_text(content)
    with pytest.raises(InputError, match=r"model\.vectors="):
        Vocabulary(["<pad>", "<unk>"]).vectors(str(tmp_path / "vectors.txt"))
