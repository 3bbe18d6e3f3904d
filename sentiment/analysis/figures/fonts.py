"""Text in figures: fonts for any script, titles that fit."""

import io
import warnings
from typing import Any

import matplotlib
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.font_manager import fontManager
from matplotlib.text import Text as MatplotlibText
from rich.console import Console
from rich.text import Text

GREY = "0.45"
CHARACTER = 0.65 / 72  # inches for each point of the font: an average character, with some room
FAMILIES = (
    *("Noto Sans CJK JP", "WenQuanYi Zen Hei", "Droid Sans Fallback"),
    *("Arial Unicode MS", "PingFang HK", "Hiragino Sans", "Apple SD Gothic Neo"),  # macOS
    *("Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "Nirmala UI", "Leelawadee UI"),  # Windows
    *("Noto Sans Arabic", "Noto Sans Bengali", "Noto Sans Devanagari", "Noto Sans Hebrew"),
    *("Noto Sans Tamil", "Noto Sans Telugu", "Noto Sans Thai", "Noto Sans Symbols2"),
    *("Segoe UI Symbol", "Symbola", "Unifont", "DejaVu Sans Mono"),
)

MISSING = "□: no installed font has this character; install fonts-noto-cjk or fonts-noto-core"


class Figure(MatplotlibFigure):
    """A figure that draws in another installed font what matplotlib's own has no glyph for, or says that it cannot."""

    def draw(self, renderer: Any) -> None:
        installed = [family for family in FAMILIES if family in fontManager.get_font_names()]
        for text in self.findobj(MatplotlibText):  # here, since tick labels may not exist earlier
            if not text.get_text().isascii():
                text.set_fontfamily(list(dict.fromkeys([*text.get_fontfamily(), *installed])))
        with warnings.catch_warnings(record=True) as caught:
            warnings.filterwarnings("always", "Glyph", UserWarning)
            super().draw(renderer)
            is_missing = any(str(warning.message).startswith("Glyph") for warning in caught)
            if (
                is_missing and matplotlib.rcParams["svg.fonttype"] != "none"
            ):  # else by the browser's fonts
                note = wrap(MISSING, self.get_size_inches()[0], 8)
                self.supxlabel(note, fontsize=8, color="#b2182b")
                super().draw(renderer)

    def _repr_png_(self) -> bytes:
        """The picture that a notebook shows."""
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()


def set_title(figure: Figure, text: str, text_width: float | None = None) -> None:
    """Set the title in lines of at most `text_width` inches, by default the figure's width; the figure grows."""
    width, height = figure.get_size_inches()
    title = wrap(text, text_width or width, 11)
    figure.set_size_inches(width, height + 0.2 * title.count("\n"))
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)


def wrap(text: str, width: float, fontsize: float) -> str:
    """Wrap a text to lines of at most `width` inches."""
    lines = Text(text).wrap(Console(), int(width / (fontsize * CHARACTER)))
    return escape_math("\n".join(line.plain.rstrip() for line in lines))


def escape_math(text: str) -> str:
    """Have matplotlib show dollar signs as they are."""
    return text.replace("$", r"\$")
