"""From a text to word ids: the tokenizers, the vocabulary, and pre-trained vectors for it."""

import re
import ssl
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torchtext.data.utils import get_tokenizer
from torchtext.vocab import Vectors, Vocab, pretrained_aliases

from sentiment.runtime.errors import InputError, check_at_least, check_choice
from sentiment.runtime.files import cache_dir

PADDING, UNKNOWN = 0, 1
SPECIALS = ["<pad>", "<unk>"]
MAX_UNKNOWN = 0.5  # of the tokens of texts in a language that the vocabulary knows

_KERAS_FILTERS = str.maketrans(dict.fromkeys('!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n', " "))


def split_words(text: str) -> list[str]:
    """Split as Keras's `Tokenizer` does: lower case, punctuation removed, apostrophes kept."""
    return text.lower().translate(_KERAS_FILTERS).split()


_LINE_BREAK = re.compile(r"<br\s*/?>")
_TOKEN = re.compile(
    r"""\d+(?:\.\d+)?/\d+   # 8/10
    | [a-z]+(?=n't\b) | n't\b | '(?:s|re|ve|ll|d|m)\b  # do + n't, it + 's
    | [^\W\d_]+ | \d+
    | [:;]-?[()] | !+ | \?+ | \.\.+ | [^\s\w]  # :-) and !!! and ... are one token each""",
    re.VERBOSE,
)


def split_words_and_punctuation(text: str) -> list[str]:
    """Split into words, runs of punctuation and ratings; "n't" is a token as in the Penn Treebank.

    Lower case; HTML line breaks are removed.
    """
    return _TOKEN.findall(_LINE_BREAK.sub(" ", text.lower().replace("’", "'")))


def split_characters(text: str) -> list[str]:
    """Split into characters, for languages that are written without spaces; lower case, white space removed."""
    return [character for character in text.lower() if not character.isspace()]


# A tokenizer must not return line breaks: the vocabulary is stored one word per line. The cache of encoded reviews is
# keyed by the name alone: after changing a tokenizer, raise `datamodule.FORMAT`.
TOKENIZERS: dict[str, Callable[[str], list[str]]] = {
    "words": split_words,
    "words_and_punctuation": split_words_and_punctuation,
    "basic_english": get_tokenizer("basic_english"),
    "characters": split_characters,
}


def rank_words(counts: dict[str, int]) -> list[str]:
    """The words in the order of their ids: the special ones, then by frequency, then alphabetically."""
    ranked: list[str] = Vocab(Counter(counts), specials=SPECIALS).itos
    return ranked


class Vocabulary:
    """The words by id: 0 is padding, 1 any unknown word, then the known words by descending frequency.

    Args:
        words: every word in the order of its id, `<pad>` and `<unk>` first.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self.ids = {word: id_ for id_, word in enumerate(self.words) if word not in SPECIALS}

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, tokens: Sequence[str]) -> list[int]:
        """Ids of the tokens; a text without tokens is one unknown word."""
        return [self.ids.get(token, UNKNOWN) for token in tokens] or [UNKNOWN]

    def decode(self, ids: Iterable[int]) -> str:
        """The words of the ids, without padding."""
        return " ".join(self.words[id_] for id_ in ids if id_ != PADDING)

    def pretrained_vectors(self, name: str) -> tuple[Tensor, Tensor]:
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
            # torchtext would disable certificate checks for the whole process.
            with (
                patch.object(ssl, "_create_unverified_context", ssl.create_default_context),
                patch.object(ssl, "_create_default_https_context"),
            ):
                pretrained = _load_vectors(name)
        except (OSError, RuntimeError, ValueError, TypeError, ZeroDivisionError) as error:
            raise InputError(
                f"model.embedding_init={name}: cannot be read or downloaded ({error}); use ppmi, a file of lines "
                f"'word value …' or one of {', '.join(pretrained_aliases)}"
            ) from error
        found = [id_ for id_, word in enumerate(self.words) if word in pretrained.stoi]
        rows = [pretrained.stoi[self.words[id_]] for id_ in found]
        return pretrained.vectors[rows].float(), torch.tensor(found, dtype=torch.int64)


def _load_vectors(name: str) -> Vectors:
    cache = cache_dir() / "vectors"
    if not Path(name).is_file():
        if name not in pretrained_aliases:
            raise FileNotFoundError("no such file or name")
        return pretrained_aliases[name](cache=cache)
    stat = Path(name).stat()  # torchtext's cache is keyed by the file name alone
    return Vectors(name, cache=cache / f"{stat.st_mtime_ns}_{stat.st_size}")


@dataclass(frozen=True)
class TextEncoder:
    """All that is needed to encode a text as in training. Checkpoints and ONNX files carry it as plain values.

    Attributes:
        vocabulary: the known words.
        tokenizer: a name in `TOKENIZERS`.
        maxlen: maximum number of tokens of a text.
        padding: `pre` pads at the start, to exactly `maxlen`; `post` at the end, and the model masks it.
        truncating: `pre` keeps the last tokens of a long text, `post` the first ones.
    """

    vocabulary: Vocabulary
    tokenizer: str
    maxlen: int
    padding: str
    truncating: str

    def __post_init__(self) -> None:
        check_at_least(1, maxlen=self.maxlen)
        check_choice(("pre", "post"), padding=self.padding)
        check_choice(("pre", "post"), truncating=self.truncating)
        check_choice(tuple(TOKENIZERS), tokenizer=self.tokenizer)

    @property
    def masked(self) -> bool:
        """Whether padding is masked, which is what padding at the end means."""
        return self.padding == "post"

    def split(self, text: str) -> tuple[list[str], slice]:
        """The tokens of a text, and which of them the model reads."""
        tokens = TOKENIZERS[self.tokenizer](text)
        excess = max(0, len(tokens) - self.maxlen)
        return tokens, slice(excess, None) if self.truncating == "pre" else slice(len(tokens) - excess)

    def encode(self, text: str) -> list[int]:
        """Ids of the tokens that the model reads, at least one and at most `maxlen`."""
        tokens, kept = self.split(text)
        return self.vocabulary.encode(tokens[kept])

    def to_dict(self) -> dict[str, Any]:
        """Plain values, from which `from_dict` makes an equal encoder."""
        settings = {name: getattr(self, name) for name in ("tokenizer", "maxlen", "padding", "truncating")}
        return {"vocabulary": self.vocabulary.words} | settings

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TextEncoder":
        """The encoder that `to_dict` describes.

        Raises:
            TypeError: a value is missing or of the wrong type.
            ValueError: a value is out of range.
        """
        words = values.get("vocabulary")
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise TypeError("vocabulary: not a list of strings")
        if words[: len(SPECIALS)] != SPECIALS:
            raise ValueError(f"vocabulary: does not start with {SPECIALS}")
        return cls(**{**values, "vocabulary": Vocabulary(words)})
