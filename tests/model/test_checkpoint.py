import pickle
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from sentiment.classifier import load
from sentiment.model.checkpoint import check_resumable, read_checkpoint, restore_model
from sentiment.runtime.errors import InputError
from sentiment.training.experiment import run_experiment
from sentiment.training.settings import check_settings
from sentiment.training.trainer import AtomicCheckpointIO
from tests.helpers import Bomb, Compose

ODD = "tests.odd_networks"
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
    assert best == {
        key: CHECKPOINT[key] for key in ("hyper_parameters", "state_dict", "metrics", "epoch")
    }
    check_resumable(tmp_path / "last.ckpt", last)
    with pytest.raises(
        InputError, match=r"best\.ckpt: holds no training state; resume from last\.ckpt"
    ):
        check_resumable(tmp_path / "best.ckpt", best)


def test_folder_of_a_checkpoint_that_is_no_text_is_another_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^resume=.*: the run was moved; move it back to "):
        check_resumable(tmp_path / "last.ckpt", {"callbacks": {"best": {"dirpath": 7}}})


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
    "change",
    [
        "vocabulary",
        "units",
        "maxlen",
        "padding",
        "tokenizer",
        "extra setting",
        "label_names",
        "weights",
    ],
)
def test_settings_that_do_not_match_the_weights_are_rejected(
    run: Path, tmp_path: Path, change: str
) -> None:
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
    with pytest.raises(
        InputError,
        match=r"changed\.ckpt: weights and settings do not match \(.*\); use another one$",
    ):
        restore_model(path, checkpoint)


def test_weights_that_are_not_finite_are_rejected(run: Path, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(run / "checkpoints" / "best.ckpt")
    checkpoint["state_dict"]["net.linear.bias"][0] = torch.nan
    with pytest.raises(
        InputError, match="the weights are not finite, training diverged; use another one"
    ):
        restore_model(tmp_path / "changed.ckpt", checkpoint)


def with_network(cfg: DictConfig, name: str, **settings: object) -> DictConfig:
    """A configuration with a network of `tests.odd_networks`."""
    cfg.model = OmegaConf.create({"_target_": f"{ODD}.{name}", **settings})
    return cfg


@pytest.mark.parametrize(
    ("name", "settings"), [("OneMatrix", {}), ("SharedLayers", {"num_layers": 12}), ("Buffers", {})]
)
def test_odd_network_of_ones_own_is_trained_and_restored(
    composed: Compose, tmp_path: Path, name: str, settings: dict[str, int]
) -> None:
    run = run_experiment(with_network(composed("trainer.max_epochs=1"), name, **settings))
    assert run.metrics["status"] == "finished"
    weights = torch.load(tmp_path / "checkpoints" / "best.ckpt")["state_dict"]
    restored = load(tmp_path, [ODD])
    assert all(
        torch.equal(weights[f"net.{key}"], value)
        for key, value in restored.net.state_dict().items()
    )
    assert len(restored.predict(["a good film"])) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("NoWeights", "model: NoWeights has no weights to train; make them nn.Parameter"),
        ("AllFrozen", "model: AllFrozen has no weights to train"),
        (
            "PlainTensor",
            "model: PlainTensor returns other logits when it is restored from a checkpoint; register",
        ),
        (
            "RandomInEvaluation",
            "model: RandomInEvaluation returns other logits when it is restored",
        ),
        ("Doubles", "model: Doubles cannot be restored from a checkpoint, "),
    ],
)
def test_network_that_cannot_be_restored_is_refused_before_the_training(
    composed: Compose, name: str, message: str
) -> None:
    with pytest.raises(InputError, match=f"^{message}") as error:
        check_settings(with_network(composed(), name))
    assert "\n" not in str(error.value)
