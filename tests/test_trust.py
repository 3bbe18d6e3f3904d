"""Code outside the package is imported only if the user trusts it."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from sentiment.classifier import load
from sentiment.runtime.errors import InputError
from sentiment.runtime.trust import LIBRARIES, UntrustedError, check_run_config, find_targets, import_trusted
from tests.helpers import compose_config

MODULE = """
from pathlib import Path

from sentiment.model.lstm import LSTMClassifier

Path(__file__).with_suffix(".imported").touch()


class Copy(LSTMClassifier):
    pass
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module on the path, which leaves a file when it is imported."""
    path = tmp_path / "foreign_net.py"
    path.write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "foreign_net", raising=False)
    return path


def test_checkpoint_does_not_import_a_module_that_is_not_trusted(run: Path, tmp_path: Path, module: Path) -> None:
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt")
    checkpoint["hyper_parameters"]["model"]["_target_"] = "foreign_net.Copy"
    path = tmp_path / "foreign.ckpt"
    torch.save(checkpoint, path)
    message = rf"{path}: names foreign_net.Copy, code that is not run unless you trust it; .* --trust foreign_net"
    for trust in ([], ["foreign"], ["foreign_net.Other"]):
        with pytest.raises(InputError, match=message):
            load(path, trust)
    assert not module.with_suffix(".imported").exists()
    texts = ["a convincing film", "not convincing"]
    assert load(path, ["foreign_net"]).predict(texts) == load(run).predict(texts)
    assert module.with_suffix(".imported").exists()


@pytest.mark.parametrize(
    "target",
    ["os.system", "sentiment.runtime.run_folder.subprocess.run", "sentiment.runtime.run_folder.shutil",
     "sentiment.model.module.LightningModule.load_from_checkpoint", "torch.load", "torch.hub.load",
     "torch.nn.modules.module.warnings", "pytorch_lightning.LightningModule.load_from_checkpoint", "sentimental.Net",
     "sklearn.utils.parallel.subprocess", "builtins.exec", "exec", ""],
)  # fmt: skip
def test_other_code_is_not_trusted(target: str) -> None:
    with pytest.raises(InputError, match=r"trust it|cannot be imported"):
        import_trusted(target, libraries=LIBRARIES)


def test_what_the_configuration_names_is_trusted() -> None:
    for overrides in ([], ["baseline=[nb_svm,logistic_regression]", "model=gru", "scheduler=plateau"]):
        cfg = compose_config("output_dir=x", *overrides)
        assert len(find_targets(cfg)) > 15
        check_run_config(cfg, Path("config.yaml"), [])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"callbacks": {"x": {"_target_": "os.mkdir", "path": "x"}}},
            "config.yaml: names os.mkdir, code that is not run",
        ),
        ({"data": {"deep": [{"_target_": "os.mkdir"}]}}, "config.yaml: names os.mkdir"),
        ({"model": {"_target_": "${oc.env:TARGET}"}}, "config.yaml: names .*oc.env:TARGET"),
        (
            {"callbacks": {"x": {"_target_": "sentiment.runtime.trust.import_trusted", "target": "os.mkdir"}}},
            "config.yaml: names sentiment.runtime.trust.import_trusted, code that is not run",
        ),
        ({"data": {"x": "${oc.create:{_target_: os.mkdir}}"}}, "config.yaml: not written by a run, it has the interp"),
        ({"data": {"x": "${oc.decode:${y}}"}}, "config.yaml: not written by a run, it has the interpolation"),
        ({"data": {"${oc.create:1}": 1}}, "config.yaml: not written by a run, it has the interpolation"),
        ({"baseline": {"x": {"_target_": "optuna._imports._LazyImport"}}}, "config.yaml: names optuna"),
        ({"hydra": {}}, "config.yaml: not written by a run, it has the key hydra"),
        ({"defaults": ["x"]}, "config.yaml: not written by a run, it has the key defaults"),
    ],
)
def test_configuration_of_a_run_cannot_name_other_code(changes: dict[str, Any], message: str) -> None:
    cfg = OmegaConf.create({**changes})
    with pytest.raises(InputError, match=message):
        check_run_config(cfg, Path("config.yaml"), ["osx"])


def test_folder_of_the_configuration_holds_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "hydra").mkdir()
    (tmp_path / "config.yaml").touch()
    with pytest.raises(InputError, match="hydra: not written by a run; remove it"):
        check_run_config(compose_config("output_dir=x"), tmp_path / "config.yaml", [])


def test_single_target_and_package_can_be_trusted() -> None:
    assert import_trusted("collections.OrderedDict", ["collections.OrderedDict"]).__name__ == "OrderedDict"
    assert import_trusted("collections.abc.Mapping", "collections").__name__ == "Mapping"
    check_run_config(
        OmegaConf.create({"x": {"_target_": "collections.OrderedDict"}}), Path("config.yaml"), "collections"
    )
    with pytest.raises(UntrustedError):
        import_trusted("collections.OrderedDict", ["collections.abc"])
    with pytest.raises(InputError, match=r"^absent_module\.Net: cannot be imported"):
        import_trusted("absent_module.Net", ["absent_module"])
