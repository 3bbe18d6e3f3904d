"""The best setting compared with the others on the same test reviews."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from sentiment.analysis.report.comparison import Comparison, compare_with_best
from sentiment.analysis.results import Result, read_runs, summarize
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


def results(folder: Path) -> list[Result]:
    """The results in a folder, that of the most units first."""
    return summarize(read_runs(folder)[0], "val/accuracy")


def test_single_runs_are_compared_by_the_exact_mcnemar_test(write: Write, tmp_path: Path) -> None:
    write(90, 0, 30)
    write(80, 1, 24)  # of another seed
    write(70, 0, 36)
    compared = compare_with_best(results(tmp_path))
    assert [*compared] == [1, 2]
    first, second = (
        comparison for comparison in compared.values() if isinstance(comparison, Comparison)
    )
    assert (first.seeds, first.reviews) == (1, N)
    assert (first.difference.value, second.difference.value) == pytest.approx((-0.15, 0.15))
    assert first.difference.p_value == pytest.approx(
        2 / 2**6
    )  # six disagreements, all in favour of one
    assert first.adjusted_p == pytest.approx(2 * 2 / 2**6)
    assert first.difference.low < -0.15 < first.difference.high < 0


def test_several_seeds_are_paired(write: Write, tmp_path: Path) -> None:
    for seed, best, other in ((1, 30, 24), (2, 31, 26), (3, 32, 25)):
        write(90, seed, best)
        write(80, seed, other)
    write(90, 4, 40)  # the other has no such seed
    (comparison,) = compare_with_best(results(tmp_path)).values()
    assert isinstance(comparison, Comparison)
    assert comparison.seeds == 3
    assert comparison.difference.value == pytest.approx((-6 - 5 - 7) / 3 / N)


def test_reviews_are_joined_by_file_and_row(write: Write, tmp_path: Path) -> None:
    files, rows = ["a"] * (N // 2) + ["b"] * (N // 2), [*range(N // 2)] * 2
    write(90, 0, 30, file=files, row=rows)
    write(80, 0, 24, file=files, row=rows)
    write(70, 0, 24, row=rows)  # which of the two files is unknown
    first, second = compare_with_best(results(tmp_path)).values()
    assert isinstance(first, Comparison)
    assert first.difference.value == pytest.approx(-0.15)
    assert second == "other test reviews"


def test_the_order_of_the_reviews_does_not_matter(write: Write, tmp_path: Path) -> None:
    write(90, 0, 30)
    write(80, 0, 30, row=range(N - 1, -1, -1))
    (comparison,) = compare_with_best(results(tmp_path)).values()
    assert isinstance(comparison, Comparison)
    assert comparison.difference.value == 0
    assert comparison.difference.p_value == 1
    assert comparison.difference.high > 0  # ten disagreements in favour of each


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
    assert compare_with_best(results(tmp_path)) == {
        1: "no seed in common", 2: "other test reviews", 3: "no test predictions",
    }  # fmt: skip
    relabelled = tmp_path / "80-3" / "test_predictions.csv"
    relabelled.write_text(relabelled.read_text().replace(",a,", ",b,", 1))
    write(90, 3, 30)
    assert compare_with_best(results(tmp_path))[1] == "other test reviews"


def test_a_single_setting_is_not_compared(write: Write, tmp_path: Path) -> None:
    write(90, 1, 30)
    write(90, 2, 30)
    assert compare_with_best(results(tmp_path)) == {}


@pytest.mark.parametrize("content", ["", "row,label\n1,a\n", 'row,label,predicted\n1,a,"a\n'])
@pytest.mark.parametrize("damaged", [80, 90])
def test_damaged_predictions_are_told(
    write: Write, tmp_path: Path, content: str, damaged: int
) -> None:
    for units in (80, 90):
        write(units, 1, 30)
    file = tmp_path / f"{damaged}-1" / "test_predictions.csv"
    file.write_text(content)
    found = compare_with_best(results(tmp_path))
    assert str(found[1]).startswith(f"{file}: cannot be read (")
    file.write_text("row,label,predicted\n")
    assert compare_with_best(results(tmp_path)) == {1: "other test reviews"}


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
    assert compare_with_best(results(tmp_path)) == {1: "a single test review"}
