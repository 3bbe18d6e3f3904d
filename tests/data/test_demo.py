import hashlib

from sentiment.data.demo import reviews
from sentiment.data.text.tokenizers import split_words


def test_corpus_is_reproducible_and_extended_by_a_larger_count() -> None:
    corpus = reviews(8000)
    assert hashlib.sha256(repr(corpus).encode()).hexdigest().startswith("b63be5073ed921cc")
    assert reviews(50) == corpus[:50]
    assert reviews(50, seed=1) != corpus[:50]


def test_corpus_is_balanced_short_and_without_duplicates() -> None:
    corpus = reviews(8000)
    assert len({" ".join(split_words(text)) for text, _ in corpus}) == 8000
    assert sum(label for _, label in corpus[:6000]) == 3000
    assert max(len(split_words(text)) for text, _ in corpus) <= 64
