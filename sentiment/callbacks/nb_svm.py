"""NB-SVM (Wang & Manning 2012): a linear SVM on word counts scaled by their naive-Bayes log ratios."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.svm import LinearSVC


class NBSVM(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """NB-SVM of section 2.3 of the paper, one class against the rest where there are more than two.

    Args:
        alpha: added to every count before the ratio is taken.
        beta: weight of the SVM; the rest goes to the mean magnitude of its coefficients.
        C: inverse strength of the SVM's regularization.
        random_state: seed of the SVM's coordinate descent.

    Attributes:
        classes_: the labels, `(classes,)`.
        coef_: one row per class, `(classes, features)`; the positive class's alone where there are two.
        intercept_: `(classes,)`, or `(1,)` where there are two.
    """

    def __init__(self, alpha: float = 1.0, beta: float = 1.0, C: float = 0.01, random_state: int = 0) -> None:
        self.alpha = alpha
        self.beta = beta
        self.C = C
        self.random_state = random_state

    def fit(self, X: csr_matrix, y: npt.NDArray[Any]) -> "NBSVM":
        """Fits counts `(rows, features)`, of which only zero or more matters, and labels `(rows,)`."""
        seen = (X > 0).astype(np.float64)
        self.classes_ = np.unique(y)
        targets = [y == label for label in (self.classes_[1:] if len(self.classes_) == 2 else self.classes_)]
        ratios = np.stack([self._log_ratio(seen, target) for target in targets])
        svms = [
            LinearSVC(C=self.C, random_state=self.random_state).fit(seen.multiply(ratio).tocsr(), target)
            for ratio, target in zip(ratios, targets, strict=True)
        ]
        weights = np.concatenate([svm.coef_ for svm in svms])
        mean = np.abs(weights).mean(1, keepdims=True)
        self.coef_ = ratios * ((1 - self.beta) * mean + self.beta * weights)
        self.intercept_ = np.concatenate([svm.intercept_ for svm in svms])
        return self

    def _log_ratio(self, seen: csr_matrix, target: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        inside, outside = (self.alpha + np.asarray(seen[rows].sum(0))[0] for rows in (target, ~target))
        ratio: npt.NDArray[np.float64] = np.log(inside / inside.sum()) - np.log(outside / outside.sum())
        return ratio

    def decision_function(self, X: csr_matrix) -> npt.NDArray[np.float64]:
        """Distances from the plane, `(rows, classes)`, or `(rows,)` where there are two classes."""
        scores: npt.NDArray[np.float64] = (X > 0).astype(np.float64) @ self.coef_.T + self.intercept_
        return scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: csr_matrix) -> npt.NDArray[Any]:
        """Labels, `(rows,)`."""
        scores = self.decision_function(X)
        chosen = (scores > 0).astype(int) if len(self.classes_) == 2 else scores.argmax(1)
        labels: npt.NDArray[Any] = self.classes_[chosen]
        return labels
