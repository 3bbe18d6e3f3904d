"""Tokenizers, which split a text into tokens: functions by name, subwords, and classes of the user's own."""

import functools
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from importlib.metadata import version
from typing import Any

from sentiment.runtime.cache import source_hash
from sentiment.runtime.errors import (
    ArgumentError,
    InputError,
    check_choice,
    report_failure,
    shorten,
)
from sentiment.runtime.trust import import_trusted, is_ours

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
    """Split into lower-case words, runs of punctuation and ratings, without HTML line breaks.

    "n't" is a token as in the Penn Treebank.
    """
    return _TOKEN.findall(_LINE_BREAK.sub(" ", text.lower().replace("’", "'")))


def split_characters(text: str) -> list[str]:
    """Split into characters, for languages that are written without spaces; lower case, white space removed."""
    return [character for character in text.lower() if not character.isspace()]


def split_basic_english(text: str) -> list[str]:
    """Split as torchtext's tokenizer of that name does: lower case, punctuation marks are tokens."""
    from torchtext.data.utils import get_tokenizer  # slow to import

    tokens: list[str] = get_tokenizer("basic_english")(text)
    return tokens


TOKENIZERS: dict[str, Callable[[str], list[str]]] = {
    "words": split_words,
    "words_and_punctuation": split_words_and_punctuation,
    "basic_english": split_basic_english,
    "characters": split_characters,
}
SUBWORDS = "sentiment.data.text.subwords.SubwordTokenizer"
SUBWORD_TOKENIZERS = {
    name: {"_target_": SUBWORDS, "algorithm": name} for name in ("bpe", "unigram")
}
NAMES = (*TOKENIZERS, *SUBWORD_TOKENIZERS)
_TRAINED = ("fit", "state_dict", "load_state_dict")


class Tokenizer:
    """Splits a text into tokens, as its settings say.

    They are one of `NAMES`, or a mapping of `_target_`, which names a class of a module in `trust`, and its plain
    arguments. Its objects are called with a text and return a list of strings; with `_partial_: true` it names a
    function of a text. An object with `fit(texts, max_features)`, `state_dict()` and `load_state_dict(state)` is
    trained on the texts of the training rows; its state, of plain values as in JSON, is stored in checkpoints.
    """

    def __init__(
        self,
        settings: str | Mapping[str, Any],
        state: Mapping[str, Any] | None = None,
        trust: Collection[str] = (),
    ) -> None:
        self.settings = dict(settings) if isinstance(settings, Mapping) else settings
        self.state = state
        self.trust = trust
        self._split = _make(self.settings, trust)
        if state is not None:
            with report_failure(f"tokenizer={self}: its state cannot be loaded", ArgumentError):
                self._split.load_state_dict(state)

    def __str__(self) -> str:
        return self.settings if isinstance(self.settings, str) else str(self.settings["_target_"])

    def __eq__(self, other: object) -> bool:
        mine = self.settings, self.state
        return isinstance(other, Tokenizer) and mine == (other.settings, other.state)

    def __hash__(self) -> int:
        return hash(str(self))

    def __reduce__(self) -> tuple[type["Tokenizer"], tuple[Any, ...]]:
        return Tokenizer, (self.settings, self.state, self.trust)

    @property
    def needs_training(self) -> bool:
        """Whether it splits texts only after a training, whose result is its state."""
        return all(hasattr(self._split, name) for name in _TRAINED)

    @property
    def cache_key(self) -> list[Any]:
        """What the tokens depend on besides the texts: settings, the file of the code, versions of its libraries."""
        split = self._split.func if isinstance(self._split, functools.partial) else self._split
        return [self.settings, source_hash(split), *map(version, getattr(split, "libraries", ()))]

    def __call__(self, text: str) -> list[str]:
        """Return the tokens of a text; empty ones are dropped."""
        if isinstance(self.settings, str) and self.settings in TOKENIZERS:
            return TOKENIZERS[self.settings](text)
        with report_failure(f"{self} fails on {shorten(text)!r}"):
            tokens = self._split(text)
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            returned = shorten(repr(tokens))
            raise InputError(
                f"{self} returns {returned} for {shorten(text)!r}; it must return a list of strings"
            )
        return [*filter(None, tokens)]

    def fit(self, texts: Iterable[str], max_features: int) -> "Tokenizer":
        """Train a tokenizer of these settings, for a vocabulary of `max_features`; texts are read once."""
        with report_failure(f"{self}: its training fails"):
            trained = _make(self.settings, self.trust)
            trained.fit(texts, max_features)
            state = trained.state_dict()
        if not isinstance(state, dict) or not is_plain(state):
            raise InputError(
                f"{self}: its state_dict() must be a dict of plain values, as in JSON; correct it"
            )
        return Tokenizer(self.settings, state, self.trust)


def is_plain(value: Any) -> bool:
    """Whether a value is the same after it was written to JSON and read again."""
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError, RecursionError):
        return False


def _make(settings: Any, trust: Collection[str]) -> Any:
    """The function or object that splits texts."""
    if isinstance(settings, str):
        check_choice(NAMES, tokenizer=settings)
        if settings in TOKENIZERS:
            return TOKENIZERS[settings]
    name, settings = settings, SUBWORD_TOKENIZERS.get(str(settings), settings)
    target = settings.get("_target_") if isinstance(settings, dict) else None
    if not isinstance(target, str) or not is_plain(settings):
        raise ArgumentError(
            f"tokenizer={shorten(str(settings))}: must be a name, or _target_ and plain arguments"
        )
    is_other = is_ours(target) and target != SUBWORDS
    found: Any = None if is_other else import_trusted(target, trust)
    cls = found if isinstance(found, type) else type(found)  # classes themselves can be called
    if not any("__call__" in vars(base) for base in cls.__mro__):
        raise ArgumentError(
            f"tokenizer={target}: not one of {', '.join(NAMES)}, nor a class with a method __call__(text) that returns "
            "a list of strings"
        )
    arguments = dict(settings)
    del arguments["_target_"]
    is_function = arguments.pop("_partial_", False)
    shown = name if isinstance(name, str) else target
    advice = "" if isinstance(found, type) else " (a function needs _partial_: true)"
    with report_failure(f"tokenizer={shown}: cannot be made{advice}", ArgumentError):
        return functools.partial(found, **arguments) if is_function else found(**arguments)
