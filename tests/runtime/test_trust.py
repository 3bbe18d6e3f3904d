"""Code outside the package is imported only if the user trusts it."""

import sys
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from omegaconf import OmegaConf

from sentiment.classifier import load
from sentiment.runtime.config import initialize_hydra
from sentiment.runtime.errors import InputError
from sentiment.runtime.run_folder import RunFolder
from sentiment.runtime.trust import (
    LIBRARIES,
    UntrustedError,
    check_run_config,
    find_targets,
    import_trusted,
)
from sentiment.training.configuration import RESUMED, compose
from tests.helpers import compose_config

MODULE = """
from pathlib import Path

from sentiment.model.recurrent import LSTMClassifier

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


def test_checkpoint_does_not_import_a_module_that_is_not_trusted(
    run: Path, tmp_path: Path, module: Path
) -> None:
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
    for overrides in (
        [],
        ["baseline=[nb_svm,logistic_regression]", "model=gru", "scheduler=plateau"],
    ):
        cfg: Any = compose_config("output_dir=x", *overrides)
        assert len(find_targets(cfg)) > 15
        check_run_config(cfg, Path("run/.hydra/config.yaml"), [])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"callbacks": {"x": {"_target_": "os.mkdir", "path": "x"}}},
            "run/.hydra/config.yaml: names os.mkdir, code that is not run",
        ),
        ({"data": {"deep": [{"_target_": "os.mkdir"}]}}, "run/.hydra/config.yaml: names os.mkdir"),
        ({"model": {"_target_": "${oc.env:TARGET}"}}, "run/.hydra/config.yaml: names os.mkdir"),
        (
            {"model": {"_target_": "${oc.env:ABSENT}"}},
            "run/.hydra/config.yaml: .*Environment variable 'ABSENT' not",
        ),
        (
            {
                "callbacks": {
                    "x": {
                        "_target_": "sentiment.runtime.trust.import_trusted",
                        "target": "os.mkdir",
                    }
                }
            },
            "run/.hydra/config.yaml: names sentiment.runtime.trust.import_trusted, code that is not run",
        ),
        (
            {"data": {"x": "${oc.create:{_target_: os.mkdir}}"}},
            "run/.hydra/config.yaml: names os.mkdir",
        ),
        (
            {"data": {"x": "${oc.create:${oc.decode:${y}}}"}, "y": "{_target_: os.mkdir}"},
            "run/.hydra/config.yaml: names os.mkdir",
        ),
        (
            {"baseline": {"x": {"_target_": "optuna._imports._LazyImport"}}},
            "run/.hydra/config.yaml: names optuna",
        ),
    ],
)
def test_configuration_of_a_run_cannot_name_other_code(
    changes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TARGET", "os.mkdir")
    cfg = {**changes}
    with pytest.raises(InputError, match=message):
        check_run_config(cfg, Path("run/.hydra/config.yaml"), ["osx"])


def test_folder_of_a_run_does_not_configure_hydra(tmp_path: Path) -> None:
    """Neither its configuration nor files beside it set what Hydra itself instantiates."""
    run = RunFolder(tmp_path / "run")
    cfg = compose_config("output_dir=x")
    callback = {"_target_": "sentiment.runtime.hydra_app.MakeOutputFolder"}
    OmegaConf.update(cfg, "hydra.callbacks.x", callback, force_add=True)
    OmegaConf.update(cfg, "defaults", [{"optimizer": "sgd"}], force_add=True)
    run.write_config(cfg)
    groups = run.config_file.parent / "hydra" / "job_logging"
    groups.mkdir(parents=True)
    (groups / "plain.yaml").write_text("handlers: {x: {'()': os.mkdir, path: made}}")
    composed = compose(f"resume={run.path}")
    assert composed.output_dir == str(run.path)
    assert composed.optimizer == compose().optimizer
    with initialize_hydra():
        hydra_cfg = hydra.compose(RESUMED, return_hydra_config=True).hydra
    assert not {"x"} & {*hydra_cfg.callbacks, *hydra_cfg.job_logging.handlers}


def test_single_target_and_package_can_be_trusted() -> None:
    assert (
        import_trusted("collections.OrderedDict", ["collections.OrderedDict"]).__name__
        == "OrderedDict"
    )
    assert import_trusted("collections.abc.Mapping", "collections").__name__ == "Mapping"
    check_run_config(
        {"x": {"_target_": "collections.OrderedDict"}},
        Path("run/.hydra/config.yaml"),
        "collections",
    )
    with pytest.raises(UntrustedError):
        import_trusted("collections.OrderedDict", ["collections.abc"])
    with pytest.raises(InputError, match=r"^absent_module\.Net: cannot be imported"):
        import_trusted("absent_module.Net", ["absent_module"])
