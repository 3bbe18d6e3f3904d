"""Writes a trained model as ONNX, with all that reading a text needs in the file's metadata.

python -m sentiment.export outputs/runs/2026-01-31_12-00-00 model.onnx
"""

import json
import warnings
from argparse import Namespace
from pathlib import Path

import torch
from torch import Tensor, nn

from sentiment.classifier import Classifier, load
from sentiment.errors import InputError, Parser
from sentiment.files import whole_as_named
from sentiment.model.lstm import LSTMClassifier, log_probabilities

TRACED = (2, 7)  # batch and length of the example that the exporter sees
CHECKED = ((1, 3), (5, 24), (3, 400))
TOLERANCE = 1e-4


class Probabilities(nn.Module):
    """What the file computes: ids, int64 `(B, T)` → probabilities of the classes, float32 `(B, classes)`."""

    def __init__(self, net: LSTMClassifier) -> None:
        super().__init__()
        self.net = net

    def forward(self, ids: Tensor) -> Tensor:
        return log_probabilities(self.net(ids)).exp()


def export(classifier: Classifier, path: Path) -> float:
    """Writes the file, checks it against PyTorch, and only then gives it its name.

    Returns:
        The largest difference of a probability.

    Raises:
        InputError: onnx or onnxruntime is missing, the folder too, or the file computes something else.
    """
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise InputError("export needs onnx and onnxruntime; install them: pip install onnx onnxruntime") from error
    net = Probabilities(classifier.net.cpu()).eval()
    with whole_as_named(path) as unfinished:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is the older exporter, and may freeze a size, which is checked
            # The newer exporter unrolls an LSTM's steps, and so freezes the length.
            torch.onnx.export(
                net,
                (_example(classifier, *TRACED),),
                str(unfinished),
                dynamo=False,
                input_names=["ids"],
                output_names=["probabilities"],
                dynamic_axes={"ids": {0: "batch", 1: "length"}, "probabilities": {0: "batch"}},
            )
        model = onnx.load(str(unfinished))
        onnx.helper.set_model_props(model, metadata(classifier))
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, str(unfinished))
        session = onnxruntime.InferenceSession(str(unfinished))
        worst = 0.0
        for batch, length in CHECKED:
            ids = _example(classifier, batch, length)
            with torch.inference_mode():
                expected = net(ids)
            try:
                (found,) = session.run(None, {"ids": ids.numpy()})
            except Exception as error:  # of onnxruntime, by many names
                raise InputError(f"{path}: not written, it cannot read {batch} texts of {length} words") from error
            worst = max(worst, float((expected - torch.from_numpy(found)).abs().max()))
        if not worst <= TOLERANCE:
            raise InputError(f"{path}: not written, its probabilities differ from PyTorch's by {worst:.2g}")
    return worst


def metadata(classifier: Classifier) -> dict[str, str]:
    """Everything but the weights, as JSON: words by id, tokenizer, maxlen, padding, truncating, label_names."""
    return {key: json.dumps(value, ensure_ascii=False) for key, value in classifier.text.items()}


def _example(classifier: Classifier, batch: int, length: int) -> Tensor:
    """Random texts of unlike lengths, padded as the net reads them."""
    random = torch.Generator().manual_seed(batch)
    ids = torch.randint(1, len(classifier.vocabulary), (batch, length), generator=random)
    for row in range(1, batch):
        cut = int(torch.randint(1, length, (1,), generator=random))
        ids[row, slice(cut) if classifier.text["padding"] == "pre" else slice(cut, None)] = 0
    return ids


def run(arguments: Namespace) -> None:
    """Exports the checkpoint of a command line."""
    worst = export(load(arguments.checkpoint), arguments.file)
    sizes = ", ".join(f"{batch} x {length}" for batch, length in CHECKED)
    print(f"{arguments.file}: written; at {sizes} words within {worst:.1e} of PyTorch")


if __name__ == "__main__":
    parser = Parser("export", __doc__)
    parser.add_argument("checkpoint", type=Path, help="a run's folder or a checkpoint")
    parser.add_argument("file", type=Path, help="the ONNX file to write")
    parser.run(run)
