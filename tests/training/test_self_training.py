"""Self-training: what the student learns from, what may not reach it, and that it goes on after any interruption."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from pytorch_lightning import Callback
from torch.nn import functional as F

from sentiment.baselines.fitting import CachedFit
from sentiment.data.demo import reviews
from sentiment.model.network import cross_entropy
from sentiment.runtime.errors import InputError
from sentiment.runtime.run_folder import RunFolder
from sentiment.training import experiment, self_training
from sentiment.training.experiment import run_experiment
from sentiment.training.self_training import check_self_training, find_unfinished_teachers
from sentiment.training.trainer import make_callbacks
from tests.helpers import (
    compose_quick,
    labelled_reviews,
    load_weights,
    prepare_datamodule,
    read_metrics,
    weights_equal,
    without_times,
    write_csv,
)

TEACHERS = [
    "self_training=teachers",
    "self_training.networks=1",
    "+self_training.teacher.adversarial_epsilon=0.02",
]
SETTINGS = [
    *TEACHERS,
    "data.unlabelled=true",
    "baseline=nb_svm",
    "model.embedding_init=ppmi",
    "model.max_ngram=2",
]


@pytest.fixture(scope="module")
def partly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 200 training, 100 test and 150 unlabelled reviews."""
    folder = tmp_path_factory.mktemp("partly")
    rows = labelled_reviews(450)
    write_csv(folder / "train.csv", rows[:200])
    write_csv(folder / "test.csv", rows[200:300])
    (folder / "unlabelled.txt").write_text("".join(f"{text}\n" for text, _ in rows[300:]))
    return folder


def configure(folder: Path, data: Path, *overrides: str) -> DictConfig:
    return compose_quick(folder, data, *[*SETTINGS, *overrides])


def test_cross_entropy_of_probabilities_is_that_of_labels_where_these_are_certain() -> None:
    logits, labels = torch.tensor([[0.5], [-1.0]]), torch.tensor([1, 0])
    certain = F.one_hot(labels, 2).float()
    torch.testing.assert_close(cross_entropy(logits, certain), cross_entropy(logits, labels))
    uncertain = torch.tensor([[0.25, 0.75], [0.9, 0.1]])
    p = logits[:, 0].sigmoid()
    expected = -(uncertain[:, 1] * p.log() + uncertain[:, 0] * (1 - p).log()).mean()
    torch.testing.assert_close(cross_entropy(logits, uncertain), expected)


def test_batches_hold_certain_labels_and_those_of_the_teachers(partly: Path) -> None:
    datamodule = prepare_datamodule(source="files", path=str(partly), maxlen=32, unlabelled=True)
    rows = datamodule.splits["unlabelled"].reviews.rows
    soft = np.random.default_rng(0).dirichlet([1, 1], len(rows)).astype(np.float32)
    datamodule.add_soft_labels(soft)
    batches = list(datamodule.train_dataloader())
    seen = torch.cat([batch.rows for batch in batches]).numpy()
    labels = torch.cat([batch.labels for batch in batches]).numpy()
    assert sorted(seen) == sorted([*datamodule.splits["train"].reviews.rows, *rows])
    of_row = dict(zip(seen.tolist(), labels, strict=True))
    assert all(
        (of_row[row] == probability).all() for row, probability in zip(rows, soft, strict=True)
    )
    train_reviews = datamodule.splits["train"].reviews
    assert all(of_row[row][train_reviews.labels[row]] == 1 for row in train_reviews.rows)
    assert labels.sum(1) == pytest.approx(1)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "data.unlabelled=null",
            "self_training: needs texts without a label; name them with data.unlabelled=PATH",
        ),
        ("self_training.networks=-1", "self_training.networks=-1: must be an integer >= 0"),
        (
            ["self_training.networks=0", "self_training.baselines=[]"],
            "self_training.networks=0: must be an integer >= 1",
        ),
        (
            "self_training.baselines=[svm]",
            "self_training.baselines=svm: must be one of nb_svm",
        ),
        (
            "+self_training.teacher.model.unit=3",
            "self_training.teacher: Key 'unit' is not in struct full_key: model.unit",
        ),
        (
            "+self_training.teacher.data.maxlen=9",
            "self_training.teacher.data: its teachers read what the run reads",
        ),
    ],
)
def test_invalid_settings(
    partly: Path, tmp_path: Path, override: str | list[str], message: str
) -> None:
    with pytest.raises(InputError) as error:
        check_self_training(
            configure(tmp_path, partly, *([override] if isinstance(override, str) else override))
        )
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("count", "warns"), [(179, True), (180, False)])
def test_fewer_unlabelled_than_labelled_texts_are_reported(
    partly: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, count: int, warns: bool
) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("".join(f"{text}\n" for text, _ in reviews(900)[500 : 500 + count]))
    cfg = configure(
        tmp_path / "run", partly, f"data.unlabelled={texts}", "self_training.networks=0"
    )
    with caplog.at_level("WARNING"):
        run_experiment(cfg)
    message = f"data.unlabelled: {count} unlabelled texts hardly help 180 labelled ones; add more"
    assert (message in caplog.messages) == warns


@pytest.fixture(scope="module")
def finished(partly: Path, tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """A run with a teacher and a student of two epochs."""
    folder = tmp_path_factory.mktemp("student")
    run_experiment(configure(folder, partly))
    return folder


@pytest.mark.slow
def test_teacher_is_a_run_without_test(finished: Path) -> None:
    teacher, student = finished / "teachers" / "1", finished
    assert not {key for key in read_metrics(teacher) if key.startswith("test/")}
    assert "test/accuracy" in read_metrics(student)
    assert np.load(teacher / "probabilities.npy").shape == (150, 2)
    assert not weights_equal(load_weights(teacher, "best"), load_weights(student, "best"))


@pytest.mark.slow
def test_no_test_text_reaches_what_is_learned(finished: Path, partly: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(partly, other)
    texts = (partly / "unlabelled.txt").read_text()
    copies: list[tuple[str, object]] = [
        (f"poison{i} {'bad ' * i}film.", ("bad", "good")[i % 2]) for i in range(100)
    ]
    write_csv(other / "test.csv", copies)
    (other / "unlabelled.txt").write_text(texts + "".join(f"{text}\n" for text, _ in copies))
    run_experiment(configure(tmp_path / "run", other))
    for run in ("", "teachers/1"):
        assert weights_equal(load_weights(finished / run), load_weights(tmp_path / "run" / run))
    expected = np.load(finished / "teachers" / "1" / "probabilities.npy")
    assert (np.load(tmp_path / "run" / "teachers" / "1" / "probabilities.npy") == expected).all()


class Interruption(Callback):
    """Interrupts the training after its first epoch."""

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["teacher", "labelling", "baseline", "student"])
def test_resumed_run_is_bit_identical(
    finished: Path, partly: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if stage == "teacher":
            patch.setattr(
                experiment, "make_callbacks", lambda cfg: [*make_callbacks(cfg), Interruption()]
            )
        elif stage == "labelling":
            patch.setattr(self_training, "_predict", interrupt)
        elif stage == "baseline":
            patch.setattr(CachedFit, "label_unlabelled", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_experiment(
                configure(tmp_path, partly), [Interruption()] if stage == "student" else []
            )
    assert read_metrics(tmp_path)["status"] == "interrupted"
    run_experiment(configure(tmp_path, partly, f"resume={tmp_path}"))
    assert without_times(read_metrics(tmp_path)) == without_times(read_metrics(finished))
    assert weights_equal(load_weights(tmp_path), load_weights(finished))


@pytest.mark.slow
def test_changed_unlabelled_texts_are_labelled_anew(partly: Path, tmp_path: Path) -> None:
    """The same texts in another order have the same vocabulary."""
    data, run = shutil.copytree(partly, tmp_path / "data"), tmp_path / "run"
    run_experiment(configure(run, data))
    before = np.load(run / "teachers" / "1" / "probabilities.npy")
    shutil.rmtree(run / "checkpoints")  # as if interrupted before the first one of the student
    texts = (data / "unlabelled.txt").read_text().splitlines(keepends=True)
    (data / "unlabelled.txt").write_text("".join(reversed(texts)))
    run_experiment(configure(run, data, f"resume={run}"))
    after = np.load(run / "teachers" / "1" / "probabilities.npy")
    np.testing.assert_allclose(after, before[::-1], atol=0.05)
    assert not np.allclose(after, before, atol=0.05)


@pytest.mark.slow
def test_teachers_with_frozen_embeddings_learn_in_mixed_precision(
    partly: Path, tmp_path: Path
) -> None:
    """Frozen embeddings are float16, which autocast refuses to concatenate with float32."""
    run_experiment(
        configure(tmp_path, partly, "trainer.precision=bf16-mixed", "model.freeze_embedding=true")
    )
    assert read_metrics(tmp_path)["status"] == "finished"


def test_files_of_the_user_beside_a_teacher_stay(finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    folder = RunFolder(run / "teachers" / "1")
    (folder.path / "notes.txt").write_text("mine")
    outdated = folder.path / "probabilities.npy"
    outdated.write_bytes(b"outdated")
    folder.write_metrics({"status": "failed"})
    folder.checkpoint("last").unlink()
    cfg = RunFolder(run).read_config()
    assert cfg is not None
    cfg.output_dir = str(run)
    (teacher,) = find_unfinished_teachers(cfg)
    assert teacher.output_dir == str(folder.path)
    assert teacher.resume is None
    assert (folder.path / "notes.txt").read_text() == "mine"
    assert not outdated.exists()
    assert not folder.checkpoint("best").exists()


MIXED = [
    "data.unlabelled=true", "adversarial_epsilon=0.05", "virtual_adversarial_weight=1", "entropy_weight=0.5",
    "model.word_dropout=0.2",
]  # fmt: skip


@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["data.train_rows=50"],
        [
            "self_training=teachers",
            "baseline=nb_svm",
            "+self_training.teacher.trainer.max_epochs=1",
        ],
    ],
)
def test_batches_without_labels_are_drawn_beside_those_with_them(
    partly: Path, tmp_path: Path, settings: list[str]
) -> None:
    """An epoch is a pass over the larger set; a resumed run repeats the bits."""
    whole = [*MIXED, *settings, "trainer.max_epochs=2", "data.batch_size=32"]
    run_experiment(compose_quick(tmp_path / "whole", partly, *whole))
    first = compose_quick(tmp_path / "parts", partly, *whole, "trainer.max_epochs=1")
    run_experiment(first)
    RunFolder(tmp_path / "parts").write_config(first)
    resume = f"resume={tmp_path / 'parts'}"
    run_experiment(compose_quick(tmp_path / "parts", partly, *whole, resume))
    assert weights_equal(load_weights(tmp_path / "whole"), load_weights(tmp_path / "parts"))
    checkpoint = torch.load(tmp_path / "whole" / "checkpoints" / "last.ckpt", weights_only=True)
    labelled = {0: 180, 1: 45, 3: 330}[len(settings)]
    unlabelled = 300 if settings == ["data.train_rows=50"] else 150
    assert checkpoint["global_step"] == 2 * -(-max(labelled, unlabelled) // 32)


def test_repeated_passes_of_an_epoch_have_their_own_order(partly: Path) -> None:
    data = prepare_datamodule(
        source="files", path=str(partly), unlabelled=True, train_rows=40, unlabelled_batches=True
    )
    loader = data.train_dataloader()
    pairs = [batch for batch, *_ in loader]
    labelled = torch.cat([first.rows for first, _ in pairs])
    assert all(second.labels.eq(-1).all() for _, second in pairs)
    size = len(data.splits["train"])
    passes = labelled[: size * (len(labelled) // size)].view(-1, size)
    assert all({*rows.tolist()} == {*passes[0].tolist()} for rows in passes)
    assert len({tuple(rows.tolist()) for rows in passes}) == len(passes) > 2


def test_virtual_adversarial_training_needs_a_perturbation(partly: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"adversarial_epsilon=0\.0: virtual_adversarial_weight needs"
    ):
        run_experiment(compose_quick(tmp_path, partly, "virtual_adversarial_weight=1"))
