import numpy as np
import pytest
from joblib import parallel_config
from scipy.sparse import csr_matrix

from sentiment.baselines.nb_svm import LogRatioScaler, nb_svm


def test_log_ratio_is_that_of_the_paper() -> None:
    counts = csr_matrix(np.array([[1, 1, 0], [1, 0, 0], [0, 1, 1], [0, 0, 1]]))
    scaler = LogRatioScaler(alpha=1.0).fit(counts, np.array([1, 1, 0, 0]))
    expected = np.log(np.array([3, 2, 1]) / 6) - np.log(np.array([1, 2, 3]) / 6)
    assert np.allclose(scaler.log_ratio_, expected)
    assert np.allclose(scaler.transform(counts).toarray(), counts.toarray() * expected)


def test_nb_svm_ignores_how_often_a_word_occurs() -> None:
    random = np.random.default_rng(0)
    counts, labels = csr_matrix(random.poisson(0.5, (90, 6))), np.arange(90) % 2
    assert np.array_equal(
        *(nb_svm().fit(X, labels).decision_function(counts) for X in (counts, counts.sign()))
    )


@pytest.mark.parametrize("names", [["bad", "good"], ["bad", "good", "meh"]])
def test_nb_svm_separates_classes_with_any_names_on_any_number_of_threads(names: list[str]) -> None:
    random = np.random.default_rng(0)
    classes = np.arange(90) % len(names)
    labels = np.array(names)[classes]
    counts = csr_matrix(random.poisson(0.3, (90, 6)) + 2 * np.eye(3)[classes].repeat(2, 1))
    scores = []
    for n_jobs in (1, 2):
        with parallel_config("threading", n_jobs=n_jobs):
            model = nb_svm().fit(counts, labels)
        assert np.mean(model.predict(counts) == labels) > 0.9
        scores.append(model.decision_function(counts))
    assert np.array_equal(*scores)
