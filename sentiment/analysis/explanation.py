"""Why a model predicted what it did for a text: attributions of the words, prefix probabilities, gates."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sentiment.classifier import Classifier
from sentiment.data.batching import EVAL_TOKENS_PER_BATCH
from sentiment.data.text import PADDING, SPECIALS, UNKNOWN
from sentiment.model.gates import Gates
from sentiment.model.lstm import LSTMClassifier, log_probabilities
from sentiment.runtime.errors import InputError

MIN_STEPS, MAX_STEPS = 32, 2048  # of the integral
INTERNAL_BATCH_SIZE = 64  # steps of the integral that are computed at a time

Floats = npt.NDArray[np.float32]


class LayerTrace(NamedTuple):
    """One layer and direction of a network while it reads a text.

    Attributes:
        name: `layer 1, forward`.
        gates: of the tokens, without padding; each part `(1, T, H)`.
        order: its units, `(H,)`: those of the last layer from the most positive to the most negative weight for the
            explained class, those of other layers by mean cell state.
    """

    name: str
    gates: Gates
    order: npt.NDArray[np.int64]


class Trace(NamedTuple):
    """What the network computes while it reads a text.

    Attributes:
        target: index of the explained class: the second of two, else the most probable one.
        prefix_probabilities: P(target) after each token, float32 `(T,)`.
        layers: from the input to the output.
    """

    target: int
    prefix_probabilities: Floats
    layers: list[LayerTrace]


@torch.inference_mode()
def trace(classifier: Classifier, ids: Tensor) -> Trace:
    """Trace the network over one padded text, int64 `(1, padded length)`."""
    net = classifier.net
    is_token = (ids[0] != PADDING).nonzero()[:, 0]  # (T,)
    ids = ids.to(classifier.device)
    prefix = ids[0, : is_token[-1] + 1]
    logits = net.prefix_logits(prefix, max(1, EVAL_TOKENS_PER_BATCH // len(prefix))).float()
    probabilities = log_probabilities(logits).exp().cpu()[is_token]  # (T, classes)
    output = 0 if len(classifier.output_names) == 1 else int(probabilities[-1].argmax())
    target = classifier.label_names.index(classifier.output_names[output])
    output_weights = net.linear.weight[output].reshape(-1, net.num_directions, net.units).sum(0)  # (D, H)
    layers = []
    for depth, directions in enumerate(net.gates(ids), 1):
        for direction, gates, weights in zip(("forward", "backward"), directions, output_weights, strict=False):
            of_tokens = Gates(*(part[:, is_token].float().cpu() for part in gates))
            last = depth == len(net.forward_lstms)
            ranked = weights.float().cpu() if last else of_tokens.cell[0].mean(0)
            order = ranked.argsort(descending=True).numpy()
            layers.append(LayerTrace(f"layer {depth}, {direction}", of_tokens, order))
    return Trace(target, probabilities[:, target].numpy(), layers)


class Attribution(NamedTuple):
    """Integrated gradients of a logit (Sundararajan, Taly & Yan 2017).

    Attributes:
        attributions: of each column of the padded text, float32 `(padded length,)`.
        logit: of the text.
        baseline: logit of zero vectors in place of its tokens.
        convergence_delta: the difference of the two, minus the sum of the attributions.
        steps: of the integral.
    """

    attributions: Floats
    logit: float
    baseline: float
    convergence_delta: float
    steps: int

    @property
    def converged(self) -> bool:
        """Whether the convergence delta is within 1 % of the difference of the logits, or 0.01."""
        return abs(self.convergence_delta) <= max(0.01 * abs(self.logit - self.baseline), 0.01)


def attribute(net: LSTMClassifier, ids: Tensor, output: int) -> Attribution:
    """Attribute one logit to the embedded tokens, with zero vectors as the baseline.

    The number of steps is doubled until the sum converges or 2,048 is reached: a network that changes almost like a
    step function between the two points, as max pooling over a long text may, converges with no number of steps.

    Args:
        net: in evaluation mode.
        ids: one padded text, int64 `(1, padded length)`.
        output: index of the logit.

    Raises:
        InputError: captum is not installed.
    """
    try:
        from captum.attr import IntegratedGradients
    except ImportError as error:
        raise InputError("explain needs captum; install it: pip install captum") from error
    x, lengths = net.embed(ids).detach(), net.lengths(ids)
    zeros = torch.zeros_like(x)

    def logit(x: Tensor) -> Tensor:
        return net.forward_embedded(x, None if lengths is None else lengths.expand(len(x)))[:, output]

    with torch.no_grad():
        value, baseline = (float(logit(point)) for point in (x, zeros))
    method = IntegratedGradients(logit)
    steps = MIN_STEPS
    with torch.backends.cudnn.flags(enabled=False):  # cuDNN's LSTM has no gradients in evaluation mode
        while True:
            by_value = method.attribute(x, zeros, n_steps=steps, internal_batch_size=INTERNAL_BATCH_SIZE)
            attributions = by_value.sum(2)[0]  # (padded length,)
            delta = value - baseline - float(attributions.sum())
            result = Attribution(attributions.float().cpu().numpy(), value, baseline, delta, steps)
            if result.converged or steps >= MAX_STEPS:
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
        label: name of the most probable class.
        target: name of the explained class.
    """

    before: list[str]
    words: list[str]
    after: list[str]
    in_vocabulary: list[bool]
    attributions: Floats
    padding: float
    attribution: Attribution
    trace: Trace
    label: str
    target: str


def explain(classifier: Classifier, text: str) -> Explanation:
    """Explain the prediction for a text.

    Raises:
        InputError: captum is not installed.
    """
    encoder = classifier.encoder
    tokens, kept = encoder.split(text)
    words = tokens[kept] or [SPECIALS[UNKNOWN]]
    ids = torch.from_numpy(classifier.encode([text]).pad())
    traced = trace(classifier, ids)
    target = classifier.label_names[traced.target]
    attribution = attribute(classifier.net, ids.to(classifier.device), classifier.output_names.index(target))
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
        label=classifier.predict([text])[0].label,
        target=target,
    )
