"""What a user should know of the data before training: sizes, classes, lengths, and what may be wrong."""

import logging
from itertools import islice

import numpy as np

from sentiment.data.datamodule import ReviewDataModule
from sentiment.data.encoded.store import read_array, read_metadata
from sentiment.data.text.vocabulary import MAX_UNKNOWN, UNKNOWN
from sentiment.runtime.errors import shorten
from sentiment.runtime.run_folder import RUN_LOG

MAX_REVIEWS = 10_000  # of a split whose tokens are counted

log = logging.getLogger(RUN_LOG)


def log_summary(data: ReviewDataModule, trains_on_unlabelled: bool) -> None:
    """Log what is in the data, and what may be wrong with it."""
    log.info(describe(data))
    if repeated := count_repeated(data):
        advice = "python -m sentiment.audit lists them, and doubtful labels"
        log.info(
            "repeated   {:,} training texts, {:,} with another label; {}".format(*repeated, advice)
        )
    problems = find_problems(data)
    if data.validate_on == "test":
        problems.append(
            "Validating on the test set, as the article did: validation figures are optimistic"
        )
    labelled, unlabelled = (len(data.splits.get(name, ())) for name in ("train", "unlabelled"))
    if trains_on_unlabelled and unlabelled < labelled:
        texts = f"{unlabelled:,} unlabelled texts hardly help {labelled:,} labelled ones"
        problems.append(f"data.unlabelled: {texts}; add more")
    if unlabelled and not trains_on_unlabelled:
        log.info(
            "data.unlabelled: the texts count for the vocabulary and word vectors alone; to "
            "train on them, type self_training=teachers"
        )
    for problem in problems:
        log.warning(problem)


def count_repeated(data: ReviewDataModule) -> tuple[int, int] | None:
    """How many training texts occur more than once, and how many of these with different labels; None without any."""
    train = data.splits["train"].reviews
    hashes, labels = read_array(data.folder, "hashes")[train.rows], train.labels[train.rows]
    order = np.lexsort((labels, hashes))
    hashes, labels = hashes[order], labels[order]
    is_copy = (hashes[1:] == hashes[:-1]) & (hashes[1:] != 0)  # 0: no tokens
    is_other = is_copy & (labels[1:] != labels[:-1])
    counts = [len(np.unique(hashes[1:][found])) for found in (is_copy, is_other)]
    return (counts[0], counts[1]) if counts[0] else None


def find_problems(data: ReviewDataModule) -> list[str]:
    """What may be wrong with the data, one line each."""
    problems: list[str] = read_metadata(data.folder)["warnings"]
    spaces = "; for texts without spaces between words type data.tokenizer=characters or unigram"
    ids = {
        split: np.concatenate(list(islice(data.splits[split].reviews, MAX_REVIEWS)))
        for split in data.splits
    }
    unknown = np.mean((ids["val"] == UNKNOWN) | (ids["val"] >= data.max_features))
    if unknown > MAX_UNKNOWN:
        advice = f"{spaces}, else raise data.max_features={data.max_features} or add rows"
        problems.append(
            f"{100 * unknown:.0f} % of the tokens of the validation rows are not in the vocabulary{advice}"
        )
    if "unlabelled" in ids:
        strange = np.mean(~np.isin(ids["unlabelled"], ids["train"]))
        if strange > MAX_UNKNOWN:
            problems.append(
                f"{100 * strange:.0f} % of the tokens of the unlabelled texts occur in no training row; check them"
            )
    return problems


def describe(data: ReviewDataModule) -> str:
    """What the article prints before training: sizes, lengths, what `maxlen` cuts, one review decoded."""
    train = data.splits["train"].reviews
    lengths, maxlen = train.lengths, data.encoder.maxlen
    classes = np.bincount(train.labels[train.rows], minlength=len(data.label_names))
    counts = read_array(data.folder, "counts")
    oov_rate = (counts[data.max_features :].sum() + counts[UNKNOWN]) / counts.sum()
    shapes = (
        f"{name} ({len(data.splits[name]):,} x {maxlen})" for name in ("train", "val", "test")
    )
    named = zip(data.label_names, classes, strict=True)
    labels = ", ".join(f"{name} {count:,}" for name, count in named)
    majority, share = data.label_names[classes.argmax()], classes.max() / classes.sum()
    imbalanced = f'; imbalanced: always predicting "{majority}" gives {100 * share:.0f} % accuracy'
    copies = " and ".join(f"{count:,} {name}" for name, count in data.duplicates.items() if count)
    cut = 1 - np.minimum(lengths, maxlen).sum() / lengths.sum()
    (first_ids,) = data.splits["train"].pad(np.array([0]), width=min(int(lengths[0]), maxlen))
    first = data.encoder.vocabulary.decode(first_ids)
    unlabelled = []
    if found := data.unlabelled_copies:
        texts = data.splits["unlabelled"].reviews
        unlabelled = [
            f"unlabelled {len(texts):,} texts, {texts.lengths.sum():,} tokens; left out: {found['test']:,} copies of "
            f"test reviews, {found['val']:,} of validation reviews; {found['train']:,} are copies of training reviews"
        ]
    return "\n".join(
        [
            *(f"read       {note}" for note in read_metadata(data.folder)["notes"]),
            f"reviews    {', '.join(shapes)}"
            + (f"; {copies} reviews also occur in the training set" if copies else ""),
            *unlabelled,
            f"labels     {labels} (train)" + (imbalanced if share * len(classes) > 1.2 else ""),
            f"lengths    mean {lengths.mean():.0f}, median {np.median(lengths):.0f}, longest {lengths.max():,}",
            f"maxlen     {maxlen} truncates {100 * np.mean(lengths > maxlen):.0f} % of the reviews and drops "
            f"{100 * cut:.0f} % of their tokens" + (", more than half" if cut > 0.5 else ""),
            f"vocabulary {len(data.encoder.vocabulary):,} words; {100 * oov_rate:.1f} % of the tokens are unknown",
            f"first one  {data.label_names[train.labels[train.rows[0]]]}: " + shorten(first, 600),
        ]
    )
