"""Words and pairs of words of the reviews, as a sparse matrix whose columns can be named."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_matrix, hstack

from sentiment.data import Integers
from sentiment.data.encoded.store import EncodedReviews

MIN_REVIEWS = 2  # that an n-gram is in, else it has no column


@dataclass(frozen=True)
class WordCounts:
    """How often words and pairs occur in `N` reviews; `F` columns, those of words first."""

    matrix: csr_matrix  # float32 `(N, F)`
    grams: Integers  # word ids of each column, int64 `(F, 2)`; the second of a word is -1
    sizes: Integers  # different words and pairs of each review, also those without a column, int64 `(N,)`


def count_words(reviews: EncodedReviews) -> WordCounts:
    """Count the words and pairs within the reviews, which are not truncated."""
    ids = np.concatenate([*reviews]).astype(np.int64)
    review = np.repeat(np.arange(len(reviews)), reviews.lengths)
    is_pair = review[1:] == review[:-1]
    first, second, of_pair = ids[:-1][is_pair], ids[1:][is_pair], review[1:][is_pair]
    size = int(ids.max()) + 1
    parts = [(ids, review), (first * size + second, of_pair)]
    matrices, grams, sizes = [], [], np.zeros(len(reviews), dtype=np.int64)
    for length, (keys, rows) in enumerate(parts, 1):
        codes, found = pd.factorize(keys)
        shape = (len(reviews), len(found))
        counts = csr_matrix((np.ones(len(codes), np.float32), (rows, codes)), shape=shape)
        counts.sum_duplicates()
        sizes += np.diff(counts.indptr)
        kept = np.bincount(counts.indices, minlength=len(found)) >= MIN_REVIEWS
        matrices.append(_select_columns(counts, kept))
        pair = np.stack(np.divmod(found[kept], size), 1)
        grams.append(pair if length == 2 else np.stack([found[kept], np.full(kept.sum(), -1)], 1))
    return WordCounts(hstack(matrices, format="csr"), np.concatenate(grams), sizes)


def _select_columns(matrix: csr_matrix, kept: npt.NDArray[np.bool_]) -> csr_matrix:
    """`matrix[:, kept]`, ten times as fast."""
    is_kept = kept[matrix.indices]
    numbers = np.cumsum(kept, dtype=np.int32) - 1
    indptr = np.concatenate([[0], np.cumsum(is_kept)])[matrix.indptr]
    data: Any = (matrix.data[is_kept], numbers[matrix.indices[is_kept]], indptr)
    return csr_matrix(data, shape=(matrix.shape[0], int(kept.sum())))
