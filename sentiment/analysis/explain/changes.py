"""What would change the prediction for a text: words left out, or others in their place."""

from collections.abc import Callable
from typing import NamedTuple

import torch

from sentiment.analysis.explain.explanation import check_attributable, log_odds
from sentiment.classifier import Classifier
from sentiment.data.text.vocabulary import PADDING, SPECIALS
from sentiment.model.network import log_probabilities
from sentiment.runtime.errors import check_choice

MAX_WORDS = 64  # that are left out or replaced: those with the largest gradient times input
OF_A_WORD = 2  # words that are tried in its place
BATCH_SIZE = 32  # texts


class Change(NamedTuple):
    """A word left out or replaced, and the prediction for the text then."""

    position: int  # of the word among those that are read
    word: str | None  # in its place; None if it is left out
    label: str
    probability: float  # of the explained class
    log_odds: float  # of that class


def find_changes(
    classifier: Classifier, text: str, target: str, before_batch: Callable[[], object]
) -> list[Change]:
    """Change a text in one word, and sort by the effect on the log-odds of the class `target`.

    The gradient at the embedded words proposes replacements that speak against the predicted class (HotFlip,
    Ebrahimi et al. 2018). `before_batch` is called between batches; it may raise an error to end the work.
    """
    encoder, net = classifier.encoder, classifier.net
    check_choice(tuple(classifier.label_names), **{"class": target})
    check_attributable(net)
    number = classifier.label_names.index(target)
    tokens, kept = encoder.split(text)
    words, first = tokens[kept], kept.start or 0
    if not words:
        return []
    reviews = classifier.encode([text])
    ids = torch.from_numpy(reviews.pad()).to(classifier.device)
    x = net.embed(ids).detach().requires_grad_()
    # cuDNN's recurrent layers have no gradients in evaluation mode.
    with torch.backends.cudnn.flags(enabled=False):
        value = log_odds(net.forward_embedded(x, net.lengths(ids)), number)
        (gradient,) = torch.autograd.grad(value, x)
    x, gradient = x.detach()[0, ids[0] != PADDING], gradient[0, ids[0] != PADDING]  # (T, E)
    strongest = (gradient * x).sum(1).abs().topk(min(MAX_WORDS, len(words))).indices  # (W,)
    edits: list[tuple[int, str | None]] = [(i, None) for i in strongest.tolist()]
    if net.has_embedding:
        known = net.embedding.weight.detach()[len(SPECIALS) :].to(x.dtype)  # (V, E)
        effects = gradient[strongest, : known.shape[1]] @ known.T  # (W, V), but for the old word's
        is_predicted = classifier.classify(reviews)[0].label == target
        best = (-effects if is_predicted else effects).topk(min(OF_A_WORD, len(known))).indices
        for i, ids_of_word in zip(strongest.tolist(), best.tolist(), strict=True):
            found = (encoder.vocabulary.words[len(SPECIALS) + id_] for id_ in ids_of_word)
            edits += [(i, word) for word in found if word != words[i]]
    changes = []
    for start in range(0, len(edits), BATCH_SIZE):
        before_batch()
        batch = edits[start : start + BATCH_SIZE]
        texts = [
            [*tokens[: first + i], *filter(None, [new]), *tokens[first + i + 1 :]]
            for i, new in batch
        ]
        ids_of_texts = [encoder.encode_tokens(text) for text in texts]
        logits = classifier.logits(classifier.make_reviews(ids_of_texts))
        probabilities, odds = log_probabilities(logits).exp(), log_odds(logits, number)
        for edit, of_classes, odd in zip(batch, probabilities, odds.tolist(), strict=True):
            label = classifier.label_names[int(of_classes.argmax())]
            changes.append(Change(*edit, label, float(of_classes[number]), odd))
    return sorted(changes, key=lambda change: -abs(change.log_odds - value.item()))
