"""Processes that train: what they import, and that each has a folder of its own."""

import os
from pathlib import Path

import pytest
from tensorboard.compat import tf

import sentiment.training
from tests.helpers import QUICK, background, read_metrics


def test_tensorboard_does_without_tensorflow() -> None:
    assert sentiment.training  # imported before TensorBoard
    assert tf.io.__name__.startswith("tensorboard.compat.tensorflow_stub")


@pytest.mark.slow
def test_runs_that_start_at_once_have_folders_of_their_own_and_import_no_tensorflow(
    small: Path, tmp_path: Path
) -> None:
    for name in ("tensorflow", "jax", "jaxlib"):
        package, metadata = tmp_path / "packages" / name, tmp_path / "packages" / f"{name}-2.0.dist-info"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("raise SystemExit('imported')")
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Name: {name}\nVersion: 2.0\n")
    options = tmp_path / "conf" / "experiment"
    options.mkdir(parents=True)
    (options / "century.yaml").write_text("# @package _global_\nhydra: {run: {dir: 'runs/${now:%C}'}}\n")
    line = ["--config-dir", "conf", *QUICK, f"data.path={small}", "trainer.max_epochs=1", "experiment=century"]
    packages = os.pathsep.join([str(tmp_path / "packages"), str(Path(__file__).parents[1])])
    processes = [background(*line, f"seed={seed}", cwd=tmp_path, PYTHONPATH=packages) for seed in range(3)]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 3, "\n".join(outputs)
    assert not any("version" in output or "imported" in output for output in outputs)
    runs = [*(tmp_path / "runs").iterdir()]
    assert {run.name.partition("_")[2] for run in runs} == {"", "2", "3"}
    assert all(read_metrics(run)["status"] == "finished" for run in runs)
    assert len({(run / "train.log").read_text() for run in runs}) == 3
