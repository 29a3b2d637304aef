"""The tabs Features, Models and About, and the page as a whole, in a real headless browser."""

import shutil
from contextlib import suppress

import pytest

from tests import page as pages
from tests.page import GIVEN, PATIENCE, ROOT, chart, clip, give, open_tab, settle, upload, visitor

pytest_plugins = ("tests.page_fixtures",)
pytestmark = pages.needed
TABS = {  # and what is drawn last in each
    "Listen": "h2:has-text('Over time')",
    "Batch": ".st-key-batch",
    "Features": "[aria-label^='MFCC of this recording']",
    "Models": ".st-key-facts",
    "About": "h2:has-text('Licences')",
}
# Streamlit's own: an input that only its button opens, and containers outside landmarks.
STREAMLITS = {
    "label": {"enabled": False},
    "region": {"enabled": False},
    "presentation-role-conflict": {"enabled": False},
}


def choose(page, label, words):
    box = page.get_by_role("combobox", name=label)
    box.click()
    box.press_sequentially(words)
    page.get_by_role("option", name=words).click()


def go_on_to(page, name):
    """Press the right arrow until a tab is chosen.

    While it draws tabs anew, Streamlit may take no key for them, or one for the first of them.
    """
    from playwright.sync_api import TimeoutError as NotYet

    for _ in range(2 * len(TABS)):
        settle(page)
        page.get_by_role("tab", selected=True).press("ArrowRight")
        with suppress(NotYet):
            page.get_by_role("tab", name=name, selected=True).wait_for(timeout=PATIENCE / GIVEN)
            return
    raise AssertionError(f"{name}: not reached")


def test_features_of_the_recording_stand_beside_the_corpus(page, address, tmp_path):
    page.goto(address)
    page.get_by_role("tab", name="Features").wait_for()
    open_tab(page, "Features")
    page.get_by_text("Upload or record a voice in the tab Listen").wait_for()
    open_tab(page, "Listen")
    file = clip(tmp_path, "happy", name="high.wav")
    give(page, "uploaded", file)
    page.locator(".st-key-answer h2").wait_for()
    open_tab(page, "Features")
    page.get_by_text("high.wav, heard as happy.").wait_for()
    for picture in ("Level of the recording", "Loudness, LUFS:", "MFCC of this recording beside"):
        chart(page, picture).wait_for()
    choose(page, "Feature", "Spectral centroid")
    chart(page, "Spectral centroid").get_by_text("this recording").wait_for()
    choose(page, "Profile", "Chroma")
    chart(page, "Chroma of this recording").wait_for()


def test_the_released_model_shows_its_card_and_what_it_gets_wrong(page, address):
    if not (ROOT / "export" / "ser.tflite").is_file():
        pytest.skip("export/ser.tflite is not there")
    page.goto(address)
    page.get_by_role("tab", name="Models").wait_for()
    open_tab(page, "Models")
    page.locator(".st-key-facts").get_by_text("stub.tflite").wait_for()
    page.get_by_text("No figures are known of this file.").wait_for()
    page.get_by_text("ser.tflite (released)").click()
    chart(page, "Confusion matrix").wait_for()
    page.get_by_text("2,452 recordings of RAVDESS, accuracy 7").wait_for()
    page.get_by_text("Model card", exact=True).click()
    page.get_by_role("heading", name="What it is not fit for").wait_for()


def test_a_visitors_own_model_answers_that_visitor_alone(browser, page, address, stub, tmp_path):
    own = shutil.copy(stub, tmp_path / "mine.tflite")
    upload(page, address, clip(tmp_path, "calm"))
    open_tab(page, "Models")
    page.get_by_text("Your own file").click()
    give(page, "own", own)
    page.locator(".st-key-facts").get_by_text("mine.tflite").wait_for()
    open_tab(page, "Listen")
    page.get_by_text("by mine.tflite").wait_for()
    with visitor(browser) as other:
        upload(other, address, clip(tmp_path, "calm"))
        assert "mine.tflite" not in other.locator(".st-key-answer").inner_text()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no model", "mine.tflite: is not a TFLite model"),
        (b"\x1c\0\0\0TFL3 and no more", "mine.tflite: has no labels at its end"),
    ],
)
def test_an_own_model_that_cannot_be_used_gets_clear_words(content, words, page, address, tmp_path):
    bad = tmp_path / "mine.tflite"
    bad.write_bytes(content)
    page.goto(address)
    page.get_by_role("tab", name="Models").wait_for()
    open_tab(page, "Models")
    page.get_by_text("Your own file").click()
    give(page, "own", bad)
    page.get_by_text(words).wait_for()
    page.locator(".st-key-facts").get_by_text("stub.tflite").wait_for()


def test_about_says_what_it_cannot_do_its_licence_and_that_nothing_is_stored(page, address):
    page.goto(address)
    page.get_by_role("tab", name="About").wait_for()
    open_tab(page, "About")
    page.get_by_role("heading", name="What it cannot do").wait_for()
    for words in ("Nothing is stored.", "CC BY-NC-SA 4.0", "MIT licence"):
        page.get_by_text(words).wait_for()


def test_all_tabs_are_reached_by_keyboard(page, address):
    page.goto(address)
    page.get_by_role("tab", name="Listen").wait_for()
    bare = {**TABS, "Features": "text=Upload or record a voice in the tab Listen"}
    for name in list(TABS)[1:]:
        go_on_to(page, name)
        page.locator(bare[name]).wait_for()


@pytest.mark.parametrize("colours", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_no_tab_has_what_axe_complains_of_or_is_wider_than_a_phone(
    colours, browser, address, tmp_path
):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    phone = {"width": 390, "height": 844}
    with visitor(browser, color_scheme=colours, viewport=phone) as page:
        upload(page, address, clip(tmp_path, "sad", seconds=8))
        complaints = {}
        for tab, last in TABS.items():
            open_tab(page, tab)
            page.locator(last).wait_for()
            found = axe.run(page, options={"rules": STREAMLITS}).response["violations"]
            complaints[tab] = [
                (each["id"], [node["html"][:100] for node in each["nodes"]]) for each in found
            ]
            assert page.evaluate("document.documentElement.scrollWidth") <= phone["width"]
    assert complaints == {tab: [] for tab in TABS}
