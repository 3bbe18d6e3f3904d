"""Word vectors learned from the training reviews alone, without their classes."""

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from sklearn.utils.extmath import randomized_svd

from sentiment.data.batching import PaddedReviews
from sentiment.data.text import SPECIALS, UNKNOWN
from sentiment.errors import InputError

WINDOW = 5  # words to either side that count as near, the next one most
SMOOTHING = 0.75  # exponent of the frequency of what is near, so that rare words say less
SPREAD = 0.2  # root mean square of a vector's values: above the ±0.05 of a fresh embedding, below GloVe's 0.4


def learned_vectors(split: PaddedReviews, words: int, size: int) -> npt.NDArray[np.float32]:
    """Factorizes the positive pointwise mutual information of near words (Levy, Goldberg & Dagan 2015, section 3).

    Args:
        split: the training rows, which are read whole.
        words: of the vocabulary.
        size: values of each vector.

    Returns:
        The vectors of all words but the special ones, float32 `(words - 2, size)`.

    Raises:
        InputError: the vocabulary is smaller than that.
    """
    if size > words:
        raise InputError(f"model.embedding_dim={size}: only {words} words to learn vectors from; lower it")
    information = _mutual_information(_cooccurrences(split, words))
    left, values, _ = randomized_svd(information, size, n_iter=3, random_state=0)
    vectors = left * np.sqrt(values)  # (words, size)
    lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    spread: npt.NDArray[np.float32] = (SPREAD * np.sqrt(size) * vectors / lengths).astype(np.float32)
    return spread[len(SPECIALS) :]


def _cooccurrences(split: PaddedReviews, words: int) -> csr_matrix:
    """How often each word stands near each other one, `1/distance` a time: `(words, words)`, symmetric."""
    reviews = split.reviews
    ids = np.concatenate([*reviews]).astype(np.int64)  # (all words of the split,)
    ids[ids >= words] = UNKNOWN
    review = np.repeat(np.arange(len(reviews)), reviews.lengths)
    counts = csr_matrix((words, words))
    for distance in range(1, WINDOW + 1):
        together = review[distance:] == review[:-distance]
        pair = ids[:-distance][together], ids[distance:][together]
        counts += csr_matrix((np.full(len(pair[0]), 1 / distance), pair), (words, words))
    return counts + counts.T


def _mutual_information(counts: csr_matrix) -> csr_matrix:
    """Of counts `(words, words)`: `log p(a, b) / p(a) p(b)` where that is positive."""
    counts = counts.tocoo()
    each = np.bincount(counts.row, counts.data, counts.shape[0])
    near = each**SMOOTHING / (each**SMOOTHING).sum()
    information = np.log(counts.data / (each[counts.row] * near[counts.col]))
    positive = information > 0
    return csr_matrix((information[positive], (counts.row[positive], counts.col[positive])), counts.shape)
