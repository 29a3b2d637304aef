"""The page of examples/web in a real headless browser: the answers are those of edge.classifier."""

import functools
import http.server
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from conftest import ROOT

from edge import audio
from edge.classifier import EmotionClassifier
from ser_tf.corpora import synthetic
from tests.page import ARGUMENTS, CHROMIUM

pytestmark = [
    pytest.mark.slow,  # fetches two packages from npm
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt install chromium)"),
    pytest.mark.skipif(
        shutil.which("npm") is None, reason="npm is not installed (apt install npm)"
    ),
]
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

PATIENCE = 120_000  # milliseconds
MODEL = ROOT / "export" / "ser.tflite"
RATE = 16_000
NEAR = 0.01  # what 8-bit kernels of two runtimes may differ in, and the page's rounding


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the page is served, built from a copy of its folder."""
    folder = tmp_path_factory.mktemp("page") / "web"
    made = shutil.ignore_patterns("node_modules", "dist")
    shutil.copytree(ROOT / "examples" / "web", folder, ignore=made)
    for command in (["npm", "ci", "--no-audit", "--no-fund"], ["npm", "run", "build"]):
        environment = {**os.environ, "MODEL": str(MODEL)}
        ran = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=500
        )
        if ran.returncode and "network" in ran.stderr:
            pytest.skip("npm reaches no package registry")
        assert ran.returncode == 0, ran.stderr
    handler = functools.partial(QuietHandler, directory=folder / "dist")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """float32[n] at 16 kHz: ten seconds of generated clips."""
    folder = tmp_path_factory.mktemp("corpus") / "voice"
    synthetic.generate(folder, speakers=1, clips=1)
    clips = [audio.load(path) for path in sorted(folder.rglob("*.wav"))]
    return np.concatenate(clips)[: 10 * RATE]


@pytest.fixture(scope="module")
def browser(voice: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    microphone = tmp_path_factory.mktemp("microphone") / "voice.wav"
    soundfile.write(microphone, soxr.resample(voice, RATE, 48_000), 48_000)
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[*ARGUMENTS, f"--use-file-for-fake-audio-capture={microphone}"],
        )
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    context = browser.new_context(permissions=["microphone"])
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(address)
    page.locator("body[data-state=ready]").wait_for()
    yield page
    context.close()


def shown(page: Any) -> dict[str, float]:
    """The probabilities that stand on the page, which has one decimal of their percentages."""
    rows = page.locator("#bars li").evaluate_all(
        "rows => rows.map(r => [r.dataset.label, r.querySelector('b').textContent])"
    )
    return {label: float(percentage.rstrip("%")) / 100 for label, percentage in rows}


def opened(page: Any, path: Path) -> None:
    page.set_input_files("#file", path)
    page.locator("#emotion:not(:empty), #problem:not(:empty)").first.wait_for()


def expect_as_on_the_device(page: Any, path: Path) -> None:
    prediction = EmotionClassifier(MODEL).predict_file(path)
    assert shown(page) == pytest.approx(prediction.probabilities, abs=NEAR)
    leads = page.locator("#bars .best").get_attribute("data-label")
    assert leads == prediction.emotion
    if prediction.confidence >= 0.5:
        assert page.locator("#emotion").text_content() == prediction.emotion
    else:
        assert page.locator("#emotion").text_content() == "not sure"
        assert f"leans to {prediction.emotion}" in page.locator("#leaning").text_content()


@pytest.mark.parametrize("seconds", [1.5, 3.6, 10.0])
def test_a_file_is_answered_as_on_the_device(
    seconds: float, page: Any, voice: np.ndarray, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "clip.wav", voice[: round(seconds * RATE)], RATE)
    opened(page, tmp_path / "clip.wav")
    expect_as_on_the_device(page, tmp_path / "clip.wav")


def test_a_stereo_file_at_another_rate_is_answered_nearly_alike(
    page: Any, voice: np.ndarray, tmp_path: Path
) -> None:
    resampled = soxr.resample(voice[: 3 * RATE], RATE, 44_100)
    soundfile.write(tmp_path / "clip.flac", np.stack([resampled, resampled / 2], axis=1), 44_100)
    opened(page, tmp_path / "clip.flac")
    expected = EmotionClassifier(MODEL).predict_file(tmp_path / "clip.flac").probabilities
    assert shown(page) == pytest.approx(expected, abs=0.03)  # resamplers differ


def test_the_microphone_is_answered_as_on_the_device(
    page: Any, voice: np.ndarray, tmp_path: Path
) -> None:
    page.get_by_role("button", name="Listen").click()
    page.locator("#emotion:not(:empty)").wait_for()
    page.wait_for_timeout(5_000)  # until a window is full
    page.get_by_role("button", name="Stop").click()
    page.wait_for_timeout(500)
    with page.expect_download() as download:
        page.get_by_role("link", name="Save what was heard").click()
    heard = tmp_path / "heard.wav"
    download.value.save_as(heard)
    expect_as_on_the_device(page, heard)

    samples = audio.load(heard)
    assert len(samples) == pytest.approx(EmotionClassifier(MODEL).window, abs=16)
    middle = samples[RATE : 2 * RATE]  # is a second of the voice that was fed in
    fed = np.concatenate([voice, voice])
    likeness = np.fft.irfft(np.fft.rfft(fed) * np.conj(np.fft.rfft(middle, len(fed))))
    best = int(likeness[: len(voice)].argmax())
    assert np.corrcoef(middle, fed[best : best + RATE])[0, 1] > 0.95


def test_silence_is_answered_as_silence(page: Any, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(2 * RATE), RATE)
    opened(page, tmp_path / "silent.wav")
    assert page.locator("#emotion").text_content() == "silence"
    assert "%" not in page.locator("#bars").inner_text()


def test_a_file_that_is_no_audio_gets_clear_words(page: Any, tmp_path: Path) -> None:
    (tmp_path / "letter.wav").write_text("Dear Sir or Madam,")
    opened(page, tmp_path / "letter.wav")
    said = page.locator("#problem").inner_text()
    assert said == "letter.wav: is no audio that this browser can read."


def test_nothing_is_sent_anywhere(
    page: Any, address: str, voice: np.ndarray, tmp_path: Path
) -> None:
    sent: list[Any] = []
    page.on("request", lambda request: sent.append(request))
    page.reload()
    page.locator("body[data-state=ready]").wait_for()
    soundfile.write(tmp_path / "clip.wav", voice, RATE)
    opened(page, tmp_path / "clip.wav")
    assert any(request.url == f"{address}ser.tflite" for request in sent)
    assert [r.url for r in sent if not r.url.startswith((address, "blob:", "data:"))] == []
    assert [r.url for r in sent if r.method != "GET"] == []


def test_it_is_used_by_keyboard_and_fits_a_phone(page: Any) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Stop").wait_for()
    page.locator("#emotion:not(:empty)").wait_for()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Listen").wait_for()
