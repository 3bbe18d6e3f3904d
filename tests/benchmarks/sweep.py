"""What a sweep costs: one job beside the same run alone, then four jobs in parallel beside one after another.

    SENTIMENT_IMDB=DIR python -m tests.benchmarks.sweep

Whole commands on the clock, start-up, test and report included: the default network, one epoch of IMDB, no baselines.
"""

from tests.benchmarks.turns import imdb, seconds, tell

RUN = ["-m", "sentiment.train"]
EPOCH = [imdb(), "trainer=cpu", "trainer.max_epochs=1", "baseline=none"]
FOUR = ["-m", *EPOCH, "seed=1,2,3,4"]
ROUNDS = {"pair": 5, "four": 3}


def main() -> None:
    """Prints the table."""
    seconds(*RUN, *EPOCH)  # encodes the reviews
    alone, job = zip(
        *((seconds(*RUN, *EPOCH), seconds(*RUN, "-m", *EPOCH, "seed=0")) for _ in range(ROUNDS["pair"])), strict=True
    )
    tell("one run alone", list(alone), list(alone))
    tell("the same as a sweep of one job", list(job), list(alone))
    times: dict[str, list[float]] = {}
    for _ in range(ROUNDS["four"]):
        for name, launcher in {
            "four jobs one after another": [],
            "four jobs, two at a time": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
            "four jobs at once": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=4"],
        }.items():
            times.setdefault(name, []).append(seconds(*RUN, *FOUR, *launcher))
    for name, taken in times.items():
        tell(name, taken, times["four jobs one after another"])


if __name__ == "__main__":
    main()
