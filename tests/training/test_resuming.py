"""Resumed runs: which settings may change; changed ones are used and recorded, refused ones leave no trace."""

import csv
import logging
import shutil
from pathlib import Path

import pytest
import torch

from sentiment.model.checkpoint import read_checkpoint
from sentiment.runtime.errors import InputError
from sentiment.runtime.run_folder import RunFolder
from sentiment.training.experiment import run_experiment
from sentiment.training.resuming import check_changes
from tests.helpers import (
    QUICK,
    Compose,
    command,
    compose_config,
    compose_quick,
    load_weights,
    read_metrics,
    snapshot,
    train_quick,
    weights_equal,
    write_csv,
)


def read_rates(run: Path) -> list[str]:
    """The learning rate after each epoch."""
    with (run / "history.csv").open() as file:
        return [row["lr"] for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def finished(small: Path, tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A finished run of two epochs, which tests must leave as it is."""
    return train_quick(tmp_path_factory.mktemp("finished"), small, "test_ckpt=null")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "model.units=8",
            "model.units=8: cannot change when a run is resumed, it is 6; remove it, or start a new run",
        ),
        ("data.batch_size=-3", "data.batch_size=-3: cannot change when a run is resumed, it is 32"),
        ("data.maxlen=40", "data.maxlen=40: cannot change when a run is resumed, it is 32"),
        ("seed=7", "seed=7: cannot change"),
        ("objective=val/f1", "objective=val/f1: cannot change"),
        ("optimizer=sgd", "optimizer=SGD: cannot change"),
        ("scheduler=warmup", "scheduler=LinearLR: cannot change"),
        ("optimizer.lr=-1", "optimizer: Invalid learning rate: -1"),
        ("trainer.max_epochs=0", "trainer.max_epochs=0: must be an integer >= 1"),
    ],
)
def test_refused_resume_leaves_the_run_as_it_was(
    composed: Compose, finished: Path, override: str, message: str
) -> None:
    before = snapshot(finished)
    with pytest.raises(InputError) as error:
        run_experiment(composed(f"resume={finished}", "test_ckpt=null", override, folder=finished))
    assert str(error.value).startswith(message)
    assert snapshot(finished) == before


def test_planned_schedule_fixes_the_number_of_steps_and_the_learning_rate() -> None:
    saved = compose_config("output_dir=x", "scheduler=onecycle")
    for override in (
        "trainer.max_epochs=30",
        "trainer.accumulate_grad_batches=2",
        "optimizer.lr=0.5",
    ):
        with pytest.raises(
            InputError, match=f"{override}: .*for which the learning rate schedule was planned"
        ):
            check_changes(saved, compose_config("output_dir=x", "scheduler=onecycle", override))
    check_changes(
        saved,
        compose_config("output_dir=x", "scheduler=onecycle", "data.path=moved", "baseline=none"),
    )
    warmup = compose_config("output_dir=x", "scheduler=warmup")
    check_changes(
        warmup, compose_config("output_dir=x", "scheduler=warmup", "trainer.max_epochs=30")
    )


def test_settings_that_are_new_or_missing_count_as_changed() -> None:
    saved = compose_config("output_dir=x", "scheduler=onecycle")
    for override in (
        "+optimizer.weight_decay=0.5",
        "+scheduler.base_momentum=0.5",
        "~model.dropout",
    ):
        with pytest.raises(InputError, match="cannot change when a run is resumed"):
            check_changes(saved, compose_config("output_dir=x", "scheduler=onecycle", override))
    check_changes(
        compose_config("output_dir=x"),
        compose_config("output_dir=x", "+optimizer.weight_decay=0.5"),
    )


@pytest.mark.parametrize("change", ["label", "order", "text"])
def test_other_data_is_refused(small: Path, tmp_path: Path, change: str) -> None:
    """Even if the vocabulary stays the same."""
    data = tmp_path / "data"
    shutil.copytree(small, data)
    run = train_quick(tmp_path / "run", data, "test_ckpt=null", "trainer.max_epochs=1")
    with (data / "train.csv").open(newline="") as file:
        _, first, second, *others = csv.reader(file)
    if change == "label":
        first[1] = "bad" if first[1] == "good" else "good"
    elif change == "order":
        first, second = second, first
    else:
        first[0] = " ".join(reversed(first[0].split(" ")))
    write_csv(data / "train.csv", [(text, label) for text, label in (first, second, *others)])
    before = snapshot(run)
    cfg = compose_quick(run, data, f"resume={run}", "test_ckpt=null", "trainer.max_epochs=2")
    with pytest.raises(InputError, match=rf"^resume={run}: the data or preprocessing changed"):
        run_experiment(cfg)
    assert snapshot(run) == before


@pytest.mark.slow
def test_run_on_two_devices_is_resumed(small: Path, tmp_path: Path) -> None:
    devices = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    line = [*QUICK, f"data.path={small}", *devices, "trainer.max_epochs=1", "hydra.run.dir=run"]
    for arguments in (line, ["resume=run", "trainer.max_epochs=2"]):
        done = command(*arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert read_metrics(tmp_path / "run")["epochs"] == len(read_rates(tmp_path / "run")) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.slow
def test_plateau_schedule_is_the_same_after_a_resume(
    composed: Compose, small: Path, tmp_path: Path
) -> None:
    settings = [
        "scheduler=plateau",
        "scheduler.patience=0",
        "+scheduler.threshold=1",
        "callbacks.early_stopping=null",
    ]
    whole = train_quick(
        tmp_path / "whole", small, *settings, "trainer.max_epochs=4", "test_ckpt=null"
    )
    parts = train_quick(
        tmp_path / "parts", small, *settings, "trainer.max_epochs=2", "test_ckpt=null"
    )
    run_experiment(
        composed(
            *settings, f"resume={parts}", "trainer.max_epochs=4", "test_ckpt=null", folder=parts
        )
    )
    for run in (whole, parts):
        assert read_rates(run) == ["0.001", "0.0005", "0.00025", "0.000125"]
    assert weights_equal(load_weights(whole), load_weights(parts))


@pytest.mark.slow
def test_epoch_that_was_cut_short_is_not_continued(
    composed: Compose, small: Path, tmp_path: Path
) -> None:
    run = train_quick(tmp_path / "run", small, "trainer.max_steps=12", "test_ckpt=null")
    before = snapshot(run)
    with pytest.raises(InputError, match="its last epoch was cut short"):
        run_experiment(
            composed(
                f"resume={run}",
                "trainer.max_steps=20",
                "trainer.max_epochs=5",
                "test_ckpt=null",
                folder=run,
            )
        )
    assert snapshot(run) == before


@pytest.mark.slow
def test_finished_run_goes_on_with_changed_settings_and_records_them(
    composed: Compose, small: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = train_quick(tmp_path / "run", small, "test_ckpt=null", "optimizer.lr=0.001")
    first = read_checkpoint(run / "checkpoints" / "last.ckpt")["state_dict"]
    changed = [f"resume={run}", "trainer.max_epochs=3", "optimizer.lr=0.05", "test_ckpt=null"]
    run_experiment(composed(*changed, folder=run))
    assert "continues after epoch 2 of 3" in caplog.text
    checkpoint = read_checkpoint(run / "checkpoints" / "last.ckpt")
    assert checkpoint["optimizer_states"][0]["param_groups"][0]["lr"] == 0.05
    assert read_rates(run) == ["0.001", "0.001", "0.05"]
    cfg = RunFolder(run).read_config()
    assert cfg
    assert (cfg.optimizer.lr, cfg.trainer.max_epochs, read_metrics(run)["epochs"]) == (0.05, 3, 3)
    moved = [
        (checkpoint["state_dict"][name] - weight).abs().max() for name, weight in first.items()
    ]
    assert (
        torch.stack(moved).max() > 0.1
    )  # 9 steps of Adam at 0.05; at 0.001 they move no weight by more than 0.01


@pytest.mark.slow
def test_nothing_left_to_train_is_reported(
    composed: Compose, small: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    settings = ["test_ckpt=null", "optimizer.lr=1e-12", "callbacks.early_stopping.patience=1"]
    run = train_quick(tmp_path / "run", small, *settings, "trainer.max_epochs=9")
    assert read_metrics(run)["epochs"] == 2
    run_experiment(composed(*settings, f"resume={run}", "trainer.max_epochs=9", folder=run))
    assert "nothing left to train: early stopping ended the training after epoch 2" in caplog.text
    run_experiment(
        composed(
            *settings,
            f"resume={run}",
            "trainer.max_epochs=2",
            "callbacks.early_stopping=null",
            folder=run,
        )
    )
    assert "nothing left to train: all 2 epochs are done" in caplog.text
    patient = ["callbacks.early_stopping.patience=3", "trainer.max_epochs=9"]
    run_experiment(composed(*settings, f"resume={run}", *patient, folder=run))
    assert read_metrics(run)["epochs"] == 4
