import warnings
from pathlib import Path

import matplotlib
import pytest
from matplotlib.font_manager import fontManager

from sentiment.analysis.figures import fonts
from sentiment.analysis.figures.fonts import MISSING, Figure

MONO = "⍃"  # among the fonts that come with matplotlib, only DejaVu Sans Mono has it


@pytest.fixture(autouse=True)
def own_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the fonts that come with matplotlib."""
    own = [
        entry
        for entry in fontManager.ttflist
        if Path(entry.fname).is_relative_to(matplotlib.get_data_path())
    ]
    monkeypatch.setattr(fontManager, "ttflist", own)


def draw(text: str) -> tuple[list[str], str]:
    """The families of a tick label with this text, after it was drawn, and what is said below."""
    figure = Figure(figsize=(2, 2))
    axis = figure.subplots()
    axis.set_xticks([0], [text], parse_math=False)
    axis.set_title("plain")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.draw_without_rendering()
    return axis.get_xticklabels()[0].get_fontfamily(), figure.get_supxlabel()


def test_installed_fonts_are_added_to_text_that_may_need_them() -> None:
    assert draw("film") == (["sans-serif"], "")
    assert draw(f"film {MONO} é") == (["sans-serif", "DejaVu Sans Mono"], "")


def test_a_missing_glyph_is_told_in_the_picture_without_warnings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fonts, "FAMILIES", ())
    for text in ("好电影 ก👍", "无聊 ข👍🏻"):
        assert draw(text)[1].replace("\n", " ") == MISSING


def test_nothing_is_reported_of_text_that_a_browser_draws(tmp_path: Path) -> None:
    figure = Figure(figsize=(1, 1))
    figure.text(0, 0, "好")
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(tmp_path / "figure.svg")
    assert "好" in (tmp_path / "figure.svg").read_text(encoding="utf-8")
    assert not figure.get_supxlabel()
