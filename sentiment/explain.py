"""Shows what an LSTM did with a text: which words moved it, how the probability ran, and what the gates did.

python -m sentiment.explain outputs/runs/2026-01-31_12-00-00 "A slow start, but what an ending!"
python -m sentiment.explain RUN --html page.html "A slow start, but what an ending!"
python -m sentiment.explain RUN < review.txt

Words are coloured by integrated gradients (Sundararajan, Taly & Yan 2017): their shares of the difference between the
logit of the text and that of zero vectors in the place of its words.
"""

import base64
import io
import sys
import warnings
from argparse import Namespace
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader, StrictUndefined
from rich.console import Console
from rich.text import Text

from sentiment.classifier import Layer, load
from sentiment.errors import InputError, Parser, printable
from sentiment.explanation import Explanation, explain
from sentiment.figures import inspection
from sentiment.files import whole_as_named

STRONGEST = 6  # words that are listed for and against


def in_terminal(explanation: Explanation, console: Console) -> None:
    """Prints the words, coloured, the running probability as a line, and the words that did most."""
    e = explanation
    text = Text()
    if e.before:
        text.append(f"({len(e.before):,} words before are not read) ", "dim")
    for word, colour, known in zip(e.words, colours(e.shares), e.known, strict=True):
        text.append(printable(word), f"black on {colour}" if known else f"black on {colour} underline")
        text.append(" ")
    if e.after:
        text.append(f"({len(e.after):,} words after are not read)", "dim")
    label, toward = printable(e.label), printable(e.toward)
    console.print(Text.assemble((label, "bold"), f", p({toward}) = {e.reading.running[-1]:.4f}\n"))
    console.print(text)
    if unknown := dict.fromkeys(word for word, known in zip(e.words, e.known, strict=True) if not known):
        console.print(
            f"not in the vocabulary: {printable(', '.join(unknown))}", style="dim", highlight=False, markup=False
        )
    console.print(f"\np({toward}), if the text ended at each word", markup=False)
    for line in chart(e.reading.running, min(console.width - 6, max(60, len(e.words)))):
        console.print(line, highlight=False, markup=False)
    console.print()
    for name, sign in ((f"for {toward}", 1), ("against", -1)):
        ranked = [i for i in np.argsort(-sign * e.shares)[:STRONGEST] if sign * e.shares[i] > 0]
        listed = ", ".join(f"{printable(e.words[i])}\N{NO-BREAK SPACE}{e.shares[i]:+.2f}" for i in ranked) or "nothing"
        console.print(f"{name}: {listed}", highlight=False, markup=False)
    console.print(f"\n{sums(e)}", highlight=False, markup=False, soft_wrap=not console.is_terminal)


def sums(explanation: Explanation) -> str:
    """How the shares add up to the logit, and what is missing."""
    a = explanation.attribution
    padding = f", padding {explanation.padding:+.3f}" if explanation.padding else ""
    caution = "" if a.converged else "; the shares do not add up and are a rough guide only"
    return (
        f"logit {a.logit:+.3f} = zero vectors {a.baseline:+.3f}, words {explanation.shares.sum():+.3f}{padding}, "
        f"residual {a.residual:+.4f} (integrated gradients, {a.steps:,} steps){caution}"
    )


def chart(values: Sequence[float] | npt.NDArray[np.float32], width: int, height: int = 9) -> list[str]:
    """Probabilities as a line of characters, stretched or thinned to `width` columns."""
    columns = [values[i * len(values) // width] for i in range(width)]
    levels = [round((1 - value) * (height - 1)) for value in columns]
    grid = [[" "] * width for _ in range(height)]
    grid[levels[0]][0] = "─"
    for x, (before, now) in enumerate(pairwise(levels), 1):
        if before == now:
            grid[now][x] = "─"
            continue
        down = now > before
        grid[before][x], grid[now][x] = ("╮", "╰") if down else ("╯", "╭")
        for between in range(min(before, now) + 1, max(before, now)):
            grid[between][x] = "│"
    marks = {0: "1.0", (height - 1) // 2: "0.5", height - 1: "0.0"}
    return [f"{marks.get(y, ''):>3} {'┤' if y in marks else '│'}{''.join(row)}".rstrip() for y, row in enumerate(grid)]


def as_page(explanation: Explanation) -> str:
    """The explanation with its gates as one page that loads nothing and runs nothing."""
    environment = Environment(loader=PackageLoader("sentiment", ""), autoescape=True, undefined=StrictUndefined)
    e = explanation
    return environment.get_template("explain.html").render(
        explanation=e,
        probability=e.reading.running[-1],
        words=list(zip(e.words, e.shares, e.known, e.reading.running, colours(e.shares), strict=True)),
        sums=sums(e),
        gates=[(layer.name, _gates(e, layer)) for layer in e.reading.layers],
    )


def _gates(explanation: Explanation, layer: Layer) -> str:
    """A figure as the address of an image that holds it."""
    figure = inspection.gates(explanation.words, explanation.reading.running, layer.gates, layer.order, "")
    svg = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the browser's fonts have more letters than matplotlib's
        figure.savefig(svg, format="svg")
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.getvalue()).decode()}"


def colours(shares: npt.NDArray[np.float32]) -> list[str]:
    """White for a share of 0, towards blue for the class, towards red against it."""
    strengths = np.abs(shares) / max(np.abs(shares).max(), 1e-9)
    result = []
    for share, strength in zip(shares, strengths, strict=True):
        end = inspection.FOR if share > 0 else inspection.AGAINST
        full = (int(end[i : i + 2], 16) for i in (1, 3, 5))
        result.append("#" + "".join(f"{round(255 - 0.7 * strength * (255 - part)):02x}" for part in full))
    return result


def run(arguments: Namespace) -> None:
    """Explains the text of a command line."""
    text = arguments.text if arguments.text is not None else _from_standard_input()
    explanation = explain(load(arguments.checkpoint), text)
    if arguments.html is not None:
        with whole_as_named(arguments.html) as page:
            page.write_text(as_page(explanation), encoding="utf-8", errors="replace")
    in_terminal(explanation, Console())
    if arguments.html is not None:
        print(f"\n{arguments.html}: open it in a browser")


def _from_standard_input() -> str:
    if sys.stdin.isatty():
        print("reading a text from the terminal; Ctrl-D ends it", file=sys.stderr)
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise InputError(f"standard input: not UTF-8 ({error.reason} at byte {error.start}); convert it") from error


if __name__ == "__main__":
    parser = Parser("explain", __doc__)
    parser.add_argument("checkpoint", type=Path, help="a run's folder or a checkpoint")
    parser.add_argument("text", nargs="?", help="without it, standard input")
    parser.add_argument("--html", type=Path, metavar="PAGE", help="write a page with the gates too")
    parser.run(run)
