"""The tab Listen in a real headless browser."""

import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from edge.classifier import EmotionClassifier
from tests import page as pages
from tests import stub_model
from tests.page import ROOT, SPOKEN, chart, clip, doubtful, page_server, settle, upload, visitor

pytest_plugins = ("tests.page_fixtures",)
pytestmark = pages.needed


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg"])
def test_the_page_answers_as_the_classifier_does(suffix, page, address, stub, tmp_path):
    recording = clip(tmp_path, "sad", name=f"clip{suffix}")
    prediction = EmotionClassifier(stub).predict_file(recording)
    upload(page, address, recording)
    heading = page.locator(".st-key-answer h2").inner_text()
    assert heading == f"Sad {prediction.confidence:.0%}"
    assert prediction.emotion == "sad"


def test_all_probabilities_stand_on_the_page(page, address, stub, tmp_path):
    recording = clip(tmp_path, "angry")
    upload(page, address, recording)
    table = page.get_by_role("table", name="Probability of each emotion")
    table.wait_for()
    said = {
        row.get_by_role("rowheader").inner_text(): row.get_by_role("cell").last.inner_text()
        for row in table.get_by_role("row").all()
    }
    expected = EmotionClassifier(stub).predict_file(recording).probabilities
    assert said == {emotion: f"{share:.1%}" for emotion, share in expected.items()}
    assert next(iter(said)) == "angry"
    took = page.locator(".st-key-answer").get_by_text("Answered in ").inner_text()
    assert " ms by " in took
    assert "stub.tflite" in took


def test_several_recordings_are_answered_one_at_a_time(page, address, tmp_path):
    files = [clip(tmp_path, "calm", name="one.wav"), clip(tmp_path, "angry", name="two.wav")]
    upload(page, address, files)
    page.get_by_role("heading", name="Angry").wait_for()
    page.get_by_role("combobox", name="Recording").click()
    page.get_by_role("option", name="one.wav").click()
    page.get_by_role("heading", name="Calm").wait_for()


def test_spectrogram_and_mfcc_are_drawn_when_they_are_asked_for(page, address, tmp_path):
    upload(page, address, clip(tmp_path, "calm"))
    page.get_by_role("heading", name="Waveform").wait_for()
    assert page.get_by_role("heading", name="Over time").count() == 0
    charts = page.locator("[data-testid=stVegaLiteChart]")
    assert charts.count() == 0
    for name in ("Mel spectrogram", "MFCC"):
        page.get_by_role("radio", name=name).click()
        chart(page, name).wait_for()
        assert charts.locator("image").count() == 1


def test_a_long_recording_is_answered_over_time_at_the_players_position(page, address, tmp_path):
    path = tmp_path / "long.wav"
    parts = [stub_model.tone("fearful", 8), np.zeros(8 * 16_000), stub_model.tone("calm", 8)]
    soundfile.write(path, np.concatenate(parts), stub_model.SAMPLE_RATE)
    upload(page, address, path)
    page.get_by_role("heading", name="Over time").wait_for()
    position = page.get_by_role("slider", name="Position in the recording")
    said = {}
    for key, presses in (("Home", 1), ("PageUp", 5), ("End", 1)):
        for _ in range(presses):
            position.press(key)
        said[key] = position.get_attribute("aria-valuetext")
    assert said["Home"].startswith("0.0 s, fearful")
    assert said["PageUp"] == "12.0 s, silence"
    assert said["End"].startswith("24.0 s, calm")
    player = page.locator("[data-testid=stAudio]")
    assert player.evaluate("player => player.currentTime") == pytest.approx(24, abs=0.1)
    player.evaluate("player => { player.currentTime = 3.0 }")
    page.locator("[role=slider][aria-valuetext^='3.0 s, fearful']").wait_for()


def test_a_click_on_the_waveform_moves_the_player(page, address, tmp_path):
    upload(page, address, clip(tmp_path, "happy", seconds=4))
    position = page.get_by_role("slider", name="Position in the recording")
    box = position.bounding_box()
    position.click(position={"x": box["width"] / 2, "y": 30})
    player = page.locator("[data-testid=stAudio]")
    assert player.evaluate("player => player.currentTime") == pytest.approx(2, abs=0.1)


def test_silence_is_answered_as_silence(page, address, tmp_path):
    path = tmp_path / "silent.wav"
    soundfile.write(path, np.zeros(32_000), 16_000)
    upload(page, address, path)
    assert page.locator(".st-key-answer h2").inner_text() == "Silence"
    assert "%" not in page.locator(".st-key-answer").inner_text()


def test_how_sure_an_answer_must_be_is_for_the_visitor_to_say(page, address, stub, tmp_path):
    recording = doubtful(tmp_path)
    confidence = EmotionClassifier(stub).predict_file(recording).confidence
    upload(page, address, recording)
    answer = page.locator(".st-key-answer")
    assert answer.locator("h2").inner_text() == "Not sure"
    leaning = f"It is uncertain, and leans to sad, {confidence:.0%}."
    answer.get_by_text(leaning, exact=True).wait_for()
    took = answer.get_by_text("Answered in ").inner_text()
    for key, heading in (("Home", f"Sad {confidence:.0%}"), ("End", "Not sure")) * 2:
        answer.get_by_role("slider").press(key)
        answer.get_by_role("heading", name=heading).wait_for()
        assert answer.get_by_text("Answered in ").inner_text() == took  # not answered again


def test_the_least_confidence_outlives_a_recording_without_it(page, address, tmp_path):
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, np.zeros(32_000), 16_000)
    upload(page, address, doubtful(tmp_path))
    page.get_by_role("slider", name="Least confidence").press("Home")
    page.get_by_role("heading", name="Sad").wait_for()
    upload_more = page.locator(".st-key-uploaded input[type=file]")
    upload_more.set_input_files(silent)
    page.get_by_role("heading", name="Silence").wait_for()
    page.get_by_role("slider", name="Least confidence").wait_for(state="detached")
    upload_more.set_input_files(doubtful(tmp_path))
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


def test_a_recording_longer_than_a_quarter_of_an_hour_is_refused(page, address, tmp_path):
    path = tmp_path / "endless.flac"
    soundfile.write(path, np.zeros(16 * 60 * 1_000, np.int16), 1_000)
    upload(page, address, path)
    said = page.locator(".st-key-problem").inner_text()
    assert "endless.flac: is longer than the 15 minutes" in said


def test_a_file_of_more_than_25_mb_is_refused(page, address, tmp_path):
    path = tmp_path / "heavy.wav"
    path.write_bytes(bytes(26 * 2**20))
    page.goto(address)
    page.locator(".st-key-uploaded input[type=file]").set_input_files(path)
    page.get_by_text("25.0MB or smaller").wait_for()


def test_a_voice_is_recorded_in_the_browser(page, address):
    from playwright.sync_api import TimeoutError as Late

    page.goto(address)
    page.get_by_text("Record", exact=True).click()
    record = page.locator("[data-testid=stAudioInput]").get_by_label("Record", exact=True)
    stop = page.get_by_label("Stop recording")
    for _ in range(6):  # Streamlit drops a click that comes before it has found the microphone
        record.click()
        try:
            stop.wait_for(timeout=4_000)
            break
        except Late:
            continue
    page.wait_for_timeout(2_000)
    stop.click()
    assert SPOKEN.capitalize() in page.locator(".st-key-answer h2").inner_text()
    page.get_by_role("slider", name="Position in the recording").wait_for()


@pytest.mark.slow
def test_ten_visitors_at_once_each_get_their_own_answer(browser, address, tmp_path):
    emotions = [*stub_model.EMOTIONS, "happy", "sad"]
    with_files = [
        (emotion, clip(tmp_path, emotion, name=f"{k}/voice.wav"))
        for k, emotion in enumerate(emotions)
    ]
    contexts = [visitor(browser) for _ in emotions]
    visitors = [context.__enter__() for context in contexts]
    try:
        for each in visitors:
            each.goto(address, wait_until="commit")
        for each in visitors:
            each.locator(".st-key-uploaded input[type=file]").wait_for(state="attached")
        for each, (_, file) in zip(visitors, with_files, strict=True):
            each.locator(".st-key-uploaded input[type=file]").set_input_files(file)
        said = [each.locator(".st-key-answer h2").inner_text() for each in visitors]
    finally:
        for context in contexts:
            context.__exit__(None, None, None)
    assert [words.split()[0].lower() for words in said] == emotions


def test_the_page_asks_nobody_else_and_gets_what_it_asks_for(page, address, tmp_path):
    asked, failed = set(), []
    page.on("request", lambda request: asked.add(request.url))
    page.on("response", lambda r: failed.append(r.url) if r.status >= 400 else None)
    upload(page, address, clip(tmp_path, "calm"))
    page.get_by_role("radio", name="MFCC").click()
    page.locator("[data-testid=stVegaLiteChart] image").wait_for()
    page.wait_for_timeout(1_000)
    foreign = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    assert foreign == []
    assert failed == []


def test_no_recording_is_left_on_the_server(page, address, server_folder, tmp_path):
    upload(page, address, clip(tmp_path, "calm", seconds=8))
    page.get_by_role("radio", name="Mel spectrogram").click()
    page.locator("[data-testid=stVegaLiteChart] image").wait_for()
    settle(page)
    assert [path for path in (server_folder / "tmp").rglob("*") if path.is_file()] == []
    assert "clip.wav" not in (server_folder / "log.txt").read_text()


def test_without_a_model_the_page_says_how_to_get_one(page, tmp_path):
    with page_server(tmp_path / "nowhere.tflite", tmp_path) as where:
        page.goto(where)
        page.get_by_text("make train").wait_for()
        said = page.locator("[data-testid=stMain]").inner_text()
    assert "nowhere.tflite: does not exist" in said
    assert "-- --model FILE" in said


def test_an_answer_does_not_wait_for_librosa_or_matplotlib():
    script = (
        "import sys, streamlit_app.app; "
        "print(sorted({'librosa', 'matplotlib', 'scipy', 'tensorflow'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.slow  # a figure, for a machine that does nothing else
def test_the_answer_stands_within_a_second_of_the_upload(browser, address, tmp_path):
    seconds = []
    for k in range(5):
        with visitor(browser) as page:
            page.goto(address)
            settle(page)
            started = time.perf_counter()
            file = clip(tmp_path, "happy", seconds=4, name=f"{k}.wav")
            page.locator(".st-key-uploaded input[type=file]").set_input_files(file)
            page.locator(".st-key-answer h2").wait_for()
            seconds.append(time.perf_counter() - started)
    print(f"\nfirst answers of five visitors, s: {', '.join(f'{each:.2f}' for each in seconds)}")
    assert max(seconds) < 1.0
