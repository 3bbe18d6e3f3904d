"""Runs from Python: composing settings, training, and what a run says about its folder."""

import logging
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
import rich
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError

from sentiment.analysis.figures.fonts import Figure
from sentiment.analysis.report.report import write_report
from sentiment.analysis.run import Run
from sentiment.classifier import load
from sentiment.runtime.config import CONF_DIR
from sentiment.runtime.errors import InputError
from sentiment.runtime.run_folder import RunFolder
from sentiment.training import compose, experiment, python_api, train
from sentiment.training.outcome import record_failure
from tests.helpers import (
    QUICK,
    ROOT,
    Compose,
    command,
    evaluate_quick,
    load_weights,
    read_metrics,
    weights_equal,
    without_times,
)


def test_compose_takes_the_settings_of_the_command_line() -> None:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        cfg = compose("data=files", "data.path=my file.csv", "model.units=7", "output_dir=a/b")
        assert GlobalHydra.instance().hydra is hydra
    assert (cfg.data.path, cfg.model.units, cfg.output_dir) == ("my file.csv", 7, "a/b")
    assert "hydra" not in cfg
    assert compose("hydra.run.dir='runs/${model.units}'").output_dir == "runs/64"
    assert not GlobalHydra.instance().is_initialized()
    with pytest.raises(ConfigAttributeError):
        cfg.model.unit = 7


def test_invalid_settings_have_the_messages_of_the_command_line(tmp_path: Path) -> None:
    for override, message in {
        "data=dem": "data=dem: no such option; did you mean demo? (default, demo, files, hub, imdb)",
        "seed": "seed: is not KEY=VALUE",
        "scheduler@x=none": "Could not override 'scheduler@x'. Did you mean to override scheduler? "
        "To append to your default list use +scheduler@x=none",
        "resume=absent": "absent: not a run directory (.hydra/config.yaml is missing); see outputs/runs",
    }.items():
        with pytest.raises(InputError) as error:
            compose(override)
        assert str(error.value) == message
        assert not GlobalHydra.instance().is_initialized()


def test_options_of_another_folder_are_found(tmp_path: Path) -> None:
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "mine.yaml").write_text(
        "_target_: torch.optim.SGD\n_partial_: true\nlr: 7.0\n"
    )
    assert compose("optimizer=mine", config_dir=tmp_path).optimizer.lr == 7
    with pytest.warns(match="path=.*/absent is not available"):
        compose(config_dir="absent")


def test_compose_continues_a_run(run: Path) -> None:
    cfg = compose(f"resume={run}", "trainer.max_epochs=9")
    assert (cfg.output_dir, cfg.data.maxlen, cfg.trainer.max_epochs) == (str(run.resolve()), 32, 9)
    with pytest.raises(
        InputError, match=r"^optimizer=sgd: a resumed run keeps its optimizer; remove it$"
    ):
        compose(f"resume={run}", "optimizer=sgd")


@pytest.mark.parametrize("form", ["resume={}", "++resume={}", "resume='{}'", 'resume="{}"'])
def test_a_run_to_resume_is_found_however_it_is_written(run: Path, form: str) -> None:
    cfg = compose("trust=[a, b]", form.format(run))
    assert (cfg.output_dir, cfg.data.maxlen, cfg.trust) == (str(run.resolve()), 32, ["a", "b"])


def test_resume_that_is_set_afterwards_is_refused(run: Path, small: Path, tmp_path: Path) -> None:
    cfg = compose(*QUICK, f"data.path={small}", f"output_dir={tmp_path / 'new'}")
    cfg.resume = str(run)
    with pytest.raises(
        InputError, match=rf"^resume={run}: is not output_dir=.*pass the overrides to compose\("
    ):
        train(cfg)
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
def test_each_run_has_a_new_folder_and_leaves_the_process_as_it_was(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root, lightning = logging.getLogger(), logging.getLogger("pytorch_lightning")
    lightning.setLevel(logging.INFO)
    state = (
        [(handler, handler.level) for handler in root.handlers],
        [*warnings.filters],
        signal.getsignal(2),
    )
    cfg = compose(*QUICK, f"data.path={small}", "trainer.max_epochs=1", "quiet=true")
    before = cfg.copy()
    first, second = train(cfg), train(cfg)
    assert cfg == before
    assert state == (
        [(h, h.level) for h in root.handlers],
        [*warnings.filters],
        signal.getsignal(2),
    )
    assert (lightning.level, logging.getLogger("sentiment").level) == (logging.INFO, logging.NOTSET)
    assert logging.raiseExceptions
    assert not rich.get_console().quiet

    assert [first.path.parent, second.path.parent] == [tmp_path / "outputs" / "runs"] * 2
    assert first.path != second.path
    assert weights_equal(load_weights(first.path), load_weights(second.path))
    for run in (first, second):
        log = (run.path / "train.log").read_text()
        assert log.count("[sentiment.training.experiment.epochs][INFO] - epoch 1/1 ") == 1
        assert run.metrics == read_metrics(run.path) == Run.read(run.path).metrics

    saved = first.folder.read_config()
    assert saved is not None
    assert OmegaConf.is_interpolation(saved, "output_dir")  # so that the folder may be moved
    assert train(saved).path.parent == second.path.parent


def test_errors_are_one_line_and_leave_no_folder(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    cfg = compose(*QUICK, f"data.path={small}")
    for key, value, message in (
        ("model.units", 0, "model.units=0: must be an integer >= 1"),
        ("trainer.devices", 2, r"trainer: .* one device; use trainer=default or gpu"),
    ):
        invalid = cfg.copy()
        OmegaConf.update(invalid, key, value)
        with pytest.raises(InputError, match=f"^{message}$"):
            train(invalid)
    (tmp_path / "file").touch()
    cfg.output_dir = "file/run"
    with pytest.raises(InputError, match=r"file/run: cannot be written \(Not a directory\)"):
        train(cfg)
    assert {path.name for path in tmp_path.rglob("*")} == {"file"}

    monkeypatch.setattr(experiment, "_fit", interrupt)
    cfg.output_dir = "interrupted"
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(cfg)
    assert signal.getsignal(signal.SIGINT) is handler
    assert caplog.messages[-1] == 'interrupted; continue with: train(compose("resume=interrupted"))'
    assert Run.read("interrupted").status == "interrupted"

    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(RuntimeError, match="__main__"):
        python_api.train(cfg)


def interrupt(*_: object) -> None:
    """Do what Lightning does on Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def test_run_reads_its_folder(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Run.read(run)
    metrics = read_metrics(run)
    assert read.path == run
    assert read.settings["model.units"] == 6
    assert read.objective == metrics["val/accuracy"]
    assert read.history.loc[metrics["checkpoint_epoch"], "val/loss"] == pytest.approx(
        metrics["val/loss"]
    )
    predictions = read.predictions
    assert list(predictions) == ["file", "row", "label", "predicted", "p(bad)", "p(good)", "text"]
    assert (predictions["label"] == predictions["predicted"]).mean() == pytest.approx(
        metrics["test/accuracy"]
    )
    assert read.model.predict(["a good film"]) == load(run).predict(["a good film"])
    assert [*read.figures] == ["history", "confusion_matrix", "reliability_diagram"]
    assert (
        read.figures["confusion_matrix"].axes[0].get_title()
        == f"accuracy {100 * metrics['test/accuracy']:.2f} %, 100 reviews"
    )
    assert Figure(figsize=(1, 1))._repr_png_().startswith(b"\x89PNG")
    monkeypatch.chdir(run)
    shown = (
        f"val/accuracy {metrics['val/accuracy']:.4g}, test/accuracy {metrics['test/accuracy']:.4g}"
    )
    assert repr(read) == f"Run(.: finished, {shown})"


def test_predictions_are_text_whatever_the_labels_look_like(run: Path, tmp_path: Path) -> None:
    (tmp_path / ".hydra").symlink_to(run / ".hydra")
    header = "file,row,id,label,predicted,p(-a),p(1),p(NA),text"
    table = f"{header}\nr,2,007,NA,1,0.1,0.6,0.3,'=1+1\nr,3,,'-a,NA,0.1,0.3,0.6,NA\n"
    (tmp_path / "test_predictions.csv").write_text(table)
    read = Run.read(tmp_path)
    expected = pd.DataFrame(
        {"file": ["r", "r"], "row": [2, 3], "id": ["007", ""], "label": ["NA", "-a"], "predicted": ["1", "NA"],
         "p(-a)": [0.1, 0.1], "p(1)": [0.6, 0.3], "p(NA)": [0.3, 0.6], "text": ["=1+1", "NA"]}
    )  # fmt: skip
    pd.testing.assert_frame_equal(read.predictions, expected, check_dtype=False)
    assert [
        text.get_text() for text in read.figures["confusion_matrix"].axes[0].get_xticklabels()
    ] == ["-a", "1", "NA"]


def test_missing_and_damaged_files_are_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a run directory"):
        Run.read(tmp_path)
    (tmp_path / ".hydra").symlink_to(run / ".hydra")
    read = Run.read(tmp_path)
    assert (read.status, read.figures) == ("unfinished", {})
    assert pd.isna(read.objective)
    assert repr(read).endswith("unfinished)")
    with pytest.raises(
        InputError, match=r"history.csv: missing; no epoch ended, or callbacks.history=null$"
    ):
        _ = read.history
    with pytest.raises(
        InputError,
        match=r"test_predictions.csv: missing; nothing was tested, as with test_ckpt=null$",
    ):
        _ = read.predictions
    (tmp_path / "test_predictions.csv").write_text('row,label\n1,"a')
    with pytest.raises(
        InputError,
        match=r"test_predictions.csv: cannot be read \(.*\); remove it or repeat the run$",
    ):
        _ = read.predictions


SCRIPT = """
import sys
from sentiment.training import compose, train

quick = compose(*sys.argv[1:])
train(quick)
print("- quiet")
quick.quiet = True
train(quick)
print("- noisy")
quick.quiet = False
run = train(quick)
print("- resumed")
assert train(compose(f"resume={run.path}", "trainer.max_epochs=2")).path == run.path
print(run.path)
"""


@pytest.mark.slow
def test_script_prints_what_the_command_line_prints(small: Path, tmp_path: Path) -> None:
    settings = [
        setting for setting in QUICK if "progress" not in setting and "summary" not in setting
    ]
    settings = [*settings, f"data.path={small}", "trainer.max_epochs=1"]
    script = [sys.executable, "-c", SCRIPT, *settings]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    ended = subprocess.run(
        script, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert ended.stderr == ""
    first, quiet, second, resumed = re.split(r"- [a-z]+\n", ended.stdout)
    assert quiet == ""
    printed = command(*settings, cwd=tmp_path)
    assert printed.stderr == ""
    assert without_numbers(first) == without_numbers(second) == without_numbers(printed.stdout)
    ours, theirs = (
        tmp_path / text.rpartition("results in ")[2].strip() for text in (first, printed.stdout)
    )
    assert without_times(read_metrics(ours)) == without_times(read_metrics(theirs))
    assert weights_equal(load_weights(ours), load_weights(theirs))
    assert "continues after epoch 1 of 2\n" in resumed
    path = resumed.splitlines()[-1]
    run = Run.read(path)
    assert (list(run.history.index), run.settings["trainer.max_epochs"]) == ([1, 2], 2)

    resumed = command(f"resume={path}", "trainer.max_epochs=3", cwd=tmp_path).stdout
    assert "continues after epoch 2 of 3\n" in resumed
    metrics = evaluate_quick(tmp_path / "evaluation", f"checkpoint={path}")
    assert metrics["test/accuracy"] == pytest.approx(Run.read(path).metrics["test/accuracy"])
    assert [run.status for run in write_report([tmp_path / "outputs" / "runs"])] == ["finished"] * 4


def without_numbers(text: str) -> str:
    """The text without times, without the name of the folder in its last line, and the empty line of tokenization."""
    return "".join(
        character for character in text.strip().rpartition("runs/")[0] if not character.isdigit()
    )


@pytest.mark.slow
def test_threads_train_one_after_another(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def run(units: int) -> Run:
        return train(compose(*QUICK, f"data.path={small}", "quiet=true", f"model.units={units}"))

    alone = [run(units) for units in (3, 5)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(run, (3, 5)))
    for one, other in zip(alone, together, strict=True):
        assert weights_equal(load_weights(one.path), load_weights(other.path))
        lines = [(each.path / "train.log").read_text().count("\n") for each in (one, other)]
        assert lines[0] == lines[1]


def test_run_in_a_folder_that_hydra_would_rename_is_refused(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "a ${oc.env:HOME}")
    with pytest.raises(InputError, match="rename the folder"):
        compose(f"resume='{copy}'")


def test_failure_does_not_make_the_folder_of_a_moved_run_again(
    composed: Compose, tmp_path: Path
) -> None:
    moved = RunFolder(tmp_path / "moved")
    record_failure(composed(), moved, RuntimeError("a fault"))
    assert not moved.path.exists()
