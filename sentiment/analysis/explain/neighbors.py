"""Nearest neighbors of words in the embedding."""

from difflib import get_close_matches

from torch.nn import functional as F

from sentiment.classifier import Classifier
from sentiment.data.text.vocabulary import SPECIALS
from sentiment.model.network import Network
from sentiment.runtime.errors import InputError


def find_word(classifier: Classifier, word: str) -> str:
    """A word as it is in the vocabulary, tokenized as in training."""
    tokens, _ = classifier.encoder.split(word)
    ids = classifier.encoder.vocabulary.ids
    if len(tokens) == 1 and tokens[0] in ids:
        return tokens[0]
    close = get_close_matches(word.lower(), ids, cutoff=0.7)
    advice = f"did you mean {', '.join(close)}?" if close else "try another word"
    raise InputError(f"{word!r}: not in the vocabulary of {len(ids):,} words; {advice}")


def nearest_words(classifier: Classifier, word: str, count: int) -> list[tuple[str, float]]:
    """The words with the highest cosine similarity to one of the vocabulary, and that similarity."""
    net = classifier.net
    if not net.has_embedding:
        problem = f"{type(net).__name__} has no nn.Embedding"
        raise InputError(f"neighbors: {problem}; call it embedding, see {Network.__module__}")
    words, id_ = classifier.encoder.vocabulary.words, classifier.encoder.vocabulary.ids[word]
    vectors = F.normalize(net.embedding.weight.detach())  # (V, E)
    similarity = vectors @ vectors[id_]  # (V,)
    similarity[id_] = similarity[: len(SPECIALS)] = -2.0  # below any cosine
    nearest = similarity.topk(min(count, len(words) - len(SPECIALS) - 1))
    found = [words[i] for i in nearest.indices.tolist()]
    return list(zip(found, nearest.values.tolist(), strict=True))
