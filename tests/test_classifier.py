"""The inference engine, on a stub that tells tones apart."""

import io
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import stub_model
from stub_model import EMOTIONS, SAMPLE_RATE, WINDOW, tone

from edge import audio
from edge.classifier import (
    RUNTIMES,
    EmotionClassifier,
    ModelError,
    Prediction,
    cut,
    default_model,
    sliding_windows,
    window_starts,
)
from export.metadata import embed


@pytest.fixture(scope="module")
def model_file(tmp_path_factory) -> Path:
    return stub_model.write(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module", params=RUNTIMES)
def classifier(model_file, request) -> EmotionClassifier:
    return EmotionClassifier(model_file, runtime=request.param)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def complaint(model: Path, **options) -> str:
    with pytest.raises(ModelError) as caught:
        EmotionClassifier(model, **options)
    message = str(caught.value)
    assert message.startswith(f"{model}: ")
    assert "\n" not in message
    return message.removeprefix(f"{model}: ")


def test_all_it_knows_it_reads_from_the_model_file(tmp_path):
    labels = ["höflich", "so so", *EMOTIONS[2:]]
    path = tmp_path / "other.tflite"
    path.write_bytes(embed(stub_model.plain_model(), labels, 22_050, 1, "", "", ""))
    other = EmotionClassifier(path)
    assert other.labels == tuple(labels)
    assert (other.sample_rate, other.window) == (22_050, WINDOW)


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_the_likeliest_emotion_is_the_answer(classifier, emotion):
    prediction = classifier.predict(tone(emotion, 2.0))
    assert prediction.emotion == emotion
    assert tuple(prediction.probabilities) == EMOTIONS
    assert sum(prediction.probabilities.values()) == pytest.approx(1)
    assert prediction.confidence == max(prediction.probabilities.values()) > 0.5
    assert (prediction.start, prediction.end, prediction.silent) == (0.0, 2.0, False)


def test_both_runtimes_and_any_threads_agree(model_file):
    waveform = tone("sad", 3.6) + tone("angry", 3.6, level=0.1)
    answers = [
        EmotionClassifier(model_file, threads, runtime).probabilities(waveform)
        for runtime in RUNTIMES
        for threads in (1, 3)
    ]
    for answer in answers:
        assert answer.dtype == np.float32
        np.testing.assert_allclose(answer, answers[0], atol=1e-4)


def test_one_window_is_answered_with_the_models_own_probabilities(classifier):
    waveform = tone("sad", 3.6) + tone("angry", 3.6, level=0.1)
    predicted = list(classifier.predict(waveform).probabilities.values())
    np.testing.assert_allclose(predicted, classifier.probabilities(waveform), atol=1e-6)


def test_a_window_of_another_length_is_refused(classifier):
    with pytest.raises(ValueError, match="expected 57600 samples"):
        classifier.probabilities(silence(1))


def test_a_short_waveform_lies_in_the_middle_of_its_window():
    assert window_starts(100, (20, 50), 1_000) == [-450]
    padded = cut(np.ones(100, np.float32), -450, 1_000)
    assert padded.shape == (1_000,)
    assert padded[450:550].all()
    assert padded.sum() == 100


@pytest.mark.parametrize(
    ("span", "start"), [((500, 540), 470), ((0, 50), 0), ((1_900, 2_000), 1_900)]
)
def test_the_window_is_centred_on_the_voice_within_the_waveform(span, start):
    assert window_starts(2_000, span, 100) == [start]


def test_a_voice_longer_than_a_window_is_covered_by_several():
    starts = window_starts(10_000, (1_000, 4_300), 1_000)
    assert starts == [1_000, 1_500, 2_000, 2_500, 3_000, 3_300]


def test_the_voice_is_answered_and_not_the_pauses(classifier):
    speech = tone("happy", 1.0)
    faint = tone("sad", 20.0, level=0.3 * 10 ** (-40 / 20))
    waveform = np.concatenate([faint, speech, faint])
    alone = classifier.predict(np.concatenate([silence(5), speech, silence(5)]))
    among = classifier.predict(waveform)
    assert among.emotion == "happy"
    assert among.confidence == pytest.approx(alone.confidence, abs=0.01)


def test_loud_windows_count_for_more_than_faint_ones(classifier):
    waveform = np.concatenate([tone("happy", 8.0, level=0.1), tone("sad", 4.0, level=0.3)])
    assert classifier.predict(waveform).emotion == "sad"
    assert classifier.predict(waveform[: 8 * SAMPLE_RATE]).emotion == "happy"


@pytest.mark.parametrize("seconds", [0.0, 0.01, 1.0, 8.0, 70.0])
def test_silence_is_no_emotion(classifier, tmp_path, seconds):
    prediction = classifier.predict(silence(seconds))
    assert prediction.silent
    assert (prediction.emotion, prediction.confidence, prediction.probabilities) == (None, 0.0, {})
    if seconds:
        path = tmp_path / "silence.wav"
        soundfile.write(path, silence(seconds), SAMPLE_RATE)
        assert classifier.predict_file(path) == prediction
        assert all(window.silent for window in classifier.timeline(path))


def test_an_emotion_below_the_least_confidence_is_uncertain():
    sad = Prediction("sad", 0.4, {"sad": 0.4, "calm": 0.35, "angry": 0.25})
    assert sad.uncertain(0.41)
    assert not sad.uncertain(0.4)
    assert not sad.uncertain(0)
    assert (sad.emotion, sad.silent) == ("sad", False)


def test_silence_is_never_uncertain(classifier):
    assert not classifier.predict(silence(1.0)).uncertain(1)


def test_a_file_is_answered_like_its_waveform(classifier, tmp_path):
    path = tmp_path / "clip.flac"
    soundfile.write(path, tone("fearful", 9.0, 44_100), 44_100)
    assert classifier.predict_file(path) == classifier.predict(audio.load(path))
    assert classifier.predict_file(path).emotion == "fearful"


def test_a_long_recording_is_answered_as_a_whole(classifier, tmp_path):
    path = tmp_path / "long.wav"
    parts = [tone("calm", 40.0, level=0.1), silence(40.0), tone("angry", 40.0)]
    soundfile.write(path, np.concatenate(parts), SAMPLE_RATE)
    heard: list[float] = []
    streamed = classifier.predict_file(path, heard.append)
    assert streamed.emotion == "angry"
    assert (streamed.start, streamed.end) == (0.0, 120.0)
    whole = classifier.predict(audio.load(path))
    for emotion in EMOTIONS:
        assert streamed.probabilities[emotion] == pytest.approx(
            whole.probabilities[emotion], abs=0.02
        )
    assert heard == sorted(heard)
    assert heard[-1] == 120.0


def test_an_hour_takes_little_memory(classifier, tmp_path):
    path = tmp_path / "hour.wav"
    hour = np.tile(tone("happy", 60.0, 8_000, level=0.5), 60)
    soundfile.write(path, hour, 8_000, subtype="PCM_U8")
    del hour
    tracemalloc.start()
    try:
        prediction = classifier.predict_file(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (prediction.emotion, prediction.end) == ("happy", 3_600.0)
    assert peak < 20e6  # the whole is 230 MB


def test_the_timeline_tells_what_is_heard_when(classifier, tmp_path):
    path = tmp_path / "story.wav"
    parts = [tone("calm", 7.2), silence(7.2), tone("angry", 8.0)]
    soundfile.write(path, np.concatenate(parts), SAMPLE_RATE)
    windows = list(classifier.timeline(path))
    starts = [window.start for window in windows]
    np.testing.assert_allclose(starts, [*np.arange(0, 18.1, 1.8), 18.8])
    assert all(window.end - window.start == pytest.approx(3.6) for window in windows)
    assert windows[-1].end == pytest.approx(22.4)
    said = {round(window.start, 1): window.emotion for window in windows}
    assert said[0.0] == said[3.6] == "calm"
    assert said[7.2] == said[9.0] == said[10.8] is None
    assert said[14.4] == said[18.8] == "angry"


def test_the_timeline_of_a_short_recording_is_one_answer(classifier, tmp_path):
    path = tmp_path / "short.wav"
    soundfile.write(path, tone("calm", 0.5), SAMPLE_RATE)
    (window,) = classifier.timeline(path)
    assert (window.emotion, window.start, window.end) == ("calm", 0.0, 0.5)


@pytest.mark.parametrize("length", [1, 99, 100, 101, 149, 150, 151, 200, 1_000, 1_033])
@pytest.mark.parametrize("piece", [7, 50, 2_000])
def test_sliding_windows_cover_every_sample(length, piece):
    waveform = np.arange(1, length + 1, dtype=np.float32)
    pieces = [waveform[start : start + piece] for start in range(0, length, piece)]
    windows = list(sliding_windows(pieces, 100))
    seen: set[float] = set()
    for start, end, window in windows:
        assert window.shape == (100,)
        if length >= 100:
            np.testing.assert_array_equal(window, waveform[start:end])
        seen.update(window[window > 0].tolist())
    assert seen == set(waveform.tolist())
    assert windows[-1][1] == length
    assert len({start for start, _, _ in windows}) == len(windows)


def test_an_unreadable_recording_is_an_audio_error(classifier, tmp_path):
    with pytest.raises(audio.AudioError):
        classifier.predict_file(tmp_path / "no.wav")
    with pytest.raises(audio.AudioError):
        next(classifier.timeline(tmp_path / "no.wav"))


def test_a_real_recording_is_answered_on_both_runtimes(classifier, real_data):
    for path in (real_data / "ravdess_original").rglob("*.wav"):
        prediction = classifier.predict_file(path)
        assert prediction.emotion in EMOTIONS
        assert sum(prediction.probabilities.values()) == pytest.approx(1)


def test_no_runtime_writes_on_the_terminal(model_file, capfd):
    for runtime in RUNTIMES:
        EmotionClassifier(model_file, runtime=runtime)
    assert capfd.readouterr() == ("", "")


def test_the_default_model_is_looked_for_beside_the_code(tmp_path, monkeypatch):
    monkeypatch.setattr("edge.classifier.__file__", str(tmp_path / "edge" / "classifier.py"))
    with pytest.raises(ModelError, match=r"^ser\.tflite: is not in"):
        default_model()
    for folder in ("export", "edge"):  # the nearer one goes first
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "ser.tflite").write_bytes(b"")
        assert default_model() == tmp_path / folder / "ser.tflite"


def test_a_model_that_is_none_is_told(tmp_path, model_file):
    assert complaint(tmp_path / "no.tflite").startswith("does not exist")
    assert complaint(tmp_path).startswith("is a folder")
    path = tmp_path / "model.tflite"
    for content, what in (
        (b"", "is empty"),
        (b"TFL3", "is not a TFLite model"),
        (bytes(9_999), "is not a TFLite model"),
        (stub_model.plain_model(), "has no labels at its end"),
        (model_file.read_bytes()[:-1], "has no labels at its end"),
        (model_file.read_bytes() + b"\n", "has no labels at its end"),
    ):
        path.write_bytes(content)
        assert complaint(path).startswith(what)


def test_a_model_without_permission_is_told(model_file, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # root may read everything
    assert "no permission" in complaint(model_file)


def test_a_model_of_another_shape_is_refused(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(embed(stub_model.plain_model(batch=2), EMOTIONS, SAMPLE_RATE, 1, "", "", ""))
    assert complaint(path) == "its input is float32[2, 57600] where float32[1, n] belongs"


def test_a_stereo_model_is_refused(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(embed(stub_model.plain_model(), EMOTIONS, SAMPLE_RATE, 2, "", "", ""))
    assert complaint(path).startswith("takes 2 channels at 16000 Hz")


def test_labels_that_do_not_fit_the_model_are_refused(tmp_path, model_file):
    content = model_file.read_bytes()
    file = io.BytesIO(content[: content.index(b"PK\x03\x04")])
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("labels.txt", "one\ntwo")
    path = tmp_path / "model.tflite"
    path.write_bytes(file.getvalue())
    assert complaint(path).startswith("gives 8 probabilities for 2 labels")


def test_a_zip_without_labels_or_metadata_is_refused(tmp_path, model_file):
    content = model_file.read_bytes()
    for model, member in (
        (content[: content.index(b"PK\x03\x04")], "other.txt"),
        (stub_model.plain_model(), "labels.txt"),
        (b"\xff\xff\xff\x7fTFL3", "labels.txt"),
    ):
        file = io.BytesIO(model)
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr(member, "one\ntwo")
        path = tmp_path / "model.tflite"
        path.write_bytes(file.getvalue())
        assert complaint(path).startswith("has unusable metadata")


def test_a_missing_runtime_is_told(model_file):
    assert complaint(model_file, runtime="no_such_runtime").startswith("needs no_such_runtime")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_truncated_model_is_refused_wherever_it_is_cut(model_file, tmp_path, runtime):
    # In a process of its own, since the runtimes crash on what they are not protected from.
    code = """if True:
        import sys
        from edge.classifier import EmotionClassifier, ModelError
        content = open(sys.argv[1], "rb").read()
        for size in [*range(0, 64), *range(64, len(content), 997), len(content) - 1]:
            open(sys.argv[2], "wb").write(content[:size])
            try:
                EmotionClassifier(sys.argv[2], runtime=sys.argv[3])
            except ModelError:
                continue
            sys.exit(f"accepted {size} bytes")
        """
    cut_file = tmp_path / "cut.tflite"
    result = subprocess.run(
        [sys.executable, "-c", code, model_file, cut_file, runtime],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (result.returncode, result.stderr) == (0, "")
