"""Cost of a sweep: one job compared with the same run alone, and four jobs in parallel with one after another.

    SENTIMENT_IMDB=DIR python -m tests.benchmarks.sweep

Complete commands, start-up, test and report included: the default network, one epoch of IMDB, no baselines.
"""

from tests.benchmarks.timing import imdb_folder, print_times, time_process

TURNS_OF_ONE, TURNS_OF_FOUR = 5, 3
LAUNCHERS = {
    "four jobs one after another": [],
    "four jobs, two at a time": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
    "four jobs at once": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=4"],
}


def main() -> None:
    """Print the table."""
    train = ["-m", "sentiment.train"]
    settings = [
        f"data.path={imdb_folder()}",
        "trainer=cpu",
        "trainer.max_epochs=1",
        "baseline=none",
    ]
    time_process(*train, *settings)  # encodes the reviews
    turns = [
        (time_process(*train, *settings), time_process(*train, "-m", *settings, "seed=0"))
        for _ in range(TURNS_OF_ONE)
    ]
    run, job = zip(*turns, strict=True)
    print_times("one run", run, run)
    print_times("the same as a sweep of one job", job, run)
    sweeps = [
        [
            time_process(*train, "-m", *settings, "seed=1,2,3,4", *launcher)
            for launcher in LAUNCHERS.values()
        ]
        for _ in range(TURNS_OF_FOUR)
    ]
    times = list(zip(*sweeps, strict=True))
    for name, seconds in zip(LAUNCHERS, times, strict=True):
        print_times(name, seconds, times[0])


if __name__ == "__main__":
    main()
