"""Lists the words whose vectors point the way a word's does, with what each does to the answer when it stands alone.

python -m sentiment.neighbors outputs/runs/2026-01-31_12-00-00 good terrible
"""

from argparse import Namespace
from difflib import get_close_matches
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch.nn import functional as F

from sentiment.classifier import Classifier, load
from sentiment.data.text import SPECIALS
from sentiment.errors import InputError, Parser, printable


def known(classifier: Classifier, word: str) -> str:
    """The word as the classifier writes it.

    Raises:
        InputError: the classifier does not know it; the message offers close spellings.
    """
    tokens, ids = classifier.split(word)[0], classifier.vocabulary.ids
    if len(tokens) == 1 and tokens[0] in ids:
        return tokens[0]
    close = get_close_matches(word.lower(), ids, cutoff=0.7)
    advice = f"did you mean {', '.join(close)}?" if close else "try another"
    raise InputError(f"{word!r}: none of the {len(ids):,} words that the model knows; {advice}")


def neighbors(classifier: Classifier, word: str, count: int) -> list[tuple[str, float]]:
    """The words nearest to a known one by cosine similarity of the embedding, and that similarity, nearest first."""
    words, id_ = classifier.vocabulary.words, classifier.vocabulary.ids[word]
    vectors = F.normalize(classifier.net.embedding.weight.detach())
    similarity = vectors @ vectors[id_]
    similarity[id_] = similarity[: len(SPECIALS)] = -2.0
    found = similarity.topk(min(count, len(words) - len(SPECIALS) - 1))
    return [(words[i], value) for value, i in zip(found.values.tolist(), found.indices.tolist(), strict=True)]


def run(arguments: Namespace) -> None:
    """Prints a table for each word of a command line."""
    if arguments.count < 1:
        raise InputError(f"--count {arguments.count}: must be at least 1")
    classifier = load(arguments.checkpoint)
    words = [known(classifier, word) for word in arguments.word]
    outputs = classifier.label_names[1:] if len(classifier.label_names) == 2 else classifier.label_names
    for word in words:
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        table.add_column(Text(printable(word)), no_wrap=True)
        for heading in ("cosine", *(f"polarity ({name})" for name in outputs)):
            table.add_column(Text(printable(heading)), justify="right")
        listed = [(word, 1.0), *neighbors(classifier, word, arguments.count)]
        polarity = classifier.polarity([classifier.vocabulary.ids[other] for other, _ in listed]).tolist()
        for (other, cosine), logits in zip(listed, polarity, strict=True):
            table.add_row(Text(printable(other)), f"{cosine:.3f}", *(f"{logit:+.2f}" for logit in logits))
        Console().print(table)
    print("polarity: how far the word alone moves the logit from an unknown word's")


if __name__ == "__main__":
    parser = Parser("neighbors", __doc__)
    parser.add_argument("checkpoint", type=Path, help="a run's folder or a checkpoint")
    parser.add_argument("word", nargs="+")
    parser.add_argument("--count", type=int, default=10, help="neighbours of each word (default: 10)")
    parser.run(run)
