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


def find_neighbors(
    classifier: Classifier, word: str, count: int
) -> list[tuple[str, float, list[float]]]:
    """A word of the vocabulary and its nearest others: cosine similarity, and polarity by logit of each."""
    net = classifier.net
    if not net.has_embedding:
        problem = f"{type(net).__name__} has no nn.Embedding"
        raise InputError(f"neighbors: {problem}; call it embedding, see {Network.__module__}")
    words, id_ = classifier.encoder.vocabulary.words, classifier.encoder.vocabulary.ids[word]
    vectors = F.normalize(net.embedding.weight.detach())  # (V, E)
    similarity = vectors @ vectors[id_]  # (V,)
    similarity[: len(SPECIALS)] = -2.0  # below any cosine
    similarity[id_] = 2.0  # above
    nearest = similarity.topk(min(count + 1, len(words) - len(SPECIALS)))
    ids, cosines = nearest.indices.tolist(), [1.0, *nearest.values.tolist()[1:]]
    polarity = classifier.polarity(ids).tolist()
    return [(words[i], *values) for i, *values in zip(ids, cosines, polarity, strict=True)]
