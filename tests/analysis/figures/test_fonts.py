import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import pytest
from matplotlib.font_manager import findfont, fontManager

from sentiment.analysis.figures import fonts
from sentiment.analysis.figures.fonts import Figure, find_fonts

MONO = "⍃"  # among the fonts that come with matplotlib, only DejaVu Sans Mono has it


@pytest.fixture
def own_fonts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Only the fonts that come with matplotlib, and nothing reported yet."""
    own = [
        entry
        for entry in fontManager.ttflist
        if Path(entry.fname).is_relative_to(matplotlib.get_data_path())
    ]
    monkeypatch.setattr(fontManager, "ttflist", own)
    monkeypatch.setattr(fonts, "findSystemFonts", list)
    monkeypatch.setattr(fonts, "_reported", set())
    clear()
    yield
    clear()


def clear() -> None:
    find_fonts.cache_clear()
    fonts._installed_fonts.cache_clear()


def draw(text: str) -> Figure:
    figure = Figure(figsize=(2, 2))
    axis = figure.subplots()
    axis.set_xticks([0], [text], parse_math=False)
    axis.set_title("plain")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.draw_without_rendering()
    return figure


def test_a_font_with_the_characters_is_added(own_fonts: None) -> None:
    assert find_fonts(frozenset("abc é \n\x1b")) == ([], set())
    assert find_fonts(frozenset(f"a{MONO}")) == (["DejaVu Sans Mono"], set())
    assert find_fonts(frozenset(f"{MONO}好")) == (["DejaVu Sans Mono"], {"好"})
    label = draw(f"film {MONO}").axes[0].get_xticklabels()[0]
    assert label.get_fontfamily()[-1] == "DejaVu Sans Mono"
    assert draw("film").axes[0].get_xticklabels()[0].get_fontfamily() == ["sans-serif"]


def test_missing_glyphs_are_reported_once_without_warnings(
    own_fonts: None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for text in ("好电影 ก👍", "无聊 ข👍🏻"):
            draw(text)
    assert caplog.messages == [
        "no installed font has 好, 影, 电: install one, for example fonts-noto-cjk",
        "no installed font has ก: install one, for example fonts-noto-core",
        "no installed font has 👍: install one, for example fonts-symbola",
    ]


def test_nothing_is_reported_of_text_that_a_browser_draws(
    own_fonts: None, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    figure = Figure(figsize=(1, 1))
    figure.text(0, 0, "好")
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(tmp_path / "figure.svg")
    assert "好" in (tmp_path / "figure.svg").read_text(encoding="utf-8")
    assert not caplog.messages


def test_fonts_installed_later_are_found_and_unreadable_ones_ignored(
    own_fonts: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mono, broken = findfont("DejaVu Sans Mono"), tmp_path / "broken.ttf"
    broken.write_bytes(b"no font")
    listed = [entry for entry in fontManager.ttflist if entry.name != "DejaVu Sans Mono"]
    monkeypatch.setattr(fontManager, "ttflist", listed)
    assert find_fonts(frozenset(MONO)) == ([], {MONO})
    clear()
    monkeypatch.setattr(fonts, "findSystemFonts", lambda: [str(broken), mono])
    assert find_fonts(frozenset(MONO)) == (["DejaVu Sans Mono"], set())


def test_chinese_is_drawn_if_a_font_is_installed() -> None:
    families, missing = find_fonts(frozenset("好"))
    if missing:
        pytest.skip("no installed font has Chinese characters")
    assert draw("好").axes[0].get_xticklabels()[0].get_fontfamily()[1:] == families
