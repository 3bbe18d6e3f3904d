"""The module for the data: its network, n-grams that have an embedding, and word vectors."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import seed_everything
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from sentiment.data.datamodule import ReviewDataModule
from sentiment.data.encoded.ngrams import frequent_ngrams
from sentiment.data.encoded.vectors import ngram_vectors, pretrained_vectors, word_vectors
from sentiment.data.text.vocabulary import SPECIALS, TextEncoder
from sentiment.model.module import SentimentModule
from sentiment.model.ngram_embedding import NgramEmbedding
from sentiment.runtime.cache import cached_arrays, source_hash
from sentiment.runtime.config import instantiate_checked
from sentiment.runtime.errors import InputError, check_at_least, prefix_key, quote_errors
from sentiment.runtime.files import fingerprint
from sentiment.runtime.run_folder import RUN_LOG
from sentiment.runtime.trust import find_targets

log = logging.getLogger(RUN_LOG)


def prepare_module(cfg: DictConfig, datamodule: ReviewDataModule) -> SentimentModule:
    """A module for the data: with its n-grams, word vectors and weights of the classes."""
    seed_everything(cfg.seed, verbose=False)  # teachers, if any, have drawn numbers
    model = cfg.model
    ngrams = find_ngrams(datamodule, model.get("max_ngram", 1), model.get("min_ngram_count"))
    weights = _weigh_classes(datamodule, cfg.class_weights)
    module = make_module(cfg, datamodule.encoder, datamodule.label_names, weights, ngrams)
    module.data_contents = datamodule.contents
    if name := model.get("embedding_init"):
        initialize_embedding(module, datamodule, name)
    return module


def make_module(
    cfg: DictConfig,
    encoder: TextEncoder,
    label_names: list[str],
    class_weights: Sequence[float] | None = None,
    ngrams: Tensor | None = None,
) -> SentimentModule:
    """A freshly initialized module; `ngrams` are the ascending hashes of those with an embedding, int64 `(N,)`."""
    model: Any = OmegaConf.to_container(cfg.model, resolve=True)
    model.pop("embedding_init", None)
    factories = {
        group: instantiate_checked(cfg[group], group, _partial_=True)
        for group in ("optimizer", "scheduler", "loss")
        if cfg[group]
    }
    with prefix_key("model"):
        if "min_ngram_count" in model:
            check_at_least(1, min_ngram_count=model.pop("min_ngram_count"))
            model["num_ngrams"] = 0 if ngrams is None else len(ngrams)
        module = SentimentModule(
            encoder.to_dict(),
            label_names,
            model,
            **factories,
            class_weights=class_weights,
            objective=cfg.objective,
            adversarial_epsilon=cfg.adversarial_epsilon,
            adversarial_weight=cfg.adversarial_weight,
            virtual_adversarial_weight=cfg.virtual_adversarial_weight,
            entropy_weight=cfg.entropy_weight,
            seed=cfg.seed,
            trust=find_targets(cfg),
        )
    embedding = getattr(module.net, "ngram_embedding", None)
    if ngrams is not None and isinstance(embedding, NgramEmbedding):
        embedding.hashes[1:] = ngrams
    return module


def _weigh_classes(datamodule: ReviewDataModule, class_weights: str | None) -> list[float] | None:
    """Weights of the classes in the loss: `balanced`, inversely proportional to their frequency."""
    if not class_weights:
        return None
    train, names = datamodule.splits["train"].reviews, datamodule.label_names
    labels = train.labels[train.rows]
    weights = compute_class_weight(class_weights, classes=np.arange(len(names)), y=labels)
    log.info("class weights  %s", ", ".join(map("{} {:.3f}".format, names, weights)))
    return [float(weight) for weight in weights]


def find_ngrams(
    datamodule: ReviewDataModule, max_ngram: int, min_count: int | None
) -> Tensor | None:
    """Hashes of the n-grams that occur `min_count` times, int64 `(n-grams,)`; None without n-grams."""
    if min_count is None or max_ngram == 1:
        return None
    reviews, size = datamodule.training_texts, len(datamodule.encoder.vocabulary)
    hashes = torch.from_numpy(frequent_ngrams(reviews, size, max_ngram, min_count))
    found = f"{len(hashes):,} of up to {max_ngram} tokens"
    log.info(f"n-grams  {found} that occur {min_count} times or more")
    if not len(hashes):
        log.warning("model.min_ngram_count=%d: no n-gram occurs so often; lower it", min_count)
    return hashes


def initialize_embedding(module: SentimentModule, datamodule: ReviewDataModule, name: str) -> None:
    """Copy the vectors of `model.embedding_init=name` into the embeddings of words and n-grams."""
    key, vocabulary = f"model.embedding_init={name}", datamodule.encoder.vocabulary
    with quote_errors(key):
        weight = module.net.embedding.weight.data
    if name == "ppmi":
        vectors = learn_vectors(datamodule, weight.shape[1])
        ids = torch.arange(len(SPECIALS), len(vocabulary))
    else:
        vectors, ids = pretrained_vectors(name, vocabulary.words)
    if (size := vectors.shape[1]) != weight.shape[1]:
        raise InputError(f"{key}: vectors have {size} dimensions; set model.embedding_dim={size}")
    weight[ids] = vectors.to(weight.dtype)
    log.info(f"embedding  {name}: vectors for {len(ids):,} of {len(vocabulary):,} words")
    ngrams = getattr(module.net, "ngram_embedding", None)
    if name == "ppmi" and isinstance(ngrams, NgramEmbedding) and ngrams.num_embeddings > 1:
        ngrams.weight.data[1:] = learn_ngram_vectors(datamodule, ngrams)


def learn_vectors(datamodule: ReviewDataModule, dim: int) -> Tensor:
    """Vectors of all words but the special ones, float32 `(N, dim)`, see `word_vectors`; learned once, then cached."""
    reviews, size = datamodule.training_texts, len(datamodule.encoder.vocabulary)
    key = [source_hash(word_vectors), datamodule.folder.name, size, dim]
    return _learn_once(key, lambda: word_vectors(reviews, size, dim))


def learn_ngram_vectors(datamodule: ReviewDataModule, embedding: NgramEmbedding) -> Tensor:
    """Vectors of the n-grams of an embedding, float32 `(n-grams, ngram_dim)`; learned once, then cached."""
    reviews, size = datamodule.training_texts, len(datamodule.encoder.vocabulary)
    hashes, max_ngram = embedding.hashes[1:].numpy(), embedding.max_ngram
    dim = embedding.embedding_dim
    key = [source_hash(ngram_vectors), datamodule.folder.name, size, dim, max_ngram, len(hashes)]
    return _learn_once(key, lambda: ngram_vectors(reviews, size, max_ngram, hashes, dim))


def _learn_once(key: list[Any], learn: Callable[[], npt.NDArray[np.float32]]) -> Tensor:
    arrays = cached_arrays(f"vectors/{fingerprint(key)}.npz", lambda: {"vectors": learn()})
    return torch.from_numpy(arrays["vectors"])
