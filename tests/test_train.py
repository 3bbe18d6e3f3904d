"""Whole runs with real parts: Trainer, event files, checkpoints, the command line."""

import csv
import platform
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from sentiment.data.demo import reviews
from sentiment.errors import InputError
from sentiment.jobs import main
from sentiment.model.module import SentimentModule
from sentiment.train import train

from .conftest import Compose, command, figures, metrics_of, same, weights_of, write_csv


class Killed(Callback):
    """Ends the process's training in the middle of an epoch, as far as Python can."""

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.current_epoch == 2 and trainer.global_step % 9 == 4:
            raise RuntimeError("killed")


def test_a_run_leaves_whole_results_and_tensorboard_shows_the_same(composed: Compose, tmp_path: Path) -> None:
    settings = ["seed=3", "logger.first=[seed,data.maxlen]"]
    objective = train(composed("baseline=[random_forest,logistic_regression]", *settings))
    metrics = metrics_of(tmp_path)
    assert metrics["status"] == "finished"
    assert metrics["device"] == "cpu"
    assert metrics["epochs"] == 2
    assert objective == metrics["val/accuracy"]

    events = EventAccumulator(str(tmp_path)).Reload()
    for tag in ("train/loss", "val/loss", "val/accuracy", "train/reviews_per_second", "epochs", "parameters",
                "test/loss", "test/accuracy", "test/auroc", "test/f1", "test/ece",
                "baseline/random_forest/test_accuracy", "baseline/random_forest/val_accuracy",
                "baseline/random_forest/fit_seconds", "baseline/logistic_regression/test_accuracy"):  # fmt: skip
        latest = max(events.Scalars(tag), key=lambda event: event.wall_time)
        assert latest.value == pytest.approx(metrics[tag]), tag
    assert len({event.step for event in events.Scalars("val/accuracy")}) == 2

    sessions = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    hparams = HParamsPluginData.FromString(sessions).session_start_info.hparams
    assert hparams["seed"].number_value == 3
    assert hparams["data.maxlen"].number_value == 32
    assert hparams["optimizer"].string_value == "Adam"
    registered = HParamsPluginData.FromString(events.SummaryMetadata("_hparams_/experiment").plugin_data.content)
    assert {"val/accuracy", "test/accuracy"} <= {info.name.tag for info in registered.experiment.metric_infos}
    assert {info.name for info in registered.experiment.hparam_infos if info.differs} == {"seed", "data.maxlen"}

    with (tmp_path / "test_predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["row"]) for row in rows] == list(range(300, 400))
    assert np.mean([row["label"] == row["predicted"] for row in rows]) == pytest.approx(metrics["test/accuracy"])
    for row in rows:
        probabilities = {"bad": float(row["p(bad)"]), "good": float(row["p(good)"])}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert row["predicted"] == max(probabilities, key=lambda name: probabilities[name])


def test_the_same_seed_gives_the_same_bits_and_another_one_does_not(composed: Compose, tmp_path: Path) -> None:
    runs = [tmp_path / name for name in ("first", "again", "other")]
    for folder, seed in zip(runs, (1, 1, 2), strict=True):
        folder.mkdir()
        train(composed(f"seed={seed}", folder=folder))
    assert figures(metrics_of(runs[0])) == figures(metrics_of(runs[1]))
    assert same(weights_of(runs[0]), weights_of(runs[1]))
    assert not same(weights_of(runs[0]), weights_of(runs[2]))


@pytest.mark.parametrize("padding", ["pre", "post"])
def test_a_run_killed_in_mid_epoch_and_resumed_ends_as_one_that_was_not(
    composed: Compose, tmp_path: Path, padding: str
) -> None:
    settings = ["trainer.max_epochs=4", f"data.padding={padding}", "scheduler=onecycle", "model.num_layers=2"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    train(composed(*settings, folder=whole))
    bomb = "+callbacks.killed._target_=tests.test_train.Killed"
    with pytest.raises(RuntimeError, match="killed"):
        train(composed(*settings, bomb, folder=cut))
    assert metrics_of(cut)["status"] == "failed"
    assert metrics_of(cut)["error"] == "RuntimeError: killed"
    assert torch.load(cut / "checkpoints" / "last.ckpt")["epoch"] == 1
    train(composed(*settings, f"resume={cut}", folder=cut))
    assert figures(metrics_of(whole)) == figures(metrics_of(cut))
    assert same(weights_of(whole), weights_of(cut))
    assert same(weights_of(whole, "best"), weights_of(cut, "best"))


def test_the_test_half_is_in_no_training_vocabulary_or_selection_step(
    composed: Compose, tmp_path: Path, small: Path
) -> None:
    """Whatever stands in the test half, all that happens before the test is the same to the last bit."""
    spoilt = tmp_path / "spoilt"
    spoilt.mkdir()
    shutil.copy(small / "train.csv", spoilt / "train.csv")
    write_csv(spoilt / "test.csv", [(f"gibberish{i} good bad", ("good", "bad")[i % 2]) for i in range(70)])
    runs = {}
    for name, data in (("true", small), ("spoilt", spoilt)):
        (tmp_path / f"run_{name}").mkdir()
        train(composed(f"data.path={data}", "baseline=logistic_regression", folder=tmp_path / f"run_{name}"))
        runs[name] = metrics_of(tmp_path / f"run_{name}")
    for checkpoint in ("last", "best"):
        assert same(*(weights_of(tmp_path / f"run_{name}", checkpoint) for name in runs))
        texts = [
            torch.load(tmp_path / f"run_{name}" / "checkpoints" / f"{checkpoint}.ckpt")["hyper_parameters"]["text"]
            for name in runs
        ]
        assert texts[0] == texts[1]
    for tag in ("train/loss", "val/loss", "val/accuracy", "baseline/logistic_regression/val_accuracy"):
        assert runs["true"][tag] == runs["spoilt"][tag]
    assert runs["true"]["test/loss"] != runs["spoilt"]["test/loss"]


def test_the_best_weights_are_tested_or_the_last_or_none(composed: Compose, tmp_path: Path) -> None:
    settings = ["trainer.max_epochs=6", "optimizer.lr=0.05", "seed=4"]
    results = {}
    for test in ("best", "last", "false"):
        folder = tmp_path / test
        folder.mkdir()
        train(composed(*settings, f"test={test}", folder=folder))
        results[test] = metrics_of(folder)
    assert "test/accuracy" not in results["false"]
    assert not (tmp_path / "false" / "test_predictions.csv").exists()
    for test, name in (("best", "best"), ("false", "best"), ("last", "last")):
        checkpoint = torch.load(tmp_path / test / "checkpoints" / f"{name}.ckpt")
        assert checkpoint["metrics"]["val/loss"] == results[test]["val/loss"]
    assert results["best"]["val/accuracy"] >= results["last"]["val/accuracy"]
    assert results["best"]["test/loss"] != results["last"]["test/loss"]


def test_three_classes_go_through_softmax(composed: Compose, tmp_path: Path) -> None:
    texts = [text for text, _ in reviews(120)]
    data = write_csv(tmp_path / "r.csv", [(f"{text} {'abc'[i % 3]}", i % 3) for i, text in enumerate(texts)])
    train(composed(f"data.path={data}", "trainer.max_epochs=12", "optimizer.lr=0.03"))
    assert metrics_of(tmp_path)["test/accuracy"] > 0.9
    assert (tmp_path / "test_predictions.csv").read_text().startswith("row,label,predicted,p(0),p(1),p(2)")


@pytest.mark.parametrize("override", ["optimizer=adamw", "optimizer=rmsprop", "optimizer=sgd", "optimizer=adagrad",
                                      "scheduler=onecycle", "scheduler=cosine", "trainer.fast_dev_run=true",
                                      "trainer.limit_train_batches=2"])  # fmt: skip
def test_every_optimizer_schedule_and_shortcut_runs(composed: Compose, tmp_path: Path, override: str) -> None:
    train(composed(override))
    assert metrics_of(tmp_path)["status"] == "finished"


def test_pretrained_vectors_start_the_embedding(composed: Compose, tmp_path: Path) -> None:
    (tmp_path / "vectors.txt").write_text("film " + " ".join(["0.25"] * 8) + "\nnobody " + " ".join(["1"] * 8) + "\n")
    settings = [f"model.vectors={tmp_path / 'vectors.txt'}", "optimizer=sgd", "optimizer.lr=0.0"]
    train(composed(*settings))
    checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt")
    row = checkpoint["hyper_parameters"]["text"]["words"].index("film")
    assert checkpoint["state_dict"]["net.embedding.weight"][row].tolist() == [0.25] * 8
    with pytest.raises(InputError, match=r"have 8 values; set model\.embedding_dim"):
        train(composed(*settings, "model.embedding_dim=9"))


def test_the_adversarial_push_is_as_long_as_asked_and_raises_the_loss() -> None:
    torch.manual_seed(0)
    words = ["<pad>", "<unk>", *map(str, range(28))]
    text = {"words": words, "label_names": ["bad", "good"], "padding": "post"}
    module = SentimentModule(text, {"embedding_dim": 12, "units": 10, "dropout": 0.0}, adversarial=0.3).eval()
    ids, labels = torch.randint(1, 30, (4, 9)), torch.tensor([0, 1, 1, 0])
    ids[1, 4:] = 0
    x, lengths = module.net.embedding(ids), torch.tensor([9, 4, 9, 9])
    loss = module._loss(module.net.logits(x, lengths), labels)
    push = module._worst_push(x, loss, lengths)
    assert torch.allclose(push.square().sum((1, 2)).div(lengths).sqrt(), torch.full((4,), 0.3))
    assert (push[1, 4:] == 0).all()
    random = torch.nn.functional.normalize(torch.randn(20, *x.shape).flatten(2), dim=2).view(20, *x.shape)
    pushed = [module._loss(module.net.logits(x + other, lengths), labels) for other in (push, *random)]
    assert pushed[0] > max(loss, *pushed[1:])


def test_a_finished_run_can_be_resumed_for_its_figures_and_a_failing_one_keeps_them(
    composed: Compose, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    train(composed("test=last", folder=run))
    before = metrics_of(run)
    train(composed("test=last", f"resume={run}", folder=run))
    assert figures(metrics_of(run)) == figures(before)
    with pytest.raises(InputError):
        train(composed("test=last", f"resume={run}", "model.units=0", folder=run))
    failed = metrics_of(run)
    assert failed["status"] == "failed"
    assert failed["test/accuracy"] == before["test/accuracy"]
    moved = run.rename(tmp_path / "moved")
    with pytest.raises(InputError, match=f"was moved; put it back to {run}"):
        train(composed(f"resume={moved}", folder=moved))


def test_a_run_whose_reviews_changed_is_not_resumed(composed: Compose, tmp_path: Path, small: Path) -> None:
    """Its weights belong to another vocabulary, which may have the same size."""
    data, run = tmp_path / "data", tmp_path / "run"
    shutil.copytree(small, data)
    run.mkdir()
    train(composed(f"data.path={data}", folder=run))
    before = weights_of(run)
    table = (data / "train.csv").read_text()
    (data / "train.csv").write_text(table.replace("film", "flick"))
    with pytest.raises(InputError, match=f"resume={run}: the reviews are others now"):
        train(composed(f"data.path={data}", f"resume={run}", "trainer.max_epochs=3", folder=run))
    assert same(weights_of(run), before)


def test_clipping_that_lightning_refuses_is_told_in_one_line(composed: Compose) -> None:
    both = "trainer.gradient_clip_val: needs optimizer.fused=false|trainer.precision: this CPU"
    with pytest.raises(InputError, match=both):
        train(composed("trainer.gradient_clip_val=1", "trainer.precision=bf16-mixed"))


def test_limited_batches_compare_the_rows_that_were_read(composed: Compose, tmp_path: Path) -> None:
    settings = ["data.maxlen=600", "data.padding=post", "trainer.limit_test_batches=1", "trainer.limit_val_batches=1"]
    train(composed(*settings, "baseline=logistic_regression"))
    assert len((tmp_path / "test_predictions.csv").read_text().splitlines()) < 100


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=-1", "seed=-1: must be a whole number"),
        ("trainer.max_epochs=0", "trainer.max_epochs=0: must be a whole number, at least 1"),
        ("callbacks.early_stopping.monitor=foo", "conditioned on metric `foo`"),
        ("model.bidirectional=abc", "model.bidirectional=abc: must be one of False, True"),
        ("data.label_column=text", "data.label_column=text: is data.text_column too"),
        ("data.maxlen=0", "data.maxlen=0: must be a whole number, at least 1"),
        ("model.units=0", "model.units=0: must be a whole number, at least 1"),
        ("adversarial=-1", "adversarial=-1: must be a length of at least 0"),
        ("data.batch_size=0", "data.batch_size=0"),
        ("data.max_features=0", "data.max_features=0"),
        ("objective=test/accuracy", "objective=test/accuracy: must be one of val/accuracy, val/loss"),
        ("test=both", "test=both: must be one of best, last, False"),
        ("trainer=gpu", "trainer: .*"),
        ("optimizer.lr=-1", "optimizer or scheduler: Invalid learning rate: -1"),
        ("trainer.limit_val_batches=0", "trainer.limit_val_batches=0: "),
        ("model.vectors=glove.6B.17d", "model.vectors=glove.6B.17d"),
    ],
)
def test_wrong_settings_are_told_in_one_line(composed: Compose, tmp_path: Path, override: str, message: str) -> None:
    if override == "trainer=gpu" and torch.cuda.is_available():
        pytest.skip("there is a GPU here, so asking for one is no mistake")
    with pytest.raises(InputError, match=message) as refused:
        train(composed(override))
    assert "\n" not in str(refused.value)
    assert metrics_of(tmp_path)["status"] == "failed"


QUICK = ["data=files", "trainer=cpu", "trainer.max_epochs=1", "model.units=4", "baseline=none",
         "callbacks.inspection=null"]  # fmt: skip


def test_a_wrong_setting_exits_with_2_and_leaves_nothing(tmp_path: Path) -> None:
    done = command(*QUICK, "data.path=absent", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: data.path=absent: no such file or folder; check the path, or try data=demo\n"
    assert not list(tmp_path.glob("outputs/runs/*"))


def test_help_is_given_without_loading_torch() -> None:
    start = "import runpy; sys.argv = ['train', '--help']; runpy.run_module('sentiment.train', run_name='__main__')"
    script = f"import sys\ntry: {start}\nfinally: assert 'torch' not in sys.modules"
    told = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert "optimizer:" in told.stdout


@pytest.mark.slow
@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="the CPU cannot be told to pass for an older one"
)
def test_bfloat16_on_a_cpu_without_it_is_refused_in_one_line(small: Path, tmp_path: Path) -> None:
    settings = ["data=files", f"data.path={small}", "data.maxlen=8", "trainer=cpu", "trainer.precision=bf16-mixed"]
    told = command(*settings, "baseline=none", cwd=tmp_path, ONEDNN_MAX_CPU_ISA="AVX2")
    assert told.returncode == 2
    assert told.stderr.splitlines()[-1].startswith("error: trainer.precision: this CPU has no LSTM in it")


def test_resuming_from_the_command_line_keeps_the_runs_settings(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = command(*QUICK, f"data.path={small}", "data.maxlen=10", "hydra.run.dir=my run", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    again = command("resume=my run", "trainer.max_epochs=3", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert metrics_of(tmp_path / "my run")["epochs"] == 3
    assert "train (270 x 10)" in again.stdout
    monkeypatch.chdir(tmp_path)
    for line, message in (
        (["resume=my run", "optimizer=sgd"], "optimizer=sgd: a resumed run keeps its optimizer; leave it out"),
        (["resume=absent"], "resume=absent: no run's folder, it has no .hydra/config.yaml; name one in outputs/runs"),
    ):
        monkeypatch.setattr("sys.argv", ["train", *line])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        assert capsys.readouterr().err == f"error: {message}\n"
    last = tmp_path / "my run" / "checkpoints" / "last.ckpt"
    first_bytes = last.read_bytes()[:5000]
    last.write_bytes(first_bytes)
    broken = command("resume=my run", cwd=tmp_path)
    assert broken.returncode == 2
    assert "last.ckpt: damaged or no checkpoint" in broken.stderr
    assert (tmp_path / "my run" / "checkpoints" / "best.ckpt").exists()


@pytest.mark.slow
def test_a_hub_that_is_out_of_reach_is_told_within_30_seconds(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for port in (silent.getsockname()[1], 9):  # one that accepts and never answers, one that refuses
            started = time.monotonic()
            endpoint = f"http://127.0.0.1:{port}"
            done = command("baseline=none", cwd=tmp_path, HF_ENDPOINT=endpoint, HF_HOME=str(tmp_path))
            assert time.monotonic() - started < 30
            assert done.returncode == 2
            assert "data.path=DIR" in done.stderr
            assert "data=demo" in done.stderr
            assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_the_built_in_corpus_needs_word_order(composed: Compose, tmp_path: Path) -> None:
    demo = ["data=demo", "data.path=null", "data.maxlen=64", "model.embedding_dim=128", "model.units=64"]
    train(composed(*demo, "trainer.max_epochs=15", "baseline=[random_forest,random_forest_counts]"))
    metrics = metrics_of(tmp_path)
    assert metrics["test/accuracy"] >= 0.95
    assert metrics["baseline/random_forest/test_accuracy"] <= 0.65
    assert metrics["baseline/random_forest_counts/test_accuracy"] <= 0.80


@pytest.mark.slow
def test_one_epoch_on_the_real_imdb(composed: Compose, tmp_path: Path, imdb: Path) -> None:
    real = ["data=imdb", f"data.path={imdb}", "data.maxlen=80", "model.embedding_dim=128", "model.units=64"]
    train(composed(*real, "trainer.max_epochs=1", "baseline=logistic_regression"))
    metrics = metrics_of(tmp_path)
    assert metrics["test/accuracy"] > 0.79
    assert metrics["baseline/logistic_regression/test_accuracy"] > 0.87
    assert len((tmp_path / "test_predictions.csv").read_text().splitlines()) == 25_001
