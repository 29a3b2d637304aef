"""What Keras rows hear is what librosa and pyloudnorm compute, in built-in TFLite operations."""

from pathlib import Path

import keras
import librosa
import numpy as np
import pyloudnorm
import pytest
import tflite_runtime.interpreter

from edge import audio
from edge.classifier import cut
from export.convert import to_tflite
from ser_tf.frontend import MFCC
from ser_tf.systems.neural import copies, inputs, pictures
from ser_tf.systems.neural.loudness import HarmonicPercussive, Loudness, Tempo, VoiceValues
from ser_tf.systems.neural.recipe import HOP_LENGTH
from ser_tf.systems.neural.spectra import (
    Chroma,
    FramePower,
    MeanAndDeviation,
    MelDecibels,
    PowerSpectrum,
    SpectralContrast,
    SpectralShape,
    ZeroCrossings,
)

RATE = 22_050
WINDOW = 3 * RATE
SPEECH = "ravdess/Audio_Speech_Actors_01-24/Actor_14/03-01-05-02-02-02-14.flac"


def tones() -> np.ndarray:
    """A chord with vibrato that fades into noise: float32 ``(66150,)``."""
    time = np.arange(WINDOW) / RATE
    phase = 2 * np.pi * (220 * time + 2 * np.sin(2 * np.pi * 5 * time))
    chord = sum(np.sin(k * phase) / k for k in range(1, 12))
    noise = np.random.default_rng(0).standard_normal(WINDOW)
    return (0.2 * chord * np.exp(-time) + 0.001 * noise).astype("float32")


def clicks(beats: float) -> np.ndarray:
    """Bursts of noise at so many a minute: float32 ``(66150,)``."""
    waveform = 1e-4 * np.random.default_rng(0).standard_normal(WINDOW)
    burst = np.random.default_rng(1).standard_normal(200)
    for start in np.arange(0.1, 2.9, 60 / beats):
        waveform[int(start * RATE) :][:200] += 0.3 * burst
    return waveform.astype("float32")


@pytest.fixture(params=["tones", "speech"])
def waveform(request: pytest.FixtureRequest) -> np.ndarray:
    """float32 ``(66150,)``: a generated sound, or a real recording."""
    if request.param == "tones":
        return tones()
    folder: Path = request.getfixturevalue("real_data")
    return cut(audio.load(folder / SPEECH, RATE), RATE // 2, WINDOW)


def of(layer: keras.layers.Layer, *given: np.ndarray) -> np.ndarray:
    """What a layer makes of one clip, without the batch's axis."""
    return np.asarray(layer(*(np.asarray(value)[None] for value in given)))[0]


def power_of(waveform: np.ndarray) -> np.ndarray:
    return of(PowerSpectrum(RATE), waveform)


def furthest(found: np.ndarray, expected: np.ndarray, heard: np.ndarray | bool = True) -> float:
    """The largest difference in frames that are heard; ``expected`` is librosa's, time last."""
    assert found.T.shape == expected.shape
    return float(np.abs(found.T - expected).max(axis=0, where=heard, initial=0).max())


def heard(waveform: np.ndarray) -> np.ndarray:
    """Which frames are not silent; in those librosa describes what resampling has left."""
    return librosa.feature.rms(y=waveform)[0] > 1e-6


def test_the_power_spectrum_is_that_of_librosa(waveform: np.ndarray) -> None:
    expected = np.abs(librosa.stft(waveform)) ** 2
    assert furthest(power_of(waveform), expected) < 1e-5 * expected.max()


def test_mel_bands_and_mfcc_are_those_of_librosa(waveform: np.ndarray) -> None:
    mel = of(MelDecibels(RATE), power_of(waveform))
    power = librosa.feature.melspectrogram(y=waveform, sr=RATE)
    assert furthest(mel, librosa.power_to_db(power)) < 0.05  # dB
    mfcc = librosa.feature.mfcc(y=waveform, sr=RATE, n_mfcc=40)
    assert furthest(of(MFCC(40), mel), mfcc) < 0.1
    below = of(MelDecibels(RATE, reference="maximum"), power_of(waveform))
    assert furthest(below, librosa.power_to_db(power, ref=np.max)) < 0.05


def test_chroma_is_that_of_librosa_at_concert_pitch(waveform: np.ndarray) -> None:
    expected = librosa.feature.chroma_stft(y=waveform, sr=RATE, tuning=0.0)
    found = of(Chroma(RATE), power_of(waveform))
    assert furthest(found, expected, heard(waveform)) < 2e-3


def test_spectral_contrast_is_that_of_librosa(waveform: np.ndarray) -> None:
    expected = librosa.feature.spectral_contrast(y=waveform, sr=RATE)
    # Valleys lie where the rounding of a float32 FFT is heard.
    assert furthest(of(SpectralContrast(RATE), power_of(waveform)), expected) < 1.0  # dB


def test_centroid_bandwidth_and_roll_off_are_those_of_librosa(waveform: np.ndarray) -> None:
    found = of(SpectralShape(RATE), power_of(waveform))
    calls = ("spectral_centroid", "spectral_bandwidth", "spectral_rolloff")
    for k, (call, limit) in enumerate(zip(calls, (1.0, 1.0, 1.01 * RATE / 2048), strict=True)):
        expected = getattr(librosa.feature, call)(y=waveform, sr=RATE)
        assert furthest(found[:, k : k + 1], expected, heard(waveform)) < limit  # Hz


def test_zero_crossings_and_level_are_those_of_librosa(waveform: np.ndarray) -> None:
    crossings = librosa.feature.zero_crossing_rate(waveform)
    assert furthest(of(ZeroCrossings(RATE), waveform), crossings) <= 1.01 / 2048
    level = librosa.feature.rms(y=waveform)
    assert furthest(np.sqrt(of(FramePower(RATE), waveform)), level) < 1e-5


def test_loudness_is_that_of_pyloudnorm(waveform: np.ndarray) -> None:
    for gain in (1.0, 0.1):
        expected = pyloudnorm.Meter(RATE).integrated_loudness(gain * waveform.astype("float64"))
        found = of(Loudness(RATE), power_of((gain * waveform).astype("float32")))
        assert found.item() == pytest.approx(expected, abs=0.5)  # LU


def test_duration_level_noise_and_silence_of_a_known_voice() -> None:
    time = np.arange(WINDOW) / RATE
    voice = (time >= 1) & (time < 2)
    waveform = np.where(voice, 0.1 * np.sqrt(2) * np.sin(2 * np.pi * 440 * time), 0.0)
    waveform += 1e-3 * np.random.default_rng(0).standard_normal(WINDOW) * (time < 2.5)
    waveform = waveform.astype("float32")
    values = of(VoiceValues(RATE), waveform, of(FramePower(RATE), waveform))
    duration, level, peak, ratio, silence = values
    frame = 2048 / RATE
    assert duration == pytest.approx(1.0, abs=2 * frame)
    assert level == pytest.approx(-20 + 10 * np.log10(1 / 3), abs=0.1)
    assert peak == pytest.approx(20 * np.log10(np.abs(waveform).max()), abs=0.01)
    assert ratio == pytest.approx(40, abs=2)
    assert silence == pytest.approx(2 / 3, abs=2 * frame / 3)


@pytest.mark.parametrize("beats", [100, 140])
def test_tempo_is_that_of_librosa(beats: int) -> None:
    waveform = clicks(beats)
    mel = of(MelDecibels(RATE), power_of(waveform))
    found = of(Tempo(RATE), mel).item()
    assert found == pytest.approx(librosa.feature.tempo(y=waveform, sr=RATE).item(), rel=0.06)
    assert found == pytest.approx(beats, rel=0.06)


def test_a_tone_is_harmonic_and_a_click_percussive() -> None:
    sine = 0.1 * np.sin(2 * np.pi * 440 * np.arange(WINDOW) / RATE).astype("float32")
    tone, click = (of(HarmonicPercussive(RATE), power_of(x)) for x in (sine, clicks(100)))
    assert tone[0] > tone[1] + 10  # dB
    assert click[1] > click[0] + 3


def test_harmonic_and_percussive_level_are_near_those_of_librosa(waveform: np.ndarray) -> None:
    found = of(HarmonicPercussive(RATE), power_of(waveform))
    parts = librosa.effects.hpss(waveform)
    expected = [10 * np.log10(np.mean(part**2)) for part in parts]
    assert np.abs(found - expected).max() < 6  # dB: moving means stand for moving medians


def test_mean_and_deviation_run_over_the_frames() -> None:
    values = np.random.default_rng(0).standard_normal((50, 3)).astype("float32")
    found = of(MeanAndDeviation(), values)
    np.testing.assert_allclose(found, [*values.mean(axis=0), *values.std(axis=0)], atol=1e-5)


def test_a_picture_shows_low_tones_below_in_viridis() -> None:
    tone = 0.1 * np.sin(2 * np.pi * 300 * np.arange(WINDOW) / RATE)
    picture = np.asarray(pictures.viridis(WINDOW, 96)(tone[None].astype("float32")))[0]
    assert picture.shape == (96, 96, 3)
    assert picture.min() >= 0
    assert picture.max() <= 255
    assert (picture == np.round(picture)).all()
    brightest = picture[:, 48].sum(axis=-1).argmax()
    assert brightest > 72
    assert picture[brightest, 48].tolist() == pytest.approx([253, 231, 37], abs=12)  # its lightest
    assert picture[5, 48].tolist() == pytest.approx([68, 1, 84], abs=2)  # its darkest


def test_a_changed_copy_is_as_long_and_repeats_by_its_seed() -> None:
    waveform = tones()
    first, again, other = (
        copies.changed(waveform, RATE, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert first.shape == waveform.shape
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01
    assert np.abs(first - waveform).max() > 0.01


def everything() -> keras.Model:
    """All descriptors over one waveform, in one tensor ``(batch, values)``."""
    waveform = keras.Input((WINDOW,))
    builders = (inputs.wide_sequence, inputs.sequence_and_clip, inputs.clip_statistics)
    flat = keras.layers.Flatten()
    found = [build(WINDOW)(waveform) for build in builders]
    found.append(pictures.viridis(WINDOW, 64)(waveform))
    tensors = keras.tree.flatten(found)
    return keras.Model(waveform, keras.layers.Concatenate()([flat(x) for x in tensors]))


def test_all_features_survive_saving_and_convert_to_tflite(tmp_path: Path) -> None:
    everything().save(tmp_path / "features.keras")
    model = keras.saving.load_model(tmp_path / "features.keras", safe_mode=True)
    interpreter = tflite_runtime.interpreter.Interpreter(model_content=to_tflite(model))
    interpreter.allocate_tensors()
    silence = np.zeros(WINDOW, "float32")
    for waveform in (tones(), clicks(120), silence):
        expected = np.asarray(model(waveform[None]))
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], waveform[None])
        interpreter.invoke()
        found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        assert np.isfinite(expected).all()
        apart = np.abs(found - expected) / np.maximum(1, np.abs(expected))
        # Roll-off and colours jump where a rounding error lies on an edge.
        assert np.mean(apart > 1e-2) < 1e-3


def test_inputs_have_the_frames_and_features_of_their_projects() -> None:
    assert inputs.wide_sequence(5 * RATE).output_shape == (None, 216, 187)
    parts = inputs.sequence_and_clip(199 * HOP_LENGTH).output
    shapes = {name: part.shape for name, part in parts.items()}
    assert shapes == {"frames": (None, 200, 60), "clip": (None, 6)}


def test_pictures_change_in_training_alone() -> None:
    picture = np.asarray(pictures.viridis(WINDOW, 64)(tones()[None]))
    changes = pictures.changes(64)
    np.testing.assert_array_equal(np.asarray(changes(picture, training=False)), picture)
    changed = np.asarray(changes(picture, training=True))
    assert changed.shape == picture.shape
    assert np.abs(changed - picture).mean() > 1
    assert 0 <= changed.min() <= changed.max() <= 255
