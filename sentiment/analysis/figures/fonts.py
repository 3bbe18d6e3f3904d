"""A figure that draws text of any script in the installed fonts."""

import io
import logging
import unicodedata
import warnings
from collections.abc import Collection
from functools import cache, lru_cache
from typing import Any

from matplotlib import rcParams
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.font_manager import FontProperties, findfont, findSystemFonts, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

LAST_RESORT = "Last Resort High-Efficiency"  # its glyphs show the number of a character

log = logging.getLogger(__name__)
_reported: set[str] = set()  # packages


class Figure(MatplotlibFigure):
    """A figure whose texts are drawn in other installed fonts where matplotlib's own has no glyph.

    They are chosen when it is drawn, since tick labels may exist only then. If no font has a character, the log says
    once what to install.
    """

    def draw(self, renderer: Any) -> None:
        """Choose the fonts, then draw as matplotlib does, without its warning for each missing glyph."""
        texts = self.findobj(Text)
        characters = frozenset().union(*(text.get_text() for text in texts))
        families, missing = find_fonts(characters)
        for text in texts if families else ():
            text.set_fontfamily(list(dict.fromkeys([*text.get_fontfamily(), *families])))
        if (
            missing and rcParams["svg.fonttype"] != "none"
        ):  # else the program that shows the file has fonts of its own
            _report(missing)
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "Glyph|Matplotlib currently does not support", UserWarning
            )
            super().draw(renderer)

    def _repr_png_(self) -> bytes:
        """The picture that a notebook shows."""
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()


@lru_cache
def find_fonts(characters: frozenset[str]) -> tuple[list[str], set[str]]:
    """Find families of installed fonts for the characters that the default font lacks.

    Returns:
        The families, as few as possible, and the characters that no font has.
    """
    printable = {
        character for character in characters if unicodedata.category(character)[0] not in "CZ"
    }
    missing = printable - _covered(findfont(FontProperties()), printable)
    families: list[str] = []
    fonts = _installed_fonts() if missing else {}
    while missing:
        covered = {family: _covered(path, missing) for family, path in fonts.items()}
        best = max(covered, key=lambda family: len(covered[family]), default=None)
        if best is None or not covered[best]:
            break
        families.append(best)
        missing -= covered[best]
    return families, missing


def _covered(path: str, characters: Collection[str]) -> set[str]:
    """Return which characters a font has as outlines; bitmaps, as of coloured emoji, cannot be drawn."""
    try:
        font = FT2Font(path)
    except (OSError, RuntimeError):  # removed, or of a kind that matplotlib cannot read
        return set()
    return (
        {character for character in characters if font.get_char_index(ord(character))}
        if font.scalable
        else set()
    )


@cache
def _installed_fonts() -> dict[str, str]:
    """Return the path of each family, upright and of normal weight if there is such a one, sans serif first.

    matplotlib lists the fonts once and for all: those that were installed later are added.
    """
    for path in set(findSystemFonts()) - {entry.fname for entry in fontManager.ttflist}:
        try:
            fontManager.addfont(path)
        except (OSError, RuntimeError, ValueError):  # of a kind that matplotlib cannot read
            continue
    ranked = sorted(
        (entry for entry in fontManager.ttflist if entry.name != LAST_RESORT),
        key=lambda entry: (entry.style != "normal", entry.weight not in (400, "normal"), "Sans" not in entry.name,
                           "Mono" in entry.name),
    )  # fmt: skip
    fonts: dict[str, str] = {}
    for entry in ranked:
        fonts.setdefault(entry.name, entry.fname)
    return fonts


def _report(missing: Collection[str]) -> None:
    """Log what to install, once for each package."""
    by_package: dict[str, list[str]] = {}
    for character in sorted(missing):
        by_package.setdefault(_find_package(character), []).append(character)
    for package in sorted(by_package.keys() - _reported):
        characters = by_package[package]
        more = f" and {len(characters) - 3} others" if len(characters) > 3 else ""
        log.warning(
            "no installed font has %s%s: install one, for example %s",
            ", ".join(characters[:3]),
            more,
            package,
        )
    _reported.update(by_package)


def _find_package(character: str) -> str:
    """Return a package of Debian and Ubuntu with a font that has the character."""
    if ord(character) >= 0x1F000 and unicodedata.category(character)[0] == "S":
        return "fonts-symbola"
    return (
        "fonts-noto-cjk" if unicodedata.east_asian_width(character) in "FW" else "fonts-noto-core"
    )
