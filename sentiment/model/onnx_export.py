"""ONNX files: the network, and in their metadata all that is needed to encode texts and name the classes."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
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
    """The exported computation.

    Args:
        net: in evaluation mode.
    """

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

    Args:
        net: in evaluation mode; it is moved to the CPU.
        encoder: stored in the metadata, see `TextEncoder.to_dict`.
        label_names: stored in the metadata as `label_names`.
        path: of the file.

    Returns:
        The largest difference of a probability from PyTorch's.

    Raises:
        InputError: onnx or onnxruntime is not installed, torch cannot export the network, the file cannot be written,
            or it computes something else.
    """
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise InputError(
            "export needs onnx and onnxruntime; install them: pip install onnx onnxruntime"
        ) from error
    model = ProbabilityModel(
        net.cpu()
    ).eval()  # the exporter restores the mode of the model in all its modules
    with output_file(path) as temporary:
        # The exporter prints the graph of a network that it cannot export, whatever `verbose` says.
        with warnings.catch_warnings(), patch.object(torch._C, "_jit_onnx_log", create=True):
            warnings.simplefilter(
                "ignore"
            )  # about the deprecated exporter, and constants, which are checked below
            # The newer exporter unrolls an LSTM's steps, which makes the length a constant.
            try:
                torch.onnx.export(
                    model,
                    (_random_ids(encoder, *TRACED_SIZE),),
                    str(temporary),
                    dynamo=False,
                    input_names=["ids"],
                    output_names=["probabilities"],
                    dynamic_axes={"ids": {0: "batch", 1: "length"}, "probabilities": {0: "batch"}},
                )
            except Exception as error:  # of torch's exporter, or of a network that it calls
                raise InputError(
                    f"{path}: not written, {type(net).__name__} cannot be exported ({one_line(error)[:200]}); use "
                    "operations that torch.onnx.export supports"
                ) from error
        onnx_model = onnx.load(str(temporary))
        metadata = encoder.to_dict() | {"label_names": list(label_names)}
        encoded = {key: json.dumps(value, ensure_ascii=False) for key, value in metadata.items()}
        onnx.helper.set_model_props(onnx_model, encoded)
        onnx.checker.check_model(onnx_model, full_check=True)
        onnx.save(onnx_model, str(temporary))
        session = onnxruntime.InferenceSession(str(temporary))
        difference = 0.0
        for batch, length in CHECKED_SIZES:
            ids = _random_ids(encoder, batch, length)
            try:
                with torch.inference_mode():
                    expected = model(ids)
                (probabilities,) = session.run(None, {"ids": ids.numpy()})
            except (
                Exception
            ) as error:  # of onnxruntime, which has many, or of a network with an upper limit
                raise InputError(
                    f"{path}: not written, the traced network fails for another size: {batch} texts of {length} tokens"
                ) from error
            difference = max(
                difference, float((expected - torch.from_numpy(probabilities)).abs().max())
            )
        if not difference <= TOLERANCE:
            raise InputError(
                f"{path}: not written, its probabilities differ from PyTorch's by {difference:.2g}"
            )
    return difference


def _random_ids(encoder: TextEncoder, batch: int, length: int) -> Tensor:
    """Return random texts of different lengths, padded as in training: int64 `(batch, length)`.

    By Zipf's law, so that some of their n-grams are in the vocabulary.
    """
    generator = torch.Generator().manual_seed(batch)
    size = len(encoder.vocabulary)
    ids = (size ** torch.rand(batch, length, generator=generator)).long().clamp(max=size - 1)
    for row in range(1, batch):
        cut = int(torch.randint(1, length, (1,), generator=generator))
        ids[row, slice(cut) if encoder.padding == "pre" else slice(cut, None)] = PADDING
    return ids
