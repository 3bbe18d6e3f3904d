"""Vectors of words and n-grams: pre-trained, or learned from texts without labels.

The learned ones factorize positive pointwise mutual information (Levy, Goldberg & Dagan 2015): of words and the words
around them, and, as in latent semantic analysis (Deerwester et al. 1990), of words or n-grams and the reviews in which
they occur.
"""

import ssl
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_matrix
from sklearn.utils.extmath import randomized_svd
from torch import Tensor

from sentiment.data import Integers
from sentiment.data.encoded.ngrams import hash_reviews
from sentiment.data.encoded.store import EncodedReviews
from sentiment.data.text.vocabulary import SPECIALS
from sentiment.runtime.cache import cache_dir
from sentiment.runtime.errors import InputError

WINDOW = 5  # words on either side that count as context, the nearest most
CONTEXT_SMOOTHING = 0.75  # exponent of the context frequencies: rare contexts count less
# Of the values of a vector: above the ±0.05 of a random embedding, below GloVe's 0.4.
TARGET_RMS = 0.2


def word_vectors(
    reviews: EncodedReviews, vocabulary_size: int, dim: int
) -> npt.NDArray[np.float32]:
    """Vectors of all words but the special ones, float32 `(vocabulary_size - 2, dim)`.

    Two thirds of the values come from the words around them, the others from their reviews, which are not truncated.
    """
    of_reviews = dim // 3
    parts = [
        _factorize(_ppmi(_cooccurrences(reviews, vocabulary_size)), dim - of_reviews),
        _factorize(_ppmi(_occurrences(reviews, vocabulary_size)), of_reviews),
    ]
    return np.concatenate(parts, 1)[len(SPECIALS) :]


def ngram_vectors(
    reviews: EncodedReviews, vocabulary_size: int, max_ngram: int, vocabulary: Integers, dim: int
) -> npt.NDArray[np.float32]:
    """Vectors of the n-grams of a vocabulary of hashes, ascending, `(n-grams,)`, from their reviews.

    float32 `(n-grams, dim)`; the last values are zero if there are fewer n-grams or reviews than `dim`.
    """
    counts = _count_ngrams(reviews, vocabulary_size, max_ngram, vocabulary)
    return _factorize(_ppmi(counts.sign()), dim)


def _count_ngrams(
    reviews: EncodedReviews, vocabulary_size: int, max_ngram: int, vocabulary: Integers
) -> csr_matrix:
    """How often each n-gram of `vocabulary` occurs in each review, float32 `(n-grams, reviews)`."""
    places = []
    for hashes, review in hash_reviews(reviews, vocabulary_size, max_ngram):
        row = np.searchsorted(vocabulary, hashes).clip(max=len(vocabulary) - 1)
        found = vocabulary[row] == hashes
        places.append(np.stack([row[found], review[found]]).astype(np.int32))
    rows, columns = np.concatenate(places, 1)
    ones = np.ones(len(rows), np.float32)
    return csr_matrix((ones, (rows, columns)), (len(vocabulary), len(reviews)))


def _factorize(matrix: csr_matrix, dim: int) -> npt.NDArray[np.float32]:
    """Vectors of the rows, all of the same norm, float32 `(rows, dim)`, by a truncated singular value decomposition."""
    left, values, _ = randomized_svd(matrix, min(dim, *matrix.shape), n_iter=3, random_state=0)
    vectors = left * np.sqrt(values)
    norms = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    scaled = TARGET_RMS * np.sqrt(dim) * vectors / norms
    return np.pad(scaled.astype(np.float32), ((0, 0), (0, dim - scaled.shape[1])))


def _occurrences(reviews: EncodedReviews, vocabulary_size: int) -> csr_matrix:
    """Whether a word occurs in a review, 0 or 1: `(vocabulary_size, reviews)`."""
    ids, review = reviews.flatten(vocabulary_size)
    ones = np.ones(len(ids), np.float32)
    return csr_matrix((ones, (ids, review)), (vocabulary_size, len(reviews))).sign()


def _cooccurrences(reviews: EncodedReviews, vocabulary_size: int) -> csr_matrix:
    """How often two words are near each other, weighted by 1/distance: symmetric `(vocabulary_size,) * 2`."""
    ids, review = reviews.flatten(vocabulary_size)
    counts = csr_matrix((vocabulary_size, vocabulary_size))
    for distance in range(1, WINDOW + 1):
        same_review = review[distance:] == review[:-distance]
        pair = ids[:-distance][same_review], ids[distance:][same_review]
        counts += csr_matrix((np.full(len(pair[0]), 1 / distance), pair), counts.shape)
    return counts + counts.T


def _ppmi(counts: csr_matrix) -> csr_matrix:
    """`max(0, log p(a, b) / (p(a) p(b)))` of a matrix of counts, of the same shape; the columns are the contexts."""
    counts = counts.tocoo()
    frequencies = np.bincount(counts.row, counts.data, counts.shape[0])
    context = np.bincount(counts.col, counts.data, counts.shape[1]) ** CONTEXT_SMOOTHING
    context /= context.sum()
    information = np.log(counts.data / (frequencies[counts.row] * context[counts.col]))
    positive = information > 0
    places = counts.row[positive], counts.col[positive]
    return csr_matrix((information[positive], places), counts.shape)


def pretrained_vectors(name: str, words: Sequence[str]) -> tuple[Tensor, Tensor]:
    """The pre-trained vectors of words that are known, float32 `(N, E)`, and the ids of these words, int64 `(N,)`.

    `name` is one of torchtext's, such as `glove.6B.100d` (downloaded once), or a local file of lines `word value …`.
    """
    from torchtext.vocab import Vectors, pretrained_aliases  # slow to import

    try:
        cache, file = cache_dir() / "vectors", Path(name)
        # torchtext would disable certificate checks for the whole process.
        with (
            patch.object(ssl, "_create_unverified_context", ssl.create_default_context),
            patch.object(ssl, "_create_default_https_context"),
        ):
            if file.is_file():
                stat = file.stat()  # torchtext's cache is keyed by the file name alone
                pretrained = Vectors(name, cache=cache / f"{stat.st_mtime_ns}_{stat.st_size}")
            else:
                pretrained = pretrained_aliases[name](cache=cache)
    except (OSError, RuntimeError, ValueError, TypeError, LookupError, ZeroDivisionError) as error:
        raise InputError(
            f"model.embedding_init={name}: cannot be read or downloaded ({error}); use ppmi, a file of lines "
            f"'word value …' or one of {', '.join(pretrained_aliases)}"
        ) from error
    found = [id_ for id_, word in enumerate(words) if word in pretrained.stoi]
    rows = [pretrained.stoi[words[id_]] for id_ in found]
    return pretrained.vectors[rows].float(), torch.tensor(found, dtype=torch.int64)
