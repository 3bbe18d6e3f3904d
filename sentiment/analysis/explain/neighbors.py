"""Nearest neighbors of words in the embedding."""

from difflib import get_close_matches

from torch.nn import functional as F

from sentiment.classifier import Classifier
from sentiment.data.text.vocabulary import SPECIALS
from sentiment.model.network import Network
from sentiment.runtime.errors import InputError


def find_neighbors(
    classifier: Classifier, word: str, count: int
) -> list[tuple[str, float, list[float]]]:
    """A word, tokenized as in training, and its nearest: cosine similarity, polarity by logit."""
    net, vocabulary = classifier.net, classifier.encoder.vocabulary
    if not net.has_embedding:
        problem = f"{type(net).__name__} has no nn.Embedding"
        raise InputError(f"neighbors: {problem}; call it embedding, see {Network.__module__}")
    tokens, _ = classifier.encoder.split(word)
    if len(tokens) != 1 or tokens[0] not in vocabulary.ids:
        close = get_close_matches(word.lower(), vocabulary.ids, cutoff=0.7)
        advice = f"did you mean {', '.join(close)}?" if close else "try another word"
        problem = f"not in the vocabulary of {len(vocabulary.ids):,} words"
        raise InputError(f"{word!r}: {problem}; {advice}")
    id_ = vocabulary.ids[tokens[0]]
    vectors = F.normalize(net.embedding.weight.detach())  # (V, E)
    similarity = vectors @ vectors[id_]  # (V,)
    similarity[: len(SPECIALS)] = -2.0  # below any cosine
    similarity[id_] = 2.0  # above
    nearest = similarity.topk(min(count + 1, len(vocabulary.words) - len(SPECIALS)))
    ids, cosines = nearest.indices.tolist(), [1.0, *nearest.values.tolist()[1:]]
    words = [vocabulary.words[i] for i in ids]
    return list(zip(words, cosines, classifier.polarity(ids).tolist(), strict=True))
