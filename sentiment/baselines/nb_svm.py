"""NB-SVM (Wang & Manning 2012): a linear SVM on binarized word counts scaled by their naive Bayes log ratios."""

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Binarizer
from sklearn.svm import LinearSVC


def nb_svm(alpha: float = 1.0, C: float = 0.01, random_state: int = 0) -> Pipeline:
    """The classifier of section 2.3 of the paper, without interpolation (its beta is 1); `C` as in `LinearSVC`."""
    binary = make_pipeline(LogRatioScaler(alpha), LinearSVC(C=C, random_state=random_state))
    # liblinear's random numbers are global: parallel fits would depend on each other.
    return make_pipeline(Binarizer(), OneVsRestClassifier(binary, n_jobs=1))


class LogRatioScaler(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """Scales each feature by the log ratio of its frequencies plus `alpha` in the positive and the negative rows."""

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def fit(self, X: csr_matrix, y: npt.NDArray[np.int64]) -> "LogRatioScaler":
        """Learn the log ratios from binarized counts `(rows, features)` and labels 0 or 1, `(rows,)`."""
        positive, negative = (
            self.alpha + np.asarray(X[y == label].sum(0, dtype=np.float64)).ravel()
            for label in (1, 0)
        )
        self.log_ratio_ = np.log(positive / positive.sum()) - np.log(negative / negative.sum())
        return self

    def transform(self, X: csr_matrix) -> csr_matrix:
        return X.multiply(self.log_ratio_).tocsr()
