"""What would change the prediction for a text: words left out, or others in their place."""

from collections.abc import Callable
from typing import NamedTuple

import torch

from sentiment.analysis.explain.explanation import check_attributable, log_odds
from sentiment.classifier import Classifier
from sentiment.data.text.vocabulary import PADDING, SPECIALS
from sentiment.model.network import log_probabilities

MAX_WORDS = 100  # that are left out or replaced: those with the largest gradient times input
MAX_REPLACEMENTS = 64  # that are tried
OF_A_WORD = 3  # of them
BATCH_SIZE = 32  # texts


class Change(NamedTuple):
    """A text with a word left out or replaced, and the prediction for it."""

    position: int  # of the word among those that are read
    token: str
    word: str | None  # in its place; None if it is left out
    label: str
    probability: float  # of the explained class
    log_odds: float  # of that class


def find_changes(
    classifier: Classifier,
    text: str,
    target: int,
    before_batch: Callable[[], object] = lambda: None,
) -> list[Change]:
    """Predictions for texts that differ from one in a single word, the largest effects on a class first.

    The gradient at the embedded words proposes the replacements, which speak against the predicted class
    (HotFlip, Ebrahimi et al. 2018); their effects are computed.

    Args:
        classifier: with the network.
        text: of any length.
        target: index of the explained class.
        before_batch: is called between batches; may raise an error to end the work.

    Raises:
        InputError: the network has no `forward_embedded`.
    """
    encoder, net = classifier.encoder, classifier.net
    check_attributable(net)
    tokens, kept = encoder.split(text)
    words, first = tokens[kept], kept.start or 0
    if not words:
        return []
    reviews = classifier.encode([text])
    ids = torch.from_numpy(reviews.pad()).to(classifier.device)
    x = net.embed(ids).detach().requires_grad_()
    # cuDNN's recurrent layers have no gradients in evaluation mode.
    with torch.backends.cudnn.flags(enabled=False):
        value = log_odds(net.forward_embedded(x, net.lengths(ids)), target)
        (gradient,) = torch.autograd.grad(value, x)
    x, gradient = x.detach()[0, ids[0] != PADDING], gradient[0, ids[0] != PADDING]  # (T, E)
    strongest = (gradient * x).sum(1).abs().topk(min(MAX_WORDS, len(words))).indices  # (W,)
    edits: list[tuple[int, str | None]] = [(i, None) for i in strongest.tolist()]
    if net.has_embedding and len(encoder.vocabulary) >= len(SPECIALS) + OF_A_WORD:
        known = net.embedding.weight.detach()[len(SPECIALS) :].to(x.dtype)  # (V, E)
        gradient, x = (
            gradient[strongest, : known.shape[1]],
            x[strongest, : known.shape[1]],
        )  # no n-grams
        effects = gradient @ known.T - (gradient * x).sum(1, keepdim=True)  # (W, V)
        (prediction,) = classifier.classify(reviews)
        is_predicted = prediction.label == classifier.label_names[target]
        best = (-effects if is_predicted else effects).topk(OF_A_WORD)  # of each word
        for place in best.values.flatten().argsort(descending=True)[:MAX_REPLACEMENTS].tolist():
            i, id_ = int(strongest[place // OF_A_WORD]), int(best.indices.flatten()[place])
            if (word := encoder.vocabulary.words[len(SPECIALS) + id_]) != words[i]:
                edits.append((i, word))
    read = slice(-encoder.maxlen, None) if encoder.truncating == "pre" else slice(encoder.maxlen)
    changes = []
    for start in range(0, len(edits), BATCH_SIZE):
        before_batch()
        batch = edits[start : start + BATCH_SIZE]
        ids_of_texts = []
        for i, new in batch:
            edited = [*tokens]
            edited[first + i : first + i + 1] = [] if new is None else [new]
            ids_of_texts.append(encoder.vocabulary.encode(edited[read]))
        logits = classifier.logits(classifier.make_reviews(ids_of_texts))
        probabilities, odds = log_probabilities(logits).exp(), log_odds(logits, target)
        for (i, new), of_classes, odd in zip(batch, probabilities, odds.tolist(), strict=True):
            label = classifier.label_names[int(of_classes.argmax())]
            changes.append(Change(i, words[i], new, label, float(of_classes[target]), odd))
    return sorted(changes, key=lambda change: -abs(change.log_odds - value.item()))
