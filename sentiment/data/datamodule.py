"""ReviewDataModule: from a source of reviews to padded batches for training, validation and test."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from pytorch_lightning import LightningDataModule
from pytorch_lightning.utilities import CombinedLoader
from rich.progress import track
from torch.utils.data import DataLoader

from sentiment.data import Integers
from sentiment.data.corpus import Corpus
from sentiment.data.encoded.batching import Batch, PaddedReviews
from sentiment.data.encoded.store import (
    EncodedReviews,
    StoredReviews,
    is_complete,
    read_array,
    read_metadata,
    read_vocabulary,
    write_encoded,
)
from sentiment.data.files.formats import CHUNK_SIZE
from sentiment.data.files.layout import SPLITS
from sentiment.data.source import FileSettings, resolve_source
from sentiment.data.text.tokenizers import Tokenizer
from sentiment.data.text.vocabulary import SPECIALS, TextEncoder, Vocabulary
from sentiment.runtime.cache import cache_dir, cached
from sentiment.runtime.cli import progress_options
from sentiment.runtime.errors import (
    check_at_least,
    check_choice,
    check_fraction,
    check_seed,
)
from sentiment.runtime.files import fingerprint
from sentiment.runtime.trust import find_targets

FORMAT = 9  # of the encoded reviews; a new number ignores older caches


class ReviewDataModule(LightningDataModule):
    """Tokenizes reviews once, splits off the validation set, and pads batches on demand.

    The arguments are the keys of `conf/data/default.yaml`, of which `reading` are those in
    `sentiment.data.source.FileSettings`, and `seed`, which draws the order of the training batches. A
    class that `tokenizer` names is imported and thereby trusted.

    After `prepare_data`, `folder` is where the encoded reviews are. After `setup`, `encoder` is how a text
    becomes ids; `splits` are `train`, `val`, `test` and perhaps `unlabelled`; `duplicates` how many reviews of
    `val` and `test` have the tokens of a training row; `unlabelled_copies` how many unlabelled texts had those
    of a `test` or `val` row and were left out, and how many have those of a `train` row. See also `Corpus`.
    """

    def __init__(
        self,
        source: str = "imdb",
        max_features: int = 20_000,
        maxlen: int = 80,
        padding: str = "pre",
        truncating: str = "pre",
        batch_size: int = 32,
        val_fraction: float = 0.1,
        val_split: str = "random",
        test_fraction: float = 0.2,
        split_seed: int = 0,
        validate_on: str = "train",
        tokenizer: str | Mapping[str, Any] = "words",
        seed: int = 0,
        reshuffle: bool = True,
        unlabelled_batches: bool = False,
        **reading: Any,
    ) -> None:
        super().__init__()
        check_at_least(1, batch_size=batch_size)
        check_at_least(3, max_features=max_features)  # padding, unknown, and one word
        check_seed(split_seed=split_seed, seed=seed)
        check_fraction(val_fraction=val_fraction, test_fraction=test_fraction)
        check_choice(("train", "test"), validate_on=validate_on)
        check_choice(("random", "tail"), val_split=val_split)
        check_choice(("imdb", "hub", "files", "demo"), source=source)
        trust = find_targets(tokenizer)
        self.encoder = TextEncoder(
            Vocabulary(SPECIALS), Tokenizer(tokenizer, trust=trust), maxlen, padding, truncating
        )
        self.max_features = max_features
        self.batch_size = batch_size
        self.val_fraction = val_fraction
        self.val_split = val_split
        self.split_seed = split_seed
        self.validate_on = validate_on
        self.seed = seed
        self.reshuffle = reshuffle
        self.unlabelled_batches = unlabelled_batches
        self._soft_labels: npt.NDArray[np.float32] | None = None
        settings = FileSettings(test_fraction=test_fraction, split_seed=split_seed, **reading)
        self.source = resolve_source(source, settings)
        key = [FORMAT, self.source.fingerprint, self.encoder.tokenizer.cache_key, validate_on]
        if self.encoder.tokenizer.needs_training:
            key += [max_features]
        if validate_on == "train" and not self.source.has_validation_set:
            key += [val_fraction, split_seed if val_split == "random" else val_split]
        self.folder = cache_dir() / "reviews" / fingerprint(key)

    def prepare_data(self) -> None:
        """Read and encode the source, unless that was done before."""
        # The cache may move to a temporary folder.
        name = f"reviews/{self.folder.name}"
        self.folder = cached(name, lambda path: path if is_complete(path) else None, self._encode)

    def _encode(self, folder: Path) -> None:
        corpus = self.source.load()
        splits = corpus.split(self.validate_on, self.val_fraction, self.val_split, self.split_seed)

        def texts(purpose: str) -> Iterator[str]:
            chunks = range(0, len(corpus.reviews), CHUNK_SIZE)
            for start in track(chunks, purpose, **progress_options()):
                yield from corpus.reviews[start : start + CHUNK_SIZE]["text"]

        metadata = {name: getattr(corpus, name) for name in ("label_names", "notes", "warnings")}
        tokenizer, size = self.encoder.tokenizer, self.max_features
        write_encoded(texts, corpus.labels, splits, tokenizer, size, folder, metadata)

    def setup(self, stage: str | None = None) -> None:
        """Open the encoded reviews. May be called any number of times."""
        metadata = read_metadata(self.folder)
        self.label_names: list[str] = metadata["label_names"]
        self.duplicates: dict[str, int] = metadata["duplicates"]
        self.unlabelled_copies: dict[str, int] = metadata.get("unlabelled_copies", {})
        vocabulary = Vocabulary(read_vocabulary(self.folder, self.max_features))
        untrained, state = self.encoder.tokenizer, metadata["tokenizer_state"]
        tokenizer = Tokenizer(untrained.settings, state, untrained.trust)
        self.encoder = replace(self.encoder, vocabulary=vocabulary, tokenizer=tokenizer)
        self.splits = {
            split: PaddedReviews(StoredReviews(self.folder, split), self.encoder)
            for split in SPLITS
            if split != "unlabelled" or self.unlabelled_copies
        }

    @property
    def training_texts(self) -> EncodedReviews:
        """The training rows and then the unlabelled ones, from which word vectors are learned, after `setup`."""
        names = [split for split in ("train", "unlabelled") if split in self.splits]
        return StoredReviews(self.folder, *names)

    @property
    def contents(self) -> str:
        """A hash of the tokens, the labels and the splits, after `setup`."""
        digest = hashlib.sha256(read_array(self.folder, "hashes").tobytes())
        for name, reviews in self.splits.items():
            rows = reviews.reviews.rows
            digest.update(name.encode() + rows.tobytes() + reviews.reviews.labels[rows].tobytes())
        return digest.hexdigest()[:16]

    def add_soft_labels(self, probabilities: npt.NDArray[np.float32]) -> None:
        """Train on the unlabelled texts too, with these probabilities of the classes, float32 `(texts, classes)`."""
        self._soft_labels = probabilities

    @property
    def training_set(self) -> PaddedReviews:
        """What is trained on: the training rows, and the unlabelled texts if they have soft labels."""
        train = self.splits["train"]
        if self._soft_labels is None:
            return train
        reviews = self.training_texts
        labels = np.zeros((len(reviews.labels), len(self.label_names)), dtype=np.float32)
        labels[train.reviews.rows, train.reviews.labels[train.reviews.rows]] = 1
        labels[self.splits["unlabelled"].reviews.rows] = self._soft_labels
        encoded = EncodedReviews(reviews.ids, reviews.offsets, labels, reviews.rows)
        return PaddedReviews(encoded, self.encoder)

    def train_dataloader(self) -> DataLoader[Batch] | CombinedLoader:
        """Shuffled batches of `batch_size`.

        With `unlabelled_batches` pairs of one and of a batch of unlabelled texts, if there are any; an epoch is a pass
        over the larger set, and repeats the other.
        """
        options = {"seed": self.seed, "reshuffle": self.reshuffle}
        batches = self._load(self.training_set, self.batch_size, **options)
        if not self.unlabelled_batches or "unlabelled" not in self.splits:
            return batches
        unlabelled = self._load(self.splits["unlabelled"], self.batch_size, **options)
        return CombinedLoader([batches, unlabelled], "max_size_cycle")

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._load(self.splits["val"])

    def test_dataloader(self) -> DataLoader[Batch]:
        return self._load(self.splits["test"])

    def _load(
        self, split: PaddedReviews, batch_size: int | None = None, **options: int
    ) -> DataLoader[Batch]:
        """The batches of this device. The sampler yields the positions of a batch, which `split` pads."""
        if self.trainer:
            options |= {"rank": self.trainer.global_rank, "num_replicas": self.trainer.world_size}
        sampler = split.sampler(batch_size, **options)
        # A loader draws a seed whenever it starts, which with a generator does not change dropout.
        return DataLoader(split, sampler=sampler, batch_size=None, generator=torch.Generator())

    def select_reviews(self, rows: Integers) -> Dataset:
        """Reviews as they were written, by their row numbers: columns `text`, `file`, `row` and perhaps `id`."""
        return self._corpus.reviews.select(rows)

    @cached_property
    def _corpus(self) -> Corpus:
        return self.source.load()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_corpus"}
