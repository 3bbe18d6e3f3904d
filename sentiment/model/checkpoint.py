"""Checkpoints, read without running anything in them."""

import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from sentiment.data.text import SPECIALS, TOKENIZERS
from sentiment.errors import InputError, require_at_least, require_choice
from sentiment.model.lstm import LSTMClassifier


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint of `SentimentModule`, tensors and plain values only.

    Raises:
        InputError: it is missing, damaged, of another kind, or holds more than tensors and plain values.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint; name a run's checkpoints/best.ckpt or last.ckpt")
    with open(path, "rb") as file:
        if file.read(1) not in (b"P", b"\x80"):  # of an archive, as torch writes it, or of a pickle
            raise InputError(f"{path}: no checkpoint; name a run's checkpoints/best.ckpt or last.ckpt")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if sum(record.file_size for record in archive.infolist()) > path.stat().st_size:
                    raise zipfile.BadZipFile("packed, which torch's archives are not")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old formats, which are refused below
            checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(f"{path}: refused, it holds more than tensors and plain values; nothing was run") from error
    except Exception as error:
        raise InputError(f"{path}: damaged or no checkpoint ({type(error).__name__}); take another one") from error
    settings = checkpoint.get("hyper_parameters") if isinstance(checkpoint, dict) else None
    if not isinstance(settings, dict) or not {"text", "model"} <= settings.keys():
        raise InputError(f"{path}: a checkpoint of another program; name one that sentiment.train wrote")
    return checkpoint


def read_network(path: Path, checkpoint: dict[str, Any]) -> LSTMClassifier:
    """The trained net of what `read_checkpoint` read at `path`; no memory is taken before its sizes are known to fit.

    Raises:
        InputError: settings, vocabulary and weights do not fit together, or the weights are no numbers.
    """
    text, model = (checkpoint["hyper_parameters"][name] for name in ("text", "model"))
    try:
        require_at_least(1, maxlen=text["maxlen"])
        require_choice(("pre", "post"), padding=text["padding"], truncating=text["truncating"])
        require_choice(tuple(TOKENIZERS), tokenizer=text["tokenizer"])
        for name in ("words", "label_names"):
            if not isinstance(text[name], list) or not all(isinstance(word, str) for word in text[name]):
                raise TypeError(f"{name}: no list of text")
        if text["words"][: len(SPECIALS)] != SPECIALS or len(set(text["label_names"])) < 2:
            raise ValueError("words or label_names: not as sentiment.train writes them")
        weights = {name.removeprefix("net."): weight for name, weight in checkpoint["state_dict"].items()}
        weights = {name: weight for name, weight in weights.items() if not name.startswith("measures.")}
        require_choice(tuple(range(1, len(weights))), num_layers=model.get("num_layers", 1))
        with torch.device("meta"):
            net = LSTMClassifier.of(text, model)
        net.load_state_dict(weights, assign=True)
    except (RuntimeError, TypeError, KeyError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: weights and settings do not fit together ({reason}); take another one") from error
    if not all(weight.is_floating_point() and weight.isfinite().all() for weight in net.parameters()):
        raise InputError(f"{path}: its weights are not finite, the training diverged; take another one")
    return net.float()


def require_resumable(path: Path, checkpoint: dict[str, Any]) -> None:
    """Raises `InputError` if no training can go on from what `read_checkpoint` read at `path`.

    So it is where the run was moved: Lightning would forget its best checkpoint.
    """
    states = checkpoint.get("callbacks")
    if not isinstance(states, dict) or not all(isinstance(state, dict) for state in states.values()):
        raise InputError(f"{path}: holds no state of a training; start anew")
    for state in states.values():
        home = Path(state.get("dirpath", path.parent))
        if home != path.parent:
            raise InputError(f"resume={path.parents[1]}: was moved; put it back to {home.parent}")
