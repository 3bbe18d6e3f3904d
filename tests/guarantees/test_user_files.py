"""No command changes or removes a file of the user: however it ends, each byte is as it was."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning import Callback

from tests.guarantees.test_faults import limit_file_size
from tests.helpers import QUICK, command, snapshot, train_quick

# Names that the files of a run, a sweep or a report resemble.
NAMES = ["reviews.csv", "csv/metrics.csv", "csv/version_0/notes.txt", "checkpoints/mine.ckpt", "hparams.txt",
         "events.out.tfevents.mine", "teachers/1/notes.txt", "trial_0007/notes.txt", "seed-1/notes.txt",
         "metrics.json.bak", "my history.csv", ".hidden", ".hydra.bak/config.yaml", "train.log.1"]  # fmt: skip


class Fail(Callback):
    """Ends the training in its second epoch.

    Args:
        how: `error`, `interrupt` (as Ctrl-C does) or `kill` (as `kill -9` does).
    """

    def __init__(self, how: str) -> None:
        self.how = how

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 1:
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise KeyboardInterrupt if self.how == "interrupt" else RuntimeError("a fault")


def fail(how: str) -> list[str]:
    target = f"{__name__}.Fail"
    return [f"+callbacks.fail._target_={target}", f"+callbacks.fail.how={how}"]


ENDS = {  # how a training ends: overrides, and a limit of the size of files
    "success": ([], None),
    "typo": (["model.unit=3"], None),
    "invalid setting": (["model.units=0"], None),
    "invalid data": (["data.text_column=absent"], None),
    "error": (fail("error"), None),
    "full disk": ([], 20_000),
    "interrupt": (fail("interrupt"), None),
    "kill": (fail("kill"), None),
}


def plant(*folders: Path) -> dict[Path, bytes]:
    """Write files of the user into folders; return the contents of all of them."""
    for folder in folders:
        for name in NAMES:
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{name} of the user")
    return {folder / name: (folder / name).read_bytes() for folder in folders for name in NAMES}


def assert_unchanged(planted: dict[Path, bytes], arguments: Sequence[str], output: str) -> None:
    for file, content in planted.items():
        assert file.exists(), (file, arguments, output)
        assert file.read_bytes() == content, (file, arguments, output)


@pytest.fixture(scope="module")
def finished(small: Path, tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A run of one epoch, of which tests take copies."""
    return train_quick(tmp_path_factory.mktemp("finished") / "run", small, "trainer.max_epochs=1")


@pytest.mark.slow
@pytest.mark.parametrize("end", ENDS)
def test_run_beside_files_of_the_user(small: Path, tmp_path: Path, end: str) -> None:
    overrides, size = ENDS[end]
    planted = plant(tmp_path, tmp_path / "outputs", tmp_path / "outputs" / "runs")
    line = [*QUICK, f"data.path={small}", *overrides, "hydra.run.dir=outputs/runs/new"]
    done = command(*line, cwd=tmp_path, preexec_fn=limit_file_size(size) if size else None)
    assert (done.returncode == 0) == (end == "success"), done.stderr
    assert_unchanged(planted, line, done.stderr)
    if end in ("typo", "invalid setting", "invalid data"):
        assert not (tmp_path / "outputs" / "runs" / "new").exists()


@pytest.mark.slow
@pytest.mark.parametrize("end", ENDS)
def test_resumed_run_with_files_of_the_user_in_it(small: Path, tmp_path: Path, end: str) -> None:
    overrides, size = ENDS[end]
    run = train_quick(tmp_path / "run", small, "trainer.max_epochs=1")
    planted = plant(tmp_path, run)
    line = [f"resume={run}", "trainer.max_epochs=3", *overrides, "trust=tests"]
    done = command(*line, cwd=tmp_path, preexec_fn=limit_file_size(size) if size else None)
    assert_unchanged(planted, line, done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("end", ["success", "invalid setting", "error", "kill"])
def test_sweep_with_files_of_the_user_in_it(small: Path, tmp_path: Path, end: str) -> None:
    overrides, _ = ENDS[end]
    line = [
        "-m",
        *QUICK,
        f"data.path={small}",
        "trainer.max_epochs=2",
        "seed=1,2",
        "hydra.sweep.dir=swept",
    ]
    first = command(*line, *overrides, cwd=tmp_path)
    planted = plant(tmp_path, tmp_path / "swept", tmp_path / "swept" / "seed-2")
    before = snapshot(tmp_path / "swept" / "seed-1") if end == "success" else {}
    for again in (line, [*line, "model.units=4"], line):
        done = command(*again, cwd=tmp_path)
        assert_unchanged(planted, again, first.stderr + done.stderr)
    if end == "success":
        assert done.returncode == 0
        assert snapshot(tmp_path / "swept" / "seed-1").items() >= before.items()


@pytest.mark.slow
def test_folder_with_files_of_the_user_is_not_taken_for_a_new_one(
    small: Path, finished: Path, tmp_path: Path
) -> None:
    planted = plant(tmp_path, tmp_path / "work")
    data = [*QUICK, f"data.path={small}"]
    for module, line in (
        ("train", [*data, "hydra.run.dir=work"]),
        ("train", [*data, "-m", "seed=1,2", "hydra.sweep.dir=work"]),
        ("tune", [*data, "tune.trials=1", "hydra.run.dir=work"]),
        ("evaluate", [f"checkpoint={finished}", "hydra.run.dir=work"]),
    ):
        done = command(*line, module=module, cwd=tmp_path)
        assert done.returncode == 2, (module, done.stderr)
        assert "work: is not empty" in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert {*planted} == {path for path in tmp_path.rglob("*") if path.is_file()}
        assert_unchanged(planted, line, done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("end", ["success", "error", "kill"])
def test_study_with_files_of_the_user_in_it(small: Path, tmp_path: Path, end: str) -> None:
    overrides, _ = ENDS[end]
    study = tmp_path / "outputs" / "studies" / "default"
    line = [*QUICK, f"data.path={small}", "tune.trials=2", "trainer.max_epochs=2", "tune.space=null",
            "tune.space.model.dropout='interval(0,0.5)'", "tune.heartbeat_interval=1"]  # fmt: skip
    command(*line, *overrides, module="tune", cwd=tmp_path)
    planted = plant(tmp_path, study, study / "trial_0000", study / "trial_0001")
    for again in ([*line, "tune.trials=3"], [*line, "tune.trials=3", "model.units=4"]):
        done = command(*again, module="tune", cwd=tmp_path)
        assert_unchanged(planted, again, done.stderr)


@pytest.mark.slow
def test_files_that_the_user_names_and_reports(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert os.spawnvp(os.P_WAIT, "cp", ["cp", "-r", str(finished), str(run)]) == 0
    planted = plant(tmp_path, run)
    for name in ("model.onnx.unfinished", "page.html.unfinished", "report.md", "report.csv"):
        for folder in (tmp_path, run):
            (folder / name).write_text("of the user")
            planted[folder / name] = b"of the user"
    for module, line in (
        ("export", [str(run), "model.onnx"]),
        ("explain", [str(run), "--html", "page.html", "a good film"]),
        ("report", [str(run)]),
        ("evaluate", [f"checkpoint={run}"]),
        ("predict", [str(run), "a good film"]),
    ):
        done = command(*line, module=module, cwd=tmp_path)
        assert_unchanged(planted, [module, *line], done.stderr)
    assert (tmp_path / "model.onnx").exists()
    assert (tmp_path / "page.html").exists()
