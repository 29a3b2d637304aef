"""Acoustic descriptors of sounds whose descriptors are known."""

import librosa
import numpy as np
import pytest

from ser_tf.descriptors import FAMILIES, FRAME, HOP, N_MFCC, describe, family, pitch_contour

RATE = 16_000
TIME = np.arange(RATE) / RATE
RANDOM = np.random.default_rng(0)
NOISE = RANDOM.normal(0, 0.1, RATE).astype(np.float32)


def tone(frequency, seconds=1.0):
    """A tone with harmonics; ``frequency`` in Hz, of each sample or of all."""
    phase = 2 * np.pi * np.cumsum(np.full(round(RATE * seconds), 1.0) * frequency) / RATE
    return (0.2 * sum(np.sin(k * phase) / k for k in (1, 2, 3))).astype(np.float32)


def test_mfcc_are_those_of_librosa():
    cepstrum = librosa.feature.mfcc(
        y=NOISE, sr=RATE, n_mfcc=N_MFCC, n_fft=FRAME, hop_length=HOP, n_mels=128
    )
    found = describe(NOISE)
    assert [found[f"mfcc_{k:02d}_mean"] for k in range(N_MFCC)] == pytest.approx(
        cepstrum.mean(axis=1), abs=1e-2
    )
    assert [found[f"mfcc_{k:02d}_std"] for k in range(N_MFCC)] == pytest.approx(
        cepstrum.std(axis=1), abs=1e-2
    )


def test_every_sound_has_the_same_descriptors_in_the_same_order():
    sounds = [NOISE, NOISE[:1], NOISE[:400], np.zeros(RATE, np.float32), tone(220)]
    names = [list(describe(sound)) for sound in sounds]
    assert all(held == names[0] for held in names)
    assert {family(name) for name in names[0]} == set(FAMILIES)


def test_only_the_pitch_of_a_sound_without_a_voice_is_absent():
    for sound in (NOISE[:1], np.zeros(RATE, np.float32)):
        absent = {name for name, value in describe(sound).items() if not np.isfinite(value)}
        assert absent == {"pitch_median_hz", "pitch_std", "pitch_range", "pitch_slope"}


def test_an_empty_waveform_is_refused():
    with pytest.raises(ValueError, match="empty"):
        describe(np.empty(0, np.float32))


@pytest.mark.parametrize("frequency", [80.0, 220.0, 700.0])
def test_the_pitch_of_a_tone_is_its_frequency(frequency):
    found = describe(tone(frequency))
    assert found["pitch_median_hz"] == pytest.approx(frequency, rel=0.01)
    assert found["pitch_voiced"] > 0.9
    assert found["pitch_std"] < 0.2


def test_a_glide_of_an_octave_a_second_has_a_slope_of_twelve_semitones():
    found = describe(tone(110 * 2**TIME))
    assert found["pitch_slope"] == pytest.approx(12, rel=0.05)
    assert found["pitch_range"] == pytest.approx(0.9 * 12, rel=0.1)


def test_noise_and_pauses_are_not_voiced():
    assert describe(NOISE)["pitch_voiced"] < 0.1
    contour = pitch_contour(np.concatenate([tone(200), np.zeros(RATE, np.float32)]))
    middle = len(contour) // 2
    assert np.isfinite(contour[2 : middle - 4]).all()
    assert np.isnan(contour[middle + 4 :]).all()


def test_descriptors_of_a_sine_are_its_frequency_and_level():
    found = describe((0.5 * np.sin(2 * np.pi * 1000 * TIME)).astype(np.float32))
    assert found["centroid_mean"] == pytest.approx(1000, rel=0.05)
    assert found["zcr_mean"] == pytest.approx(2 * 1000 / RATE, rel=0.05)
    assert found["rms_mean"] == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


def test_what_lasts_is_harmonic_and_what_strikes_is_percussive():
    clicks = np.zeros(RATE, np.float32)
    clicks[:: RATE // 5] = 1.0
    assert describe(tone(220))["hpss_harmonic_share"] > 0.9
    assert describe(clicks)["hpss_harmonic_share"] < 0.1


def test_the_tempo_of_clicks_is_theirs():
    clicks = np.zeros(6 * RATE, np.float32)
    clicks[:: RATE // 2] = 1.0
    assert describe(clicks)["tempo_bpm"] == pytest.approx(120, rel=0.03)


def test_the_pitch_class_of_a_tone_leads_its_chroma():
    found = describe(tone(440))  # A, nine semitones above C
    means = [found[f"chroma_{k:02d}_mean"] for k in range(12)]
    assert int(np.argmax(means)) == 9
