"""Word vectors learned from the texts of the training rows, without their labels."""

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from sklearn.utils.extmath import randomized_svd

from sentiment.data.encoding import EncodedReviews
from sentiment.data.text import SPECIALS, UNKNOWN
from sentiment.runtime.errors import InputError

WINDOW = 5  # words on either side that count as context, the nearest most
CONTEXT_SMOOTHING = 0.75  # exponent of the context frequencies: rare contexts count less
TARGET_RMS = 0.2  # of the values of a vector: above the ±0.05 of a random embedding, below GloVe's 0.4


def ppmi_vectors(reviews: EncodedReviews, vocabulary_size: int, dim: int) -> npt.NDArray[np.float32]:
    """Factorize the positive pointwise mutual information of words and contexts (Levy, Goldberg & Dagan 2015).

    Args:
        reviews: the training rows, read without truncation.
        vocabulary_size: number of words, special ones included.
        dim: values of each vector.

    Returns:
        The vectors of all words but the special ones, float32 `(vocabulary_size - 2, dim)`.

    Raises:
        InputError: the vocabulary is smaller than `dim`.
    """
    if dim > vocabulary_size:
        raise InputError(
            f"model.embedding_dim={dim}: more than the {vocabulary_size} words to learn vectors of; type "
            f"model.embedding_dim={vocabulary_size}"
        )
    left, values, _ = randomized_svd(_ppmi(_cooccurrences(reviews, vocabulary_size)), dim, n_iter=3, random_state=0)
    vectors = left * np.sqrt(values)  # (vocabulary_size, dim)
    norms = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    scaled: npt.NDArray[np.float32] = (TARGET_RMS * np.sqrt(dim) * vectors / norms).astype(np.float32)
    return scaled[len(SPECIALS) :]


def _cooccurrences(reviews: EncodedReviews, vocabulary_size: int) -> csr_matrix:
    """How often two words are near each other, weighted by 1/distance: symmetric `(vocabulary_size,) * 2`."""
    ids = np.concatenate([*reviews]).astype(np.int64)  # (all tokens of the split,)
    ids[ids >= vocabulary_size] = UNKNOWN
    review = np.repeat(np.arange(len(reviews)), reviews.lengths)
    counts = csr_matrix((vocabulary_size, vocabulary_size))
    for distance in range(1, WINDOW + 1):
        same_review = review[distance:] == review[:-distance]
        pair = ids[:-distance][same_review], ids[distance:][same_review]
        counts += csr_matrix((np.full(len(pair[0]), 1 / distance), pair), counts.shape)
    return counts + counts.T


def _ppmi(counts: csr_matrix) -> csr_matrix:
    """`max(0, log p(a, b) / (p(a) p(b)))` of a matrix of counts, of the same shape."""
    counts = counts.tocoo()
    frequencies = np.bincount(counts.row, counts.data, counts.shape[0])
    context = frequencies**CONTEXT_SMOOTHING / (frequencies**CONTEXT_SMOOTHING).sum()
    information = np.log(counts.data / (frequencies[counts.row] * context[counts.col]))
    positive = information > 0
    return csr_matrix((information[positive], (counts.row[positive], counts.col[positive])), counts.shape)
