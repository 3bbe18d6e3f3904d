"""Arguments of Lightning's Trainer: they work, or are refused in one line."""

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from omegaconf import open_dict
from omegaconf.errors import ConfigAttributeError
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn import functional as F

from sentiment.data.encoded.batching import Batch
from sentiment.model.checkpoint import read_checkpoint
from sentiment.runtime.errors import InputError
from sentiment.training.experiment import run_experiment
from sentiment.training.settings import check_settings
from tests.helpers import (
    QUICK,
    Compose,
    command,
    labelled_reviews,
    load_weights,
    read_metrics,
    weights_equal,
    write_csv,
)

TRAINER_KEYS = (
    *("_target_", "max_epochs", "max_time", "overfit_batches", "fast_dev_run"),
    *("profiler", "enable_progress_bar", "enable_model_summary"),
)


def read_history(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "epochs", "steps"),
    [
        (["trainer.accumulate_grad_batches=3"], 2, 6),
        (["trainer.max_steps=12"], 2, 12),
        (["trainer.max_steps=4"], 1, 4),
        (["trainer.min_epochs=2", "callbacks.early_stopping.patience=0"], 2, 18),
        (["trainer.val_check_interval=0.5"], 2, 18),
        (["trainer.val_check_interval=3"], 2, 18),
        (["trainer.check_val_every_n_epoch=2", "trainer.max_epochs=5"], 5, 45),
        (["trainer.deterministic=true"], 2, 18),
        (["trainer.overfit_batches=2"], 2, 4),
        (["trainer.gradient_clip_val=0.5", "trainer.gradient_clip_algorithm=value"], 2, 18),
        (["trainer.detect_anomaly=true", "trainer.benchmark=true", "trainer.inference_mode=false"], 2, 18),
        (["trainer.num_sanity_val_steps=2", "trainer.reload_dataloaders_every_n_epochs=1"], 2, 18),
        (["trainer.log_every_n_steps=0"], 2, 18),
        (["trainer.max_time=00:01:00:00"], 2, 18),
        (["scheduler=plateau", "trainer.max_epochs=3"], 3, 27),
        (["scheduler=warmup"], 2, 18),
        (["scheduler=onecycle", "trainer.accumulate_grad_batches=2"], 2, 10),
        (["~scheduler", "+scheduler._target_=torch.optim.lr_scheduler.ExponentialLR", "+scheduler._partial_=true",
          "+scheduler.gamma=0.9"], 2, 18),
        (["loss.label_smoothing=0.1", "class_weights=balanced", "objective=val/f1"], 2, 18),
        (["callbacks.last=null", "callbacks.history=null", "callbacks.early_stopping=null"], 2, 18),
        (["callbacks.best=null", "test_ckpt=last"], 2, 18),
    ],
)  # fmt: skip
def test_argument_works(
    composed: Compose, tmp_path: Path, overrides: list[str], epochs: int, steps: int
) -> None:
    run_experiment(composed(*overrides))
    metrics = read_metrics(tmp_path)
    assert metrics["status"] == "finished"
    assert metrics["epochs"] == epochs
    assert metrics["test/accuracy"] > 0
    if "callbacks.last=null" not in overrides:
        assert read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == steps


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.enable_checkpointing=false"], "trainer: "),
        (["trainer.barebones=true"], "trainer: "),
        (
            ["trainer.detect_anomaly=null"],
            "trainer.detect_anomaly=None: must be one of False, True",
        ),
        (
            ["trainer.profiler=true"],
            "trainer.profiler: bool is not derived from pytorch_lightning.profilers",
        ),
        (["callbacks.progress=7"], "callbacks.progress: Cannot instantiate config of type int"),
        (["callbacks.summary=none"], "callbacks.summary: Cannot instantiate config of type str"),
        (["objective=0.5"], "objective=0.5: must be one of val/accuracy, val/loss, val/f1"),
        (["trainer.max_time=soon"], "trainer.max_time: .*'soon'.* is not a valid duration"),
        (
            ["trainer.check_val_every_n_epoch=3"],
            "trainer.check_val_every_n_epoch=3: no validation in 2 epochs",
        ),
        (
            ["callbacks.best=null"],
            "callbacks.best=null: without it there is no best checkpoint; set test_ckpt=last",
        ),
        (
            ["callbacks.last=null", "test_ckpt=last"],
            "callbacks.last=null: without it there is no last checkpoint",
        ),
        (["loss._target_=torch.nn.MSELoss"], "loss"),
        (
            ["loss.label_smoothing=2"],
            r"loss: label_smoothing must be .* 2$",
        ),
        (["optimizer.lr=fast"], r"optimizer: .* 'str'"),
        (
            ["+optimizer.betaz=1"],
            r"optimizer: .* unexpected keyword argument 'betaz'",
        ),
        (["optimizer._target_=torch.nn.Linear"], r"optimizer: "),
        (
            ["scheduler=onecycle", "scheduler.pct_start=3"],
            r"scheduler: .*pct_start, but got 3$",
        ),
        (["scheduler=plateau", "scheduler.patience=x"], "scheduler: '>' not supported"),
        (
            ["loss._target_=tests.training.test_trainer.NotReduced", "~loss.label_smoothing"],
            r"loss: grad can be implicitly created only for scalar outputs",
        ),
        *(
            (["seed=" + seed], f"seed={seed}: must be an integer from 0 to 4294967295")
            for seed in ("99999999999", "-1", "1.5", "True", "4294967296")
        ),
        (
            ["data.split_seed=99999999999"],
            "data.split_seed=99999999999: must be an integer from 0 to",
        ),
        (["class_weights=equal"], "class_weights=equal: must be one of balanced, null"),
        (
            ["objective=val/recall"],
            "objective=val/recall: must be one of val/accuracy, val/loss, val/f1",
        ),
        (
            ["model._target_=torch.nn.Linear"],
            "model._target_=torch.nn.Linear: not a subclass of sentiment.model",
        ),
        (["+model.kernel=3"], "model: .* unexpected keyword argument 'kernel'"),
    ],
)
def test_setting_is_refused_in_one_line(
    composed: Compose, overrides: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=f"^{message}") as error:
        run_experiment(composed(*overrides))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", TRAINER_KEYS)
def test_trainer_of_ones_own_without_a_key_is_refused_before_the_data_is_read(
    composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """Commands print OmegaConf's error in one line, too."""
    monkeypatch.setenv("SENTIMENT_CACHE", str(tmp_path / "cache"))
    cfg = composed()
    with open_dict(cfg):
        del cfg.trainer[key]
    with pytest.raises((InputError, ConfigAttributeError), match=f"^trainer[.:]|^Key .{key}. "):
        run_experiment(cfg)
    assert not [*(tmp_path / "cache").rglob("*")]


def test_keys_that_are_not_needed_may_be_missing(composed: Compose, tmp_path: Path) -> None:
    cfg = composed("trainer.max_epochs=1", "trainer.limit_test_batches=0", "test_ckpt=null")
    with open_dict(cfg):
        for key in cfg.trainer.keys() - {*TRAINER_KEYS, "accelerator"}:
            del cfg.trainer[key]
        del cfg.callbacks.early_stopping.patience
    run_experiment(cfg)
    assert read_metrics(tmp_path)["status"] == "finished"


class NotReduced(nn.Module):
    """The losses of the texts."""

    def forward(self, log_probabilities: Tensor, labels: Tensor) -> Tensor:
        return F.nll_loss(log_probabilities, labels, reduction="none")


def test_loss_must_take_the_probabilities_of_self_training(composed: Compose) -> None:
    settings = ["self_training=teachers", "self_training.baselines=[]", "data.unlabelled=train.csv"]
    cfg = composed(*settings, "loss._target_=torch.nn.NLLLoss", "~loss.label_smoothing")
    with pytest.raises(InputError, match=r"^loss: "):
        check_settings(cfg)
    cfg.loss._target_ = "torch.nn.CrossEntropyLoss"
    check_settings(cfg)


def test_learning_rate_of_zero_is_told(composed: Compose, caplog: pytest.LogCaptureFixture) -> None:
    check_settings(composed())
    assert not caplog.text
    check_settings(composed("optimizer.lr=0"))
    assert "optimizer.lr=0: the weights stay as they are; raise it" in caplog.text


@pytest.mark.slow
def test_repeated_batches_are_the_same_in_every_epoch(composed: Compose, tmp_path: Path) -> None:
    settings = [
        "trainer.overfit_batches=1",
        "optimizer.lr=0.02",
        "trainer.max_epochs=30",
        "model.dropout=0",
    ]
    run_experiment(
        composed(
            *settings,
            "callbacks.early_stopping=null",
            "test_ckpt=null",
            "model.recurrent_dropout=0",
        )
    )
    assert float(read_history(tmp_path)[-1]["train/accuracy"]) > 0.95


@pytest.mark.slow
def test_training_stops_after_the_given_time(composed: Compose, tmp_path: Path) -> None:
    run_experiment(
        composed(
            "trainer.max_time=00:00:00:01",
            "trainer.max_epochs=1000",
            "callbacks.early_stopping=null",
        )
    )
    assert 1 < read_metrics(tmp_path)["epochs"] < 200


class Clock(Callback):
    """A second passes per training batch, a thousand per validation."""

    now = start = num_batches = num_reviews = 0

    def on_train_start(self, *_: Any) -> None:
        self.start = self.now

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Batch, i: int
    ) -> None:
        self.now += 1
        self.num_batches += 1
        self.num_reviews += len(batch.labels)

    def on_validation_epoch_end(self, *_: Any) -> None:
        self.now += 1000


@pytest.mark.parametrize(
    "overrides", [[], ["trainer.val_check_interval=0.5"], ["trainer.num_sanity_val_steps=2"]]
)
def test_training_speed_excludes_validations_and_seconds_include_them_once(
    composed: Compose,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    overrides: list[str],
) -> None:
    clock = Clock()
    monkeypatch.setattr(
        "pytorch_lightning.callbacks.timer.time", SimpleNamespace(monotonic=lambda: clock.now)
    )
    with caplog.at_level("INFO"):
        metrics = run_experiment(
            composed("trainer.max_epochs=3", "test_ckpt=last", *overrides), [clock]
        ).metrics
    assert metrics["train/reviews_per_second"] == pytest.approx(
        clock.num_reviews / clock.num_batches
    )
    row = next(line for line in caplog.text.splitlines() if line.startswith("LSTM "))
    assert f"{clock.now - clock.start}" in row.split()


class Exits(Callback):
    """Ends the program in the first epoch, as a callback of the user may."""

    def on_train_epoch_start(self, *_: Any) -> None:
        raise SystemExit(3)


def test_exit_of_a_callback_is_no_ctrl_c(composed: Compose) -> None:
    with pytest.raises(SystemExit, match="3"):
        run_experiment(composed(), [Exits()])


@pytest.mark.slow
def test_learning_rate_finder_suggests_one_and_trains_nothing(
    composed: Compose, tmp_path: Path
) -> None:
    data = write_csv(tmp_path / "reviews.csv", [(f"film {'ab'[i % 2]}", i % 2) for i in range(200)])
    run = run_experiment(composed("lr_find=true", f"data.path={data}"))
    assert 1e-3 < run.metrics["lr_find/suggestion"] < 1
    curve = pd.read_csv(tmp_path / "lr_find.csv")
    assert curve["lr"].is_monotonic_increasing
    assert (tmp_path / "lr_find.png").stat().st_size > 10_000
    assert not list(tmp_path.glob("**/*.ckpt"))


@pytest.mark.slow
def test_label_smoothing_and_weights_change_the_training_but_not_the_metric(
    composed: Compose, tmp_path: Path
) -> None:
    losses = {}
    for name, overrides in {
        "plain": [],
        "smooth": ["loss.label_smoothing=0.4"],
        "zero": ["loss.label_smoothing=0"],
    }.items():
        run_experiment(
            composed(*overrides, "trainer.max_epochs=1", "test_ckpt=null", folder=tmp_path / name)
        )
        losses[name] = read_metrics(tmp_path / name)["val/loss"]
    assert weights_equal(load_weights(tmp_path / "plain"), load_weights(tmp_path / "zero"))
    assert not weights_equal(load_weights(tmp_path / "plain"), load_weights(tmp_path / "smooth"))
    assert losses["smooth"] == pytest.approx(losses["plain"], abs=0.05)


@pytest.mark.slow
def test_figures_of_several_devices_are_those_of_one(tmp_path: Path) -> None:
    """Neither 41 training nor 9 validation nor 21 test rows divide by 2 devices or by 3."""
    rows = labelled_reviews(71)
    for name, part in (("train", rows[:41]), ("val", rows[41:50]), ("test", rows[50:])):
        write_csv(tmp_path / f"{name}.csv", part)
    settings = [
        *QUICK,
        "data.path=.",
        "data.batch_size=8",
        "model.dropout=0",
        "model.recurrent_dropout=0",
    ]
    settings += ["optimizer.lr=1e-12", "trainer.max_epochs=1", "logger=none"]  # the batches differ
    figures = []
    for devices in (1, 2, 3):
        ddp = ["trainer=ddp", "trainer.accelerator=cpu", f"trainer.devices={devices}"]
        done = command(*settings, *ddp, f"hydra.run.dir=run{devices}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        metrics = read_metrics(tmp_path / f"run{devices}")
        speed = "train/reviews_per_second"
        figures.append(
            {tag: value for tag, value in metrics.items() if "/" in tag and tag != speed}
        )
    assert {"train/loss", "train/accuracy", "val/loss", "val/f1", "test/loss"} <= figures[0].keys()
    for of_several in figures[1:]:
        assert of_several == pytest.approx(figures[0], abs=1e-6)


@pytest.mark.parametrize("size", [1, 2])
def test_last_group_of_batches_is_a_mean_over_its_own_size(
    composed: Compose, tmp_path: Path, size: int
) -> None:
    settings = ["optimizer=sgd", "trainer.max_epochs=1", "test_ckpt=null"]
    settings += [f"trainer.limit_train_batches={size}"]
    for name, full in (("complete", size), ("incomplete", 4)):
        accumulate = f"trainer.accumulate_grad_batches={full}"
        run_experiment(composed(*settings, accumulate, folder=tmp_path / name))
    complete, incomplete = (load_weights(tmp_path / name) for name in ("complete", "incomplete"))
    assert weights_equal(complete, incomplete)
