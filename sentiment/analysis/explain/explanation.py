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
from sentiment.runtime.errors import InputError

MIN_STEPS, MAX_STEPS = 32, 2048  # of the integral
INTERNAL_BATCH_SIZE = 64  # steps of the integral that are computed at a time

Floats = npt.NDArray[np.float32]


class LayerTrace(NamedTuple):
    """One layer and direction of a recurrent network while it reads a text.

    Attributes:
        name: `layer 1, forward`.
        gates: of the tokens, without padding; each part `(1, T, H)`.
        order: its units, `(H,)`: those of the last layer from the most positive to the most negative weight for the
            explained class, relative to the mean of the classes; those of other layers by mean state.
    """

    name: str
    gates: Gates
    order: npt.NDArray[np.int64]


class Trace(NamedTuple):
    """What a network computes while it reads a text.

    Attributes:
        target: index of the explained class.
        prefix_probabilities: P(target) of the text of the first token, of the first two, …, float32 `(T,)`; NaN where
            it was not computed.
        layers: from the input to the output; none of a network without gates.
    """

    target: int
    prefix_probabilities: Floats
    layers: list[LayerTrace]


@torch.inference_mode()
def trace(
    classifier: Classifier, ids: Tensor, target: int | None = None, max_prefixes: int | None = None
) -> Trace:
    """Trace the network over one padded text.

    Args:
        classifier: with the network.
        ids: int64 `(1, padded length)`.
        target: index of the explained class; by default the second of two, else the most probable one.
        max_prefixes: of a longer text, compute the probabilities of this many prefixes, at equal distances.
    """
    tokens = ids[0, ids[0] != PADDING].tolist()
    ends = (
        np.linspace(len(tokens), 1, min(len(tokens), max_prefixes or len(tokens)))
        .round()
        .astype(int)[::-1]
    )
    prefixes = classifier.make_reviews([tokens[:end] for end in ends])
    probabilities = log_probabilities(classifier.logits(prefixes)).exp().numpy()  # (count, classes)
    if target is None:
        target = 1 if len(classifier.label_names) == 2 else int(probabilities[-1].argmax())
    of_prefixes = np.full(len(tokens), np.nan, np.float32)
    of_prefixes[ends - 1] = probabilities[:, target]
    net = classifier.net
    layers = (
        _trace_layers(net, ids.to(classifier.device), target)
        if isinstance(net, RecurrentNetwork)
        else []
    )
    return Trace(target, of_prefixes, layers)


def _trace_layers(net: RecurrentNetwork, ids: Tensor, target: int) -> list[LayerTrace]:
    is_token = ids[0] != PADDING
    if net.linear.out_features == 1:
        class_weights = net.linear.weight[0] * (1 if target == 1 else -1)
    else:
        class_weights = net.linear.weight[target] - net.linear.weight.mean(0)
    output_weights = class_weights.reshape(-1, net.num_directions, net.units).sum(0)  # (D, H)
    layers = []
    for depth, directions in enumerate(net.gates(ids), 1):
        for direction, gates, weights in zip(
            ("forward", "backward"), directions, output_weights, strict=False
        ):
            of_tokens = gates.map(lambda part: part[:, is_token].float().cpu())
            last = depth == len(net.forward_layers)
            ranked = weights.float().cpu() if last else of_tokens.state[0].mean(0)
            order = ranked.argsort(descending=True).numpy()
            layers.append(LayerTrace(f"layer {depth}, {direction}", of_tokens, order))
    return layers


class Attribution(NamedTuple):
    """Integrated gradients of the log-odds of a class (Sundararajan, Taly & Yan 2017).

    Attributes:
        attributions: of each column of the padded text, float32 `(padded length,)`.
        log_odds: of the text.
        baseline: log-odds of zero vectors in place of its tokens.
        convergence_delta: the difference of the two, minus the sum of the attributions.
        steps: of the integral.
    """

    attributions: Floats
    log_odds: float
    baseline: float
    convergence_delta: float
    steps: int

    @property
    def converged(self) -> bool:
        """Whether the convergence delta is within 1 % of the difference of the log-odds, or 0.01."""
        return abs(self.convergence_delta) <= max(0.01 * abs(self.log_odds - self.baseline), 0.01)


def log_odds(logits: Tensor, target: int) -> Tensor:
    """Logarithm of p / (1 - p) of a class, `(B,)`, from logits `(B, C)`.

    Of the second of two classes that is the logit itself. A softmax does not change with a constant that is added to
    all logits, so that a single one of several says little.
    """
    if logits.shape[1] == 1:
        return logits[:, 0] if target == 1 else -logits[:, 0]
    others = torch.cat([logits[:, :target], logits[:, target + 1 :]], 1)
    return logits[:, target] - others.logsumexp(1)


def attribute(
    net: Network,
    ids: Tensor,
    target: int,
    max_steps: int = MAX_STEPS,
    before_batch: Callable[[], object] = lambda: None,
) -> Attribution:
    """Attribute the log-odds of a class to the embedded tokens, with zero vectors as the baseline.

    The number of steps is doubled until the sum converges or `max_steps` is reached: a network that changes almost like
    a step function between the two points, as max pooling over a long text may, converges with no number of steps.

    Args:
        net: in evaluation mode.
        ids: one padded text, int64 `(1, padded length)`.
        target: index of the class.
        max_steps: of the integral.
        before_batch: is called every `INTERNAL_BATCH_SIZE` steps; may raise an error to end the work.

    Raises:
        InputError: captum is not installed, or the network has no `forward_embedded`.
    """
    if not net.has_forward_embedded:
        raise InputError(
            f"explain: {type(net).__name__} has no forward_embedded, which attributions need; implement it, see "
            f"{Network.__module__}"
        )
    try:
        from captum.attr import IntegratedGradients
    except ImportError as error:
        raise InputError("explain needs captum; install it: pip install captum") from error
    x, lengths = net.embed(ids).detach(), net.lengths(ids)
    zeros = torch.zeros_like(x)

    def explained(x: Tensor) -> Tensor:
        before_batch()
        return log_odds(
            net.forward_embedded(x, None if lengths is None else lengths.expand(len(x))), target
        )

    with torch.no_grad():
        value, baseline = (float(explained(point)) for point in (x, zeros))
    method = IntegratedGradients(explained)
    steps = MIN_STEPS
    with torch.backends.cudnn.flags(
        enabled=False
    ):  # cuDNN's recurrent layers have no gradients in evaluation mode
        while True:
            by_value = method.attribute(
                x, zeros, n_steps=steps, internal_batch_size=INTERNAL_BATCH_SIZE
            )
            attributions = by_value.sum(2)[0]  # (padded length,)
            delta = value - baseline - float(attributions.sum())
            result = Attribution(attributions.float().cpu().numpy(), value, baseline, delta, steps)
            if result.converged or steps >= max_steps:
                return result
            steps *= 2


class Explanation(NamedTuple):
    """An explanation of a prediction, token by token.

    Attributes:
        before: tokens at the start that `maxlen` cuts off.
        words: the `T` tokens that are read.
        after: tokens at the end that are cut off.
        in_vocabulary: which of `words` are in the vocabulary, `(T,)`.
        attributions: of `words`, `(T,)`.
        padding: sum of the attributions of the padding, if it is read.
        attribution: the attributions of all columns, and how exact they are.
        trace: gates and prefix probabilities.
        network: name of the network, `LSTM`.
        label: name of the most probable class.
        target: name of the explained class.
        probabilities: of all classes, by name.
    """

    before: list[str]
    words: list[str]
    after: list[str]
    in_vocabulary: list[bool]
    attributions: Floats
    padding: float
    attribution: Attribution
    trace: Trace
    network: str
    label: str
    target: str
    probabilities: dict[str, float]


def explain(
    classifier: Classifier,
    text: str,
    target: str | None = None,
    max_steps: int = MAX_STEPS,
    max_prefixes: int | None = None,
    before_batch: Callable[[], object] = lambda: None,
) -> Explanation:
    """Explain the prediction for a text.

    Args:
        classifier: with the network.
        text: of any length.
        target: name of the explained class; by default the second of two, else the most probable one.
        max_steps: see `attribute`.
        max_prefixes: see `trace`.
        before_batch: see `attribute`.

    Raises:
        InputError: there is no such class, captum is not installed, or the network has no `forward_embedded`.
    """
    names = classifier.label_names
    if target is not None and target not in names:
        raise InputError(f"--class {target}: no such class; choose one of {', '.join(names)}")
    encoder = classifier.encoder
    tokens, kept = encoder.split(text)
    words = tokens[kept] or [SPECIALS[UNKNOWN]]
    ids = torch.from_numpy(classifier.encode([text]).pad())
    net = classifier.net
    traced = trace(classifier, ids, None if target is None else names.index(target), max_prefixes)
    attribution = attribute(net, ids.to(classifier.device), traced.target, max_steps, before_batch)
    (prediction,) = classifier.predict([text])
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
