"""Explanations as colored text in a terminal, and as an HTML page."""

import base64
import io
from collections.abc import Sequence
from functools import partial

import matplotlib
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.colors import LinearSegmentedColormap, to_hex
from rich.bar import Bar
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sentiment.analysis.explain.explanation import Explanation, Floats, LayerTrace
from sentiment.analysis.figures.model import plot_gates
from sentiment.runtime.cli import escape_control_chars

TOP_WORDS = 6  # listed for and against the class
TOP_CLASSES = 10  # whose probabilities are shown
PALE_COLORS = ["#c95d6b", "white", "#6494c5"]  # against the class, neither, for it
BACKGROUNDS = LinearSegmentedColormap.from_list("attributions", PALE_COLORS, N=257)


def print_explanation(explanation: Explanation, console: Console) -> None:
    """Print the words colored by attribution, the probability after each, and the strongest words."""
    e = explanation
    show = partial(console.print, highlight=False, markup=False)
    label, target = escape_control_chars(e.label), escape_control_chars(e.target)
    words = list(map(escape_control_chars, e.words))
    probabilities = e.trace.prefix_probabilities
    show(Text.assemble((label, "bold"), f", {100 * e.probabilities[e.label]:.1f} %\n"))
    table = Table.grid(padding=(0, 1))
    for name, p in rank_probabilities(e):
        bar = Bar(1, 0, p, width=30, color="blue")
        table.add_row(Text(escape_control_chars(name)), f"{p:.3f}", bar)
    show(table)
    show(f"\nexplained class: {target}\n")
    show(_color_words(e, words))
    known = zip(words, e.in_vocabulary, strict=True)
    if unknown := dict.fromkeys(word for word, is_known in known if not is_known):
        show(f"not in the vocabulary: {', '.join(unknown)}", style="dim")
    show(f"\np({target}) after each word")
    chart = draw_area_chart(probabilities, min(console.width - 6, max(60, len(words))))
    show(*chart, "", sep="\n")
    against = "against" if len(e.probabilities) == 2 else f"against {target}"
    for heading, attributions in ((f"for {target}", e.attributions), (against, -e.attributions)):
        strongest = [i for i in np.argsort(-attributions)[:TOP_WORDS] if attributions[i] > 0]
        listed = [f"{words[i]}\N{NO-BREAK SPACE}{e.attributions[i]:+.2f}" for i in strongest]
        show(f"{heading}: {', '.join(listed) or 'nothing'}")
    show(f"\n{format_decomposition(e)}", soft_wrap=not console.is_terminal)
    if e.warning:
        show(e.warning)


def _color_words(explanation: Explanation, words: Sequence[str]) -> Text:
    e = explanation
    text = Text()
    if e.before:
        text.append(f"({len(e.before):,} words before are cut off) ", "dim")
    colors = attribution_colors(e)
    for word, color, known in zip(words, colors, e.in_vocabulary, strict=True):
        text.append(word, f"black on {color}{'' if known else ' underline'}").append(" ")
    if e.after:
        text.append(f"({len(e.after):,} words after are cut off)", "dim")
    return text


def rank_probabilities(explanation: Explanation) -> list[tuple[str, float]]:
    """The most probable classes and the sum of the others, if there are any."""
    ranked = sorted(explanation.probabilities.items(), key=lambda item: -item[1])
    shown, others = ranked[:TOP_CLASSES], ranked[TOP_CLASSES:]
    if others:
        shown.append((f"{len(others):,} others", sum(p for _, p in others)))
    return shown


def format_decomposition(explanation: Explanation) -> str:
    """The log-odds as the sum of the baseline, the attributions and the convergence delta."""
    e, a = explanation, explanation.attribution
    name = f"log-odds of {escape_control_chars(e.target)}"
    padding = f", padding {e.padding:+.3f}" if e.padding else ""
    caution = "" if a.converged else "; did not converge, the attributions are a rough guide only"
    return (
        f"{name} {a.log_odds:+.3f} = baseline {a.baseline:+.3f}, words {e.attributions.sum():+.3f}"
        f"{padding}, convergence delta {a.convergence_delta:+.4f} "
        f"(integrated gradients, {a.steps:,} steps){caution}"
    )


def draw_area_chart(probabilities: Floats, width: int, height: int = 5) -> list[str]:
    """Draw probabilities as columns of blocks, repeated or thinned to `width` columns."""
    columns = probabilities[np.arange(width) * len(probabilities) // width]
    lines = []
    for below in reversed(range(height)):  # each line shows 1 / height in eighths of a block
        filled = (8 * (height * columns - below)).round().clip(0, 8).astype(int)
        tick = {0: "0.0", height - 1: "1.0"}.get(below, "")
        blocks = "".join(" ▁▂▃▄▅▆▇█"[eighths] for eighths in filled)
        lines.append(f"{tick:>3} │{blocks}".rstrip())
    return lines


def attribution_colors(explanation: Explanation) -> list[str]:
    """Background colors `#rrggbb` of the words: white for 0, bluer for the class, redder against it."""
    strengths = explanation.attributions / explanation.color_scale  # from -1 to 1
    return [to_hex(color) for color in BACKGROUNDS(0.5 + strengths / 2)]


def render_html(explanation: Explanation) -> str:
    """A page with the explanation and its gates, without scripts or external resources."""
    loader = PackageLoader(__package__, "")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    e = explanation
    prefixes, colors = e.trace.prefix_probabilities, attribution_colors(e)
    words = zip(e.words, e.attributions, e.in_vocabulary, prefixes, colors, strict=True)
    return environment.get_template("explanation.html").render(
        explanation=e,
        words=list(words),
        probabilities=rank_probabilities(e),
        decomposition=format_decomposition(e),
        gates=[(layer, _gates_url(e, layer)) for layer in e.trace.layers],
    )


def _gates_url(explanation: Explanation, layer: LayerTrace) -> str:
    """The gate plot of a layer as a data URL."""
    e = explanation
    figure = plot_gates(e.words, e.trace, layer, list(e.probabilities))
    svg = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):  # the browser draws the text
        figure.savefig(svg, format="svg")
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.getvalue()).decode()}"
