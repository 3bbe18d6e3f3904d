from pathlib import Path

import numpy as np
import pytest

from sentiment.data.text import SPECIALS
from sentiment.data.vectors import SPREAD, _cooccurrences
from sentiment.errors import InputError

from .conftest import write_csv
from .test_datamodule import prepared


def test_words_in_like_company_get_like_vectors(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    company = {"warm": ["sun", "beach", "summer"], "hot": ["sun", "beach", "summer"], "cold": ["ice", "snow", "frost"]}
    rows: list[tuple[str, object]] = []
    for i in range(600):
        word = list(company)[i % 3]
        before, after = (" ".join(random.permutation(company[word])[:2]) for _ in range(2))
        rows.append((f"{before} {word} {after}", i % 2))
    data = prepared(source="files", path=str(write_csv(tmp_path / "reviews.csv", rows)))
    vectors, ids = data.vectors("learned", 5)
    assert vectors.shape == (len(data.vocabulary) - len(SPECIALS), 5)
    assert vectors.square().mean(1).sqrt().numpy() == pytest.approx(SPREAD)
    of = {data.vocabulary.words[id_]: vector / vector.norm() for id_, vector in zip(ids, vectors, strict=True)}
    assert of["warm"] @ of["hot"] > 0.9
    assert of["warm"] @ of["cold"] < 0.5
    assert np.array_equal(data.vectors("learned", 5)[0], vectors)
    with pytest.raises(InputError, match=r"model\.embedding_dim=500: only \d+ words"):
        data.vectors("learned", 500)


def test_words_of_two_reviews_are_not_near_and_other_rows_are_not_read(tmp_path: Path) -> None:
    rows: list[tuple[str, object]] = [(text, i % 2) for i, text in enumerate(["a b c"] * 8 + ["d"] * 8)]
    data = prepared(source="files", path=str(write_csv(tmp_path / "reviews.csv", rows)), val_fraction=0.25)
    words = data.vocabulary.ids
    counts = _cooccurrences(data.splits["train"], len(data.vocabulary)).toarray()
    texts = [data.vocabulary.decode(ids) for ids in data.splits["train"].reviews]
    assert counts[words["a"], words["b"]] == counts[words["b"], words["a"]] == texts.count("a b c")
    assert counts[words["a"], words["c"]] == texts.count("a b c") / 2
    assert counts[words["d"]].sum() == 0
