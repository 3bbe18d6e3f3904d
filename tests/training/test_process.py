"""Processes that train: what they import, that each has a folder of its own, and how many threads they use."""

import itertools
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import joblib
import pytest
import torch
from tensorboard.compat import tf

import sentiment.training
from sentiment.runtime.errors import InputError
from sentiment.training import process
from sentiment.training.process import FreeCores, limit_threads
from tests.helpers import QUICK, ROOT, background, command, read_metrics, train_quick


def test_tensorboard_does_without_tensorflow() -> None:
    assert sentiment.training  # imported before TensorBoard
    assert tf.io.__name__.startswith("tensorboard.compat.tensorflow_stub")


@pytest.mark.slow
def test_runs_that_start_at_once_have_folders_of_their_own_and_import_no_tensorflow(
    small: Path, tmp_path: Path
) -> None:
    for name in ("tensorflow", "jax", "jaxlib"):
        package, metadata = (
            tmp_path / "packages" / name,
            tmp_path / "packages" / f"{name}-2.0.dist-info",
        )
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("raise SystemExit('imported')")
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Name: {name}\nVersion: 2.0\n")
    options = tmp_path / "conf" / "experiment"
    options.mkdir(parents=True)
    (options / "century.yaml").write_text(
        "# @package _global_\nhydra: {run: {dir: 'runs/${now:%C}'}}\n"
    )
    line = [
        "--config-dir",
        "conf",
        *QUICK,
        f"data.path={small}",
        "trainer.max_epochs=1",
        "experiment=century",
    ]
    packages = os.pathsep.join([str(tmp_path / "packages"), str(ROOT)])
    processes = [
        background(*line, f"seed={seed}", cwd=tmp_path, PYTHONPATH=packages) for seed in range(3)
    ]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 3, "\n".join(outputs)
    assert not any("version" in output or "imported" in output for output in outputs)
    runs = [*(tmp_path / "runs").iterdir()]
    assert {run.name.partition("_")[2] for run in runs} == {"", "2", "3"}
    assert all(read_metrics(run)["status"] == "finished" for run in runs)
    assert len({(run / "train.log").read_text() for run in runs}) == 3


@pytest.fixture
def four_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 4)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def threads(count: int | None, first: int | None = None) -> int:
    """The threads of a training, after which they are as before."""
    before = torch.get_num_threads()
    with limit_threads(count, first) as callbacks:
        for callback in callbacks:
            callback.on_fit_start(Mock(world_size=1), Mock())
        inside = torch.get_num_threads()
    assert torch.get_num_threads() == before
    return inside


def set_free_cores(monkeypatch: pytest.MonkeyPatch, *free: float) -> None:
    """Let a second pass between looks, in which so many cores are idle or used by this process; the last ones go on."""
    seconds = itertools.count(0.0)
    looks = zip(seconds, itertools.accumulate([0, *free, *[free[-1]] * 99]), strict=False)
    monkeypatch.setattr(process, "_read_clocks", lambda: next(looks))


@pytest.mark.parametrize(
    ("free", "expected"), [(5.6, 4), (4.0, 4), (2.7, 3), (2.1, 2), (0.3, 1), (0.0, 1)]
)
@pytest.mark.usefixtures("four_threads")
def test_training_takes_the_cores_that_are_free(
    free: float, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_free_cores(monkeypatch, free)
    assert threads(None) == expected
    assert threads(4) == 4
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert threads(None) == 4


@pytest.mark.usefixtures("four_threads")
def test_threads_follow_the_other_programs_while_it_trains(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(process, "INTERVAL", -math.inf)
    set_free_cores(monkeypatch, 4, 1.2, 3.9, 4.0)
    trainer, seen = Mock(world_size=1), []
    with caplog.at_level("INFO"), limit_threads(None) as (free,):
        free.on_fit_start(trainer, Mock())
        for _ in range(3):
            free.on_train_batch_end(trainer, Mock(), None, None, 0)
            seen.append(torch.get_num_threads())
    assert seen == [1, 4, 4]
    assert caplog.messages == [
        "1 of 4 threads: other programs are busy",
        "4 of 4 threads: the others are idle again",
    ]


def test_own_work_counts_as_free() -> None:
    """While this process keeps a core busy, it does not take that for another program."""
    free = FreeCores(joblib.cpu_count())
    before, end = torch.get_num_threads(), time.monotonic() + 0.3
    while time.monotonic() < end:
        pass
    free.set_threads()
    count = torch.get_num_threads()
    torch.set_num_threads(before)
    assert 1 <= count <= joblib.cpu_count()


@pytest.mark.usefixtures("four_threads")
def test_resumed_run_begins_with_the_threads_of_its_checkpoint() -> None:
    assert threads(None, 3) == 3
    assert threads(2, 3) == 2


@pytest.mark.usefixtures("four_threads")
def test_quota_of_a_container_limits_the_threads(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(joblib, "cpu_count", lambda: 1)
    set_free_cores(monkeypatch, 8.0)
    with caplog.at_level("INFO"):
        assert threads(None) == 1
    assert not caplog.messages  # no other program is busy


@pytest.mark.usefixtures("four_threads")
def test_invalid_number_of_threads_is_named() -> None:
    with (
        pytest.raises(InputError, match="num_threads=0: must be an integer >= 1"),
        limit_threads(0),
    ):
        pass


@pytest.mark.usefixtures("four_threads")
def test_resumed_run_has_as_many_threads_as_before(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_free_cores(monkeypatch, 2)
    run = train_quick(tmp_path, small, "trainer.max_epochs=1")
    assert read_metrics(run)["num_threads"] == 2
    set_free_cores(monkeypatch, 8.0)
    assert not command(
        f"resume={run}", "trainer.max_epochs=2", cwd=tmp_path, OMP_NUM_THREADS="4"
    ).returncode
    assert read_metrics(run)["num_threads"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("closed", [[0], [1], [2], [0, 1, 2]])
def test_closed_standard_streams_change_nothing(
    small: Path, tmp_path: Path, closed: list[int]
) -> None:
    def close() -> None:
        for descriptor in closed:
            os.close(descriptor)

    line = [*QUICK, f"data.path={small}", "trainer.max_epochs=1", "hydra.run.dir=run"]
    process = command(*line, cwd=tmp_path, preexec_fn=close)
    assert not process.returncode
    assert not process.stderr
    assert bool(process.stdout) == (1 not in closed)
    assert read_metrics(tmp_path / "run")["status"] == "finished"


@pytest.mark.slow
def test_torchrun_leaves_one_folder(small: Path, tmp_path: Path) -> None:
    line = [
        *QUICK,
        f"data.path={small}",
        "trainer.max_epochs=1",
        "trainer=ddp",
        "trainer.devices=2",
    ]
    torchrun = [
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=2",
        "--standalone",
        "-m",
        "sentiment.train",
    ]
    command_line = [sys.executable, *torchrun, *line, "trainer.accelerator=cpu"]
    environment = {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    subprocess.run(
        command_line, cwd=tmp_path, env=os.environ | environment, check=True, timeout=300
    )
    (run,) = (tmp_path / "outputs" / "runs").iterdir()
    assert read_metrics(run)["status"] == "finished"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("tmp")]
