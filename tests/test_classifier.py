import csv
from pathlib import Path

import pytest
import torch

from sentiment.classifier import Ensemble, load
from sentiment.errors import InputError
from sentiment.model.lstm import log_probabilities

from .conftest import trained

TEXTS = ["not a good film at all", "", "电影 很好", "the " * 100_000, "a convincing film", "<pad> <unk>"]


def test_a_run_is_loaded_with_the_weights_that_were_tested_and_says_what_they_said(run: Path, small: Path) -> None:
    classifier = load(run)
    with open(small / "test.csv", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    with open(run / "test_predictions.csv", newline="") as file:
        recorded = list(csv.DictReader(file))
    for prediction, row in zip(classifier.predict(texts), recorded, strict=True):
        assert prediction.label == row["predicted"]
        assert prediction.probabilities["good"] == pytest.approx(float(row["p(good)"]), abs=1e-5)
    assert load(run / "checkpoints" / "best.ckpt").predict(texts) == classifier.predict(texts)


def test_the_last_weights_are_loaded_where_they_were_tested(small: Path, tmp_path: Path) -> None:
    folder = trained(tmp_path, small, "test=last")
    (folder / "checkpoints" / "best.ckpt").unlink()
    assert load(folder).predict(["a film"])


def test_any_text_is_classified_alone_as_in_company(run: Path, masked_run: Path) -> None:
    for folder in (run, masked_run):
        classifier = load(folder)
        together = classifier.predict(TEXTS)
        assert classifier.predict([]) == []
        for text, prediction in zip(TEXTS, together, strict=True):
            (alone,) = classifier.predict([text])
            assert alone.probabilities["good"] == pytest.approx(prediction.probabilities["good"], abs=1e-6)
            assert sum(prediction.probabilities.values()) == pytest.approx(1)


def test_an_ensemble_averages_probabilities(run: Path, masked_run: Path) -> None:
    members = [load(run), load(masked_run)]
    each = [member.predict(TEXTS) for member in members]
    for text, prediction, *alone in zip(TEXTS, Ensemble(members).predict(TEXTS), *each, strict=True):
        mean = sum(one.probabilities["good"] for one in alone) / 2
        assert prediction.probabilities["good"] == pytest.approx(mean, abs=1e-6), text


def test_three_classes(run: Path, run_of_three: Path) -> None:
    classifier = load(run_of_three)
    for prediction, name in zip(classifier.predict(["film a", "film b", "film c"]), "abc", strict=True):
        assert prediction.label == name
        assert set(prediction.probabilities) == {"a", "b", "c"}
    assert classifier.polarity([classifier.vocabulary.ids["a"]]).shape == (1, 3)
    with pytest.raises(InputError, match="classes differ, bad, good and a, b, c"):
        Ensemble([load(run), classifier])


def test_a_single_text_is_no_list(run: Path) -> None:
    with pytest.raises(TypeError, match="give a list of texts"):
        load(run).predict("a film")


def test_polarity_is_the_move_of_the_logit_by_the_word_alone(run: Path, masked_run: Path) -> None:
    for folder in (run, masked_run):
        classifier = load(folder)
        words = ["convincing", "film", "not"]
        polarity = classifier.polarity([classifier.vocabulary.ids[word] for word in words])
        logits = classifier.logits(classifier.encode([*words, "zorgblatt"]))
        assert torch.allclose(polarity, logits[:-1] - logits[-1], atol=1e-6)


def test_the_running_probability_ends_at_the_prediction(run: Path, masked_run: Path) -> None:
    text = "not a good film at all but a convincing ending"
    for folder in (run, masked_run):
        classifier = load(folder)
        ids = torch.from_numpy(classifier.encode([text]).matrix())
        reading = classifier.follow(ids)
        assert reading.toward == 1
        assert reading.running.shape == (10,)
        assert reading.running[-1] == pytest.approx(classifier.predict([text])[0].probabilities["good"], abs=1e-6)
        names = {name for name, _, _ in reading.layers}
        assert len(names) == len(reading.layers) == (4 if folder == masked_run else 1)
        for _, gates, order in reading.layers:
            assert gates.input.shape == (1, 10, 6)
            assert sorted(order) == list(range(6))


def test_both_kinds_of_logits_become_probabilities() -> None:
    logits = torch.tensor([[2.0], [-100.0]])
    one = log_probabilities(logits)
    assert torch.allclose(one.exp(), torch.cat([1 - logits.sigmoid(), logits.sigmoid()], 1))
    assert one.isfinite().all()
    assert torch.allclose(log_probabilities(torch.tensor([[1.0, 1.0, 1.0]])).exp(), torch.full((1, 3), 1 / 3))


@pytest.mark.parametrize("change", ["words", "units", "maxlen", "weights"])
def test_settings_that_do_not_fit_the_weights_are_refused(run: Path, tmp_path: Path, change: str) -> None:
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt")
    settings = checkpoint["hyper_parameters"]
    match change:
        case "words":
            settings["text"]["words"] = settings["text"]["words"][:5]
        case "units":
            settings["model"]["units"] = 7
        case "maxlen":
            del settings["text"]["maxlen"]
        case "weights":
            del checkpoint["state_dict"]["net.linear.weight"]
    torch.save(checkpoint, tmp_path / "changed.ckpt")
    with pytest.raises(InputError, match=r"changed\.ckpt: weights and settings do not fit together"):
        load(tmp_path / "changed.ckpt")


def test_what_is_no_model_is_told(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no run's folder, it has no checkpoints/best\.ckpt"):
        load(tmp_path)
    for name, content in (("table.ckpt", b"text,label"), ("nothing.ckpt", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name}: no checkpoint; name a run's"):
            load(tmp_path / name)
    for change in ({"maxlen": 0}, {"padding": "xx"}, {"tokenizer": "none"}):
        checkpoint = torch.load(run / "checkpoints" / "best.ckpt")
        checkpoint["hyper_parameters"]["text"] |= change
        torch.save(checkpoint, tmp_path / "changed.ckpt")
        with pytest.raises(InputError, match=r"changed\.ckpt: weights and settings do not fit"):
            load(tmp_path / "changed.ckpt")
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt")
    checkpoint["state_dict"]["net.linear.bias"][0] = torch.nan
    torch.save(checkpoint, tmp_path / "changed.ckpt")
    with pytest.raises(InputError, match="its weights are not finite"):
        load(tmp_path / "changed.ckpt")
    torch.save({"hyper_parameters": None}, tmp_path / "changed.ckpt")
    with pytest.raises(InputError, match="of another program"):
        load(tmp_path / "changed.ckpt")
    (tmp_path / "broken" / ".hydra").mkdir(parents=True)
    (tmp_path / "broken" / ".hydra" / "config.yaml").write_text("{{{")
    with pytest.raises(InputError, match=r"config\.yaml: cannot be read"):
        load(tmp_path / "broken")
