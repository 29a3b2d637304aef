"""The front-end layers compute what librosa computes, and survive saving."""

from pathlib import Path

import keras
import librosa
import numpy as np
import pytest

from edge import audio
from ser_tf.config import F_MAX, F_MIN, N_FRAMES, N_MELS, N_SAMPLES, SAMPLE_RATE, FrontendConfig
from ser_tf.frontend import (
    MFCC,
    Deltas,
    LogMelSpectrogram,
    MeanOverSpeeds,
    Standardise,
    build_cepstrum,
    build_log_mel,
    n_features,
)

TOLERANCE = 1e-3  # of the range of librosa's values
REAL_CLIPS = (
    "Audio_Speech_Actors_01-24/Actor_01/03-01-01-01-01-01-01.flac",
    "Audio_Speech_Actors_01-24/Actor_14/03-01-05-02-02-02-14.flac",
    "Audio_Song_Actors_01-24/Actor_08/03-02-04-02-01-01-08.flac",
)


def tones() -> np.ndarray:
    """A chord with vibrato that fades into noise: float32 ``(57600,)``."""
    time = np.arange(N_SAMPLES) / SAMPLE_RATE
    phase = 2 * np.pi * (220 * time + 2 * np.sin(2 * np.pi * 5 * time))
    chord = sum(np.sin(k * phase) / k for k in range(1, 12))
    noise = np.random.default_rng(0).standard_normal(N_SAMPLES)
    return (0.2 * chord * np.exp(-time) + 0.001 * noise).astype("float32")


def noise(level: float = 0.1) -> np.ndarray:
    values = np.random.default_rng(1).standard_normal((1, N_SAMPLES))
    return (level * values).astype("float32")


@pytest.fixture(params=["tones", "speech"])
def waveform(request: pytest.FixtureRequest) -> np.ndarray:
    """float32 ``(samples,)``: a generated sound, or three real recordings end to end."""
    if request.param == "tones":
        return tones()
    folder: Path = request.getfixturevalue("real_data") / "ravdess"
    return np.concatenate([audio.load(folder / clip) for clip in REAL_CLIPS])


def librosa_log_mel(waveform: np.ndarray, n_mels: int = 64, floor: float = 1e-8) -> np.ndarray:
    mel = librosa.feature.melspectrogram(
        y=waveform,
        sr=SAMPLE_RATE,
        n_fft=512,
        win_length=400,
        hop_length=256,
        center=False,
        n_mels=n_mels,
        fmin=F_MIN,
        fmax=F_MAX,
        htk=False,
    )
    return 10 * np.log10(np.maximum(mel, floor))


def assert_close(ours: np.ndarray, librosas: np.ndarray) -> None:
    assert ours.shape == librosas.shape
    assert np.abs(ours - librosas).max() <= TOLERANCE * np.ptp(librosas)


def test_log_mel_is_librosas(waveform):
    ours = np.asarray(LogMelSpectrogram()(waveform[None]))[0]
    assert_close(ours, librosa_log_mel(waveform).T)


@pytest.mark.parametrize("n_mfcc", [13, 64])
def test_mfccs_are_librosas(waveform, n_mfcc):
    ours = np.asarray(MFCC(n_mfcc)(LogMelSpectrogram()(waveform[None])))[0]
    log_mel = librosa_log_mel(waveform)
    assert_close(ours, librosa.feature.mfcc(S=log_mel, n_mfcc=n_mfcc, dct_type=2, norm="ortho").T)


@pytest.mark.parametrize("order", [1, 2])
def test_deltas_are_librosas(waveform, order):
    mfcc = librosa.feature.mfcc(S=librosa_log_mel(waveform), n_mfcc=13)
    features = np.asarray(Deltas()(mfcc.T[None].astype("float32")))[0]
    np.testing.assert_array_equal(features[:, :13], mfcc.T.astype("float32"))
    ours = features[:, 13 + order - 1 :: 2]  # Δ and ΔΔ of each coefficient in turn
    assert_close(ours, librosa.feature.delta(mfcc, width=9, order=order, mode="nearest").T)


def test_the_whole_front_end_is_librosas(waveform):
    config = FrontendConfig(deltas=64, pitch=False)
    ours = np.asarray(build_cepstrum(config)(build_log_mel(config)(waveform[None])))[0]
    mfcc = librosa.feature.mfcc(S=librosa_log_mel(waveform), n_mfcc=64)
    both = [librosa.feature.delta(mfcc, order=order, mode="nearest") for order in (1, 2)]
    for part, expected in (
        (ours[:, :64], mfcc),
        (ours[:, 64::2], both[0]),
        (ours[:, 65::2], both[1]),
    ):
        assert_close(part, expected.T)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (LogMelSpectrogram(n_mels=40, floor_db=-60.0), (N_SAMPLES,)),
        (LogMelSpectrogram(speeds=(0.9, 1.0)), (N_SAMPLES,)),
        (MeanOverSpeeds(2), (8,)),
        (MFCC(13), (N_FRAMES, 64)),
        (Deltas(), (N_FRAMES, 13)),
        (Standardise(), (N_FRAMES, 39)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, keras.Layer) else "",
)
def test_a_saved_layer_computes_the_same(layer, shape, tmp_path):
    model = keras.Sequential([keras.Input(shape), layer])
    if isinstance(layer, Standardise):
        layer.set_statistics(np.linspace(-5, 5, 39), np.linspace(0.5, 2, 39))
    inputs = np.random.default_rng(2).standard_normal((2, *shape)).astype("float32")
    before = np.asarray(model(inputs))
    model.save(tmp_path / "layer.keras")
    reloaded = keras.saving.load_model(tmp_path / "layer.keras")
    np.testing.assert_array_equal(np.asarray(reloaded(inputs)), before)
    assert model.output_shape == (None, *before.shape[1:])
    assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()


def test_narrow_bins_are_those_of_longer_frames_with_the_same_middles(waveform):
    narrow = np.asarray(LogMelSpectrogram(harmonic_bins=96)(waveform[None]))[0, :, N_MELS:]
    margin = np.pad(waveform, (1024 - 512) // 2)
    spectra = librosa.stft(margin, n_fft=1024, hop_length=256, center=False)
    alike = np.sum(np.hanning(401) ** 2) / np.sum(np.hanning(1025) ** 2) * 512 / SAMPLE_RATE
    expected = 10 * np.log10(np.maximum(alike * np.abs(spectra[:96].T) ** 2, 1e-8))
    off = np.abs(narrow - expected)
    assert narrow.shape == expected.shape
    assert off.mean() < 0.01
    assert np.quantile(off, 0.999) < 0.2


@pytest.mark.parametrize("more", [1, 63, 64, 254, 255])
def test_a_waveform_of_any_length_has_as_many_narrow_frames_as_others(more):
    waveform = noise()[:, : 2560 + more]
    alone, both = (LogMelSpectrogram(harmonic_bins=bins)(waveform) for bins in (0, 96))
    assert both.shape[:2] == alone.shape[:2]


@pytest.mark.parametrize("speed", [0.9, 1.06])
def test_a_speed_is_that_of_the_waveform_played_so(waveform, speed):
    middle = waveform[:N_SAMPLES]
    place = (N_SAMPLES - 1) / 2 + speed * (np.arange(N_SAMPLES) - (N_SAMPLES - 1) / 2)
    played = np.interp(place, np.arange(N_SAMPLES), middle).astype("float32")
    as_it_is, ours = np.asarray(LogMelSpectrogram(speeds=(1.0, speed))(middle[None]))
    expected = np.asarray(LogMelSpectrogram()(played[None]))[0]
    inside = slice(20, -20)  # at the ends np.interp repeats a sample, the layer a frame
    loud = expected[inside] > expected.max() - 40
    error, change = (
        np.abs(values[inside] - expected[inside])[loud].mean() for values in (ours, as_it_is)
    )
    assert error < 2
    assert change > 2 * error


def test_speeds_of_one_waveform_stand_side_by_side():
    both = np.concatenate([noise(0.1), noise(0.01)])
    log_mel = np.asarray(LogMelSpectrogram(speeds=(0.9, 1.0, 1.1))(both))
    levels = log_mel.mean(axis=(1, 2)).reshape(2, 3)
    assert levels[0].min() > levels[1].max() + 10
    np.testing.assert_allclose(log_mel[[1, 4]], np.asarray(LogMelSpectrogram()(both)), atol=1e-4)
    means = np.asarray(MeanOverSpeeds(3)(levels.reshape(6, 1)))
    np.testing.assert_allclose(means[:, 0], levels.mean(axis=1), rtol=1e-6)


def test_there_are_as_many_bands_as_asked_for():
    for n_mels in (40, 64):
        log_mel = np.asarray(LogMelSpectrogram(n_mels)(noise()))
        assert log_mel.shape == (1, N_FRAMES, n_mels)
        assert log_mel.mean(axis=(0, 1)).min() > -40, "a band without a single frequency in it"


@pytest.mark.parametrize(
    ("deltas", "pitch", "expected"),
    [(24, False, 39), (13, False, 39), (5, False, 23), (0, False, 13), (5, True, 83)],
)
def test_the_number_of_features_is_told_beforehand(deltas, pitch, expected):
    config = FrontendConfig(n_mfcc=13, deltas=deltas, pitch=pitch)
    features = build_cepstrum(config)(build_log_mel(config)(noise()))
    assert features.shape == (1, N_FRAMES, n_features(config)) == (1, N_FRAMES, expected)


def test_coefficients_without_deltas_stand_behind_those_with():
    waveform = noise()
    all_of, few = (FrontendConfig(deltas=count, pitch=False) for count in (64, 5))
    everything, ours = (
        np.asarray(build_cepstrum(config)(build_log_mel(config)(waveform)))
        for config in (all_of, few)
    )
    np.testing.assert_array_equal(ours[..., :5], everything[..., :5])
    np.testing.assert_allclose(ours[..., 5:15], everything[..., 64:74], atol=1e-4)
    np.testing.assert_array_equal(ours[..., 15:], everything[..., 5:64])


def test_level_stays_in_the_first_coefficient_alone():
    front_end = keras.Sequential([LogMelSpectrogram(), MFCC()])
    quiet, loud = np.asarray(front_end(noise(0.1))), np.asarray(front_end(noise(0.2)))
    louder = 20 * np.log10(2) * np.sqrt(64)  # a DCT-II's first basis vector is 1 / sqrt(bands)
    np.testing.assert_allclose((loud - quiet)[..., 0], louder, rtol=1e-3)
    np.testing.assert_allclose((loud - quiet)[..., 1:], 0, atol=1e-2)


def test_silence_lies_on_the_floor():
    silence = np.zeros((1, N_SAMPLES), "float32")
    np.testing.assert_allclose(LogMelSpectrogram(floor_db=-70.0)(silence), -70.0, rtol=1e-5)


def test_a_feature_that_never_changes_is_not_blown_up():
    layer = Standardise()
    layer.build((None, N_FRAMES, 2))
    layer.set_statistics(np.array([1.0, 2.0]), np.array([0.0, 4.0]))
    inputs = np.array([[[1.0, 10.0], [1.001, 2.0]]], "float32")
    np.testing.assert_allclose(layer(inputs), [[[0, 2], [1, 0]]], atol=1e-3)
