"""List the nearest neighbors of words by cosine similarity of the embeddings, with their polarity.

python -m sentiment.neighbors outputs/runs/2026-01-31_12-00-00 good terrible
python -m sentiment.neighbors RUN good --count 20

The polarity is the logit of a text of that word alone, minus that of an unknown word alone.
"""

from argparse import Namespace

from sentiment.runtime.cli import CommandParser, escape_control_chars
from sentiment.runtime.errors import check_at_least


def run(arguments: Namespace) -> None:
    check_at_least(1, **{"--count": arguments.count})

    from rich.box import SIMPLE_HEAD  # these take seconds
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from sentiment.analysis.explain.neighbors import find_neighbors
    from sentiment.classifier import load

    classifier = load(arguments.checkpoint, arguments.trust)
    for found in [find_neighbors(classifier, word, arguments.count) for word in arguments.word]:
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        table.add_column(Text(escape_control_chars(found[0][0])), no_wrap=True)
        for heading in ("cosine", *(f"polarity ({name})" for name in classifier.output_names)):
            table.add_column(Text(escape_control_chars(heading)), justify="right")
        for neighbor, cosine, polarity in found:
            numbers = (f"{cosine:.3f}", *(f"{logit:+.2f}" for logit in polarity))
            table.add_row(Text(escape_control_chars(neighbor)), *numbers)
        Console().print(table)
    print("polarity: logit of the word alone, minus that of an unknown word")


def main() -> None:
    parser = CommandParser("neighbors", __doc__)
    add = parser.add_argument
    parser.add_checkpoint()
    add("word", nargs="+", help="word of the vocabulary")
    add("--count", type=int, default=10, help="neighbors of each word (default: 10)")
    parser.run(run)


if __name__ == "__main__":
    main()
