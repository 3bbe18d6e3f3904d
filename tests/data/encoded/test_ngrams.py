import copy
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from sentiment.classifier import Classifier
from sentiment.data.datamodule import ReviewDataModule
from sentiment.data.encoded.ngrams import frequent_ngrams, hash_ngrams
from sentiment.data.encoded.store import EncodedReviews
from sentiment.data.text.tokenizers import Tokenizer
from sentiment.data.text.vocabulary import SPECIALS, UNKNOWN, TextEncoder, Vocabulary
from sentiment.model.checkpoint import read_checkpoint, restore_model
from sentiment.model.ngram_embedding import NgramEmbedding
from sentiment.model.onnx_export import export_onnx
from sentiment.model.recurrent import LSTMClassifier
from sentiment.runtime.errors import InputError
from sentiment.training.experiment import run_experiment
from sentiment.training.module_setup import (
    find_ngrams,
    learn_ngram_vectors,
    learn_vectors,
    prepare_module,
)
from sentiment.training.settings import check_settings
from tests.helpers import Compose

PAIRS = torch.cartesian_prod(torch.arange(30), torch.arange(30))  # (900, 2)


def get_embedding(net: nn.Module) -> NgramEmbedding:
    embedding = net.get_submodule("ngram_embedding")
    assert isinstance(embedding, NgramEmbedding)
    return embedding


def make_net(**settings: Any) -> LSTMClassifier:
    """A net with large embeddings of a third of the pairs and triples of the first 30 words."""
    torch.manual_seed(0)
    triples = torch.cartesian_prod(*[torch.arange(30)] * 3)  # (27000, 3)
    hashes = torch.cat([hash_ngrams(PAIRS, 3)[:, 1, 0], hash_ngrams(triples, 3)[:, 2, 1]])
    hashes = torch.tensor(sorted({*hashes.tolist()})[::3])
    net = LSTMClassifier(
        30,
        1,
        embedding_dim=12,
        units=10,
        max_ngram=3,
        num_ngrams=len(hashes),
        ngram_dim=4,
        **settings,
    )
    get_embedding(net).hashes[1:] = hashes
    nn.init.normal_(get_embedding(net).weight[1:])
    return net.eval()


def test_hashes_are_those_of_the_ngram_that_ends_at_each_id_and_hardly_collide() -> None:
    hashes = hash_ngrams(torch.tensor([[5, 6, 7, 6, 7, 8], [7, 6, 5, 6, 7, 8]]), 3)  # (2, 6, 2)
    pairs, triples = hashes.unbind(2)
    assert pairs[0, 1] == pairs[1, 3] != pairs[1, 1]  # 5 6, 5 6, 7 6
    assert pairs[0, 4] == pairs[1, 4]  # 6 7
    assert triples[0, 2] == triples[1, 4] != triples[0, 4]  # 5 6 7, 5 6 7, 7 6 7
    assert pairs[0, 0] == hash_ngrams(torch.tensor([0, 5]), 2)[1, 0]  # after padding
    pairs = hash_ngrams(torch.cartesian_prod(torch.arange(600), torch.arange(29_400, 30_000)), 2)[
        :, 1, 0
    ]
    assert 0 <= pairs.min() < pairs.max() < 2**31 - 1
    assert len({*pairs.tolist()}) > 359_800  # of 360,000; 59 pairs of them collide by chance


@pytest.mark.parametrize("min_count", [1, 2, 6, 1000])
def test_frequent_ngrams_are_counted_within_the_reviews_of_the_split(
    min_count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentiment.data.encoded.ngrams.PIECE", 7)
    random = np.random.default_rng(0)
    texts = [random.integers(1, 12, random.integers(1, 9)).astype(np.int32) for _ in range(60)]
    rows = random.permutation(60)[:50]
    offsets = np.cumsum([0, *map(len, texts)])
    reviews = EncodedReviews(
        np.concatenate(texts), offsets, labels=np.zeros(60, np.int64), rows=rows
    )
    counts = Counter(
        tuple(known[start : start + order])
        for known in ([UNKNOWN if id_ >= 10 else int(id_) for id_ in texts[row]] for row in rows)
        for order in (2, 3)
        for start in range(len(known) - order + 1)
    )
    expected = {
        int(hash_ngrams(torch.tensor(ngram), 3)[-1, len(ngram) - 2])
        for ngram in counts
        if counts[ngram] >= min_count
    }
    found = frequent_ngrams(reviews, vocabulary_size=10, max_ngram=3, min_count=min_count)
    assert found.dtype == np.int64
    assert found.tolist() == sorted(expected)
    assert bool(expected) == (min_count < 1000)


def test_ngrams_of_the_vocabulary_get_their_row_and_all_others_a_zero_vector_that_is_not_trained() -> (
    None
):
    net = make_net()
    embedding = get_embedding(net)
    x = net.embed(PAIRS)
    assert x.shape == (900, 2, 12 + 2 * 4)
    rows = {hash_: row for row, hash_ in enumerate(embedding.hashes.tolist())}
    expected = torch.tensor(
        [rows.get(hash_, 0) for hash_ in hash_ngrams(PAIRS, 3)[:, 1, 0].tolist()]
    )
    assert 200 < (expected > 0).sum() < 400
    assert torch.equal(x[:, 1, 12:16], embedding.weight[expected])
    assert (x[expected == 0, 1, 12:16] == 0).all()
    torch.autograd.backward(x.sum())
    assert embedding.weight.grad is not None
    assert (embedding.weight.grad[0] == 0).all()
    assert (embedding.weight.grad[expected[expected > 0]] > 0).all()
    embedding.reset_parameters()
    assert (embedding.weight[0] == 0).all()
    assert 0.04 < embedding.weight.abs().max() <= 0.05


@pytest.mark.parametrize("num_ngrams", [0, 1, 2, 3, 4, 7, 8, 100])
def test_exported_lookup_finds_the_same_rows(
    num_ngrams: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedding = NgramEmbedding(2, num_ngrams, 1)
    embedding.hashes[1:] = (
        torch.randperm(300, generator=torch.Generator().manual_seed(0))[:num_ngrams].sort().values
    )
    hashes = torch.arange(300).view(3, 50, 2)
    rows = embedding.lookup(hashes)
    assert {*rows.flatten().tolist()} == {*range(num_ngrams + 1)}
    assert torch.equal(embedding.hashes[rows][rows > 0], hashes[rows > 0])
    monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)
    assert torch.equal(embedding.lookup(hashes), rows)


def test_exported_model_embeds_ngrams(tmp_path: Path) -> None:
    encoder = TextEncoder(
        Vocabulary([*SPECIALS, *map(str, range(28))]), Tokenizer("words"), 20, "post", "pre"
    )
    net = make_net(masked=True, pooling="max")
    assert export_onnx(net, encoder, ["a", "b"], tmp_path / "model.onnx") <= 1e-4
    ids = torch.randint(1, 30, (5, 20))
    with torch.no_grad():
        difference = net(ids) - net.requires_grad_(False).forward_embedded(
            torch.cat([net.embedding(ids), torch.zeros(5, 20, 8)], 2), net.lengths(ids)
        )
    assert difference.abs().max() > 0.01  # so that the comparison at export notices wrong rows


def test_hashes_are_kept_by_averaging_conversion_and_checkpoints() -> None:
    net = make_net()
    hashes = get_embedding(net).hashes.clone()
    average: Any = get_ema_multi_avg_fn(0.9)  # type: ignore[no-untyped-call]
    averaged = AveragedModel(net, multi_avg_fn=average, use_buffers=True)
    for _ in range(3):
        averaged.update_parameters(net)
    restored = make_net()
    get_embedding(restored).hashes.zero_()
    restored.load_state_dict(averaged.module.state_dict())
    for other in (averaged.module, restored, copy.deepcopy(net).bfloat16().float()):
        assert torch.equal(get_embedding(other).hashes, hashes)
    assert get_embedding(net.to("meta")).hashes.is_meta


def test_run_embeds_the_ngrams_of_its_training_rows(
    masked_run: Path, datamodule: ReviewDataModule
) -> None:
    checkpoint = read_checkpoint(masked_run / "checkpoints" / "best.ckpt")
    hashes = checkpoint["state_dict"]["net.ngram_embedding._extra_state"]
    reviews, size = datamodule.splits["train"].reviews, len(datamodule.encoder.vocabulary)
    assert hashes.tolist() == [-1, *frequent_ngrams(reviews, size, max_ngram=3, min_count=3)]
    assert checkpoint["hyper_parameters"]["model"]["num_ngrams"] == len(hashes) - 1 > 100
    weight = checkpoint["state_dict"]["net.ngram_embedding.weight"]
    assert (weight[0] == 0).all()
    assert (weight[1:].abs().amax(1) > 0.05).float().mean() > 0.5  # trained


def _set(name: str, change: Callable[[Tensor], object]) -> Callable[[dict[str, Any]], object]:
    key = f"net.ngram_embedding.{name}"
    return lambda checkpoint: checkpoint["state_dict"].update(
        {key: change(checkpoint["state_dict"][key])}
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda checkpoint: checkpoint["hyper_parameters"]["model"].update(num_ngrams=1 << 40),
            "hashes of n-grams: ",
        ),
        (
            lambda checkpoint: checkpoint["hyper_parameters"]["model"].update(num_ngrams=7),
            "hashes of n-grams: not int64",
        ),
        (
            lambda checkpoint: checkpoint["state_dict"].pop("net.ngram_embedding._extra_state"),
            "Missing key",
        ),
        (_set("_extra_state", Tensor.float), "hashes of n-grams: not int64"),
        (_set("_extra_state", Tensor.tolist), "hashes of n-grams: not int64"),
        (_set("_extra_state", lambda hashes: hashes[:-1]), "hashes of n-grams: not int64"),
        (_set("weight", lambda weight: weight[:-1]), "size mismatch"),
    ],
)
def test_checkpoint_whose_ngrams_do_not_match_is_rejected(
    masked_run: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    checkpoint = read_checkpoint(masked_run / "checkpoints" / "best.ckpt")
    change(checkpoint)
    with pytest.raises(
        InputError, match=rf"^run: weights and settings do not match \(.*{message}.*\); use another"
    ) as error:
        restore_model(Path("run"), checkpoint)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change", [Tensor.neg, torch.zeros_like, lambda hashes: torch.full_like(hashes, 2**62)]
)
def test_wrong_hashes_in_a_checkpoint_do_no_harm(
    masked_run: Path, change: Callable[[Tensor], Tensor]
) -> None:
    checkpoint = read_checkpoint(masked_run / "checkpoints" / "best.ckpt")
    _set("_extra_state", change)(checkpoint)
    classifier = Classifier(*restore_model(Path("run"), checkpoint))
    assert classifier.log_probabilities(classifier.encode(["a good film"])).isfinite().all()


def test_minimum_count_is_checked_and_may_leave_no_ngram(
    composed: Compose, datamodule: ReviewDataModule, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = composed()
    assert find_ngrams(datamodule, 1, None) is None
    cfg.model.min_ngram_count = 0
    with pytest.raises(InputError, match=r"^model\.min_ngram_count=0: must be an integer >= 1$"):
        check_settings(cfg)
    with caplog.at_level(logging.INFO):
        for min_count in (3, 100_000):
            hashes = find_ngrams(datamodule, 2, min_count)
            assert hashes is not None
            assert (
                f"n-grams  {len(hashes):,} of up to 2 tokens that occur {min_count} times or more"
                in caplog.messages
            )
    assert hashes is not None
    assert not len(hashes)
    assert (
        caplog.messages[-1] == "model.min_ngram_count=100000: no n-gram occurs so often; lower it"
    )


def test_ppmi_vectors_initialize_the_words_and_the_ngrams(
    composed: Compose, datamodule: ReviewDataModule
) -> None:
    cfg = composed(
        "model.embedding_init=ppmi",
        "model.max_ngram=2",
        "model.min_ngram_count=20",
        "model.ngram_dim=5",
    )
    module = prepare_module(cfg, datamodule)
    ngrams = module.net.ngram_embedding
    assert isinstance(ngrams, NgramEmbedding)
    assert torch.equal(module.net.embedding.weight[len(SPECIALS) :], learn_vectors(datamodule, 8))
    assert torch.equal(ngrams.weight[1:], learn_ngram_vectors(datamodule, ngrams))
    assert ngrams.weight[1:].norm(dim=1).min() > 0.3
    assert not ngrams.weight[0].any()


@pytest.mark.parametrize("epsilon", [0.0, 0.05])
def test_frozen_embeddings_keep_their_vectors_while_the_other_weights_learn(
    composed: Compose, datamodule: ReviewDataModule, epsilon: float
) -> None:
    settings = ["model.embedding_init=ppmi", "model.freeze_embedding=true", "model.max_ngram=2"]
    cfg = composed(
        *settings,
        "model.min_ngram_count=20",
        "trainer.max_epochs=1",
        f"adversarial_epsilon={epsilon}",
    )
    net = run_experiment(cfg).model.net
    assert isinstance(net, LSTMClassifier)
    ngrams = net.ngram_embedding
    assert isinstance(ngrams, NgramEmbedding)
    # In half the size on disk, and read back as float32.
    assert torch.equal(
        net.embedding.weight[len(SPECIALS) :], learn_vectors(datamodule, 8).half().float()
    )
    assert torch.equal(ngrams.weight[1:], learn_ngram_vectors(datamodule, ngrams).half().float())
    saved = torch.load(cfg.output_dir + "/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert (
        saved["net.embedding.weight"].dtype
        == saved["net.ngram_embedding.weight"].dtype
        == torch.float16
    )
    assert net.linear.bias.any()


def test_frozen_embeddings_need_vectors(composed: Compose) -> None:
    with pytest.raises(
        InputError, match=r"^model\.freeze_embedding=true: random vectors say nothing; set model"
    ):
        run_experiment(composed("model.freeze_embedding=true"))
