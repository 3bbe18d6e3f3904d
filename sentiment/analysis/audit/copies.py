"""Reviews that are copies, or nearly copies, of other ones."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from sentiment.analysis.audit.features import WordCounts
from sentiment.data import Integers

NO_TOKENS = 0  # hash of a review without any
MIN_SIMILARITY = 0.8  # of near copies: Jaccard's, of their words and pairs
MIN_SIZE = 10  # different words and pairs of a near copy
BANDS, ROWS = 12, 5  # finds 99 of 100 pairs with a similarity of 0.8, and all with 0.9


def find_copies(hashes: Integers, counts: WordCounts) -> pd.DataFrame:
    """Rows with the tokens of an earlier row or nearly so: columns `row`, `other` and `similarity`.

    Exact copies refer to the first row with their tokens and have the similarity 1; near copies are
    found by MinHash (Broder 1997) among the first rows, in linear time.

    Args:
        hashes: of the tokens of each review, `hash_tokens`, int64 `(N,)`.
        counts: of the words of each review.
    """
    firsts, codes = np.unique(hashes, return_index=True, return_inverse=True)[1:]
    rows = np.flatnonzero((firsts[codes] != np.arange(len(hashes))) & (hashes != NO_TOKENS))
    exact = pd.DataFrame({"row": rows, "other": firsts[codes][rows], "similarity": 1.0})
    long = np.sort(firsts[counts.sizes[firsts] >= MIN_SIZE])
    candidates = _find_candidates(counts, long)
    first, second = candidates.T
    shared = counts.matrix[first].astype(bool).multiply(counts.matrix[second].astype(bool))
    common = np.asarray(shared.sum(1)).ravel()
    similarity = common / (counts.sizes[first] + counts.sizes[second] - common)
    near = pd.DataFrame({"row": second, "other": first, "similarity": similarity})
    near = near[near.similarity >= MIN_SIMILARITY].sort_values("similarity", ascending=False)
    return pd.concat([exact, near.drop_duplicates("row")]).sort_values("row", ignore_index=True)


def _find_candidates(counts: WordCounts, rows: Integers) -> npt.NDArray[np.int64]:
    """Different pairs of rows, the earlier one first, whose MinHash signatures share a band, int64 `(pairs, 2)`."""
    matrix = counts.matrix[rows]
    rows, matrix = rows[np.diff(matrix.indptr) > 0], matrix[np.diff(matrix.indptr) > 0]
    generator, pairs = np.random.default_rng(0), [np.empty((0, 2), dtype=np.int64)]
    for _ in range(BANDS if len(rows) else 0):
        band = np.zeros(len(rows), dtype=np.uint64)
        for _ in range(ROWS):
            order = generator.permutation(matrix.shape[1]).astype(np.uint32)
            smallest = np.minimum.reduceat(order[matrix.indices], matrix.indptr[:-1])
            band = (band ^ smallest) * np.uint64(0x9E3779B97F4A7C15)  # wraps around
        _, firsts, codes = np.unique(band, return_index=True, return_inverse=True)
        others = np.flatnonzero(firsts[codes] != np.arange(len(rows)))
        pairs.append(np.stack([rows[firsts[codes][others]], rows[others]], 1))
    return np.unique(np.concatenate(pairs), axis=0)
