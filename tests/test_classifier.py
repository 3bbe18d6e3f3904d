import csv
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import sentiment
from sentiment.analysis.explain.explanation import trace
from sentiment.analysis.run import Run
from sentiment.classifier import Classifier, Ensemble, count_words, find_problems, load
from sentiment.model.recurrent import RecurrentNetwork
from sentiment.runtime.errors import InputError
from tests.helpers import train_quick

TEXTS = [
    "not a good film at all",
    "",
    "电影 很好",
    "the " * 100_000,
    "a convincing film",
    "<pad> <unk>",
]


@pytest.fixture(params=["run", "masked_run"])
def classifier(request: pytest.FixtureRequest) -> Classifier:
    """The classifiers of both runs, one after the other."""
    return load(request.getfixturevalue(request.param))


def test_loaded_run_reproduces_its_test_predictions(run: Path, small: Path) -> None:
    classifier = sentiment.load(run)
    with open(small / "test.csv", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    with open(run / "test_predictions.csv", newline="") as file:
        recorded = list(csv.DictReader(file))
    for prediction, row in zip(classifier.predict(texts), recorded, strict=True):
        assert prediction.label == row["predicted"]
        assert prediction.probabilities["good"] == pytest.approx(float(row["p(good)"]), abs=1e-5)
    assert load(run / "checkpoints" / "best.ckpt").predict(texts) == classifier.predict(texts)


def test_load_does_not_import_a_compiler(run: Path) -> None:
    script = (
        "import sys, sentiment; sentiment.load(sys.argv[1]); print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(run)], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


def test_load_takes_the_checkpoint_that_was_tested(small: Path, tmp_path: Path) -> None:
    run = train_quick(tmp_path, small, "test_ckpt=last")
    expected = load(run / "checkpoints" / "last.ckpt").predict(["a film"])
    (run / "checkpoints" / "best.ckpt").unlink()
    assert load(run).predict(["a film"]) == expected
    assert load(Run.read(run).folder).predict(["a film"]) == expected


def test_prediction_does_not_depend_on_the_other_texts(classifier: Classifier) -> None:
    together = classifier.predict(TEXTS)
    assert classifier.predict([]) == []
    for text, prediction in zip(TEXTS, together, strict=True):
        (alone,) = classifier.predict([text])
        assert alone.probabilities["good"] == pytest.approx(
            prediction.probabilities["good"], abs=1e-6
        )
        assert sum(prediction.probabilities.values()) == pytest.approx(1)


def test_ensemble_averages_probabilities(run: Path, masked_run: Path) -> None:
    ensemble = Ensemble([load(run), load(masked_run)])
    together = ensemble.classify(ensemble.encode(TEXTS))
    by_member = [member.predict(TEXTS) for member in ensemble.members]
    for text, average, *alone in zip(TEXTS, together, *by_member, strict=True):
        mean = sum(prediction.probabilities["good"] for prediction in alone) / 2
        assert average.probabilities["good"] == pytest.approx(mean, abs=1e-6), text


def test_ensemble_of_different_classes_is_rejected(run: Path, run_of_three: Path) -> None:
    with pytest.raises(InputError, match="need the same classes, not bad, good and a, b, c"):
        Ensemble([load(run), load(run_of_three)])


def test_three_classes(run_of_three: Path) -> None:
    classifier = load(run_of_three)
    for prediction, name in zip(
        classifier.predict(["film a", "film b", "film c"]), "abc", strict=True
    ):
        assert prediction.label == name
        assert set(prediction.probabilities) == {"a", "b", "c"}
    assert classifier.output_names == ["a", "b", "c"]
    assert classifier.polarity([classifier.encoder.vocabulary.ids["a"]]).shape == (1, 3)


def test_two_classes_have_one_output(run: Path) -> None:
    classifier = load(run)
    assert classifier.label_names == ["bad", "good"]
    assert classifier.output_names == ["good"]
    assert classifier.logits(classifier.encode(TEXTS)).shape == (len(TEXTS), 1)


def test_single_text_instead_of_a_list_is_rejected(run: Path) -> None:
    with pytest.raises(TypeError, match="texts: expected a list of strings, not a single string"):
        load(run).predict("a film")


def test_polarity_is_the_difference_to_an_unknown_word(classifier: Classifier) -> None:
    words = ["convincing", "film", "not"]
    polarity = classifier.polarity([classifier.encoder.vocabulary.ids[word] for word in words])
    logits = classifier.logits(classifier.encode([*words, "zorgblatt"]))
    assert torch.allclose(polarity, logits[:-1] - logits[-1], atol=1e-6)


def test_trace_ends_at_the_prediction_and_covers_all_layers(classifier: Classifier) -> None:
    text = "not a good film at all but a convincing ending"
    target, prefix_probabilities, layers = trace(
        classifier, torch.from_numpy(classifier.encode([text]).pad())
    )
    assert classifier.label_names[target] == "good"
    assert prefix_probabilities.shape == (10,)
    predicted = classifier.predict([text])[0].probabilities["good"]
    assert prefix_probabilities[-1] == pytest.approx(predicted, abs=1e-6)
    assert len({layer.name for layer in layers}) == len(layers)
    net = classifier.net
    assert isinstance(net, RecurrentNetwork)
    assert len(layers) == len(net.forward_layers) * net.num_directions
    for layer in layers:
        assert layer.gates.state.shape == (1, 10, 6)
        assert sorted(layer.order) == list(range(6))


def test_folder_that_is_not_a_run_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"not a run directory \(checkpoints/best\.ckpt is missing\)"
    ):
        load(tmp_path)
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").write_text("{{{")
    with pytest.raises(InputError, match=r"config\.yaml: cannot be read"):
        load(tmp_path)


def test_texts_that_a_model_cannot_read_are_found(run: Path) -> None:
    classifier = load(run)
    good, empty, other = (
        count_words(classifier.encode(texts))
        for texts in (["a good film"], ["", "a good film"], ["电影 真的 很好"])
    )
    assert find_problems(good, classifier.encoder) == []
    (problem,) = find_problems(empty, classifier.encoder)
    assert problem.startswith("1 of 2 texts are empty or have no word that the model knows")
    share, wordless = find_problems(other, classifier.encoder)
    assert share.startswith("100 % of the tokens are not in the vocabulary")
    assert wordless.startswith("1 of 1 texts")
    (wordless,) = find_problems(good + empty, classifier.encoder)
    assert wordless.startswith("1 of 3 texts")
