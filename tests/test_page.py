"""The page in a real headless browser."""

import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge.classifier import EmotionClassifier
from tests import stub_model

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt install chromium)"),
]
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 60_000  # milliseconds
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


@contextmanager
def page_server(model: Path, log: Path) -> Iterator[str]:
    """Streamlit on a free port of this machine; gives the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "streamlit_app/app.py"]
    options = ["--server.port", str(port), "--server.address", "127.0.0.1"]
    headless = ["--server.headless", "true", "--server.fileWatcherType", "none"]
    address = f"http://127.0.0.1:{port}"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, *options, *headless, "--", "--model", model],
            cwd=ROOT,
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
            process.wait(timeout=20)


def _healthy(address):
    try:
        with urllib.request.urlopen(f"{address}/_stcore/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def stub(tmp_path_factory):
    return stub_model.write(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def address(stub, tmp_path_factory):
    with page_server(stub, tmp_path_factory.mktemp("server") / "log.txt") as where:
        yield where


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
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
    context = browser.new_context(permissions=["microphone"])
    context.set_default_timeout(PATIENCE)
    yield context.new_page()
    context.close()


def upload(page, address, recording):
    """Open the page, upload a recording, and wait for the end of the page."""
    page.goto(address)
    page.set_input_files("input[type=file]", recording)
    page.locator(".st-key-answer, .st-key-problem").wait_for()
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()


def clip(folder, emotion, seconds=2.0, suffix=".wav"):
    path = folder / f"clip{suffix}"
    soundfile.write(path, stub_model.tone(emotion, seconds), stub_model.SAMPLE_RATE)
    return path


def doubtful(folder):
    """A recording that the stub leans to call sad, with about 40 %."""
    parts = {"sad": 0.3, "angry": 0.22, "calm": 0.18}
    path = folder / "doubtful.wav"
    waveform = sum(stub_model.tone(emotion, 2.0, level=level) for emotion, level in parts.items())
    soundfile.write(path, waveform, stub_model.SAMPLE_RATE)
    return path


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg"])
def test_the_page_answers_as_the_classifier_does(suffix, page, address, stub, tmp_path):
    recording = clip(tmp_path, "sad", suffix=suffix)
    prediction = EmotionClassifier(stub).predict_file(recording)
    upload(page, address, recording)
    heading = page.locator(".st-key-answer h2").inner_text()
    assert heading == f"Sad {prediction.confidence:.0%}"
    assert prediction.emotion == "sad"


def test_all_probabilities_stand_on_the_page(page, address, stub, tmp_path):
    recording = clip(tmp_path, "angry")
    upload(page, address, recording)
    answer = page.locator(".st-key-answer")
    answer.get_by_text("surprised", exact=True).wait_for()
    words = answer.inner_text().split("\n")
    expected = EmotionClassifier(stub).predict_file(recording).probabilities
    assert set(expected) <= set(words)
    shares = sorted(f"{share:.1%}" for share in expected.values())
    assert sorted(word for word in words if word.endswith("%") and "." in word) == shares
    assert any(word.startswith("Answered in ") and " ms" in word for word in words)


def test_the_page_draws_waveform_and_spectrogram(page, address, tmp_path):
    upload(page, address, clip(tmp_path, "calm"))
    assert page.get_by_text("Waveform", exact=True).is_visible()
    page.locator("[data-testid=stVegaLiteChart]").nth(2).locator("image").wait_for()
    assert page.locator("[data-testid=stAudio]").is_visible()
    assert not page.get_by_text("Over time").is_visible()


def test_a_long_recording_is_answered_over_time(page, address, tmp_path):
    upload(page, address, clip(tmp_path, "fearful", seconds=12))
    assert page.get_by_text("Over time").is_visible()
    assert "Fearful" in page.locator(".st-key-answer h2").inner_text()


def test_silence_is_answered_as_silence(page, address, tmp_path):
    path = tmp_path / "silent.wav"
    soundfile.write(path, np.zeros(32_000), 16_000)
    upload(page, address, path)
    assert page.locator(".st-key-answer h2").inner_text() == "Silence"
    assert "%" not in page.locator(".st-key-answer").inner_text()


def test_an_answer_in_doubt_is_called_so_with_what_it_leans_to(page, address, stub, tmp_path):
    recording = doubtful(tmp_path)
    confidence = EmotionClassifier(stub).predict_file(recording).confidence
    upload(page, address, recording)
    answer = page.locator(".st-key-answer")
    assert answer.locator("h2").inner_text() == "Not sure"
    assert answer.get_by_text(f"It leans to sad, {confidence:.0%}.", exact=True).is_visible()
    answer.get_by_text(f"{confidence:.1%}", exact=True).wait_for()


def test_how_sure_an_answer_must_be_is_for_the_visitor_to_say(page, address, stub, tmp_path):
    recording = doubtful(tmp_path)
    confidence = EmotionClassifier(stub).predict_file(recording).confidence
    upload(page, address, recording)
    answer = page.locator(".st-key-answer")
    took = answer.get_by_text("Answered in ").inner_text()
    for key, heading in (("Home", f"Sad {confidence:.0%}"), ("End", "Not sure")) * 2:
        answer.get_by_role("slider").press(key)
        answer.get_by_role("heading", name=heading).wait_for()
        assert answer.get_by_text("Answered in ").inner_text() == took  # not answered again


def test_the_least_confidence_outlives_a_recording_without_it(page, address, tmp_path):
    (tmp_path / "silent").mkdir()
    silent = tmp_path / "silent" / "silent.wav"
    soundfile.write(silent, np.zeros(32_000), 16_000)
    upload(page, address, doubtful(tmp_path))
    page.get_by_role("slider").press("Home")
    page.get_by_role("heading", name="Sad").wait_for()
    page.set_input_files("input[type=file]", silent)
    page.get_by_role("heading", name="Silence").wait_for()
    assert page.get_by_role("slider").count() == 0
    page.set_input_files("input[type=file]", doubtful(tmp_path))
    page.get_by_role("heading", name="Sad").wait_for()


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"a letter, whatever its name says", "is not audio"), (b"", "is empty")],
)
def test_a_file_that_cannot_be_read_gets_clear_words(content, words, page, address, tmp_path):
    path = tmp_path / "my *new* [clip]_1.wav"
    path.write_bytes(content)
    upload(page, address, path)
    said = page.locator(".st-key-problem").inner_text()
    assert f"my *new* [clip]_1.wav: {words}" in said
    assert "Traceback" not in page.content()
    assert page.locator(".st-key-answer").count() == 0


def test_a_voice_is_recorded_in_the_browser(page, address):
    page.goto(address)
    page.get_by_text("Record", exact=True).click()
    record = page.locator("[data-testid=stAudioInput]").get_by_label("Record", exact=True)
    stop = page.get_by_label("Stop recording")
    for _ in range(6):  # Streamlit drops a click that comes before it has found the microphone
        record.click()
        try:
            stop.wait_for(timeout=4_000)
            break
        except sync_api.TimeoutError:
            continue
    page.wait_for_timeout(2_000)
    stop.click()
    assert SPOKEN.capitalize() in page.locator(".st-key-answer h2").inner_text()


def test_the_page_asks_nobody_else_and_gets_what_it_asks_for(page, address, tmp_path):
    asked, failed = set(), []
    page.on("request", lambda request: asked.add(request.url))
    page.on("response", lambda r: failed.append(r.url) if r.status >= 400 else None)
    upload(page, address, clip(tmp_path, "calm"))
    page.locator("[data-testid=stVegaLiteChart]").nth(2).wait_for()
    page.wait_for_timeout(1_000)
    foreign = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    assert foreign == []
    assert failed == []


def test_without_a_model_the_page_says_how_to_get_one(page, tmp_path):
    with page_server(tmp_path / "nowhere.tflite", tmp_path / "log.txt") as where:
        page.goto(where)
        page.get_by_text("make train").wait_for()
        said = page.locator("[data-testid=stMain]").inner_text()
    assert "nowhere.tflite: does not exist" in said
    assert "-- --model FILE" in said
