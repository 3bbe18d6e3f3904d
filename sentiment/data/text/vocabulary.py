"""From a text to word ids: the vocabulary and the encoder."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sentiment.data.text.tokenizers import Tokenizer
from sentiment.runtime.errors import check_at_least, check_choice

PADDING, UNKNOWN = 0, 1
SPECIALS = ["<pad>", "<unk>"]
MAX_UNKNOWN = 0.5  # of the tokens of texts in a language that the vocabulary knows


def rank_words(counts: dict[str, int]) -> list[str]:
    """The words in the order of their ids: the special ones, then by frequency, then alphabetically."""
    from torchtext.vocab import Vocab  # slow to import

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


@dataclass(frozen=True)
class TextEncoder:
    """All that is needed to encode a text as in training. Checkpoints and ONNX files carry it as plain values.

    Attributes:
        vocabulary: the known words.
        tokenizer: the settings of a `Tokenizer`: a name, or a mapping with `_target_`.
        maxlen: maximum number of tokens of a text.
        padding: `pre` pads at the start, to exactly `maxlen`; `post` at the end, and the model masks it.
        truncating: `pre` keeps the last tokens of a long text, `post` the first ones.
        tokenizer_state: of a tokenizer that was trained.
        trust: modules outside this package whose tokenizers may be imported.
    """

    vocabulary: Vocabulary
    tokenizer: str | Mapping[str, Any]
    maxlen: int
    padding: str
    truncating: str
    tokenizer_state: Mapping[str, Any] | None = None
    trust: Collection[str] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        check_at_least(1, maxlen=self.maxlen)
        check_choice(("pre", "post"), padding=self.padding)
        check_choice(("pre", "post"), truncating=self.truncating)
        self.tokenize  # noqa: B018  # raises its errors now

    @cached_property
    def tokenize(self) -> Tokenizer:
        """Splits a text into all its tokens."""
        return Tokenizer(self.tokenizer, self.tokenizer_state, self.trust)

    @property
    def masked(self) -> bool:
        """Whether padding is masked, which is what padding at the end means."""
        return self.padding == "post"

    def split(self, text: str) -> tuple[list[str], slice]:
        """The tokens of a text, and which of them the model reads."""
        tokens = self.tokenize(text)
        excess = max(0, len(tokens) - self.maxlen)
        return tokens, slice(excess, None) if self.truncating == "pre" else slice(
            len(tokens) - excess
        )

    def encode(self, text: str) -> list[int]:
        """Ids of the tokens that the model reads, at least one and at most `maxlen`."""
        tokens, kept = self.split(text)
        return self.vocabulary.encode(tokens[kept])

    def to_dict(self) -> dict[str, Any]:
        """Plain values, from which `from_dict` makes an encoder of the same ids."""
        settings = {
            name: getattr(self, name) for name in ("tokenizer", "maxlen", "padding", "truncating")
        }
        state = {} if self.tokenizer_state is None else {"tokenizer_state": self.tokenizer_state}
        return {"vocabulary": self.vocabulary.words} | settings | state

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], trust: Collection[str] = ()) -> "TextEncoder":
        """The encoder that `to_dict` describes.

        Args:
            values: of `to_dict`.
            trust: modules outside this package whose tokenizers may be imported.

        Raises:
            UntrustedError: the tokenizer is of a module that is not trusted.
            TypeError: a value is missing or of the wrong type.
            ValueError: a value is out of range.
        """
        words = values.get("vocabulary")
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise TypeError("vocabulary: not a list of strings")
        if words[: len(SPECIALS)] != SPECIALS:
            raise ValueError(f"vocabulary: does not start with {SPECIALS}")
        encoder = cls(**{**values, "vocabulary": Vocabulary(words), "trust": trust})
        if encoder.tokenize.needs_training and encoder.tokenizer_state is None:
            raise ValueError("tokenizer_state: missing")
        return encoder
