import pickle
from pathlib import Path

import pytest
import torch

from sentiment.model.checkpoint import check_resumable, read_checkpoint, restore_model
from sentiment.runtime.errors import InputError
from sentiment.training.checkpoint_io import AtomicCheckpointIO
from tests.helpers import Bomb

CHECKPOINT = {
    "hyper_parameters": {"text_encoder": {}, "label_names": [], "model": {}},
    "state_dict": {},
    "metrics": {},
    "epoch": 3,
    "optimizer_states": [],
    "callbacks": {},
}


def test_checkpoint_is_written_atomically(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(CHECKPOINT, path)
    before = path.read_bytes()
    with pytest.raises(AttributeError, match="lambda"):
        AtomicCheckpointIO().save_checkpoint({"unpicklable": lambda: None}, path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]
    assert read_checkpoint(path) == CHECKPOINT


def test_only_the_last_checkpoint_holds_training_state(tmp_path: Path) -> None:
    for name in ("best", "last"):
        AtomicCheckpointIO().save_checkpoint(CHECKPOINT, tmp_path / f"{name}.ckpt")
    best, last = (read_checkpoint(tmp_path / f"{name}.ckpt") for name in ("best", "last"))
    assert last == CHECKPOINT
    assert best == {key: CHECKPOINT[key] for key in ("hyper_parameters", "state_dict", "metrics", "epoch")}
    check_resumable(tmp_path / "last.ckpt", last)
    with pytest.raises(InputError, match=r"best\.ckpt: holds no training state; resume from last\.ckpt"):
        check_resumable(tmp_path / "best.ckpt", best)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    torch.save({"hyper_parameters": Bomb(tmp_path / "exploded")}, tmp_path / "zip.ckpt")
    (tmp_path / "pickle.ckpt").write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    for name in ("zip.ckpt", "pickle.ckpt"):
        with pytest.raises(InputError, match=f"{name}: refused, .* nothing in it was run"):
            read_checkpoint(tmp_path / name)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.ckpt", "no such checkpoint; pass a run directory or its checkpoints/best.ckpt"),
        ("empty.ckpt", "not a checkpoint; pass a run directory or its checkpoints/best.ckpt"),
        ("table.ckpt", "not a checkpoint; pass a run directory or its checkpoints/best.ckpt"),
        ("truncated.ckpt", "damaged or not a checkpoint ("),
        ("other.ckpt", "not created by this version of sentiment.train; use another one"),
        ("none.ckpt", "not created by this version of sentiment.train; use another one"),
    ],
)
def test_other_files_are_rejected(tmp_path: Path, name: str, message: str) -> None:
    torch.save({"weights": torch.zeros(1000)}, tmp_path / "other.ckpt")
    torch.save({"hyper_parameters": None}, tmp_path / "none.ckpt")
    (tmp_path / "truncated.ckpt").write_bytes((tmp_path / "other.ckpt").read_bytes()[:-100])
    (tmp_path / "table.ckpt").write_bytes(b"text,label")
    (tmp_path / "empty.ckpt").touch()
    with pytest.raises(InputError) as error:
        read_checkpoint(tmp_path / name)
    assert str(error.value).startswith(f"{tmp_path / name}: {message}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change", ["vocabulary", "units", "maxlen", "padding", "tokenizer", "extra setting", "label_names", "weights"]
)
def test_settings_that_do_not_match_the_weights_are_rejected(run: Path, tmp_path: Path, change: str) -> None:
    path = tmp_path / "changed.ckpt"
    checkpoint = read_checkpoint(run / "checkpoints" / "best.ckpt")
    restore_model(path, checkpoint)
    settings = checkpoint["hyper_parameters"]
    encoder = settings["text_encoder"]
    match change:
        case "vocabulary":
            encoder["vocabulary"] = encoder["vocabulary"][:5]
        case "units":
            settings["model"]["units"] = 7
        case "maxlen":
            encoder["maxlen"] = 0
        case "padding":
            del encoder["padding"]
        case "tokenizer":
            encoder["tokenizer"] = "bpe"
        case "extra setting":
            settings["model"]["attention"] = True
        case "label_names":
            settings["label_names"] = ["good", "good"]
        case "weights":
            del checkpoint["state_dict"]["net.linear.weight"]
    with pytest.raises(InputError, match=r"changed\.ckpt: weights and settings do not match \(.*\); use another one$"):
        restore_model(path, checkpoint)


def test_weights_that_are_not_finite_are_rejected(run: Path, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(run / "checkpoints" / "best.ckpt")
    checkpoint["state_dict"]["net.linear.bias"][0] = torch.nan
    with pytest.raises(InputError, match="the weights are not finite, training diverged; use another one"):
        restore_model(tmp_path / "changed.ckpt", checkpoint)
