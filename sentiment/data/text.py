"""Words: the tokenizers, the vocabulary, and pre-trained vectors for it."""

import os
import re
import ssl
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor
from torchtext.data.utils import get_tokenizer
from torchtext.vocab import Vectors, Vocab, pretrained_aliases

from sentiment.errors import InputError

PADDING, UNKNOWN = 0, 1
SPECIALS = ["<pad>", "<unk>"]

_PUNCTUATION = str.maketrans(dict.fromkeys('!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n', " "))


def words(text: str) -> list[str]:
    """Splits as Keras's `Tokenizer` does: lower case, punctuation dropped, apostrophes kept."""
    return text.lower().translate(_PUNCTUATION).split()


_BREAK = re.compile(r"<br\s*/?>")
_TOKEN = re.compile(
    r"""\d+(?:\.\d+)?/\d+   # 8/10
    | [a-z]+(?=n't\b) | n't\b | '(?:s|re|ve|ll|d|m)\b  # do + n't, it + 's
    | [^\W\d_]+ | \d+
    | [:;]-?[()] | !+ | \?+ | \.\.+ | [^\s\w]  # :-) and !!! and ... are one each""",
    re.VERBOSE,
)


def words_and_marks(text: str) -> list[str]:
    """Splits at all that is no letter and keeps it: marks and runs of them, ratings, "n't" as in the Penn Treebank.

    Lower case; HTML's line breaks are dropped.
    """
    return _TOKEN.findall(_BREAK.sub(" ", text.lower().replace("’", "'")))


TOKENIZERS: dict[str, Callable[[str], list[str]]] = {
    "words": words,
    "words_and_marks": words_and_marks,
    "basic_english": get_tokenizer("basic_english"),
}


def rank_words(counts: dict[str, int]) -> list[str]:
    """The words in the order of their ids: the special ones, then by frequency, then by alphabet."""
    ranked: list[str] = Vocab(Counter(counts), specials=SPECIALS).itos
    return ranked


def cache_folder() -> Path:
    """Where encoded reviews, baseline predictions and word vectors are kept between runs."""
    return Path(os.environ.get("SENTIMENT_CACHE", Path.home() / ".cache" / "sentiment"))


class Vocabulary:
    """The words by id: 0 is padding, 1 is any unknown word, then from the most frequent word down.

    Args:
        words: every word in the order of its id, `<pad>` and `<unk>` first.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self.ids = {word: id_ for id_, word in enumerate(self.words) if word not in SPECIALS}

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, tokens: Sequence[str]) -> list[int]:
        """Ids of the tokens; a text without any token is one unknown word."""
        return [self.ids.get(token, UNKNOWN) for token in tokens] or [UNKNOWN]

    def decode(self, ids: Iterable[int]) -> str:
        """The words of the ids, padding left out."""
        return " ".join(self.words[id_] for id_ in ids if id_ != PADDING)

    def vectors(self, name: str) -> tuple[Tensor, Tensor]:
        """Pre-trained word vectors through torchtext.

        Args:
            name: one of torchtext's names, such as `glove.6B.100d` (downloaded once), or a local file of lines
                `word value value …`.

        Returns:
            The vectors found, float32 `(N, E)`, and the ids of their words, int64 `(N,)`.

        Raises:
            InputError: the name is neither, or the vectors cannot be read or downloaded.
        """
        try:
            # torchtext would switch certificate checks off, for good and for the whole process.
            with (
                patch.object(ssl, "_create_unverified_context", ssl.create_default_context),
                patch.object(ssl, "_create_default_https_context"),
            ):
                pretrained = _pretrained(name)
        except (OSError, RuntimeError, ValueError, TypeError, ZeroDivisionError) as error:
            raise InputError(
                f"model.vectors={name}: cannot be read or downloaded ({error}); "
                f"name a file of lines 'word value …' or one of {', '.join(pretrained_aliases)}"
            ) from error
        known = [id_ for id_, word in enumerate(self.words) if word in pretrained.stoi]
        rows = [pretrained.stoi[self.words[id_]] for id_ in known]
        return pretrained.vectors[rows].float(), torch.tensor(known, dtype=torch.int64)


def _pretrained(name: str) -> Vectors:
    cache = cache_folder() / "vectors"
    if not Path(name).is_file():
        if name not in pretrained_aliases:
            raise FileNotFoundError("no such file or name")
        return pretrained_aliases[name](cache=cache)
    stat = Path(name).stat()  # torchtext's cache goes by the file's name alone
    return Vectors(name, cache=cache / f"{stat.st_mtime_ns}_{stat.st_size}")
