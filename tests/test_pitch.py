"""Pitch layers hear the fundamental of a voice, whatever its level, timbre and line."""

from pathlib import Path

import keras
import librosa
import numpy as np
import pytest

from edge import audio
from ser_tf.config import (
    FRAME_LENGTH,
    HOP_LENGTH,
    N_FRAMES,
    N_MELS,
    N_SAMPLES,
    SAMPLE_RATE,
    FrontendConfig,
)
from ser_tf.frontend import build_log_mel
from ser_tf.pitch import (
    F0,
    F0_PER_OCTAVE,
    SALIENCE_SCALE,
    TRACK_MIDDLE,
    TRACK_SCALE,
    PitchSalience,
    PitchTrack,
)

STEP = 1 / F0_PER_OCTAVE  # octaves between two fundamentals
WITHIN = slice(4, -4)  # frames that no edge of the window reaches
REAL_CLIPS = (
    "Audio_Speech_Actors_01-24/Actor_01/03-01-05-02-02-02-01.flac",
    "Audio_Speech_Actors_01-24/Actor_14/03-01-03-02-01-01-14.flac",
    "Audio_Song_Actors_01-24/Actor_08/03-02-04-02-01-01-08.flac",
)


def voice(f0: float, harmonics: range = range(1, 20), tilt_db: float = -6.0) -> np.ndarray:
    """Harmonics that fall by ``tilt_db`` an octave: float32 ``(1, 57600)``."""
    time = np.arange(N_SAMPLES) / SAMPLE_RATE
    parts = [
        10 ** (tilt_db * np.log2(k) / 20) * np.sin(2 * np.pi * k * f0 * time + k)
        for k in harmonics
        if k * f0 < SAMPLE_RATE / 2
    ]
    noise = 1e-3 * np.random.default_rng(0).standard_normal(N_SAMPLES)
    return (0.1 * sum(parts) + noise).astype("float32")[None]


def salience_db(waveform: np.ndarray) -> np.ndarray:
    """float32 ``(frames, fundamentals)``, dB."""
    bands = build_log_mel(FrontendConfig())(waveform)
    return np.asarray(PitchSalience()(bands[..., N_MELS:]))[0] / SALIENCE_SCALE


def track(waveform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pitch of each frame, Hz, and how salient it is, dB."""
    salience = salience_db(waveform)[None] * SALIENCE_SCALE
    pitch, strength = np.moveaxis(np.asarray(PitchTrack()(salience))[0], -1, 0)
    return TRACK_MIDDLE * 2 ** (pitch / TRACK_SCALE), strength / SALIENCE_SCALE


def octaves_off(found: np.ndarray, f0: float) -> float:
    return float(np.abs(np.log2(found / f0)).max())


@pytest.mark.parametrize("f0", [80.0, 110.0, 155.0, 220.0, 330.0, 450.0, 600.0])
def test_the_fundamental_of_a_voice_stands_out_most(f0):
    salience = salience_db(voice(f0))[WITHIN]
    assert octaves_off(F0[salience.argmax(axis=1)], f0) <= STEP
    assert octaves_off(track(voice(f0))[0][WITHIN], f0) <= 2 * STEP


@pytest.mark.parametrize("f0", [110.0, 220.0])
def test_a_telephone_without_the_fundamental_leaves_the_pitch(f0):
    heard = voice(f0, harmonics=range(-(-300 // int(f0)), 20))
    assert octaves_off(F0[salience_db(heard)[WITHIN].argmax(axis=1)], f0) <= STEP


@pytest.mark.parametrize("change", ["level", "timbre"])
def test_level_and_timbre_leave_the_pitch(change):
    heard = 0.1 * voice(150.0) if change == "level" else voice(150.0, tilt_db=0.0)
    pitch, strength = track(heard)
    assert octaves_off(pitch[WITHIN], 150.0) <= 2 * STEP
    expected = track(voice(150.0))[1][WITHIN]
    # At a tenth of the level the noise floor, which stays, fills the valleys.
    np.testing.assert_allclose(strength[WITHIN], expected, rtol=0.35)


def test_noise_and_silence_have_no_pitch():
    noise = 0.1 * np.random.default_rng(1).standard_normal((1, N_SAMPLES)).astype("float32")
    voiced = track(voice(150.0))[1][WITHIN]
    assert np.median(track(noise)[1][WITHIN]) < 0.5 * np.median(voiced)
    assert salience_db(np.zeros((1, N_SAMPLES), "float32")).max() < 1e-3


def test_played_faster_a_voice_is_higher_by_that_factor():
    config = FrontendConfig()
    bands = build_log_mel(config, speeds=(1.0, 1.25))(voice(160.0))
    slow, fast = np.asarray(PitchSalience()(bands[..., N_MELS:]))[:, WITHIN]
    assert octaves_off(F0[fast.argmax(axis=1)], 1.25 * F0[slow.argmax(axis=1)]) <= STEP


def test_narrow_bins_measure_white_noise_as_mel_bands_do():
    noise = 0.1 * np.random.default_rng(2).standard_normal((8, N_SAMPLES)).astype("float32")
    power = 10 ** (np.asarray(build_log_mel(FrontendConfig())(noise)) / 10)
    inside = power[:, 8:-8].mean(axis=(0, 1))
    np.testing.assert_allclose(inside[N_MELS + 4 :].mean(), inside[20:60].mean(), rtol=0.05)


@pytest.mark.parametrize("clip", REAL_CLIPS)
def test_the_track_of_a_recording_is_that_of_pyin(real_data: Path, clip):
    waveform = audio.load(real_data / "ravdess" / clip)
    start = max(0, (len(waveform) - N_SAMPLES) // 2)
    waveform = np.pad(waveform, (0, N_SAMPLES))[start : start + N_SAMPLES].astype("float32")
    ours, strength = track(waveform[None])
    theirs, voiced, _ = librosa.pyin(
        np.pad(waveform, (1024 - FRAME_LENGTH) // 2),
        fmin=F0[0],
        fmax=F0[-1],
        sr=SAMPLE_RATE,
        frame_length=1024,
        hop_length=HOP_LENGTH,
        center=False,
    )
    assert len(theirs) == N_FRAMES
    both = voiced & (strength > 10)
    assert both.sum() > 30
    assert np.median(np.abs(np.log2(ours[both] / theirs[both]))) < STEP
    assert strength[voiced].mean() > 2 * strength[~voiced].mean()


def test_pitch_layers_survive_saving(tmp_path):
    bins = keras.Input((None, 96))
    model = keras.Model(bins, PitchTrack()(PitchSalience()(bins)))
    model.save(tmp_path / "pitch.keras")
    values = np.random.default_rng(3).normal(-40, 10, (1, 20, 96)).astype("float32")
    again = keras.saving.load_model(tmp_path / "pitch.keras", safe_mode=True)
    np.testing.assert_array_equal(np.asarray(model(values)), np.asarray(again(values)))
