"""Why a model predicted what it did for a text: attributions of the words, prefix probabilities, gates."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sentiment.classifier import Classifier
from sentiment.data.text.vocabulary import PADDING, SPECIALS, UNKNOWN
from sentiment.model.gates import Gates
from sentiment.model.network import Network, log_probabilities
from sentiment.model.recurrent import RecurrentNetwork
from sentiment.runtime.errors import InputError, check_choice

MIN_STEPS, MAX_STEPS = 32, 2048  # of the integral
INTERNAL_BATCH_SIZE = 64  # steps of the integral that are computed at a time

Floats = npt.NDArray[np.float32]


class LayerTrace(NamedTuple):
    """One layer and direction of a recurrent network while it reads a text.

    The units of the last layer are ordered from the most positive to the most negative weight for the
    explained class, relative to the mean of the classes; those of other layers by their mean state.
    """

    name: str  # `layer 1, forward`
    gates: Gates  # of the tokens, without padding; each part `(1, T, H)`
    order: npt.NDArray[np.int64]  # of the units, `(H,)`


class Trace(NamedTuple):
    """What a network computes while it reads a text."""

    target: int  # index of the explained class
    prefix_probabilities: Floats  # P(target) after each token, `(T,)`; NaN where not computed
    layers: list[LayerTrace]  # from the input to the output; none of a network without gates


@torch.inference_mode()
def trace(
    classifier: Classifier, ids: Tensor, target: int | None = None, max_prefixes: int | None = None
) -> Trace:
    """Trace the network over one padded text, int64 `(1, padded length)`.

    The target is by default the second of two classes, else the most probable one. Of more than
    `max_prefixes` prefixes those at equal distances are classified.
    """
    tokens = ids[0, ids[0] != PADDING].tolist()
    count = min(len(tokens), max_prefixes or len(tokens))
    ends = np.linspace(len(tokens), 1, count).round().astype(int)[::-1]
    prefixes = classifier.make_reviews([tokens[:end] for end in ends])
    probabilities = log_probabilities(classifier.logits(prefixes)).exp().numpy()  # (count, classes)
    if target is None:
        target = 1 if len(classifier.label_names) == 2 else int(probabilities[-1].argmax())
    of_prefixes = np.full(len(tokens), np.nan, np.float32)
    of_prefixes[ends - 1] = probabilities[:, target]
    layers = _trace_layers(classifier.net, ids.to(classifier.device), target)
    return Trace(target, of_prefixes, layers)


def _trace_layers(net: Network, ids: Tensor, target: int) -> list[LayerTrace]:
    if not isinstance(net, RecurrentNetwork):
        return []
    is_token = ids[0] != PADDING
    if net.linear.out_features == 1:
        class_weights = net.linear.weight[0] * (1 if target == 1 else -1)
    else:
        class_weights = net.linear.weight[target] - net.linear.weight.mean(0)
    output_weights = class_weights.reshape(-1, net.num_directions, net.units).sum(0)  # (D, H)
    layers = []
    for depth, directions in enumerate(net.gates(ids), 1):
        names = (f"layer {depth}, forward", f"layer {depth}, backward")
        for name, gates, weights in zip(names, directions, output_weights, strict=False):
            of_tokens = gates.map(lambda part: part[:, is_token].float().cpu())
            last = depth == len(net.forward_layers)
            ranked = weights.float().cpu() if last else of_tokens.state[0].mean(0)
            order = ranked.argsort(descending=True).numpy()
            layers.append(LayerTrace(name, of_tokens, order))
    return layers


class Attribution(NamedTuple):
    """Integrated gradients of the log-odds of a class (Sundararajan, Taly & Yan 2017)."""

    attributions: Floats  # of each column of the padded text, `(padded length,)`
    log_odds: float  # of the text
    baseline: float  # log-odds of zero vectors in place of its tokens
    convergence_delta: float  # difference of the two, minus the sum of the attributions
    steps: int  # of the integral

    @property
    def converged(self) -> bool:
        """Whether the convergence delta is within 1 % of the difference of the log-odds, or 0.01."""
        return abs(self.convergence_delta) <= max(0.01 * abs(self.log_odds - self.baseline), 0.01)


def log_odds(logits: Tensor, target: int) -> Tensor:
    """Logarithm of p / (1 - p) of a class, `(B,)`, from logits `(B, C)`.

    Of the second of two classes that is the logit itself. A softmax does not change with a constant
    that is added to all logits, so that a single one of several says little.
    """
    if logits.shape[1] == 1:
        return logits[:, 0] if target == 1 else -logits[:, 0]
    others = torch.cat([logits[:, :target], logits[:, target + 1 :]], 1)
    return logits[:, target] - others.logsumexp(1)


def check_attributable(net: Network) -> None:
    """Check that what is embedded can be classified."""
    if not net.has_forward_embedded:
        problem = f"{type(net).__name__} has no forward_embedded, which attributions need"
        raise InputError(f"explain: {problem}; implement it, see {Network.__module__}")


def attribute(
    net: Network,
    ids: Tensor,
    target: int,
    max_steps: int = MAX_STEPS,
    before_batch: Callable[[], object] = lambda: None,
) -> Attribution:
    """Attribute the log-odds of a class to the embedded tokens of a text `(1, padded length)`.

    The number of steps is doubled until the sum converges or `max_steps` is reached: a network that
    changes almost like a step function between the two points, as max pooling over a long text may,
    converges with no number of steps. `before_batch` may raise an error to end the work.
    """
    from captum.attr import IntegratedGradients

    check_attributable(net)
    x, lengths = net.embed(ids).detach(), net.lengths(ids)
    zeros = torch.zeros_like(x)

    def explained(x: Tensor) -> Tensor:
        before_batch()
        of_batch = None if lengths is None else lengths.expand(len(x))
        return log_odds(net.forward_embedded(x, of_batch), target)

    with torch.no_grad():
        value, baseline = (float(explained(point)) for point in (x, zeros))
    method = IntegratedGradients(explained)
    steps, batch_size = min(MIN_STEPS, max_steps), INTERNAL_BATCH_SIZE
    # cuDNN's recurrent layers have no gradients in evaluation mode.
    with torch.backends.cudnn.flags(enabled=False):
        while True:
            by_value = method.attribute(x, zeros, n_steps=steps, internal_batch_size=batch_size)
            attributions = by_value.sum(2)[0]  # (padded length,)
            delta = value - baseline - float(attributions.sum())
            result = Attribution(attributions.float().cpu().numpy(), value, baseline, delta, steps)
            if result.converged or steps >= max_steps:
                return result
            steps *= 2


class Explanation(NamedTuple):
    """An explanation of a prediction, token by token."""

    before: list[str]  # tokens at the start that `maxlen` cuts off
    words: list[str]  # the `T` tokens that are read
    after: list[str]  # tokens at the end that are cut off
    in_vocabulary: list[bool]  # which of `words` are in the vocabulary
    attributions: Floats  # of `words`, `(T,)`
    padding: float  # sum of the attributions of the padding, if it is read
    attribution: Attribution  # of all columns, and how exact it is
    trace: Trace
    network: str  # its name, `LSTM`
    label: str  # the most probable class
    target: str  # the explained class
    probabilities: dict[str, float]

    @property
    def color_scale(self) -> float:
        """The attribution with the strongest color: 1 or more, so that what is weak stays pale."""
        return max(1.0, abs(self.padding), float(np.abs(self.attributions).max()))

    @property
    def warning(self) -> str | None:
        """What the colors of the words do not show."""
        words = float(self.attributions.sum())
        if abs(self.padding) <= abs(words):
            return None
        return f"The padding ({self.padding:+.2f}) outweighs all words ({words:+.2f})."


def explain(
    classifier: Classifier,
    text: str,
    target: str | None = None,
    max_steps: int = MAX_STEPS,
    max_prefixes: int | None = None,
    before_batch: Callable[[], object] = lambda: None,
) -> Explanation:
    """Explain the prediction for a text of any length; arguments as of `attribute` and `trace`.

    `InputError`: there is no class `target`, or the network lacks `forward_embedded`.
    """
    names, encoder, net = classifier.label_names, classifier.encoder, classifier.net
    if target is not None:
        check_choice(tuple(names), **{"class": target})
    tokens, kept = encoder.split(text)
    words = tokens[kept] or [SPECIALS[UNKNOWN]]
    reviews = classifier.encode([text])
    ids = torch.from_numpy(reviews.pad())
    traced = trace(classifier, ids, None if target is None else names.index(target), max_prefixes)
    attribution = attribute(net, ids.to(classifier.device), traced.target, max_steps, before_batch)
    (prediction,) = classifier.classify(reviews)
    is_token = ids[0].numpy() != PADDING
    return Explanation(
        before=tokens[: kept.start or 0],
        words=words,
        after=tokens[kept.stop :] if kept.stop is not None else [],
        in_vocabulary=[word in encoder.vocabulary.ids for word in words],
        attributions=attribution.attributions[is_token],
        padding=float(attribution.attributions[~is_token].sum()),
        attribution=attribution,
        trace=traced,
        network=net.display_name,
        label=prediction.label,
        target=names[traced.target],
        probabilities=prediction.probabilities,
    )
