"""ONNX files: the network, and in their metadata all that is needed to encode texts and name the classes."""

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from sentiment.data.text.vocabulary import PADDING, TextEncoder
from sentiment.model.network import Network, log_probabilities
from sentiment.runtime.errors import InputError, one_line
from sentiment.runtime.files import output_file

TRACED_SIZE = (2, 7)  # batch and length of the example that the exporter traces
CHECKED_SIZES = ((1, 3), (5, 24), (3, 400))
TOLERANCE = 1e-4


class ProbabilityModel(nn.Module):
    """The exported computation."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net

    def forward(self, ids: Tensor) -> Tensor:
        """Probabilities of the classes: int64 `(B, T)` → float32 `(B, classes)`."""
        return log_probabilities(self.net(ids)).exp()


def export_onnx(
    net: Network, encoder: TextEncoder, label_names: Sequence[str], path: Path
) -> float:
    """Write an ONNX file with dynamic batch and length, after comparing it with PyTorch at other sizes.

    The network is moved to the CPU; its encoder and `label_names` are stored in the metadata as JSON. Returns the
    largest difference of a probability from PyTorch's.
    """
    model = ProbabilityModel(net.cpu()).eval()  # the exporter restores the mode in all its modules
    metadata = encoder.to_dict() | {"label_names": list(label_names)}
    with output_file(path) as temporary:
        try:
            _trace(model, _random_ids(encoder, *TRACED_SIZE), temporary)
            _add_metadata(temporary, metadata)
            difference = _compare(
                model, temporary, [_random_ids(encoder, *size) for size in CHECKED_SIZES]
            )
        except Exception as error:  # of an import, of the exporter, onnxruntime or a network
            raise InputError(
                f"{path}: not written, {type(net).__name__} cannot be exported ({one_line(error)[:200]}); install onnx "
                "and onnxruntime, and use operations that torch.onnx.export supports at any batch size and length"
            ) from error
        if not difference <= TOLERANCE:
            raise InputError(
                f"{path}: not written, its probabilities differ from PyTorch's by {difference:.2g}"
            )
    return difference


def _trace(model: ProbabilityModel, ids: Tensor, path: Path) -> None:
    # The exporter prints the graph of a network that it cannot export, whatever `verbose` says.
    with warnings.catch_warnings(), patch.object(torch._C, "_jit_onnx_log", create=True):
        # About the deprecated exporter, and constants, which `_compare` would notice. The newer exporter unrolls an
        # LSTM's steps, which makes the length a constant.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (ids,),
            str(path),
            dynamo=False,
            input_names=["ids"],
            output_names=["probabilities"],
            dynamic_axes={"ids": {0: "batch", 1: "length"}, "probabilities": {0: "batch"}},
        )


def _add_metadata(path: Path, metadata: Mapping[str, Any]) -> None:
    import onnx

    model = onnx.load(str(path))
    encoded = {key: json.dumps(value, ensure_ascii=False) for key, value in metadata.items()}
    onnx.helper.set_model_props(model, encoded)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def _compare(model: ProbabilityModel, path: Path, batches: Sequence[Tensor]) -> float:
    """The largest difference of a probability that ONNX Runtime computes from PyTorch's."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path))
    differences = []
    for ids in batches:
        with torch.inference_mode():
            expected = model(ids)
        (probabilities,) = session.run(None, {"ids": ids.numpy()})
        differences.append((expected - torch.from_numpy(probabilities)).abs().max())
    return float(torch.stack(differences).max())


def _random_ids(encoder: TextEncoder, batch: int, length: int) -> Tensor:
    """Random texts of different lengths, padded as in training: int64 `(batch, length)`.

    By Zipf's law, so that some of their n-grams are in the vocabulary.
    """
    generator = torch.Generator().manual_seed(batch)
    size = len(encoder.vocabulary)
    ids = (size ** torch.rand(batch, length, generator=generator)).long().clamp(max=size - 1)
    for row in range(1, batch):
        cut = int(torch.randint(1, length, (1,), generator=generator))
        ids[row, slice(cut) if encoder.padding == "pre" else slice(cut, None)] = PADDING
    return ids
