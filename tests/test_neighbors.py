from argparse import Namespace
from pathlib import Path

import pytest
import torch

from sentiment.classifier import load
from sentiment.errors import InputError
from sentiment.neighbors import known, neighbors
from sentiment.neighbors import run as print_neighbors


def test_the_nearest_words_come_first(run: Path) -> None:
    classifier = load(run)
    found = neighbors(classifier, "convincing", 5)
    vectors, ids = classifier.net.embedding.weight.detach(), classifier.vocabulary.ids
    every = torch.cosine_similarity(vectors, vectors[ids["convincing"]][None])
    expected = sorted((float(every[id_]) for word, id_ in ids.items() if word != "convincing"), reverse=True)[:5]
    assert [value for _, value in found] == pytest.approx(expected, abs=1e-6)
    for word, value in found:
        assert float(every[ids[word]]) == pytest.approx(value, abs=1e-6)
    assert len(neighbors(classifier, "convincing", 10**6)) == len(ids) - 1


def test_words_are_written_as_the_model_writes_them_and_unknown_ones_get_close_spellings(run: Path) -> None:
    classifier = load(run)
    assert known(classifier, "Convincing!") == "convincing"
    with pytest.raises(InputError, match=r"'convincingg': none of the .* did you mean convincing"):
        known(classifier, "convincingg")
    with pytest.raises(InputError, match=r"'电影': none of the .*; try another"):
        known(classifier, "电影")
    with pytest.raises(InputError, match="'<pad>': none of the"):
        known(classifier, "<pad>")


def test_a_table_for_each_word(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_neighbors(Namespace(checkpoint=run, word=["good", "film"], count=3))
    shown = capsys.readouterr().out
    assert shown.count("polarity (good)") == 2
    assert "1.000" in shown
    with pytest.raises(InputError, match="--count 0: must be at least 1"):
        print_neighbors(Namespace(checkpoint=run, word=["good"], count=0))
    with pytest.raises(InputError, match="none of the"):
        print_neighbors(Namespace(checkpoint=run, word=["good", "zorgblatt"], count=3))
    assert capsys.readouterr().out == ""
