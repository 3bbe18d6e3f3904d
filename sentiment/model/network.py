"""Network: what every network is, whoever wrote it, how one is built, and what its logits mean."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from sentiment.data.text.vocabulary import PADDING, TextEncoder
from sentiment.runtime.errors import InputError, report_failure
from sentiment.runtime.trust import import_trusted, is_ours


class Network(nn.Module):
    """Maps word ids, int64 `(B, T)`, to logits, float `(B, C)`; the base class of all networks.

    The constructor of a subclass takes `max_features` (size of the vocabulary), `num_outputs` (`C`: 1 for two classes,
    the logit of a sigmoid, else one per class, a softmax) and `masked` by keyword, and the settings of its file in
    `conf/model/`. A subclass sets `embedding`, an `nn.Embedding`, and implements `forward_embedded`; one without an
    embedding overrides `forward`, and has neither adversarial training nor attributions. Padding that is `masked` is
    at the end of a text; otherwise it is at the start and read like any other token.
    """

    embedding: nn.Embedding

    def __init__(self, masked: bool) -> None:
        super().__init__()
        self.masked = masked

    def forward(self, ids: Tensor) -> Tensor:
        return self.forward_embedded(self.embed(ids), self.lengths(ids))

    def embed(self, ids: Tensor) -> Tensor:
        """Embed word ids: int64 `(B, T)` → `(B, T, E)`."""
        x: Tensor = self.embedding(ids)
        return x

    def lengths(self, ids: Tensor) -> Tensor | None:
        """Number of tokens of each row, int64 `(B,)`; None if padding is not masked."""
        return (ids != PADDING).sum(1).clamp(min=1) if self.masked else None

    def forward_embedded(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """Logits `(B, C)` of embedded tokens `(B, T, E)`, of which `lengths` are read; all if it is None."""
        raise NotImplementedError

    def divide_logits(self, temperature: float) -> None:
        """Divide the logits by a temperature, in the last layer, `linear`."""
        layer = getattr(self, "linear", None)
        if not isinstance(layer, nn.Linear):
            raise ValueError(f"{self.display_name} has no nn.Linear as its last layer, linear")
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.div_(temperature)

    @property
    def has_embedding(self) -> bool:
        """Whether `embedding` has a vector for each word of the vocabulary."""
        return isinstance(getattr(self, "embedding", None), nn.Embedding)

    @property
    def has_forward_embedded(self) -> bool:
        """Whether what is embedded can be classified, as adversarial training and attributions need."""
        return type(self).forward_embedded is not Network.forward_embedded

    @property
    def display_name(self) -> str:
        """The name of the class for tables and titles: `LSTM`."""
        return type(self).__name__.removesuffix("Classifier")


def build_network(
    settings: Mapping[str, Any],
    encoder: TextEncoder,
    label_names: Sequence[str],
    trust: Collection[str] = (),
) -> Network:
    """A freshly initialized network for texts of `encoder`.

    `settings` are `_target_`, a class of this package or of a module in `trust`, and its own arguments.
    """
    arguments = dict(settings)
    target = arguments.pop("_target_")
    cls = import_trusted(target, trust)
    if not (isinstance(cls, type) and issubclass(cls, Network)):
        raise InputError(
            f"model._target_={target}: not a subclass of sentiment.model.network.Network; derive it"
        )
    sizes = {"max_features": len(encoder.vocabulary), "num_outputs": count_outputs(label_names)}
    with report_failure(f"model: {target} cannot be made"):
        return cls(**sizes, masked=encoder.masked, **arguments)


@contextmanager
def on_meta_device(target: str) -> Iterator[None]:
    """Build a network of ours without memory for weights, on the device `meta`."""
    if is_ours(target):
        with torch.device("meta"), _SkipNormal():
            yield
    else:  # it may compute with its weights at once
        yield


class _SkipNormal(TorchFunctionMode):
    """Skips `nn.init.normal_`, which on the device `meta` takes a second to import a compiler."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return None if func is nn.init.normal_ else func(*args, **(kwargs or {}))


def count_outputs(label_names: Sequence[str]) -> int:
    """`C`: a single logit for two classes, else one for each."""
    return 1 if len(label_names) == 2 else len(label_names)


def log_probabilities(logits: Tensor) -> Tensor:
    """Log-probabilities of all classes, `(B, C)` → `(B, classes)`; a single logit belongs to the second class."""
    if logits.shape[1] == 1:
        return F.logsigmoid(torch.cat([-logits, logits], 1))
    return logits.log_softmax(1)


def predict_classes(logits: Tensor) -> Tensor:
    """The most probable classes, int64 `(B,)`, of logits `(B, C)`."""
    return (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(1)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of logits `(B, C)`, binary for `C` = 1, and labels.

    Labels are classes, int64 `(B,)`, or their probabilities, float `(B, classes)`.
    """
    if logits.shape[1] == 1:
        positive = labels[:, 1] if labels.is_floating_point() else labels
        return F.binary_cross_entropy_with_logits(logits[:, 0], positive.to(logits.dtype))
    return F.cross_entropy(logits, labels)
