"""Complete runs: what they leave, reproducibility, resuming, and settings that are rejected."""

import csv
import platform
import shutil
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from pytorch_lightning import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch.nn import functional as F

from sentiment.classifier import load
from sentiment.data.demo import reviews
from sentiment.model.checkpoint import read_checkpoint
from sentiment.runtime.errors import InputError
from sentiment.train import main
from sentiment.training.experiment import run_experiment
from sentiment.training.loggers import FINAL
from tests.helpers import (
    QUICK,
    Compose,
    command,
    evaluate_quick,
    labelled_reviews,
    load_weights,
    prepare_datamodule,
    read_metrics,
    train_quick,
    weights_equal,
    without_times,
    write_csv,
)

EMA = [
    "+callbacks.ema._target_=pytorch_lightning.callbacks.EMAWeightAveraging",
    "+callbacks.ema.decay=0.9",
]


class FailInThirdEpoch(Callback):
    """Raises an error in the middle of the third epoch."""

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.current_epoch == 2 and trainer.global_step % 9 == 4:
            raise RuntimeError("killed")


def test_metrics_of_a_run_are_those_that_tensorboard_shows(
    composed: Compose, tmp_path: Path
) -> None:
    cfg = composed("baseline=[random_forest,logistic_regression]", "seed=3")
    run = run_experiment(cfg, varied=["seed", "data.maxlen"])
    metrics = read_metrics(tmp_path)
    assert metrics["status"] == "finished"
    assert metrics["device"] == "cpu"
    assert metrics["epochs"] == 2
    assert run.objective == metrics["val/accuracy"]
    assert run.metrics == metrics

    events = EventAccumulator(str(tmp_path)).Reload()
    for tag in ("train/loss", "val/loss", "val/accuracy", "train/reviews_per_second", "epochs", "parameters",
                "test/loss", "test/accuracy", "test/auroc", "test/f1", "test/balanced_accuracy", "test/ece",
                "baseline/random_forest/test_accuracy", "baseline/random_forest/val_accuracy",
                "baseline/random_forest/fit_seconds", "baseline/logistic_regression/test_accuracy"):  # fmt: skip
        (event,) = events.Scalars(f"{FINAL}{tag}")
        assert event.value == pytest.approx(metrics[tag]), tag
    assert len({event.step for event in events.Scalars("accuracy/val")}) == 2

    session = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    hparams = HParamsPluginData.FromString(session).session_start_info.hparams
    assert hparams["seed"].string_value == "3"
    assert hparams["data.maxlen"].string_value == "32"
    assert hparams["optimizer"].string_value == "torch.optim.Adam"
    registered = HParamsPluginData.FromString(
        events.SummaryMetadata("_hparams_/experiment").plugin_data.content
    )
    tags = [info.name.tag for info in registered.experiment.metric_infos]
    assert tags[:2] == [f"{FINAL}test/accuracy", f"{FINAL}val/accuracy"]


def test_test_predictions_agree_with_the_test_accuracy(run: Path) -> None:
    with (run / "test_predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["file"], int(row["row"])) for row in rows] == [
        ("test.csv", number) for number in range(1, 101)
    ]
    accuracy = np.mean([row["label"] == row["predicted"] for row in rows])
    assert accuracy == pytest.approx(read_metrics(run)["test/accuracy"])
    for row in rows:
        probabilities = {"bad": float(row["p(bad)"]), "good": float(row["p(good)"])}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert row["predicted"] == max(probabilities, key=lambda name: probabilities[name])


def test_runs_with_the_same_seed_are_bit_identical(small: Path, tmp_path: Path) -> None:
    first, again, other = (
        train_quick(tmp_path / name, small, f"seed={seed}")
        for name, seed in (("first", 1), ("again", 1), ("other", 2))
    )
    assert without_times(read_metrics(first)) == without_times(read_metrics(again))
    assert weights_equal(load_weights(first), load_weights(again))
    assert not weights_equal(load_weights(first), load_weights(other))


@pytest.mark.parametrize("padding", ["pre", "post"])
@pytest.mark.slow
def test_resume_after_a_failure_is_bit_identical(
    composed: Compose, small: Path, tmp_path: Path, padding: str
) -> None:
    settings = [
        "trainer.max_epochs=4",
        f"data.padding={padding}",
        "scheduler=onecycle",
        "model.num_layers=2",
    ]
    complete, failed = train_quick(tmp_path / "complete", small, *settings), tmp_path / "failed"
    bomb = "+callbacks.bomb._target_=tests.test_train.FailInThirdEpoch"
    with pytest.raises(RuntimeError, match="killed"):
        run_experiment(composed(*settings, bomb, folder=failed))
    assert read_metrics(failed)["status"] == "failed"
    assert read_metrics(failed)["error"] == "RuntimeError: killed"
    assert read_checkpoint(failed / "checkpoints" / "last.ckpt")["epoch"] == 1
    run_experiment(composed(*settings, f"resume={failed}", folder=failed))
    assert without_times(read_metrics(complete)) == without_times(read_metrics(failed))
    assert weights_equal(load_weights(complete), load_weights(failed))
    assert weights_equal(load_weights(complete, "best"), load_weights(failed, "best"))


@pytest.mark.slow
def test_test_set_affects_neither_training_nor_vocabulary_nor_selection(
    small: Path, tmp_path: Path
) -> None:
    """With other test reviews, all that happens before the test is bit-identical."""
    changed = tmp_path / "data"
    changed.mkdir()
    shutil.copy(small / "train.csv", changed / "train.csv")
    write_csv(
        changed / "test.csv",
        [(f"gibberish{i} good bad", ("good", "bad")[i % 2]) for i in range(70)],
    )
    runs = [
        train_quick(tmp_path / name, data, "baseline=logistic_regression")
        for name, data in (("original_run", small), ("changed_run", changed))
    ]
    for name in ("last", "best"):
        assert weights_equal(*(load_weights(run, name) for run in runs))
        first, second = (
            read_checkpoint(run / "checkpoints" / f"{name}.ckpt")["hyper_parameters"]
            for run in runs
        )
        assert first == second
    original, other = map(read_metrics, runs)
    for tag in (
        "train/loss",
        "val/loss",
        "val/accuracy",
        "baseline/logistic_regression/val_accuracy",
    ):
        assert original[tag] == other[tag]
    assert original["test/loss"] != other["test/loss"]


@pytest.mark.slow
def test_test_ckpt_selects_the_tested_checkpoint(small: Path, tmp_path: Path) -> None:
    settings = ["trainer.max_epochs=6", "optimizer.lr=0.05", "seed=4"]
    metrics = {}
    for test_ckpt, recorded in (("best", "best"), ("last", "last"), ("null", "best")):
        run = train_quick(tmp_path / test_ckpt, small, *settings, f"test_ckpt={test_ckpt}")
        metrics[test_ckpt] = read_metrics(run)
        checkpoint = read_checkpoint(run / "checkpoints" / f"{recorded}.ckpt")
        assert checkpoint["metrics"]["val/loss"] == metrics[test_ckpt]["val/loss"]
    assert "test/accuracy" not in metrics["null"]
    assert not (tmp_path / "null" / "test_predictions.csv").exists()
    assert metrics["best"]["val/accuracy"] >= metrics["last"]["val/accuracy"]
    assert metrics["best"]["test/loss"] != metrics["last"]["test/loss"]


def test_only_the_last_checkpoint_holds_the_optimizer_state(
    composed: Compose, small: Path, tmp_path: Path
) -> None:
    run = train_quick(tmp_path, small, "optimizer=adam")
    best, last = (run / "checkpoints" / f"{name}.ckpt" for name in ("best", "last"))
    assert "optimizer_states" in read_checkpoint(last)
    assert not {"optimizer_states", "callbacks", "loops"} & read_checkpoint(best).keys()
    assert best.stat().st_size < 0.6 * last.stat().st_size  # Adam keeps two values per weight
    shutil.copy(best, last)
    with pytest.raises(InputError) as error:
        run_experiment(composed(f"resume={run}", "trainer.max_epochs=3"))
    assert (
        str(error.value)
        == f"{last}: holds no training state; resume from last.ckpt, or start a new run"
    )


@pytest.mark.slow
def test_best_checkpoint_holds_averaged_weights(small: Path, tmp_path: Path) -> None:
    run = train_quick(tmp_path, small, "optimizer.lr=0.02", "trainer.max_epochs=3", *EMA)
    last = torch.load(run / "checkpoints" / "last.ckpt")
    assert not weights_equal(
        last["state_dict"], last["current_model_state"]
    )  # the average, and what is trained
    recorded = read_checkpoint(run / "checkpoints" / "best.ckpt")["metrics"]
    val = prepare_datamodule(source="files", path=str(small), maxlen=32).splits["val"]
    labels = torch.from_numpy(val.reviews.labels[val.reviews.rows])
    logits = load(run).logits(val)[:, 0]
    assert ((logits > 0) == labels).float().mean() == recorded["val/accuracy"]
    loss = F.binary_cross_entropy_with_logits(logits, labels.float())
    assert loss.item() == pytest.approx(recorded["val/loss"], abs=1e-6)


@pytest.mark.slow
def test_three_classes_are_learned_with_softmax(composed: Compose, tmp_path: Path) -> None:
    texts = [text for text, _ in reviews(120)]
    data = write_csv(
        tmp_path / "r.csv", [(f"{text} {'abc'[i % 3]}", i % 3) for i, text in enumerate(texts)]
    )
    run_experiment(composed(f"data.path={data}", "trainer.max_epochs=12", "optimizer.lr=0.03"))
    assert read_metrics(tmp_path)["test/accuracy"] > 0.9
    assert (
        (tmp_path / "test_predictions.csv")
        .read_text()
        .startswith("file,row,label,predicted,p(0),p(1),p(2)")
    )


@pytest.mark.parametrize(
    "override",
    ["optimizer=adamw", "optimizer=rmsprop", "optimizer=sgd", "optimizer=adagrad", "scheduler=onecycle",
     "scheduler=cosine", "trainer.fast_dev_run=true", "trainer.limit_train_batches=2"],
)  # fmt: skip
def test_optimizers_schedules_and_shortcuts_run(
    composed: Compose, tmp_path: Path, override: str
) -> None:
    run_experiment(composed(override))
    assert read_metrics(tmp_path)["status"] == "finished"


@pytest.mark.slow
def test_embedding_is_initialized_with_pretrained_vectors(
    composed: Compose, tmp_path: Path
) -> None:
    (tmp_path / "vectors.txt").write_text(
        "film " + " ".join(["0.25"] * 8) + "\nnobody " + " ".join(["1"] * 8) + "\n"
    )
    settings = [
        f"model.embedding_init={tmp_path / 'vectors.txt'}",
        "optimizer=sgd",
        "optimizer.lr=0.0",
    ]
    run_experiment(composed(*settings))
    checkpoint = read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    row = checkpoint["hyper_parameters"]["text_encoder"]["vocabulary"].index("film")
    assert checkpoint["state_dict"]["net.embedding.weight"][row].tolist() == [0.25] * 8
    with pytest.raises(InputError, match=r"vectors have 8 dimensions; set model\.embedding_dim=8$"):
        run_experiment(composed(*settings, "model.embedding_dim=9"))


@pytest.mark.slow
def test_finished_run_can_be_resumed_without_training(
    composed: Compose, small: Path, tmp_path: Path
) -> None:
    run = train_quick(tmp_path / "run", small, "test_ckpt=last")
    before = read_metrics(run)
    run_experiment(composed("test_ckpt=last", f"resume={run}", folder=run))
    assert without_times(read_metrics(run)) == without_times(before)


@pytest.mark.slow
def test_moved_run_is_not_resumed(composed: Compose, small: Path, tmp_path: Path) -> None:
    run = train_quick(tmp_path / "run", small, "trainer.max_epochs=1")
    moved = run.rename(tmp_path / "moved")
    with pytest.raises(InputError, match=f"the run was moved; move it back to {run}"):
        run_experiment(composed(f"resume={moved}", folder=moved))


@pytest.mark.slow
def test_run_whose_reviews_changed_is_not_resumed(
    composed: Compose, small: Path, tmp_path: Path
) -> None:
    """Its weights belong to another vocabulary, which may have the same size."""
    data = tmp_path / "data"
    shutil.copytree(small, data)
    run = train_quick(tmp_path / "run", data)
    before = load_weights(run)
    (data / "train.csv").write_text((data / "train.csv").read_text().replace("film", "flick"))
    with pytest.raises(
        InputError, match=f"resume={run}: the data or preprocessing changed since this run started"
    ):
        run_experiment(
            composed(f"data.path={data}", f"resume={run}", "trainer.max_epochs=3", folder=run)
        )
    assert weights_equal(load_weights(run), before)


def test_limited_test_batches_are_compared_with_the_baseline(
    composed: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    settings = [
        "data.maxlen=600",
        "data.padding=post",
        "trainer.limit_test_batches=1",
        "trainer.limit_val_batches=1",
    ]
    run_experiment(composed(*settings, "baseline=logistic_regression"))
    tested = len((tmp_path / "test_predictions.csv").read_text().splitlines()) - 1
    assert 0 < tested < 100
    assert f"Test set, {tested} reviews" in caplog.text


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=-1", "seed=-1: must be an integer from 0 to 4294967295"),
        ("num_threads=0", "num_threads=0: must be an integer >= 1"),
        ("trainer.max_epochs=0", "trainer.max_epochs=0: must be an integer >= 1"),
        (
            "trainer.limit_val_batches=0",
            "trainer.limit_val_batches=0: must be above 0",
        ),
        (
            "callbacks.early_stopping.monitor=foo",
            "trainer or callbacks: .* conditioned on metric `foo`",
        ),
        ("model.bidirectional=abc", "model.bidirectional=abc: must be one of False, True"),
        ("model.units=0", "model.units=0: must be an integer >= 1"),
        (
            "model.embedding_init=glove.6B.17d",
            "model.embedding_init=glove.6B.17d: cannot be read or downloaded",
        ),
        (
            "data.label_column=text",
            "data.label_column=text is the column of the texts",
        ),
        ("data.maxlen=0", "data.maxlen=0: must be an integer >= 1"),
        ("data.batch_size=0", "data.batch_size=0: must be an integer >= 1"),
        ("data.max_features=0", "data.max_features=0: must be an integer >= 3"),
        ("data.path=absent", "data.path=absent: no such file or folder"),
        ("adversarial_epsilon=-1", "adversarial_epsilon=-1: must be a finite number >= 0"),
        (
            "objective=test/accuracy",
            "objective=test/accuracy: must be one of val/accuracy, val/loss",
        ),
        ("test_ckpt=both", "test_ckpt=both: must be one of best, last, null"),
        ("optimizer.lr=-1", "optimizer: Invalid learning rate: -1"),
        pytest.param(
            "trainer=gpu",
            "trainer: ",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_invalid_settings_are_reported_in_one_line(
    composed: Compose, tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(InputError, match=f"^{message}") as error:
        run_experiment(composed(override))
    assert "\n" not in str(error.value)
    begun = any(tmp_path.iterdir())  # only what the data or the training show is recorded
    assert not begun or read_metrics(tmp_path)["status"] == "failed"


@pytest.mark.parametrize(
    "override",
    ["model.units=0", "model.chunk_length=x", "optimizer.lr=-1", "scheduler=onecycle scheduler.pct_start=2",
     "adversarial_epsilon=-1", "test_ckpt=both", "trainer.accelerator=abacus",
     "baseline=nb_svm baseline.nb_svm.features=x"],
)  # fmt: skip
def test_invalid_settings_are_reported_before_the_data_is_read(
    composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, override: str
) -> None:
    monkeypatch.setenv("SENTIMENT_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError) as error:
        run_experiment(composed(*override.split(), folder=tmp_path / "run"))
    key, _, value = override.split()[-1].partition("=")
    assert str(error.value).startswith((f"{key}={value}: ", f"{key.partition('.')[0]}: "))
    assert not [*(tmp_path / "cache").rglob("*")]


@pytest.mark.slow
def test_aborted_run_exits_with_2_and_leaves_no_folder(tmp_path: Path) -> None:
    done = command(*QUICK, "data.path=absent", cwd=tmp_path)
    assert done.returncode == 2
    assert (
        done.stderr
        == "error: data.path=absent: no such file or folder; name a file of reviews, or a folder\n"
    )
    assert not list(tmp_path.glob("outputs/runs/*"))


@pytest.mark.slow
def test_resume_from_the_command_line_keeps_the_settings_of_the_run(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [*QUICK, f"data.path={small}", "data.maxlen=10", "trainer.max_epochs=1"]
    first = command(*settings, "hydra.run.dir=my run", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    resumed = command("resume=my run", "trainer.max_epochs=3", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert read_metrics(tmp_path / "my run")["epochs"] == 3
    assert "train (270 x 10)" in resumed.stdout
    monkeypatch.chdir(tmp_path)
    for arguments, message in (
        (
            ["resume=my run", "optimizer=sgd"],
            "optimizer=sgd: a resumed run keeps its optimizer; remove it",
        ),
        (
            ["resume=absent"],
            "absent: not a run directory (.hydra/config.yaml is missing); see outputs/runs",
        ),
    ):
        monkeypatch.setattr("sys.argv", ["train", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        assert capsys.readouterr().err == f"error: {message}\n"
    last = tmp_path / "my run" / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:5000])
    damaged = command("resume=my run", cwd=tmp_path)
    assert damaged.returncode == 2
    assert "last.ckpt: damaged or not a checkpoint" in damaged.stderr
    assert (tmp_path / "my run" / "checkpoints" / "best.ckpt").exists()


@pytest.mark.slow
@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="oneDNN cannot imitate an older CPU here"
)
def test_bfloat16_trains_on_a_cpu_without_kernels_for_it(small: Path, tmp_path: Path) -> None:
    """By torch's own loops, slowly: `${bfloat16_or_float32:}` does not choose it there."""
    settings = [*QUICK, f"data.path={small}", "trainer.precision=bf16-mixed"]
    done = command(*settings, cwd=tmp_path, ONEDNN_MAX_CPU_ISA="AVX2")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("answers", [True, False])
def test_unreachable_hub_is_reported_within_a_minute(tmp_path: Path, answers: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts connections and never answers
        port = silent.getsockname()[1] if answers else 9  # which refuses them
        start = time.monotonic()
        endpoint = f"http://127.0.0.1:{port}"
        done = command("baseline=none", cwd=tmp_path, HF_ENDPOINT=endpoint, HF_HOME=str(tmp_path))
        assert time.monotonic() - start < 60
    assert done.returncode == 2
    assert "data.path=DIR" in done.stderr
    assert "data=demo" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_demo_corpus_needs_word_order(composed: Compose, tmp_path: Path) -> None:
    demo = [
        "data=demo",
        "data.path=null",
        "data.maxlen=64",
        "model.embedding_dim=128",
        "model.units=64",
    ]
    run_experiment(
        composed(*demo, "trainer.max_epochs=15", "baseline=[random_forest,random_forest_counts]")
    )
    metrics = read_metrics(tmp_path)
    assert metrics["test/accuracy"] >= 0.95
    assert metrics["baseline/random_forest/test_accuracy"] <= 0.65
    assert metrics["baseline/random_forest_counts/test_accuracy"] <= 0.80


@pytest.mark.slow
def test_one_epoch_on_imdb(composed: Compose, tmp_path: Path, imdb: Path) -> None:
    settings = [
        "data=imdb",
        f"data.path={imdb}",
        "data.maxlen=80",
        "model.embedding_dim=128",
        "model.units=64",
    ]
    run_experiment(composed(*settings, "trainer.max_epochs=1", "baseline=logistic_regression"))
    metrics = read_metrics(tmp_path)
    assert metrics["test/accuracy"] > 0.79
    assert metrics["baseline/logistic_regression/test_accuracy"] > 0.87
    with (tmp_path / "test_predictions.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 25_000


def test_test_set_without_labels_is_labelled(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As competitions give it: train.csv with labels, test.csv without."""
    rows = labelled_reviews(300)
    write_csv(tmp_path / "train.csv", rows[:200])
    write_csv(tmp_path / "test.csv", [(text, "") for text, _ in rows[200:]], ("text", "comment"))
    caplog.set_level("INFO")
    run = train_quick(tmp_path / "run", tmp_path)
    with open(run / "test_labelled.csv", newline="") as file:
        labelled = list(csv.DictReader(file))
    assert [row["text"] for row in labelled] == [text for text, _ in rows[200:]]
    assert {row["label"] for row in labelled} <= {"bad", "good"}
    assert "test.csv: has no labels and is labelled after the training" in caplog.text
    assert "not read" not in caplog.text
    assert len(pd.read_csv(run / "test_predictions.csv")) == 40
    metrics = evaluate_quick(tmp_path / "evaluation", f"checkpoint={run}")
    assert metrics["test/accuracy"] == pytest.approx(read_metrics(run)["test/accuracy"])
