"""Tests of significance, and the best setting compared with the others on the same test reviews."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest, norm, ttest_rel

from sentiment.analysis.report.comparison import (
    BySeed,
    Comparison,
    adjust_p_values,
    compare_accuracies,
    compare_with_best,
    find_interval,
    read_correct,
)
from sentiment.analysis.results import read_runs, summarize
from tests.helpers import Compose
from tests.report_helpers import write_predictions, write_run

N = 40
Write = Callable[..., None]


@pytest.fixture
def write(composed: Compose, tmp_path: Path) -> Write:
    """Writes a run of some units and seed, whose first reviews are classified correctly."""

    def write_one(units: int, seed: int, correct: int, **columns: Sequence[object]) -> None:
        overrides = [f"model.units={units}", f"seed={seed}"]
        metrics = {"val__accuracy": units / 100, "test__accuracy": correct / N}
        run = write_run(
            composed, tmp_path / f"{units}-{seed}", overrides, status="finished", **metrics
        )
        write_predictions(run, [i < correct for i in range(N)], **columns)

    return write_one


def read_all(folder: Path) -> list[BySeed | str]:
    """The predictions of the results in a folder, that of the most units first."""
    return [read_correct(result) for result in summarize(read_runs(folder)[0], "val/accuracy")]


def test_single_runs_are_compared_by_the_exact_mcnemar_test(write: Write, tmp_path: Path) -> None:
    write(90, 0, 30)
    write(80, 1, 24)  # of another seed
    write(70, 0, 36)
    compared = compare_with_best(read_all(tmp_path))
    assert [*compared] == [1, 2]
    first, second = (
        comparison for comparison in compared.values() if isinstance(comparison, Comparison)
    )
    assert (first.seeds, first.reviews) == (1, N)
    assert (first.difference, second.difference) == pytest.approx((-0.15, 0.15))
    assert first.p_value == pytest.approx(2 / 2**6)  # six disagreements, all in favour of one
    assert first.adjusted_p == pytest.approx(2 * 2 / 2**6)
    assert first.low < -0.15 < first.high < 0


def test_several_seeds_are_paired(write: Write, tmp_path: Path) -> None:
    for seed, best, other in ((1, 30, 24), (2, 31, 26), (3, 32, 25)):
        write(90, seed, best)
        write(80, seed, other)
    write(90, 4, 40)  # the other has no such seed
    (comparison,) = compare_with_best(read_all(tmp_path)).values()
    assert isinstance(comparison, Comparison)
    assert comparison.seeds == 3
    assert comparison.difference == pytest.approx((-6 - 5 - 7) / 3 / N)


def test_reviews_are_joined_by_file_and_row(write: Write, tmp_path: Path) -> None:
    files, rows = ["a"] * (N // 2) + ["b"] * (N // 2), [*range(N // 2)] * 2
    write(90, 0, 30, file=files, row=rows)
    write(80, 0, 24, file=files, row=rows)
    write(70, 0, 24, row=rows)  # which of the two files is unknown
    first, second = compare_with_best(read_all(tmp_path)).values()
    assert isinstance(first, Comparison)
    assert first.difference == pytest.approx(-0.15)
    assert second == "other test reviews or labels"


def test_the_order_of_the_reviews_does_not_matter(write: Write, tmp_path: Path) -> None:
    write(90, 0, 30)
    write(80, 0, 30, row=range(N - 1, -1, -1))
    (comparison,) = compare_with_best(read_all(tmp_path)).values()
    assert isinstance(comparison, Comparison)
    assert comparison.difference == 0
    assert comparison.p_value == 1
    assert comparison.high > 0  # ten disagreements in favour of each


def test_settings_without_the_same_reviews_are_not_compared(
    write: Write, composed: Compose, tmp_path: Path
) -> None:
    write(90, 1, 30)
    write(90, 2, 30)
    write(80, 3, 30)
    write(70, 1, 30, row=range(1, N + 1))
    write_run(
        composed,
        tmp_path / "60",
        ["model.units=60", "seed=1"],
        status="finished",
        val__accuracy=0.6,
    )
    assert compare_with_best(read_all(tmp_path)) == {
        1: "no seed in common", 2: "other test reviews or labels", 3: "no test predictions",
    }  # fmt: skip
    relabelled = tmp_path / "80-3" / "test_predictions.csv"
    relabelled.write_text(relabelled.read_text().replace(",a,", ",b,", 1))
    write(90, 3, 30)
    assert compare_with_best(read_all(tmp_path))[1] == "other test reviews or labels"


def test_intervals_of_an_accuracy(write: Write, tmp_path: Path) -> None:
    write(90, 1, 30)
    write(80, 1, 30)
    write(80, 2, 20)
    single, several = map(find_interval, read_all(tmp_path))
    wilson = binomtest(30, N).proportion_ci(method="wilson")
    assert single == pytest.approx((wilson.low, wilson.high))
    assert several is not None
    assert several[0] < 20 / N  # of two seeds little is known
    (tmp_path / "90-1" / "test_predictions.csv").unlink()
    assert find_interval(read_all(tmp_path)[0]) is None


def test_a_single_setting_is_not_compared(write: Write, tmp_path: Path) -> None:
    write(90, 1, 30)
    write(90, 2, 30)
    assert compare_with_best(read_all(tmp_path)) == {}


@pytest.mark.parametrize("content", ["", "row,label\n1,a\n", 'row,label,predicted\n1,a,"a\n'])
@pytest.mark.parametrize("damaged", [80, 90])
def test_damaged_predictions_are_told(
    write: Write, tmp_path: Path, content: str, damaged: int
) -> None:
    for units in (80, 90):
        write(units, 1, 30)
    file = tmp_path / f"{damaged}-1" / "test_predictions.csv"
    file.write_text(content)
    found = compare_with_best(read_all(tmp_path))
    assert str(found[1]).startswith(f"{file}: cannot be read (")
    file.write_text("row,label,predicted\n")
    assert compare_with_best(read_all(tmp_path)) == {1: "other test reviews or labels"}


@pytest.mark.parametrize("seeds", [(1,), (1, 2)])
def test_a_single_review_is_not_compared(
    composed: Compose, tmp_path: Path, seeds: tuple[int, ...]
) -> None:
    for units in (80, 90):
        for seed in seeds:
            overrides = [f"model.units={units}", f"seed={seed}"]
            metrics = {"val__accuracy": units / 100}
            run = write_run(
                composed, tmp_path / f"{units}-{seed}", overrides, status="finished", **metrics
            )
            write_predictions(run, [units == 80])
    assert compare_with_best(read_all(tmp_path)) == {1: "a single test review"}


def test_single_runs_have_the_exact_mcnemar_test_and_an_interval_that_is_never_empty() -> None:
    first, second = np.zeros((2, 1, 100), bool)
    first[0, :12], second[0, 10:12] = True, True  # ten disagreements, all in favour of the first
    difference = compare_accuracies(first, second)
    assert difference.difference == pytest.approx(0.1)
    assert difference.p_value == pytest.approx(2 / 2**10)
    # Agresti & Min (2005): 10.5 and 0.5 disagreements of 102
    assert (difference.low, difference.high) == pytest.approx((0.0372, 0.1589), abs=1e-4)
    same = compare_accuracies(first, first)
    assert (same.difference, same.p_value) == (0, 1)
    assert same.low == -same.high < 0


def test_several_seeds_have_a_t_test_over_seeds_and_reviews() -> None:
    rows = np.arange(4000)
    second = np.stack([rows % 4 > 0] * 3)
    first = np.stack([(rows % 4 > 0) | (rows < changed) for changed in (400, 800, 1200)])
    by_seed = first.mean(1) - second.mean(1)
    paired = ttest_rel(first.mean(1), second.mean(1))
    difference = compare_accuracies(first, second)
    assert difference.difference == pytest.approx(by_seed.mean())
    assert difference.p_value == pytest.approx(
        paired.pvalue, rel=0.02
    )  # there is little variance between reviews
    interval = paired.confidence_interval()
    assert (difference.low, difference.high) == pytest.approx(
        (interval.low, interval.high), rel=0.02
    )
    assert compare_accuracies(second, second)[:4] == (0, 0, 0, 1)
    assert compare_accuracies(second, ~second).p_value < 1e-10

    equal = compare_accuracies(first[[1, 1, 1]], second)  # nothing but variance between reviews
    z = equal.difference / (first[1].astype(float) - second[0]).std(ddof=1) * 4000**0.5
    assert equal.p_value == pytest.approx(2 * norm.sf(z), rel=1e-4, abs=0)


@pytest.mark.parametrize("seeds", [2, 3])
def test_settings_of_the_same_quality_seldom_differ_significantly(seeds: int) -> None:
    """Each run draws how good it is, and which reviews it finds easy: a test of single runs is misled."""
    generator = np.random.default_rng(0)
    several, single = [], []
    for _ in range(200):
        review, quality = generator.normal(2, 2, 400), generator.normal(0, 0.3, (2, seeds, 1))
        first, second = review + quality + generator.normal(0, 0.7, (2, seeds, 400)) > 0
        several.append(compare_accuracies(first, second).p_value < 0.05)
        single.append(compare_accuracies(first[:1], second[:1]).p_value < 0.05)
    assert np.mean(several) <= 0.08
    assert np.mean(single) > 0.3


def test_p_values_are_corrected_by_holm() -> None:
    assert adjust_p_values([0.03, 0.01, 0.04]) == pytest.approx([0.06, 0.03, 0.06])
    assert adjust_p_values([0.9, 0.8]) == [1, 1]
    assert adjust_p_values([]) == []
