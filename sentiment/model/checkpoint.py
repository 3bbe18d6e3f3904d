"""Checkpoints: read without running anything in them, and without memory for sizes that do not agree."""

import pickle
import warnings
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sentiment.data.text.vocabulary import TextEncoder
from sentiment.model.memory import EVALUATION, batch_bytes, check_fits
from sentiment.model.network import Network, build_network, on_meta_device
from sentiment.runtime.errors import InputError, one_line
from sentiment.runtime.trust import ImportFailedError, UntrustedError, is_ours

HASHES = "ngram_embedding._extra_state"  # the only integers in the state of our networks


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of `SentimentModule`: tensors and plain values only."""
    checkpoint: dict[str, Any] = {}
    try:
        problem = _inspect(path)
        if not problem:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about old formats, which are refused below
                checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        problem = "refused, it holds more than tensors and plain values; nothing in it was run"
    except Exception as error:  # torch has many for a damaged file
        problem = f"damaged or not a checkpoint ({type(error).__name__}); use another one"
    settings = checkpoint.get("hyper_parameters") if isinstance(checkpoint, dict) else None
    required = {"text_encoder", "label_names", "model"}
    if not problem and not (isinstance(settings, dict) and required <= settings.keys()):
        problem = "not created by this version of sentiment.train; use another one"
    if problem:
        raise InputError(f"{path}: {problem}")
    return checkpoint


def _inspect(path: Path) -> str:
    """Why a file need not be loaded; empty if it may be a checkpoint."""
    advice = "pass a run directory or its checkpoints/best.ckpt"
    if not path.is_file():
        return f"no such checkpoint; {advice}"
    with open(path, "rb") as file:
        if file.read(1) not in (b"P", b"\x80"):  # a zip archive, as torch writes, or a pickle
            return f"not a checkpoint; {advice}"
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(record.file_size for record in archive.infolist()) > path.stat().st_size:
                return "damaged or not a checkpoint (compressed, unlike torch's); use another one"
    return ""


class TrainedModel(NamedTuple):
    """What a checkpoint holds for inference."""

    net: Network
    encoder: TextEncoder
    label_names: list[str]


def restore_model(
    path: Path, checkpoint: dict[str, Any], trust: Collection[str] = ()
) -> TrainedModel:
    """The trained model of a checkpoint that was read from `path`.

    Its network and tokenizer may be of modules in `trust`. For a network of this package, no memory is allocated before
    all sizes agree.
    """
    settings = checkpoint["hyper_parameters"]
    try:
        encoder = TextEncoder.from_dict(settings["text_encoder"], trust)
        net = _restore_network(settings, checkpoint["state_dict"], encoder, trust).float()
        if "temperature" in checkpoint:
            net.divide_logits(float(checkpoint["temperature"]))
    except (RuntimeError, TypeError, KeyError, ValueError, AttributeError) as error:
        problem = f"weights and settings do not match ({one_line(error)[:200]}); use another one"
        if isinstance(error, UntrustedError | ImportFailedError):
            problem = f"names {error}"
        raise InputError(f"{path}: {problem}") from error
    if not encoder.masked:
        size = batch_bytes(net, encoder.maxlen, EVALUATION)
        check_fits(f"{path}: maxlen={encoder.maxlen}: a text", size, "use another one")
    if not all(weight.isfinite().all() for weight in net.parameters()):
        raise InputError(f"{path}: the weights are not finite, training diverged; use another one")
    return TrainedModel(net, encoder, settings["label_names"])


def _restore_network(
    settings: dict[str, Any], state: dict[str, Any], encoder: TextEncoder, trust: Collection[str]
) -> Network:
    model, label_names = settings["model"], settings["label_names"]
    weights = {key.removeprefix("net."): weight for key, weight in state.items()}
    valid = len(set(label_names)) > 1 and all(isinstance(name, str) for name in label_names)
    valid &= all(map(_is_stored, weights.values()))
    if is_ours(model["_target_"]):
        valid &= model.get("num_layers", 1) <= len(weights)  # even layers on `meta` take time
        valid &= all(weight.is_floating_point() for key, weight in weights.items() if key != HASHES)
    if not valid:
        raise ValueError("label_names, num_layers or weights that sentiment.train does not write")
    with on_meta_device(model["_target_"]):
        net = build_network(model, encoder, label_names, trust)
    net.load_state_dict(weights, assign=True)
    return net


def _is_stored(value: object) -> bool:
    """Whether each element of a tensor is in the file, unlike those of an expanded or sparse one."""
    if not isinstance(value, Tensor):
        return True  # extra state, which its module checks
    is_dense = value.layout is torch.strided and value.device.type == "cpu"
    return is_dense and value.nbytes <= value.untyped_storage().nbytes()


def check_resumable(path: Path, checkpoint: dict[str, Any]) -> None:
    """Raise `InputError` if training cannot continue from a checkpoint that was read from `path`."""
    try:
        states = checkpoint["callbacks"].values()
        # Lightning stores absolute paths of its checkpoints.
        homes = [Path(str(state["dirpath"])) for state in states if "dirpath" in state]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: holds no training state; resume from last.ckpt, or start a new run"
        ) from error
    if moved := [home for home in homes if home != path.parent]:
        raise InputError(
            f"resume={path.parents[1]}: the run was moved; move it back to {moved[0].parent}"
        )
