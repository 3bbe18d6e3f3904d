import hashlib

from sentiment.data.demo import reviews
from sentiment.data.text import words


def test_the_corpus_is_the_same_everywhere_and_grows_by_appending() -> None:
    corpus = reviews(8000)
    assert hashlib.sha256(repr(corpus).encode()).hexdigest().startswith("b63be5073ed921cc")
    assert reviews(50) == corpus[:50]
    assert reviews(50, seed=1) != corpus[:50]


def test_no_test_review_stands_in_train_and_classes_are_balanced() -> None:
    corpus = reviews(8000)
    assert len({" ".join(words(text)) for text, _ in corpus}) == 8000
    assert sum(label for _, label in corpus[:6000]) == 3000
    assert max(len(words(text)) for text, _ in corpus) <= 64
