"""From a text to word ids: the vocabulary and the encoder."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sentiment.data.text.tokenizers import Tokenizer
from sentiment.runtime.errors import check_at_least, check_choice

PADDING, UNKNOWN = 0, 1
SPECIALS = ["<pad>", "<unk>"]
MAX_UNKNOWN = 0.5  # of the tokens of texts in a language that the vocabulary knows


def rank_words(counts: Mapping[str, int]) -> list[str]:
    """The words in the order of their ids: the special ones, then by frequency, then alphabetically."""
    words = (word for word in counts if word not in SPECIALS)
    return [*SPECIALS, *sorted(words, key=lambda word: (-counts[word], word))]


class Vocabulary:
    """The words by id: `<pad>`, `<unk>`, which is any unknown word, then the known ones by descending frequency."""

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self.ids = {word: id_ for id_, word in enumerate(self.words) if word not in SPECIALS}

    def __len__(self) -> int:
        return len(self.words)

    def look_up(self, tokens: Sequence[str]) -> list[int]:
        """Ids of the tokens; a text without tokens is one unknown word."""
        return [self.ids.get(token, UNKNOWN) for token in tokens] or [UNKNOWN]

    def decode(self, ids: Iterable[int]) -> str:
        """The words of the ids, without padding."""
        return " ".join(self.words[id_] for id_ in ids if id_ != PADDING)


@dataclass(frozen=True)
class TextEncoder:
    """All that is needed to encode a text as in training. Checkpoints and ONNX files carry it as plain values."""

    vocabulary: Vocabulary
    tokenizer: Tokenizer
    maxlen: int
    padding: str  # pre: at the start, to exactly `maxlen`; post: at the end, and the model masks it
    truncating: str  # pre keeps the last tokens of a long text, post the first ones

    def __post_init__(self) -> None:
        check_at_least(1, maxlen=self.maxlen)
        check_choice(("pre", "post"), padding=self.padding, truncating=self.truncating)

    @property
    def masked(self) -> bool:
        """Whether padding is masked, which is what padding at the end means."""
        return self.padding == "post"

    def split(self, text: str) -> tuple[list[str], slice]:
        """The tokens of a text, and which of them the model reads."""
        tokens = self.tokenizer(text)
        return tokens, self._choose(tokens)

    def encode(self, text: str) -> list[int]:
        """Ids of the tokens that the model reads, at least one and at most `maxlen`."""
        return self.encode_tokens(self.tokenizer(text))

    def encode_tokens(self, tokens: list[str]) -> list[int]:
        """Ids of those of the tokens of a text that the model reads."""
        return self.vocabulary.look_up(tokens[self._choose(tokens)])

    def _choose(self, tokens: list[str]) -> slice:
        excess = max(0, len(tokens) - self.maxlen)
        return slice(excess, None) if self.truncating == "pre" else slice(len(tokens) - excess)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, from which `from_dict` makes an encoder of the same ids."""
        values = {name: getattr(self, name) for name in ("maxlen", "padding", "truncating")}
        values |= {"vocabulary": self.vocabulary.words, "tokenizer": self.tokenizer.settings}
        state = self.tokenizer.state
        return values if state is None else values | {"tokenizer_state": state}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], trust: Collection[str] = ()) -> "TextEncoder":
        """The encoder that `to_dict` describes; an `UntrustedError` if its tokenizer is of a module not in `trust`.

        A TypeError, KeyError or ValueError says that a value is missing, unknown, wrong or out of range.
        """
        arguments = dict(values)
        words = arguments.pop("vocabulary")
        tokenizer = Tokenizer(
            arguments.pop("tokenizer"), arguments.pop("tokenizer_state", None), trust
        )
        known = isinstance(words, list) and all(isinstance(word, str) for word in words)
        if not known or words[: len(SPECIALS)] != SPECIALS:
            problem = f"vocabulary: not a list of strings that starts with {SPECIALS}"
        elif tokenizer.needs_training and tokenizer.state is None:
            problem = "tokenizer_state: missing"
        else:
            return cls(Vocabulary(words), tokenizer, **arguments)
        raise ValueError(problem)
