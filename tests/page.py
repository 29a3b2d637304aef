"""The page on a server of its own, and a real headless browser to look at it with."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import soundfile

from tests import stub_model

CHROMIUM = shutil.which("chromium")
ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 120_000  # milliseconds
GIVEN = 10  # times a file is given to an uploader
SPOKEN = "happy"  # what the microphone hears
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)
IDLE = "[data-testid=stApp][data-test-script-state=notRunning]"

needed = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt install chromium)"),
]


@contextmanager
def page_server(model: Path, folder: Path) -> Iterator[str]:
    """Streamlit on a free port of this machine; gives the address.

    Args:
        model: What the page is started with.
        folder: Where the log goes, and in ``tmp`` the server's temporary files.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "streamlit_app/app.py"]
    options = ["--server.port", str(port), "--server.address", "127.0.0.1"]
    headless = ["--server.headless", "true", "--server.fileWatcherType", "none"]
    address = f"http://127.0.0.1:{port}"
    log = folder / "log.txt"
    (folder / "tmp").mkdir()
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, *options, *headless, "--", "--model", model],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(folder / "tmp")},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            deadline = time.monotonic() + PATIENCE / 1000
            while not _healthy(address):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
            yield address
        finally:
            process.terminate()
            process.wait(timeout=60)


def _healthy(address):
    try:
        with urllib.request.urlopen(f"{address}/_stcore/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


@contextmanager
def visitor(browser, **options):
    """A page of somebody's own: nothing is shared with others."""
    context = browser.new_context(permissions=["microphone"], **options)
    context.set_default_timeout(PATIENCE)
    yield context.new_page()
    context.close()


def upload(page, address, recording):
    """Open the page, upload recordings in the first tab, and wait for the end of the page."""
    page.goto(address)
    page.locator(".st-key-uploaded input[type=file]").set_input_files(recording)
    page.locator(".st-key-answer, .st-key-problem").wait_for()
    settle(page)


def give(page, key, files):
    """Give files to an uploader that has just come into view.

    While Streamlit still draws it, it may forget what it is given; that is given again.
    """
    from playwright.sync_api import TimeoutError as NotYet

    chooser = page.locator(f".st-key-{key} input[type=file]")
    listed = page.locator(f".st-key-{key} [data-testid=stFileChipName]").first
    for _ in range(GIVEN):
        chooser.set_input_files(files)
        with suppress(NotYet):
            listed.wait_for(timeout=PATIENCE / GIVEN)
            return
    raise AssertionError(f"{key}: took no files")


def settle(page):
    """Wait until the server has nothing more to say."""
    page.locator(IDLE).wait_for()


def open_tab(page, name):
    page.get_by_role("tab", name=name).click()
    page.get_by_role("tab", name=name, selected=True).wait_for()
    settle(page)


def chart(page, description):
    """A picture drawn by Vega, by the beginning of its description."""
    return page.locator(f"[role=graphics-document][aria-label^='{description}']")


def clip(folder, emotion, seconds=2.0, name="clip.wav"):
    """A recording that the stub takes for ``emotion``."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, stub_model.tone(emotion, seconds), stub_model.SAMPLE_RATE)
    return path


def doubtful(folder):
    """A recording that the stub leans to call sad, with about 40 %."""
    parts = {"sad": 0.3, "angry": 0.22, "calm": 0.18}
    path = folder / "doubtful.wav"
    waveform = sum(stub_model.tone(emotion, 2.0, level=level) for emotion, level in parts.items())
    soundfile.write(path, waveform, stub_model.SAMPLE_RATE)
    return path
