"""Explanations as colored text in a terminal, and as an HTML page."""

import base64
import io
from collections.abc import Sequence
from itertools import pairwise

import matplotlib
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from rich.bar import Bar
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sentiment.analysis.explain.explanation import Explanation, Floats, LayerTrace
from sentiment.analysis.figures.model import AGAINST, FOR, plot_gates
from sentiment.runtime.cli import escape_control_chars

TOP_WORDS = 6  # listed for and against the class
TOP_CLASSES = 10  # whose probabilities are shown


def print_explanation(explanation: Explanation, console: Console) -> None:
    """Print the words colored by attribution, the prefix probabilities as a line chart, and the strongest words."""
    e = explanation
    text = Text()
    if e.before:
        text.append(f"({len(e.before):,} words before are cut off) ", "dim")
    for word, color, known in zip(
        e.words, attribution_colors(e.attributions), e.in_vocabulary, strict=True
    ):
        text.append(
            escape_control_chars(word),
            f"black on {color}" if known else f"black on {color} underline",
        )
        text.append(" ")
    if e.after:
        text.append(f"({len(e.after):,} words after are cut off)", "dim")
    label, target = escape_control_chars(e.label), escape_control_chars(e.target)
    probabilities = e.trace.prefix_probabilities
    console.print(Text.assemble((label, "bold"), f", p({target}) = {probabilities[-1]:.4f}\n"))
    if len(e.probabilities) > 2:
        console.print(_make_probability_table(e))
        console.print(f"\nexplained class: {target}\n", highlight=False, markup=False)
    console.print(text)
    if unknown := dict.fromkeys(
        word for word, known in zip(e.words, e.in_vocabulary, strict=True) if not known
    ):
        listed = escape_control_chars(", ".join(unknown))
        console.print(
            f"not in the vocabulary: {listed}", style="dim", highlight=False, markup=False
        )
    console.print(f"\np({target}) after each word", markup=False)
    for line in draw_line_chart(
        probabilities.tolist(), min(console.width - 6, max(60, len(e.words)))
    ):
        console.print(line, highlight=False, markup=False)
    console.print()
    against = "against" if len(e.probabilities) == 2 else f"against {target}"
    for heading, sign in ((f"for {target}", 1), (against, -1)):
        strongest = [
            i
            for i in np.argsort(-sign * e.attributions)[:TOP_WORDS]
            if sign * e.attributions[i] > 0
        ]
        words = [
            f"{escape_control_chars(e.words[i])}\N{NO-BREAK SPACE}{e.attributions[i]:+.2f}"
            for i in strongest
        ]
        console.print(f"{heading}: {', '.join(words) or 'nothing'}", highlight=False, markup=False)
    decomposition = format_decomposition(e)
    console.print(
        f"\n{decomposition}", highlight=False, markup=False, soft_wrap=not console.is_terminal
    )


def rank_probabilities(explanation: Explanation) -> list[tuple[str, float]]:
    """Return the most probable classes and the sum of the others, if there are any."""
    ranked = sorted(explanation.probabilities.items(), key=lambda item: -item[1])
    others = ranked[TOP_CLASSES:]
    total = (
        [(f"{len(others):,} others", sum(probability for _, probability in others))]
        if others
        else []
    )
    return ranked[:TOP_CLASSES] + total


def _make_probability_table(explanation: Explanation) -> Table:
    table = Table.grid(padding=(0, 1))
    for name, probability in rank_probabilities(explanation):
        bar = Bar(1, 0, probability, width=30, color="blue")
        table.add_row(Text(escape_control_chars(name)), f"{probability:.3f}", bar)
    return table


def format_decomposition(explanation: Explanation) -> str:
    """Return the log-odds as the sum of the baseline, the attributions and the convergence delta, on one line."""
    a = explanation.attribution
    of_two = len(explanation.probabilities) == 2
    name = "logit" if of_two else f"log-odds of {escape_control_chars(explanation.target)}"
    padding = f", padding {explanation.padding:+.3f}" if explanation.padding else ""
    caution = "" if a.converged else "; did not converge, the attributions are a rough guide only"
    return (
        f"{name} {a.log_odds:+.3f} = baseline {a.baseline:+.3f}, words {explanation.attributions.sum():+.3f}{padding}, "
        f"convergence delta {a.convergence_delta:+.4f} (integrated gradients, {a.steps:,} steps){caution}"
    )


def draw_line_chart(probabilities: Sequence[float], width: int, height: int = 9) -> list[str]:
    """Draw probabilities as a line of characters, repeated or thinned to `width` columns."""
    columns = [probabilities[i * len(probabilities) // width] for i in range(width)]
    levels = [round((1 - probability) * (height - 1)) for probability in columns]
    grid = [[" "] * width for _ in range(height)]
    grid[levels[0]][0] = "─"
    for x, (previous, level) in enumerate(pairwise(levels), 1):
        if previous == level:
            grid[level][x] = "─"
            continue
        grid[previous][x], grid[level][x] = ("╮", "╰") if level > previous else ("╯", "╭")
        for between in range(min(previous, level) + 1, max(previous, level)):
            grid[between][x] = "│"
    ticks = {0: "1.0", (height - 1) // 2: "0.5", height - 1: "0.0"}
    return [
        f"{ticks.get(y, ''):>3} {'┤' if y in ticks else '│'}{''.join(row)}".rstrip()
        for y, row in enumerate(grid)
    ]


def attribution_colors(attributions: Floats) -> list[str]:
    """Return background colors `#rrggbb`: white for 0, bluer for the class, redder against it."""
    strengths = np.abs(attributions) / max(np.abs(attributions).max(), 1e-9)
    colors = []
    for attribution, strength in zip(attributions, strengths, strict=True):
        end = FOR if attribution > 0 else AGAINST
        channels = (int(end[i : i + 2], 16) for i in (1, 3, 5))
        colors.append(
            "#"
            + "".join(f"{round(255 - 0.7 * strength * (255 - value)):02x}" for value in channels)
        )
    return colors


def render_html(explanation: Explanation) -> str:
    """Render a page with the explanation and its gates, without scripts or external resources."""
    environment = Environment(
        loader=PackageLoader(__package__, ""), autoescape=True, undefined=StrictUndefined
    )
    e = explanation
    colors = attribution_colors(e.attributions)
    return environment.get_template("explanation.html").render(
        explanation=e,
        words=list(
            zip(
                e.words,
                e.attributions,
                e.in_vocabulary,
                e.trace.prefix_probabilities,
                colors,
                strict=True,
            )
        ),
        probabilities=rank_probabilities(e),
        decomposition=format_decomposition(e),
        gates=[(layer, _gates_url(e, layer)) for layer in e.trace.layers],
    )


def _gates_url(explanation: Explanation, layer: LayerTrace) -> str:
    """Return the gate plot of a layer as a data URL."""
    e = explanation
    chance = 1 / len(e.probabilities)
    figure = plot_gates(e.words, e.trace.prefix_probabilities, layer.gates, layer.order, chance, "")
    svg = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):  # the browser draws the text
        figure.savefig(svg, format="svg")
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.getvalue()).decode()}"
