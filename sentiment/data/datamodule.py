"""ReviewDataModule: from a source of reviews to padded batches for training, validation and test."""

import json
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from filelock import FileLock
from pytorch_lightning import LightningDataModule
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from sentiment.data import sources
from sentiment.data.batching import Batch, PaddedReviews, Rows, ShuffledBatches
from sentiment.data.encoding import StoredReviews, encode, is_whole, read_counts, read_words
from sentiment.data.text import SPECIALS, TOKENIZERS, UNKNOWN, Vocabulary, cache_folder
from sentiment.data.vectors import learned_vectors
from sentiment.errors import require_at_least, require_choice, require_fraction
from sentiment.files import whole

FORMAT = 3  # of the encoded reviews; a new number leaves older caches alone
CHUNK = 1000  # reviews between two updates of the progress bar


class ReviewDataModule(LightningDataModule):
    """Tokenizes reviews once, draws the validation rows, and pads batches on demand.

    Args:
        source: `imdb` (the Hub, or a local copy at `path`), `files` (tables at `path`) or `demo` (built in).
        path: a file or folder, see `sentiment.data.sources`.
        max_features: size of the vocabulary, padding and unknown word counted.
        maxlen: words kept of a review.
        padding: `pre` is the article's: in front, to exactly `maxlen`. `post` pads behind, to the length bucket.
        truncating: `pre` keeps the last words of a long review, `post` the first.
        batch_size: reviews in a training batch.
        val_fraction: share of the training half that is held out for validation, each class in proportion.
        val_rows: `random` draws the held-out rows; `last` takes the last ones of each class. IMDB's files keep reviews
            of one film together, so the last ones are of films that the others hardly know, as in the test half.
        test_fraction: share of a single file that becomes the test half.
        split_seed: draws the held-out rows, and nothing else.
        validate_on: `train` holds out training rows; `test` validates on the test half, as the article did, and
            trains on the whole training half.
        tokenizer: `words` (Keras's) or `basic_english` (torchtext's).
        text_column: name of the column of reviews in tables.
        label_column: name of the column of classes in tables.
        seed: draws the order of the training batches.

    Attributes:
        folder: where the encoded reviews lie, after `prepare_data`.
        label_names: what the classes are called, after `setup`.
        vocabulary: the `max_features` most frequent words of the training rows, after `setup`.
        splits: `train`, `val` and `test`, after `setup`.
        repeated: how many reviews of `val` and `test` stand in `train` too, word for word, after `setup`.

    Raises:
        InputError: a setting is out of range, or the source cannot be read.
    """

    def __init__(
        self,
        source: str = "imdb",
        path: str | None = None,
        max_features: int = 20_000,
        maxlen: int = 80,
        padding: str = "pre",
        truncating: str = "pre",
        batch_size: int = 32,
        val_fraction: float = 0.1,
        val_rows: str = "random",
        test_fraction: float = 0.2,
        split_seed: int = 0,
        validate_on: str = "train",
        tokenizer: str = "words",
        text_column: str = "text",
        label_column: str = "label",
        seed: int = 0,
    ) -> None:
        super().__init__()
        require_at_least(1, data__maxlen=maxlen, data__batch_size=batch_size)
        require_at_least(3, data__max_features=max_features)  # padding, unknown, and one word
        require_at_least(0, data__split_seed=split_seed, seed=seed)
        require_fraction(data__val_fraction=val_fraction, data__test_fraction=test_fraction)
        require_choice(("pre", "post"), data__padding=padding, data__truncating=truncating)
        require_choice(("train", "test"), data__validate_on=validate_on)
        require_choice(("random", "last"), data__val_rows=val_rows)
        require_choice(("imdb", "files", "demo"), data__source=source)
        require_choice(tuple(TOKENIZERS), data__tokenizer=tokenizer)
        self.max_features = max_features
        self.maxlen = maxlen
        self.padding = padding
        self.truncating = truncating
        self.batch_size = batch_size
        self.val_fraction = val_fraction
        self.val_rows = val_rows
        self.split_seed = split_seed
        self.validate_on = validate_on
        self.tokenizer = tokenizer
        self.seed = seed
        self.source = sources.find(source, path, text_column, label_column, test_fraction, split_seed)
        key = [FORMAT, self.source.fingerprint, tokenizer, validate_on]
        if validate_on == "train":
            key += [val_fraction, split_seed if val_rows == "random" else val_rows]
        self.folder = cache_folder() / "reviews" / sources.digest(key)[:16]

    def prepare_data(self) -> None:
        """Reads and encodes the source, unless that is done already."""
        if is_whole(self.folder):
            return
        corpus = self.source.load()
        train, test = np.split(np.arange(len(corpus.labels)), [corpus.train_rows])
        splits = {"train": train, "val": test, "test": test}
        if self.validate_on == "train":
            at_random = partial(sources.stratified, seed=self.split_seed)
            hold_out = at_random if self.val_rows == "random" else sources.last_of_each_class
            splits["train"], splits["val"] = hold_out(
                train, corpus.labels[train], self.val_fraction, key="data.val_fraction"
            )

        def texts() -> Iterator[Sequence[str]]:
            chunks = range(0, len(corpus.texts), CHUNK)
            for start in track(chunks, "Tokenizing reviews", transient=True):
                yield corpus.texts[start : start + CHUNK]["text"]

        encode(texts(), corpus.labels, splits, self.tokenizer, self.folder, {"label_names": corpus.label_names})

    def setup(self, stage: str | None = None) -> None:
        """Opens the encoded reviews; may be called any number of times."""
        facts = json.loads((self.folder / "facts.json").read_text())
        self.label_names: list[str] = facts["label_names"]
        self.repeated: dict[str, int] = facts["repeated"]
        self.vocabulary = Vocabulary(read_words(self.folder, self.max_features))
        self.splits = {
            split: PaddedReviews(
                StoredReviews(self.folder, split), self.max_features, self.maxlen, self.padding, self.truncating
            )
            for split in ("train", "val", "test")
        }

    def vectors(self, name: str, size: int) -> tuple[Tensor, Tensor]:
        """Where words may start from: vectors `learned` from the training rows, once, or pre-trained ones.

        Args:
            name: `learned`, or what `Vocabulary.vectors` takes.
            size: values of a learned one.

        Returns:
            The vectors, float32 `(N, E)`, and the ids of their words, int64 `(N,)`.

        Raises:
            InputError: there are none of that name, or too few words to learn from.
        """
        if name != "learned":
            return self.vocabulary.vectors(name)
        words = len(self.vocabulary)
        path = cache_folder() / "vectors" / f"{self.folder.name}_{words}_{size}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            try:
                vectors = np.load(path)
            except (OSError, ValueError, EOFError):  # missing or damaged
                vectors = learned_vectors(self.splits["train"], words, size)
                with whole(path) as unfinished, open(unfinished, "wb") as file:
                    np.save(file, vectors)
        return torch.from_numpy(vectors), torch.arange(len(SPECIALS), words)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled batches of `batch_size`."""
        split = self.splits["train"]
        return _loader(split, ShuffledBatches(len(split), self.batch_size, self.seed, split.bucketed, *self._device()))

    def val_dataloader(self) -> DataLoader[Batch]:
        """Larger batches, every validation row once."""
        return self._evaluation_dataloader("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Larger batches, every test row once."""
        return self._evaluation_dataloader("test")

    def _evaluation_dataloader(self, name: str) -> DataLoader[Batch]:
        split = self.splits[name]
        return _loader(split, split.batches(*self._device()))

    def _device(self) -> tuple[int, int]:
        """Which of how many devices read these batches."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def describe(self) -> str:
        """What the article prints before training: counts, shapes, lengths, what is cut, one review decoded.

        And what would go unnoticed: reviews of which a copy is trained on, unbalanced classes, texts mostly unread.
        """
        train = self.splits["train"].reviews
        lengths = train.lengths
        classes = np.bincount(train.labels[train.rows], minlength=len(self.label_names))
        counts = read_counts(self.folder)
        beyond = (counts[self.max_features :].sum() + counts[UNKNOWN]) / counts.sum()
        shapes = (f"{name} ({len(split):,} x {self.maxlen})" for name, split in self.splits.items())
        drawn = f"drawn from train, split_seed {self.split_seed}"
        from_train = drawn if self.val_rows == "random" else "the last of each class in train"
        validated = "the test half" if self.validate_on == "test" else from_train
        labels = ", ".join(f"{name} {count:,}" for name, count in zip(self.label_names, classes, strict=True))
        largest, share = self.label_names[classes.argmax()], classes.max() / classes.sum()
        unbalanced = f"; unbalanced, {largest} alone is right in {share:.0%}" if share * len(classes) > 1.2 else ""
        copies = (f"{count:,} of {name}" for name, count in self.repeated.items() if count)
        repeated = f"; {known} stand in train too" if (known := " and ".join(copies)) else ""
        unread = 1 - np.minimum(lengths, self.maxlen).sum() / lengths.sum()
        mostly = ", more than half" if unread > 0.5 else ""
        return "\n".join(
            [
                f"reviews    {', '.join(shapes)}; validation rows: {validated}{repeated}",
                f"labels     {labels} (train){unbalanced}",
                f"lengths    mean {lengths.mean():.0f}, median {np.median(lengths):.0f}, longest {lengths.max():,}",
                f"maxlen     {self.maxlen} cuts {np.mean(lengths > self.maxlen):.0%} of the reviews and "
                f"{unread:.0%} of their words{mostly}",
                f"vocabulary {len(self.vocabulary):,} words; {beyond:.1%} of the text is outside it",
                f"first one  {self.label_names[train.labels[train.rows[0]]]}: "
                + self.vocabulary.decode(self.splits["train"].matrix(np.array([0]))[0]),
            ]
        )


def _loader(split: PaddedReviews, batches: Sampler[Rows]) -> DataLoader[Batch]:
    """Without automatic batching: the sampler names a whole batch, and the data set pads it.

    The loader draws a number whenever it starts; from a generator of its own, so that dropout hangs on no such moment.
    """
    return DataLoader(split, sampler=batches, batch_size=None, generator=torch.Generator())
