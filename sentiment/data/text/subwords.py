"""Subword tokenizers: byte-pair encoding and unigram language models, with Hugging Face tokenizers."""

import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sentiment.runtime.errors import check_choice

if TYPE_CHECKING:
    from tokenizers import Tokenizer

UNKNOWN = "<unk>"
_LETTER, _DIGIT = r"[\p{L}\p{M}]", r"\p{N}"
# A space, written as "▁", belongs to the word after it. Limits keep long lines linear.
_WORD = (
    rf"▁?{_LETTER}{{1,64}}(?:'{_LETTER}{{1,8}})?"  # don't
    rf"|▁?{_DIGIT}{{1,64}}(?:[./,]{_DIGIT}{{1,8}})?"  # 8/10
    rf"|▁?[^\p{{L}}\p{{M}}\p{{N}}▁]{{1,64}}|▁"  # !!!
)


class SubwordTokenizer:
    """Splits words into pieces that are frequent in the training rows, lower-cased, in NFKC, without HTML line breaks.

    The algorithm is `bpe` (Sennrich, Haddow & Birch 2016) or `unigram` (Kudo 2018). A piece that starts a word starts
    with `▁`. Words, numbers and punctuation are not merged with each other. A character that no training row has is
    `<unk>`.
    """

    def __init__(self, algorithm: str) -> None:
        check_choice(("bpe", "unigram"), algorithm=algorithm)
        import tokenizers  # noqa: F401  # fails now if it is not installed

        self.algorithm = algorithm
        self.libraries = ["tokenizers"] if algorithm == "bpe" else ["tokenizers", "sentencepiece"]
        self.tokenizer: Tokenizer | None = None
        self.pieces: dict[int, str] = {}

    def __call__(self, text: str) -> list[str]:
        """Return the pieces of a text."""
        assert self.tokenizer, "not trained"
        return [self.pieces[id_] for id_ in self.tokenizer.encode(_replace_surrogates(text)).ids]

    def fit(self, texts: Iterable[str], max_features: int) -> None:
        """Learn at most `max_features` pieces, padding and `<unk>` included; the same texts give the same pieces."""
        train = _train_bpe if self.algorithm == "bpe" else _train_unigram
        self._take(train(map(_replace_surrogates, texts), max_features - 1))  # without padding

    def state_dict(self) -> dict[str, Any]:
        """The JSON file of a Hugging Face tokenizer, which `tokenizers.Tokenizer.from_str` reads."""
        assert self.tokenizer, "not trained"
        state: dict[str, Any] = json.loads(self.tokenizer.to_str())
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the pieces of a state, and nothing else: a regular expression of somebody's checkpoint may hang."""
        from tokenizers import models

        if self.algorithm == "bpe":
            vocabulary = dict(state["model"]["vocab"])  # no text: a name of a file would be read
            assert UNKNOWN in vocabulary
            merges = [(first, second) for first, second in state["model"]["merges"]]
            model: Any = models.BPE(vocab=vocabulary, merges=merges, unk_token=UNKNOWN)
        else:
            pieces = [(piece, score) for piece, score in state["model"]["vocab"]]
            model = models.Unigram(pieces, unk_id=0, byte_fallback=False)
        self._take(_make_tokenizer(model))

    def _take(self, tokenizer: "Tokenizer") -> None:
        self.tokenizer = tokenizer
        self.pieces = {id_: piece for piece, id_ in tokenizer.get_vocab().items()}


def _make_tokenizer(model: Any) -> "Tokenizer":
    from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers

    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.Replace("’", "'"),
            normalizers.Replace(Regex(r"<br\s*/?>"), " "),
            normalizers.Strip(),
            normalizers.Replace(Regex(r"[\s▁]+"), "▁"),
            normalizers.Prepend("▁"),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_WORD), "isolated")
    return tokenizer


def _train_bpe(texts: Iterable[str], size: int) -> "Tokenizer":
    from tokenizers import models, trainers

    tokenizer = _make_tokenizer(models.BPE(unk_token=UNKNOWN))
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=[UNKNOWN], show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = []  # else "<unk>" in a text would be a special token
    return tokenizer.from_str(json.dumps(state))


def _train_unigram(texts: Iterable[str], size: int) -> "Tokenizer":
    """Train with SentencePiece, since two trainings with Hugging Face's trainer differ."""
    import sentencepiece
    from tokenizers import models

    tokenizer = _make_tokenizer(models.Unigram())
    normalizer, pre_tokenizer = tokenizer.normalizer, tokenizer.pre_tokenizer
    assert normalizer
    assert pre_tokenizer
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(
            word for word, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(text))
        )
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=_format_counts(counts),
        input_format="tsv",
        model_writer=model,
        model_type="unigram",
        vocab_size=size,
        hard_vocab_limit=False,  # if the texts have fewer pieces
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        split_by_unicode_script=False,
        split_by_number=False,
        unk_id=0,
        unk_piece=UNKNOWN,
        bos_id=-1,
        eos_id=-1,
        pad_id=-1,
        num_threads=1,  # the sums of several threads are rounded differently
        minloglevel=2,
    )
    trained = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = [(trained.id_to_piece(i), trained.get_score(i)) for i in range(len(trained))]
    return _make_tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))


def _format_counts(counts: Mapping[str, int]) -> Iterator[str]:
    """Yield lines of text and its frequency.

    SentencePiece considers what occurs twice with different characters after it. So words are written twice on a line,
    else frequent words without other forms, such as "although", would be no pieces.
    """
    for word, count in sorted(counts.items()):
        text = word.replace("▁", " ")
        repeats = count // 2 if word.startswith("▁") else 0
        if repeats:
            yield f"{text}{text}\t{repeats}"
        if rest := count - 2 * repeats:
            yield f"{text}\t{rest}"


def _replace_surrogates(text: str) -> str:
    """Replace what is no character in UTF-8."""
    return text.encode("utf-8", "replace").decode()
