"""The tab Batch in a real headless browser."""

import csv
import io
import json
import zipfile

import pytest

from tests import page as pages
from tests.page import clip, give, open_tab, settle

pytest_plugins = ("tests.page_fixtures",)
pytestmark = pages.needed


def hand_in(page, address, files):
    """Open the tab and upload; every row is answered when this returns."""
    page.goto(address)
    page.get_by_role("tab", name="Batch").wait_for()
    open_tab(page, "Batch")
    give(page, "batch", files)
    page.locator(".st-key-answers, [data-testid=stAlert]").first.wait_for()
    settle(page)


def wait_for_the_one(page, words):
    """Wait for a text that stands there once; while it is redrawn it may stand there twice."""
    from playwright.sync_api import expect

    found = page.get_by_text(words)
    expect(found).to_have_count(1, timeout=30_000)
    found.wait_for()


def download(page, name):
    with page.expect_download() as awaited:
        page.get_by_role("button", name=name).click()
    return awaited.value.path().read_text()


def archive(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


def test_files_and_archives_are_answered_row_by_row(page, address, tmp_path):
    happy, sad = clip(tmp_path, "happy", name="=1+1.wav"), clip(tmp_path, "sad", name="sad.wav")
    bad = tmp_path / "bad *one*.wav"
    bad.write_bytes(b"a letter")
    members = [("a/calm.wav", clip(tmp_path, "calm").read_bytes()), ("broken.wav", b"RIFF")]
    voices = archive(tmp_path / "voices.zip", [*members, ("letter.txt", b"")])
    hand_in(page, address, [happy, bad, sad, voices])
    wait_for_the_one(page, "5 recordings, 2 that cannot be used.")
    damaged = page.locator(".st-key-damaged").inner_text()
    assert "bad *one*.wav is not audio that can be read" in damaged
    assert "voices.zip/broken.wav is damaged" in damaged
    page.get_by_text("Left out, being no recordings by their names: 1").wait_for()
    table = list(csv.DictReader(io.StringIO(download(page, "Download CSV"))))
    said = {row["file"]: row["emotion"] for row in table}
    assert said == {
        "'=1+1.wav": "happy",
        "bad *one*.wav": "",
        "sad.wav": "sad",
        "voices.zip/a/calm.wav": "calm",
        "voices.zip/broken.wav": "",
    }
    objects = json.loads(download(page, "Download JSON"))
    assert objects[0]["file"] == "=1+1.wav"
    page.locator("[role=gridcell]", has_text="happy").wait_for(state="attached")
    # Streamlit's own, which knows nothing of formulas
    assert page.get_by_role("button", name="Download as CSV").count() == 0
    open_tab(page, "About")
    open_tab(page, "Batch")
    wait_for_the_one(page, "5 recordings, 2 that cannot be used.")


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([("../../climbs.wav", b"x"), ("good.wav", b"x")], "holds a path that leads out of it"),
        ([(f"{k}.wav", bytes(60 * 2**20)) for k in range(9)], "unpacks to more than 500 MB"),
    ],
    ids=["climbs out", "inflates without end"],
)
def test_an_archive_that_means_harm_is_refused(members, words, page, address, tmp_path):
    bad = archive(tmp_path / "bad.zip", members)
    hand_in(page, address, [bad, clip(tmp_path, "angry")])
    page.locator("[data-testid=stAlert]").get_by_text(f"bad.zip: {words}").wait_for()
    page.get_by_text("1 recording.").wait_for()
    page.locator("[role=gridcell]", has_text="angry").wait_for(state="attached")
