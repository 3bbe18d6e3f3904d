"""Draw `.github/results.png` and print the README's table of results, from the metrics in `conf/experiment/results/`.

    python -m tests.benchmarks.results

Each file there is the `metrics.json` of a run, `<experiment>_seed<seed>.json`. Intervals are Wilson's for the 25,000
test reviews.
"""

import json
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from matplotlib.figure import Figure
from scipy.stats import binomtest

from sentiment.runtime.config import CONF_DIR

PICTURE = Path(__file__).parents[2] / ".github" / "results.png"
NUM_REVIEWS = 25_000


class Model(NamedTuple):
    """A row of the table.

    Attributes:
        name: of the model.
        reads: what it reads of a review.
        files: pattern of its metrics files, one per seed.
        tag: of its accuracy.
        command: the overrides of `python -m sentiment.train`, or another command.
    """

    name: str
    reads: str
    files: str
    tag: str
    command: str


MODELS = (
    Model(
        "random forest on ids",
        "the padded ids, as in the article",
        "default_seed*",
        "random_forest",
        "",
    ),
    Model("LSTM, the article's", "last 80 words", "article_seed*", "", "experiment=article"),
    Model("LSTM, default", "last 80 words", "default_seed*", "", "(no overrides)"),
    Model("random forest on counts", "word counts", "default_seed*", "random_forest_counts", ""),
    Model("logistic regression", "TF-IDF", "default_seed*", "logistic_regression", ""),
    Model("NB-SVM", "words and word pairs", "default_seed*", "nb_svm", ""),
    Model("LSTM, best", "1,000 words, n-grams", "best_seed*", "", "experiment=best"),
    Model(
        "LSTM, semi-supervised",
        "also unlabelled reviews",
        "semi_supervised_seed*",
        "",
        "experiment=semi_supervised",
    ),
    Model(
        "ensemble of three",
        "also unlabelled reviews",
        "semi_supervised_ensemble*",
        "",
        "evaluate checkpoint=[RUN1,RUN2,RUN3]",
    ),
)


class Result(NamedTuple):
    """Accuracy, mean over the seeds, and its 95 % interval."""

    model: Model
    accuracy: float
    low: float
    high: float


def read_results() -> list[Result]:
    """The results of all models, in the order of `MODELS`."""
    results = []
    for model in MODELS:
        tag = f"baseline/{model.tag}/test_accuracy" if model.tag else "test/accuracy"
        files = sorted((CONF_DIR / "experiment" / "results").glob(f"{model.files}.json"))
        accuracy = fmean(json.loads(file.read_text())[tag] for file in files)
        interval = binomtest(round(accuracy * NUM_REVIEWS), NUM_REVIEWS).proportion_ci(
            method="wilson"
        )
        results.append(Result(model, accuracy, interval.low, interval.high))
    return results


def format_table(results: list[Result]) -> str:
    """The table of the README."""
    lines = ["| model | reads | accuracy | 95 % interval | command |", "|---|---|---|---|---|"]
    for model, accuracy, low, high in results:
        command = f"`{model.command or f'baseline={model.tag}'}`"
        interval = f"{100 * low:.2f} – {100 * high:.2f}"
        lines.append(
            f"| {model.name} | {model.reads} | {100 * accuracy:.2f} % | {interval} | {command} |"
        )
    return "\n".join(lines)


def plot_results(results: list[Result]) -> Figure:
    """Horizontal bars of test accuracy with 95 % intervals."""
    figure = Figure(figsize=(8, 4.4), layout="constrained")
    axis = figure.subplots()
    names = [f"{result.model.name}\n" + result.model.reads for result in results]
    values = [100 * result.accuracy for result in results]
    errors = [
        [100 * (r.accuracy - r.low) for r in results],
        [100 * (r.high - r.accuracy) for r in results],
    ]
    colors = ["#2166ac" if result.model.tag == "" else "0.65" for result in results]
    bars = axis.barh(
        names, values, xerr=errors, color=colors, error_kw={"capsize": 2, "linewidth": 0.9}
    )
    axis.bar_label(bars, [f"{value:.1f}" for value in values], padding=7, fontsize=9)
    axis.set_xlim(50, 96)
    axis.set_xlabel("test accuracy on IMDB, per cent, with 95 % intervals")
    axis.tick_params("y", labelsize=8, length=0)
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def main() -> None:
    """Draw the picture and print the table."""
    results = read_results()
    plot_results(results).savefig(PICTURE, dpi=150)
    print(format_table(results))


if __name__ == "__main__":
    main()
