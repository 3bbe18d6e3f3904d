"""Checkpoints: read without running anything in them."""

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
from sentiment.model.network import Network, build_network, without_memory
from sentiment.runtime.errors import InputError, one_line
from sentiment.runtime.trust import ImportFailedError, UntrustedError, is_ours


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of `SentimentModule`: tensors and plain values only.

    Raises:
        InputError: it is missing, damaged, of another kind, or holds more than tensors and plain values.
    """
    if not path.is_file():
        raise InputError(
            f"{path}: no such checkpoint; pass a run directory or its checkpoints/best.ckpt"
        )
    with open(path, "rb") as file:
        if file.read(1) not in (b"P", b"\x80"):  # a zip archive, as torch writes, or a pickle
            raise InputError(
                f"{path}: not a checkpoint; pass a run directory or its checkpoints/best.ckpt"
            )
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if sum(record.file_size for record in archive.infolist()) > path.stat().st_size:
                    raise zipfile.BadZipFile("compressed, unlike torch's archives")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old formats, which are refused below
            checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        message = (
            f"{path}: refused, it holds more than tensors and plain values; nothing in it was run"
        )
        raise InputError(message) from error
    except Exception as error:
        raise InputError(
            f"{path}: damaged or not a checkpoint ({type(error).__name__}); use another one"
        ) from error
    settings = checkpoint.get("hyper_parameters") if isinstance(checkpoint, dict) else None
    if (
        not isinstance(settings, dict)
        or not {"text_encoder", "label_names", "model"} <= settings.keys()
    ):
        raise InputError(f"{path}: not created by this version of sentiment.train; use another one")
    return checkpoint


class TrainedModel(NamedTuple):
    """What a checkpoint holds for inference."""

    net: Network
    encoder: TextEncoder
    label_names: list[str]


def restore_model(
    path: Path, checkpoint: dict[str, Any], trust: Collection[str] = ()
) -> TrainedModel:
    """The trained model of a checkpoint that was read from `path`.

    No memory is allocated for a network of this package before all sizes agree.

    Args:
        path: for messages.
        checkpoint: of `read_checkpoint`.
        trust: modules outside this package whose classes the checkpoint may name.

    Raises:
        InputError: settings, vocabulary and weights do not match, the weights are not finite, or the network or the
            tokenizer is of a module that is not trusted.
    """
    settings = checkpoint["hyper_parameters"]
    model, label_names = settings["model"], settings["label_names"]
    try:
        encoder = TextEncoder.from_dict(settings["text_encoder"], trust)
        if not all(isinstance(name, str) for name in label_names) or len(set(label_names)) < 2:
            raise ValueError("label_names: not two different names or more")
        state = checkpoint["state_dict"].items()
        weights = {key.removeprefix("net."): weight for key, weight in state}
        if not all(map(_is_stored, weights.values())):
            raise TypeError("state_dict: tensors of another kind than torch.save writes")
        ours = is_ours(model["_target_"])
        if ours and model.get("num_layers", 1) > len(weights):  # even without memory they take time
            raise ValueError("num_layers: there are fewer weights")
        with without_memory(model):
            net = build_network(model, encoder, label_names, trust)
        net.load_state_dict(weights, assign=True)
        if ours and not all(weight.is_floating_point() for weight in net.parameters()):
            raise TypeError("state_dict: weights that are no floats")
    except (UntrustedError, ImportFailedError) as error:
        raise InputError(f"{path}: names {error}") from error
    except (RuntimeError, TypeError, KeyError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: weights and settings do not match ({one_line(error)[:200]}); use another one"
        ) from error
    if not encoder.masked:
        size = batch_bytes(net, encoder.maxlen, EVALUATION)
        check_fits(f"{path}: maxlen={encoder.maxlen}: a text", size, "use another one")
    if not all(weight.isfinite().all() for weight in net.parameters()):
        raise InputError(f"{path}: the weights are not finite, training diverged; use another one")
    return TrainedModel(net.float(), encoder, label_names)


def _is_stored(value: object) -> bool:
    """Whether each element of a tensor is in the file, unlike those of an expanded or sparse one."""
    if not isinstance(value, Tensor):
        return True  # extra state, which its module checks
    is_dense = value.layout is torch.strided and value.device.type == "cpu"
    return is_dense and value.nbytes <= value.untyped_storage().nbytes()


def check_resumable(path: Path, checkpoint: dict[str, Any]) -> None:
    """Raise `InputError` if training cannot continue from a checkpoint that was read from `path`.

    That includes runs that were moved: Lightning stores absolute paths of its checkpoints.
    """
    states = checkpoint.get("callbacks")
    if not isinstance(states, dict) or not all(
        isinstance(state, dict) for state in states.values()
    ):
        raise InputError(
            f"{path}: holds no training state; resume from last.ckpt, or start a new run"
        )
    for state in states.values():
        home = Path(str(state.get("dirpath", path.parent)))
        if home != path.parent:
            raise InputError(
                f"resume={path.parents[1]}: the run was moved; move it back to {home.parent}"
            )
