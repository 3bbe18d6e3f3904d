from pathlib import Path

import numpy as np
import pytest

from sentiment.data.encoding import EncodedReviews
from sentiment.data.text import SPECIALS
from sentiment.data.vectors import TARGET_RMS, _cooccurrences
from sentiment.runtime.errors import InputError
from tests.helpers import prepare_datamodule, write_csv


def test_words_with_similar_contexts_get_similar_ppmi_vectors(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    contexts = {"warm": ["sun", "beach", "summer"], "hot": ["sun", "beach", "summer"], "cold": ["ice", "snow", "frost"]}
    rows: list[tuple[str, object]] = []
    for i in range(600):
        word = list(contexts)[i % 3]
        before, after = (" ".join(random.permutation(contexts[word])[:2]) for _ in range(2))
        rows.append((f"{before} {word} {after}", i % 2))
    datamodule = prepare_datamodule(source="files", path=str(write_csv(tmp_path / "reviews.csv", rows)))
    vocabulary = datamodule.encoder.vocabulary
    vectors, ids = datamodule.initial_embeddings("ppmi", 5)
    assert vectors.shape == (len(vocabulary) - len(SPECIALS), 5)
    assert vectors.square().mean(1).sqrt().numpy() == pytest.approx(TARGET_RMS)
    unit = {vocabulary.words[id_]: vector / vector.norm() for id_, vector in zip(ids, vectors, strict=True)}
    assert unit["warm"] @ unit["hot"] > 0.9
    assert unit["warm"] @ unit["cold"] < 0.5
    assert np.array_equal(datamodule.initial_embeddings("ppmi", 5)[0], vectors)
    with pytest.raises(InputError, match=r"model\.embedding_dim=500: more than the \d+ words to learn vectors of"):
        datamodule.initial_embeddings("ppmi", 500)


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
