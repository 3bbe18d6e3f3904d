"""Explain a prediction: attributions, the probability after each word, and the gates of a recurrent network.

python -m sentiment.explain outputs/runs/2026-01-31_12-00-00 "A slow start, but what an ending!"
python -m sentiment.explain RUN --html page.html "A slow start, but what an ending!"
python -m sentiment.explain RUN < review.txt

Of two classes the second is explained, of more the predicted one, unless --class names another. The attributions are
integrated gradients (Sundararajan, Taly & Yan 2017): they divide the difference between the log-odds of the class for
the text and those for a baseline, zero vectors in place of the embedded words, among the words.
"""

import sys
from argparse import Namespace
from itertools import chain
from pathlib import Path

from sentiment.runtime.cli import CommandParser
from sentiment.runtime.errors import InputError
from sentiment.runtime.files import output_file


def run(arguments: Namespace) -> None:
    from rich.console import Console  # these take seconds

    from sentiment.analysis.explain.explanation import explain
    from sentiment.analysis.explain.views import print_explanation, render_html
    from sentiment.classifier import load
    from sentiment.file_predictions import read_lines

    text = arguments.text
    if text is None:
        text = "\n".join(chain.from_iterable(read_lines(sys.stdin.buffer)))
    classifier = load(arguments.checkpoint, arguments.trust)
    tokens, _ = classifier.encoder.split(text)
    if not tokens:
        raise InputError("text: there is no token in it to explain; pass a text with a word")
    explanation = explain(classifier, text, arguments.target)
    if arguments.html is not None:
        with output_file(arguments.html) as temporary:
            temporary.write_text(render_html(explanation), encoding="utf-8", errors="replace")
    print_explanation(explanation, Console())
    if arguments.html is not None:
        print(f"\n{arguments.html}: open it in a browser")


def main() -> None:
    page = "also write an HTML page with the gates"
    parser = CommandParser("explain", __doc__)
    parser.add_checkpoint()
    parser.add_argument("text", nargs="?", help="standard input if omitted")
    parser.add_argument("--html", type=Path, metavar="PAGE", help=page)
    parser.add_argument("--class", dest="target", metavar="NAME", help="explain this class")
    parser.run(run)


if __name__ == "__main__":
    main()
