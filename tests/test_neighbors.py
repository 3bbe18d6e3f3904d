from argparse import Namespace
from pathlib import Path

import pytest
import torch

from sentiment import neighbors as neighbors_command
from sentiment.analysis.explain.neighbors import find_neighbors
from sentiment.classifier import load
from sentiment.model.network import Network
from sentiment.runtime.errors import InputError


def test_nearest_words_are_sorted_by_cosine_similarity(run: Path) -> None:
    classifier = load(run)
    itself, *found = find_neighbors(classifier, "convincing", 5)
    assert itself[:2] == ("convincing", 1.0)
    vectors, ids = classifier.net.embedding.weight.detach(), classifier.encoder.vocabulary.ids
    cosine = torch.cosine_similarity(vectors, vectors[ids["convincing"]][None])
    expected = sorted(
        (float(cosine[id_]) for word, id_ in ids.items() if word != "convincing"), reverse=True
    )[:5]
    assert [value for _, value, _ in found] == pytest.approx(expected, abs=1e-6)
    assert [float(cosine[ids[word]]) for word, *_ in found] == pytest.approx(expected, abs=1e-6)
    polarity = classifier.polarity([ids[word] for word, *_ in (itself, *found)]).tolist()
    assert [logits for *_, logits in (itself, *found)] == polarity
    assert len(find_neighbors(classifier, "convincing", 10**6)) == len(ids)


def test_network_without_an_embedding_is_rejected(run: Path) -> None:
    classifier = load(run)
    classifier.net = Network(masked=False)
    with pytest.raises(
        InputError, match=r"^neighbors: Network has no nn\.Embedding; call it embedding, see"
    ):
        find_neighbors(classifier, "film", 5)


def test_words_are_tokenized_and_similar_spellings_suggested(run: Path) -> None:
    classifier = load(run)
    assert find_neighbors(classifier, "Convincing!", 1)[0][0] == "convincing"
    with pytest.raises(
        InputError, match=r"'convincingg': not in the vocabulary of .* did you mean convincing"
    ):
        find_neighbors(classifier, "convincingg", 1)
    with pytest.raises(InputError, match=r"'电影': not in the vocabulary of .*; try another word"):
        find_neighbors(classifier, "电影", 1)
    with pytest.raises(InputError, match="'<pad>': not in the vocabulary"):
        find_neighbors(classifier, "<pad>", 1)


def test_command_prints_a_table_per_word(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    neighbors_command.run(Namespace(checkpoint=run, trust=[], word=["good", "film"], count=3))
    output = capsys.readouterr().out
    assert output.count("polarity (good)") == 2
    assert output.count("1.000") == 2  # each word is its own nearest neighbor


@pytest.mark.parametrize(("words", "count", "message"), [
    (["good"], 0, "--count=0: must be an integer >= 1"), (["good", "zorgblatt"], 3, "not in the vocabulary"),
])  # fmt: skip
def test_command_prints_nothing_for_invalid_arguments(
    run: Path, capsys: pytest.CaptureFixture[str], words: list[str], count: int, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        neighbors_command.run(Namespace(checkpoint=run, trust=[], word=words, count=count))
    assert capsys.readouterr().out == ""
