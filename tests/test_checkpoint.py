import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from sentiment.errors import InputError
from sentiment.model.checkpoint import read_checkpoint
from sentiment.model.module import AtomicCheckpointIO


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"hyper_parameters": {"text": {}, "model": {}}}, path)
    before = path.read_bytes()
    with pytest.raises(AttributeError):
        AtomicCheckpointIO().save_checkpoint({"no pickle": lambda: None}, path)
    assert path.read_bytes() == before
    assert read_checkpoint(path) == {"hyper_parameters": {"text": {}, "model": {}}}


def test_code_in_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    trace = tmp_path / "was here"
    torch.save({"hyper_parameters": Bomb(trace)}, tmp_path / "new.ckpt")
    (tmp_path / "old.ckpt").write_bytes(pickle.dumps(Bomb(trace)))
    for name in ("new.ckpt", "old.ckpt"):
        with pytest.raises(InputError, match="nothing was run"):
            read_checkpoint(tmp_path / name)
    assert not trace.exists()


def test_what_is_no_checkpoint_of_ours_is_told(tmp_path: Path) -> None:
    whole = tmp_path / "whole.ckpt"
    torch.save({"weights": torch.zeros(1000)}, whole)
    (tmp_path / "cut.ckpt").write_bytes(whole.read_bytes()[:-100])
    (tmp_path / "empty.ckpt").write_bytes(b"")
    for name, message in (
        ("absent.ckpt", "no such checkpoint"),
        ("whole.ckpt", "of another program"),
        ("cut.ckpt", "damaged"),
        ("empty.ckpt", "no checkpoint; name"),
    ):
        with pytest.raises(InputError, match=message):
            read_checkpoint(tmp_path / name)
