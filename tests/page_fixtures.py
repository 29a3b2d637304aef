"""Fixtures of the tests of the page: a server and a browser for all of them."""

import pytest
import soundfile

from tests import stub_model
from tests.page import ARGUMENTS, CHROMIUM, SPOKEN, page_server, visitor


@pytest.fixture(scope="session")
def server_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="session")
def address(stub, server_folder):
    with page_server(stub, server_folder) as where:
        yield where


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    microphone = tmp_path_factory.mktemp("microphone") / "tone.wav"
    soundfile.write(microphone, stub_model.tone(SPOKEN, 10, rate=48_000), 48_000)
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[*ARGUMENTS, f"--use-file-for-fake-audio-capture={microphone}"],
        )
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    with visitor(browser) as new:
        yield new
