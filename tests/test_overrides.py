"""Overrides that Hydra rejects are explained in one line."""

import subprocess
import sys

import pytest
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from sentiment.runtime.config import CONF_DIR
from sentiment.runtime.overrides import explain_syntax_error, find_invalid_override
from tests.helpers import compose_config

INVALID_OVERRIDES = [  # overrides, message
    ("model.unit=3", "model.unit: no such key; did you mean model.units?"),
    ("data.max_len=3", "data.max_len: no such key; did you mean data.maxlen?"),
    ("callbacks.early_stoping.patience=3",
     "callbacks.early_stoping.patience: no such key; did you mean callbacks.early_stopping.patience?"),
    ("callbacks.diagnostics.gate=null",
     "callbacks.diagnostics.gate: no such key; did you mean callbacks.diagnostics.gates?"),
    ("baseline.random_forest.estimator.n_estimator=3", "baseline.random_forest.estimator.n_estimator: no such key; "
     "did you mean baseline.random_forest.estimator.n_estimators?"),
    ("experiment=best trainer.precison=3", "trainer.precison: no such key; did you mean trainer.precision?"),
    ("hydra.run.dirr=x", "hydra.run.dirr: no such key; did you mean hydra.run.dir?"),
    ("maxlen=3", "maxlen: no such key; did you mean data.maxlen?"),
    ("epochs=3", "epochs: no such key; did you mean trainer.max_epochs?"),
    ("optimiser=sgd", "optimiser: no such key; did you mean optimizer?"),
    ("launcher=joblib", "launcher: no such key; did you mean hydra/launcher?"),
    ("seed.x=3", "seed.x: no such key; did you mean seed?"),
    ("foo.bar=3", "foo.bar: no such key; see python -m sentiment.train --help"),
    ("~foo", "foo: no such key; see python -m sentiment.train --help"),
    ("optimizer.weight_decay=0.1",
     "optimizer.weight_decay: no such key; +optimizer.weight_decay=0.1 passes it to torch.optim.Adam"),
    ("callbacks.last.save_weights_only=true", "callbacks.last.save_weights_only: no such key; "
     "+callbacks.last.save_weights_only=true passes it to pytorch_lightning.callbacks.ModelCheckpoint"),
    ("optimizer=sgd,adam optimizer.momentum=0.5",
     "optimizer.momentum: no such key; +optimizer.momentum=0.5 passes it to torch.optim.Adam"),
    ("+seed=3", "+seed=3: the key exists; remove the +"),
    ("hydra.launcher=joblib", "hydra.launcher=joblib: is a group; type hydra/launcher=joblib"),
    ("optimizer=adm", "optimizer=adm: no such option; did you mean adam? (adagrad, adam, adamw, rmsprop, sgd)"),
    ("scheduler=null", "scheduler=null: no such option; choose one of cosine, none, onecycle, plateau, warmup"),
    ("model=3", "model=3: no such option; choose one of gru, lstm"),
    ("data=imdb,dmo", "data=dmo: no such option; did you mean demo? (default, demo, files, imdb)"),
    ("model.units=3 optimizer=sgd +optimizer.dampening=9 ++seed=3 ~scheduler baseline=[] hydra/launcher=joblib", None),
]  # fmt: skip


@pytest.mark.parametrize(("overrides", "message"), INVALID_OVERRIDES, ids=[line for line, _ in INVALID_OVERRIDES])
def test_invalid_overrides_are_explained(overrides: str, message: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["sentiment/train.py"])
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        assert find_invalid_override("config", overrides.split()) == message


RENAMED = {
    "adversarial": "adversarial_epsilon",
    "test": "test_ckpt",
    "data.val_rows": "data.val_split",
    "model.ngrams": "model.max_ngram",
    "model.chunk": "model.chunk_length",
    "model.vectors": "model.embedding_init",
    "callbacks.inspection": "callbacks.diagnostics",
    "callbacks.inspection.pr_curves": "callbacks.diagnostics.pr_curves",
    "logger.save_dir": "logger.tensorboard.save_dir",
    "tune.heartbeat": "tune.heartbeat_interval",
    "baseline.random_forest.ngrams": "baseline.random_forest.max_ngram",
}


def test_renamed_keys_are_answered_with_the_new_name() -> None:
    cfg = compose_config(name="tune")
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        for old, new in RENAMED.items():
            parent, _, name = new.rpartition(".")
            assert name in (OmegaConf.select(cfg, parent) if parent else cfg)
            assert find_invalid_override("tune", [f"{old}=null"]) == f"{old}: renamed to {new}"
        for old in ("model.ngram_rows", "model.ngram_buckets"):
            message = f"{old}: renamed to model.min_ngram_count, the minimum frequency of an n-gram"
            assert find_invalid_override("tune", [f"{old}=500"]) == message


@pytest.mark.parametrize("value", ["my file(1).csv", "a=b", 'the "best" (1)', "it's (1)", "a\\(b)", "ends with\\ ("])
def test_the_quoting_that_an_error_shows_works(value: str) -> None:
    shown = explain_syntax_error(f"data.path={value}", []).partition("for the shell: ")[2]
    [argument] = subprocess.run(["sh", "-c", f"printf %s {shown}"], capture_output=True, text=True).stdout.splitlines()
    assert compose_config(argument).data.path == value


def test_path_with_a_blank_is_shown_in_quotes() -> None:
    message = explain_syntax_error("b.csv", ["data=files", "data.path=a", "b.csv"])
    assert message == "b.csv: is not KEY=VALUE; if it belongs to the value before it, type 'data.path=a b.csv'"
