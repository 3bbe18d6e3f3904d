"""The module for the data: its network, n-grams that have an embedding, and word vectors."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from sentiment.data.datamodule import ReviewDataModule
from sentiment.data.encoded.ngrams import frequent_ngrams
from sentiment.data.encoded.vectors import ngram_vectors, pretrained_vectors, word_vectors
from sentiment.data.text.vocabulary import SPECIALS, TextEncoder
from sentiment.model.module import SentimentModule
from sentiment.model.ngram_embedding import NgramEmbedding
from sentiment.runtime.cache import cached_arrays, source_hash
from sentiment.runtime.config import instantiate_checked
from sentiment.runtime.errors import InputError, check_at_least, prefix_key
from sentiment.runtime.files import fingerprint
from sentiment.runtime.trust import find_targets

log = logging.getLogger("sentiment.training.experiment")  # a study silences its trials by this name


def make_module(
    cfg: DictConfig,
    encoder: TextEncoder,
    label_names: list[str],
    class_weights: Sequence[float] | None = None,
    ngrams: torch.Tensor | None = None,
) -> SentimentModule:
    """A freshly initialized module for texts of `encoder`; whatever the configuration names is trusted.

    Args:
        cfg: the configuration.
        encoder: of the data.
        label_names: names of the classes.
        class_weights: of the classes in the loss.
        ngrams: hashes of the n-grams that have an embedding, ascending, int64 `(n-grams,)`; None for none.

    Raises:
        InputError: a setting of the model is invalid.
    """
    model: Any = OmegaConf.to_container(cfg.model, resolve=True)
    model.pop("embedding_init", None)
    with prefix_key("model"):
        if "min_ngram_count" in model:
            check_at_least(1, min_ngram_count=model.pop("min_ngram_count"))
            model["num_ngrams"] = 0 if ngrams is None else len(ngrams)
        module = SentimentModule(
            encoder.to_dict(),
            label_names,
            model,
            optimizer=instantiate_checked(cfg.optimizer, "optimizer", _partial_=True),
            scheduler=instantiate_checked(cfg.scheduler, "scheduler", _partial_=True)
            if cfg.scheduler
            else None,
            loss=instantiate_checked(cfg.loss, "loss", _partial_=True),
            class_weights=class_weights,
            objective=cfg.objective,
            adversarial_epsilon=cfg.adversarial_epsilon,
            seed=cfg.seed,
            trust=find_targets(cfg),
        )
    embedding = getattr(module.net, "ngram_embedding", None)
    if ngrams is not None and isinstance(embedding, NgramEmbedding):
        embedding.hashes[1:] = ngrams
    return module


def find_ngrams(cfg: DictConfig, datamodule: ReviewDataModule) -> Tensor | None:
    """Hashes of the n-grams that occur `model.min_ngram_count` times, int64 `(n-grams,)`; None without n-grams."""
    max_ngram, min_count = cfg.model.get("max_ngram", 1), cfg.model.get("min_ngram_count")
    if min_count is None or max_ngram == 1:
        return None
    reviews, size = datamodule.training_texts, len(datamodule.encoder.vocabulary)
    hashes = torch.from_numpy(frequent_ngrams(reviews, size, max_ngram, min_count))
    log.info(
        "n-grams  %s of up to %d tokens that occur %d times or more",
        f"{len(hashes):,}",
        max_ngram,
        min_count,
    )
    if not len(hashes):
        log.warning("model.min_ngram_count=%d: no n-gram occurs so often; lower it", min_count)
    return hashes


def initialize_embedding(
    cfg: DictConfig, module: SentimentModule, datamodule: ReviewDataModule
) -> None:
    """Copy the vectors of `model.embedding_init` into the embeddings of words and n-grams.

    Raises:
        InputError: the network has no embedding, or the vectors cannot be found, learned or copied.
    """
    name, embedding = cfg.model.get("embedding_init"), getattr(module.net, "embedding", None)
    if not name:
        return
    if not isinstance(embedding, nn.Embedding):
        raise InputError(
            f"model.embedding_init={name}: {module.net.display_name} has no embedding; use null"
        )
    dim, vocabulary = embedding.embedding_dim, datamodule.encoder.vocabulary
    if name == "ppmi":
        vectors, ids = learn_vectors(datamodule, dim), torch.arange(len(SPECIALS), len(vocabulary))
    else:
        vectors, ids = pretrained_vectors(name, vocabulary.words)
    if vectors.shape[1] != dim:
        size = vectors.shape[1]
        raise InputError(
            f"model.embedding_init={name}: vectors have {size} dimensions; set model.embedding_dim={size}"
        )
    embedding.weight.data[ids] = vectors.to(embedding.weight.dtype)
    log.info(
        "embedding  %s: vectors for %s of %s words", name, f"{len(ids):,}", f"{len(vocabulary):,}"
    )
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
    hashes, max_ngram, dim = (
        embedding.hashes[1:].numpy(),
        embedding.max_ngram,
        embedding.embedding_dim,
    )
    key = [source_hash(ngram_vectors), datamodule.folder.name, size, dim, max_ngram, len(hashes)]
    return _learn_once(key, lambda: ngram_vectors(reviews, size, max_ngram, hashes, dim))


def _learn_once(key: list[Any], learn: Callable[[], npt.NDArray[np.float32]]) -> Tensor:
    arrays = cached_arrays(f"vectors/{fingerprint(key)}.npz", lambda: {"vectors": learn()})
    return torch.from_numpy(arrays["vectors"])
