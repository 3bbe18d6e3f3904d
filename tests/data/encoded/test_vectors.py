import ssl
from pathlib import Path

import numpy as np
import pytest
import torch

from sentiment.data.encoded.ngrams import frequent_ngrams, hash_ngrams
from sentiment.data.encoded.store import EncodedReviews
from sentiment.data.encoded.vectors import (
    TARGET_RMS,
    _cooccurrences,
    ngram_vectors,
    pretrained_vectors,
)
from sentiment.data.text.vocabulary import SPECIALS
from sentiment.runtime.errors import InputError
from sentiment.training.module_setup import learn_vectors
from tests.helpers import prepare_datamodule, write_csv


def test_words_with_similar_contexts_get_similar_word_vectors(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    contexts = {
        "warm": ["sun", "beach", "summer"],
        "hot": ["sun", "beach", "summer"],
        "cold": ["ice", "snow", "frost"],
    }
    rows: list[tuple[str, object]] = []
    for i in range(600):
        word = list(contexts)[i % 3]
        before, after = (" ".join(random.permutation(contexts[word])[:2]) for _ in range(2))
        rows.append((f"{before} {word} {after}", i % 2))
    datamodule = prepare_datamodule(
        source="files", path=str(write_csv(tmp_path / "reviews.csv", rows))
    )
    vocabulary = datamodule.encoder.vocabulary
    vectors, ids = learn_vectors(datamodule, 5), range(len(SPECIALS), len(vocabulary))
    assert vectors.shape == (len(vocabulary) - len(SPECIALS), 5)
    assert vectors[:, :4].square().mean(1).sqrt().numpy() == pytest.approx(
        TARGET_RMS
    )  # the last one is of reviews
    unit = {
        vocabulary.words[id_]: vector / vector.norm()
        for id_, vector in zip(ids, vectors, strict=True)
    }
    assert unit["warm"] @ unit["hot"] > 0.9
    assert unit["warm"] @ unit["cold"] < 0.5
    assert np.array_equal(learn_vectors(datamodule, 5), vectors)
    wide = learn_vectors(datamodule, 500)  # more values than words
    assert wide.shape == (len(vocabulary) - len(SPECIALS), 500)
    assert np.isfinite(wide.numpy()).all()


def test_cooccurrences_are_counted_within_each_review_of_the_split() -> None:
    a, b, c, d = range(2, 6)
    texts = [[a, b, c], [d], [a, b, c], [d, d]]
    reviews = EncodedReviews(
        ids=np.concatenate(texts).astype(np.int32),
        offsets=np.cumsum([0, *map(len, texts)]),
        labels=np.zeros(4, np.int64),
        rows=np.array([0, 1, 2]),  # the last review is in another split
    )
    counts = _cooccurrences(reviews, vocabulary_size=6).toarray()
    assert counts[a, b] == counts[b, a] == 2
    assert counts[a, c] == 2 / 2  # weighted by 1/distance
    assert counts[d].sum() == 0


def test_ngrams_of_the_same_reviews_get_similar_vectors() -> None:
    a, b, c, d, e, f = range(2, 8)
    texts = [[a, b, c, d] if i % 2 else [e, f, c, b] for i in range(40)]
    offsets, rows = np.cumsum([0, *map(len, texts)]), np.arange(40)
    reviews = EncodedReviews(
        np.concatenate(texts).astype(np.int32), offsets, np.zeros(40, np.int64), rows
    )
    vocabulary = frequent_ngrams(reviews, 8, 2, min_count=3)
    vectors = ngram_vectors(reviews, 8, 2, vocabulary, dim=4)
    assert vectors.shape == (6, 4)
    pairs = [[a, b], [b, c], [c, d], [e, f], [f, c], [c, b]]
    of_pair = vectors[
        np.searchsorted(vocabulary, hash_ngrams(torch.tensor(pairs), 2)[:, 1, 0].numpy())
    ]
    cosines = (
        of_pair
        @ of_pair.T
        / (np.linalg.norm(of_pair, axis=1)[:, None] * np.linalg.norm(of_pair, axis=1))
    )
    same = np.kron(np.eye(2), np.ones((3, 3))).astype(bool)
    assert cosines[same] == pytest.approx(1, abs=1e-5)
    assert np.abs(cosines[~same]).max() < 1e-5
    assert (
        ngram_vectors(reviews, 8, 2, vocabulary, dim=50)[:, 6:] == 0
    ).all()  # there are only 6 n-grams


def test_pretrained_vectors_of_a_local_file_come_with_the_ids_of_their_words(
    tmp_path: Path,
) -> None:
    file = tmp_path / "vectors.txt"
    file.write_text("good 1 2 3\nelsewhere 4 5 6\nbad 7 8 9\n")
    certificate_check = ssl._create_default_https_context
    vectors, ids = pretrained_vectors(str(file), ["<pad>", "<unk>", "bad", "odd", "good"])
    assert ids.tolist() == [2, 4]
    assert torch.equal(vectors, torch.tensor([[7.0, 8, 9], [1, 2, 3]]))
    assert ssl._create_default_https_context is certificate_check
    file.write_text("good 3 2 1\n")
    assert pretrained_vectors(str(file), ["<pad>", "<unk>", "good"])[0].tolist() == [[3, 2, 1]]


@pytest.mark.parametrize("content", [None, "", "no numbers here\n"])
def test_pretrained_vectors_that_cannot_be_read_are_rejected(
    tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "vectors.txt").write_text(content)
    with pytest.raises(
        InputError, match=r"model\.embedding_init=.*vectors\.txt: cannot be read or downloaded"
    ):
        pretrained_vectors(str(tmp_path / "vectors.txt"), ["<pad>", "<unk>", "good"])
