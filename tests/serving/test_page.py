"""The page of `serve` in a real browser."""

import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.helpers import background

pytestmark = [pytest.mark.slow, pytest.mark.browser]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]
MARKUP = "<img src=x onerror=document.title='hacked'> good film"


@pytest.fixture(scope="module")
def server(
    run: Path, masked_run: Path, run_of_three: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of a server of five models, one of which has other classes."""
    pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install '.[serve]'")
    folder = tmp_path_factory.mktemp("serve")
    copies = [
        shutil.copytree(path, folder / name)
        for path, name in ((run, "fourth"), (masked_run, "fifth"))
    ]
    paths = map(str, (run, masked_run, run_of_three, *copies))
    process = background(*paths, "--port", "0", cwd=folder, module="serve")
    assert process.stdout is not None
    yield process.stdout.readline().split()[0]
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[0] == ""
    assert process.returncode == 130


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed (Debian package chromium)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(params=[(1600, "light"), (420, "dark")], ids=["wide", "phone"])
def page(request: pytest.FixtureRequest, browser: Any, server: str) -> Iterator[Any]:
    """The page, after the first explanation; at its end, no error may have been logged, and nothing be cut off."""
    width, scheme = request.param
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, accept_downloads=True
    )
    context.set_default_timeout(120_000)  # milliseconds; the machine may be busy
    page = context.new_page()
    errors: list[str] = []
    page.on(
        "console", lambda message: errors.append(message.text) if message.type == "error" else None
    )
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "request",
        lambda sent: (
            errors.append(sent.url) if not sent.url.startswith((server, "data:", "blob:")) else 0
        ),
    )
    page.goto(server)
    wait(page)
    yield page
    assert errors == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    context.close()


def wait(page: Any) -> None:
    """Wait until all cards explain the text of the field."""
    page.wait_for_selector(".card:not(.stale, .quick)")
    page.wait_for_selector(".card.stale, .card.quick", state="detached")


def type_text(page: Any, text: str) -> None:
    page.fill("#text", text)
    page.wait_for_selector(".card.stale")
    wait(page)


def test_first_text_is_of_the_test_set(page: Any, run: Path) -> None:
    text = pd.read_csv(run / "test_predictions.csv")["text"][0]
    assert page.input_value("#text") == text
    assert "its class is" in page.inner_text("#text-note")
    page.click("#next")
    page.locator("#position", has_text="2 of 100").wait_for()
    wait(page)
    page.go_back()
    page.locator("#position", has_text="1 of 100").wait_for()
    wait(page)
    assert page.input_value("#text") == text


def test_typing_shows_probabilities_words_and_history_of_the_models(page: Any) -> None:
    type_text(page, "a good film, but xyzzy")
    assert page.inner_text("#text-note") == ""
    assert page.locator(".card").count() == 4
    card = page.locator(".card").first
    assert card.locator(".word").all_inner_texts() == ["a", "good", "film", "but", "xyzzy"]
    assert card.locator(".word.unknown").all_inner_texts() == ["xyzzy"]
    assert card.locator("circle").count() == 5
    shares = [float(text.split()[0]) for text in card.locator(".bars .number").all_inner_texts()]
    assert sum(shares) == pytest.approx(100, abs=0.11)
    card.locator("summary").last.click()
    page.wait_for_selector("canvas")
    assert card.locator("canvas").count() == 4


def test_parts_of_the_sum_are_on_one_scale(page: Any) -> None:
    type_text(page, "a good film")
    scale = float(page.inner_text("#most"))
    for card in page.locator(".card").all():
        text = card.locator("[data-part=sum]").inner_text().replace("−", "-")
        *parts, total = [float(number) for number in re.findall(r"[-+]\d+\.\d+", text)]
        assert sum(parts) == pytest.approx(total, abs=0.03)
        sizes = [
            float(word.evaluate("word => word.style.getPropertyValue('--size')"))
            for word in card.locator(".for, .against").all()
        ]
        assert max(sizes) <= scale + 0.05


def test_clicked_word_shows_neighbors_one_of_which_replaces_it(page: Any) -> None:
    type_text(page, "Good, however, İstanbul")
    page.locator(".word", has_text="good").first.click()
    page.wait_for_selector("#neighbors-body tr >> nth=2")
    button = page.locator("#neighbors-body table button").first
    word = button.inner_text()
    button.click()
    wait(page)
    assert page.input_value("#text") == f"{word.capitalize()}, however, İstanbul"
    assert page.evaluate("document.activeElement.textContent") == word
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Remove it").click()
    wait(page)
    assert page.input_value("#text") == f"{word.capitalize()}, İstanbul"
    page.click("#undo")
    page.click("#undo")
    assert page.input_value("#text") == "Good, however, İstanbul"
    page.click("#redo")
    assert page.input_value("#text") == f"{word.capitalize()}, however, İstanbul"


def test_what_would_change_the_answer_is_told_on_demand(page: Any) -> None:
    type_text(page, "a good film")
    card = page.locator(".card").first
    card.locator("summary").first.click()
    edits = card.locator("details table button")
    edits.first.wait_for()
    assert {"without a", "without good", "without film"} < {*edits.all_inner_texts()}
    edits.last.click()
    wait(page)
    assert page.input_value("#text") != "a good film"
    card.locator(".change").first.wait_for()


def test_address_keeps_what_is_shown(page: Any, server: str) -> None:
    type_text(page, "a boring film")
    page.locator("#chosen input").last.check()
    page.locator("#chosen input").first.uncheck()
    page.click("#tab-reviews")
    page.check("[name=wrong]")
    page.wait_for_url(re.compile("wrong=true"))
    page.reload()
    page.wait_for_selector("#reviews tbody tr")
    assert page.is_checked("[name=wrong]")
    page.go_back()
    page.wait_for_selector("#text-view:visible")
    assert page.input_value("#text") == "a boring film"
    titles = page.locator(".card h2").all_inner_texts()
    assert len(titles) == 4
    assert titles[-1].endswith("fifth")


def test_markup_of_a_text_is_shown_not_run(page: Any) -> None:
    type_text(page, MARKUP)
    assert page.title() == "sentiment"
    assert page.locator("main img").count() == 0


def test_test_set_is_sorted_searched_and_opened(page: Any, run: Path) -> None:
    frame = pd.read_csv(run / "test_predictions.csv")
    page.click("#tab-reviews")
    page.wait_for_selector("#reviews tbody tr")
    assert page.inner_text("#found").startswith("100 of 100 texts (100.0\u00a0%)")
    page.check("[name=wrong]")
    wrong = (frame["label"] != frame["predicted"]).sum()
    page.locator("#found").filter(has_text=f"{wrong} of 100 texts").wait_for()
    page.uncheck("[name=wrong]")
    page.select_option("[name=label]", "good")
    page.select_option("[name=other]", index=1)
    page.fill("[name=search]", "film")
    page.locator("#found").filter(has_not_text=re.compile("100.0|^0")).wait_for()
    page.wait_for_selector("#reviews mark")
    text = page.locator("#reviews tbody button").first
    assert "film" in text.inner_text().lower()
    text.press("Enter")
    page.locator("#text-note", has_text="its class is good").wait_for()
    wait(page)


def test_file_is_labelled_with_a_preview(page: Any, tmp_path: Path) -> None:
    file = tmp_path / "reviews.csv"
    texts = [MARKUP, 'a "bad", film\nindeed'] * 600
    pd.DataFrame({"text": texts, "label": ["good", "bad"] * 600}).to_csv(file, index=False)
    page.click("#tab-file")
    page.set_input_files("#file", file)
    page.wait_for_selector("#file-download a")
    assert page.inner_text("#file-status") == "1,200 of 1,200 rows of reviews.csv"
    assert page.locator("#rows tr").count() == 11
    assert page.locator("#rows tr >> nth=2").inner_text().startswith('2\ta "bad", film')
    with page.expect_download() as download:
        page.click("#file-download a")
    assert download.value.suggested_filename == "reviews_labelled.csv"
    labelled = pd.read_csv(download.value.path())
    assert len(labelled) == 1200
    right = (labelled["label"] == labelled["file_label"]).mean()
    assert page.inner_text(
        "#file-labels p"
    ) == f"By the column label, {right:.1%} are right.".replace("%", "\u00a0%")
    assert page.title() == "sentiment"


def test_second_file_replaces_the_first(page: Any, tmp_path: Path) -> None:
    large, small = tmp_path / "large.csv", tmp_path / "small.csv"
    large.write_text("text\n" + "a good film\n" * 60_000)
    small.write_text("text\nboring\n=good\n")
    page.click("#tab-file")
    page.set_input_files("#file", large)
    page.wait_for_selector("#cancel:visible")
    page.set_input_files("#file", small)
    page.wait_for_selector("#file-download a")
    page.wait_for_timeout(3000)
    assert page.inner_text("#file-status") == "2 of 2 rows of small.csv"
    assert page.locator("#rows tr").last.inner_text().startswith("2\t=good")
    assert page.get_attribute("#file-download a", "download") == "small_labelled.csv"
    page.set_input_files("#file", large)
    page.click("#cancel")
    page.wait_for_selector("#cancel", state="hidden")
    assert page.inner_text("#file-status") == "large.csv was cancelled"
    assert page.locator("#file-download a").count() == 0


def test_empty_text_is_not_classified(page: Any) -> None:
    page.fill("#text", " ")
    assert page.inner_text("#text-note") == "Type a text."
    assert page.locator(".card:visible").count() == 0
    type_text(page, "xyzzy")
    assert page.locator(".warning", has_text="no token is in the vocabulary").count() >= 1


def test_models_of_other_classes_are_explained_beside_each_other(page: Any) -> None:
    page.locator(".card select:visible").select_option("b")
    page.wait_for_selector(".card.stale")
    wait(page)
    sums = page.locator("[data-part=sum]").all_inner_texts()
    explained = [text.split("log-odds of ")[1].split()[0] for text in sums]
    assert explained == ["good", "good", "b", "good"]


def test_tabs_work_by_keyboard(page: Any) -> None:
    page.focus("#tab-text")
    for view in ("reviews", "file", "models"):
        page.keyboard.press("ArrowRight")
        assert page.is_visible(f"#{view}-view")
    assert "curl" in page.inner_text("#commands")
    page.keyboard.press("Home")
    assert page.is_visible("#text-view")
