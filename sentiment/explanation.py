"""How a trained model came to its answer: the words' shares of the logit, the running probability, the gates."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sentiment.classifier import Classifier, Reading
from sentiment.data.text import PADDING
from sentiment.errors import InputError
from sentiment.model.lstm import LSTMClassifier

FIRST_STEPS, MOST_STEPS = 32, 2048
INTERNAL_ROWS = 64  # steps of the integral that are computed at a time


class Attribution(NamedTuple):
    """Shares of a logit.

    Attributes:
        shares: of each column of the padded text, float32 `(padded length,)`.
        logit: of the text.
        baseline: logit of zero vectors in its place.
        residual: what is missing in the sum of the shares to the difference of the two.
        steps: of the integral.
    """

    shares: npt.NDArray[np.float32]
    logit: float
    baseline: float
    residual: float
    steps: int

    @property
    def converged(self) -> bool:
        """Whether the residual is within 1 % of the difference of the logits, or 0.01."""
        return abs(self.residual) <= max(0.01 * abs(self.logit - self.baseline), 0.01)


class Explanation(NamedTuple):
    """A text, word by word.

    Attributes:
        before: words in front that `maxlen` cuts off.
        words: those that are read, `T` of them.
        after: words behind that are cut off.
        known: which of `words` are in the vocabulary, `T` of them.
        shares: of the logit, `(T,)`.
        padding: share of the padding, where it is read.
        attribution: the shares of all columns, and how exact they are.
        reading: gates and running probability.
        label: the likeliest class.
        toward: name of the class that is followed.
    """

    before: list[str]
    words: list[str]
    after: list[str]
    known: list[bool]
    shares: npt.NDArray[np.float32]
    padding: float
    attribution: Attribution
    reading: Reading
    label: str
    toward: str


def attribute(net: LSTMClassifier, ids: Tensor, output: int) -> Attribution:
    """Integrated gradients of one logit on the embedded words, against zero vectors under the same mask.

    Steps are doubled until the sum has converged or 2,048 are reached: a net that switches almost like a step somewhere
    between the two, as max pooling over a long text may, is not integrated by any number.

    Args:
        net: in evaluation mode.
        ids: of one padded text, int64 `(1, padded length)`.
        output: which logit.

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
        return net.logits(x, None if lengths is None else lengths.expand(len(x)))[:, output]

    with torch.no_grad():
        value, baseline = (float(logit(point)) for point in (x, zeros))
    integrated = IntegratedGradients(logit)
    steps = FIRST_STEPS
    with torch.backends.cudnn.flags(enabled=False):  # whose LSTM has gradients in training only
        while True:
            shares = integrated.attribute(x, zeros, n_steps=steps, internal_batch_size=INTERNAL_ROWS).sum(2)[0]
            residual = value - baseline - float(shares.sum())
            found = Attribution(shares.float().cpu().numpy(), value, baseline, residual, steps)
            if found.converged or steps >= MOST_STEPS:
                return found
            steps *= 2


def explain(classifier: Classifier, text: str) -> Explanation:
    """Follows a text through the net."""
    words, part = classifier.split(text)
    read = words[part] or ["<unk>"]
    ids = torch.from_numpy(classifier.encode([text]).matrix())
    reading = classifier.follow(ids)
    ids = ids.to(classifier.net.linear.weight.device)
    attribution = attribute(classifier.net, ids, 0 if len(classifier.label_names) == 2 else reading.toward)
    stands = ids[0].cpu().numpy() != PADDING
    return Explanation(
        before=words[: part.start or 0],
        words=read,
        after=words[part.stop :] if part.stop is not None else [],
        known=[word in classifier.vocabulary.ids for word in read],
        shares=attribution.shares[stands],
        padding=float(attribution.shares[~stands].sum()),
        attribution=attribution,
        reading=reading,
        label=classifier.predict([text])[0].label,
        toward=classifier.label_names[reading.toward],
    )
