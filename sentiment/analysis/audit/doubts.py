"""Labels that linear models contradict, and words that give the label away."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_matrix
from scipy.stats import binom
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, StratifiedKFold, cross_val_predict
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from sentiment.analysis.audit.features import WordCounts
from sentiment.baselines.nb_svm import LogRatioScaler
from sentiment.data import Integers

FOLDS = 5
MIN_CLASS = 10  # rows of a class whose labels are judged
MAX_ERROR = 0.15  # of a word that gives the label away, as a part of that by chance
SIGNIFICANCE = 0.01

Floats = npt.NDArray[np.float64]


def judge_labels(
    counts: csr_matrix, labels: Integers, texts: Integers
) -> tuple[Integers, Floats, Floats]:
    """Compare each label with what two linear SVMs predict that were fitted on the other folds.

    One sees TF-IDF, the other TF-IDF scaled by naive Bayes log ratios (Wang & Manning 2012); their
    decisions are averaged. Copies are in one fold, so that they do not confirm each other. Rows of classes with fewer
    than `MIN_CLASS` different texts are not judged.

    Args:
        counts: of words and pairs, `(N, F)`.
        labels: classes, int64 `(N,)`.
        texts: a number of each text, that of its copies, int64 `(N,)`.

    Returns:
        The most probable other class, its probability, calibrated on all rows, and the doubt: the
        decision for it less that for the label; each `(N,)`, -1, 0 and -infinity if not judged.
    """
    pairs = np.unique(np.stack([labels, texts], 1), axis=0)
    numbers, sizes = np.unique(pairs[:, 0], return_counts=True)
    judged = np.isin(labels, numbers[sizes >= MIN_CLASS])
    others = np.full(len(labels), -1)
    probabilities, doubts = np.zeros(len(labels)), np.full(len(labels), -np.inf)
    classes, own = np.unique(labels[judged], return_inverse=True)
    if len(classes) < 2:
        return others, probabilities, doubts
    X = TfidfTransformer(sublinear_tf=True).fit_transform(counts[judged])
    folds = _make_folds(own, texts[judged])
    decisions = np.zeros((len(own), len(classes)))
    for svm in (LinearSVC(C=0.5, tol=0.01, random_state=0), _scaled_svm()):
        estimator = OneVsRestClassifier(svm, n_jobs=1)  # liblinear's random numbers are global
        found = cross_val_predict(estimator, X, own, cv=folds, method="decision_function")
        found = np.stack([-found, found], 1) if found.ndim == 1 else found
        decisions += found / np.abs(found).mean()
    rows = np.arange(len(own))
    of_label = decisions[rows, own]
    decisions[rows, own] = -np.inf
    others[judged] = classes[decisions.argmax(1)]
    doubts[judged] = decisions.max(1) - of_label
    # Platt's scaling without intercept: as likely to be right as the larger decision is among all rows.
    gaps = np.abs(doubts[judged])[:, None]
    both = np.concatenate([gaps, -gaps]), np.concatenate([doubts[judged] < 0, doubts[judged] >= 0])
    scale = LogisticRegression(C=1e6, fit_intercept=False).fit(*both).coef_[0, 0]
    probabilities[judged] = 1 / (1 + np.exp(-scale * doubts[judged]))
    return others, probabilities, doubts


def _make_folds(labels: Integers, texts: Integers) -> PredefinedSplit:
    """Folds in proportion to the classes of the first rows with each text; copies follow them."""
    numbers, different = pd.factorize(texts)  # in the order of the first rows
    firsts = np.flatnonzero(~pd.Series(texts).duplicated())
    fold_of_text = np.empty(len(different), dtype=np.int64)
    stratified = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    for fold, (_, held_out) in enumerate(stratified.split(firsts, labels[firsts])):
        fold_of_text[held_out] = fold
    return PredefinedSplit(fold_of_text[numbers])


def _scaled_svm() -> object:
    # Sums of TF-IDF are smaller than counts, and so is what is added to them.
    return make_pipeline(LogRatioScaler(0.1), LinearSVC(C=1, tol=0.01, random_state=0))


def find_telling_words(
    counts: WordCounts, labels: Integers, words: Sequence[str], label_names: Sequence[str]
) -> pd.DataFrame:
    """Words and pairs that nearly determine the class, in as many reviews as possible first.

    At most `MAX_ERROR` of the errors by chance have another class, and fewer than half of these also for
    a binomial test. A pair with such a word is left out.
    """
    present = counts.matrix.astype(bool).astype(np.float32)
    by_class = np.stack(
        [np.asarray(present[labels == c].sum(0))[0] for c in range(len(label_names))]
    )
    support, label = by_class.sum(0), by_class.argmax(0)
    prior = (np.bincount(labels, minlength=len(label_names)) / len(labels))[label]
    errors = support - by_class.max(0)
    chance = 1 - prior
    is_telling = (errors <= MAX_ERROR * chance * support) & (chance > 0)
    is_telling &= binom.cdf(errors, support, chance / 2) < SIGNIFICANCE
    telling = np.flatnonzero(is_telling)
    ranked = telling[np.argsort(-support[telling], kind="stable")]
    alone = set(counts.grams[ranked][counts.grams[ranked, 1] < 0, 0])
    chosen = [i for i in ranked if counts.grams[i, 1] < 0 or not alone & {*counts.grams[i]}]
    share = by_class.max(0)[chosen] / support[chosen]
    return pd.DataFrame(
        {
            "word": [" ".join(words[i] for i in counts.grams[c] if i >= 0) for c in chosen],
            "label": [label_names[label[c]] for c in chosen],
            "reviews": support[chosen].astype(int),
            "share": share,
            "lift": share / prior[chosen],
        }
    )
