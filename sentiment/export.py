"""Export a trained model as an ONNX file with dynamic batch and length.

python -m sentiment.export outputs/runs/2026-01-31_12-00-00 model.onnx

The file is written only if ONNX Runtime computes the probabilities of PyTorch. Its metadata (JSON) holds vocabulary,
tokenizer, maxlen, padding, truncating and label_names, so it can be served without this package, for example with
data.tokenizer=words and data.padding=pre, the defaults:

    import json, string
    import numpy as np, onnxruntime

    session = onnxruntime.InferenceSession("model.onnx")
    meta = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    word_ids = {word: id_ for id_, word in enumerate(meta["vocabulary"])}
    removed = str.maketrans(dict.fromkeys(string.punctuation.replace("'", ""), " "))
    words = "A slow start, but what an ending!".lower().translate(removed).split()
    ids = [word_ids.get(word, 1) for word in words][-meta["maxlen"] :] or [1]
    ids = [0] * (meta["maxlen"] - len(ids)) + ids  # padding=post needs no padding, or zeros at the end
    (probabilities,) = session.run(None, {"ids": np.array([ids])})[0]
    print(dict(zip(meta["label_names"], probabilities.tolist())))
"""

from argparse import Namespace
from pathlib import Path

from sentiment.runtime.cli import CommandParser


def run(arguments: Namespace) -> None:
    from sentiment.classifier import load  # these take seconds
    from sentiment.model.onnx_export import CHECKED_SIZES, export_onnx

    classifier = load(arguments.checkpoint, arguments.trust)
    model = classifier.net, classifier.encoder, classifier.label_names
    difference = export_onnx(*model, arguments.file)
    sizes = ", ".join(f"{batch} x {length}" for batch, length in CHECKED_SIZES)
    print(f"{arguments.file}: written; at {sizes} tokens within {difference:.1e} of PyTorch")


def main() -> None:
    parser = CommandParser("export", __doc__)
    parser.add_checkpoint()
    parser.add_argument("file", type=Path, help="ONNX file to write")
    parser.run(run)


if __name__ == "__main__":
    main()
