"""Facts of audio files, on sounds whose facts are known."""

import dataclasses

import numpy as np
import pytest
import soundfile

from edge import audio
from ser_tf.corpus_report import survey

RATE = 48_000
TIME = np.arange(2 * RATE) / RATE
SINE = np.sin(2 * np.pi * 997 * TIME)
NOISE = np.random.default_rng(0).normal(size=4 * 16_000)


def facts(path, samples=None, rate=RATE, **options):
    if samples is not None:
        soundfile.write(path, samples, rate, **options)
    return survey.inspect(path, audio.load(path))


def test_loudness_is_that_of_the_standard():
    """BS.1770: a 997 Hz sine at full scale measures -3.01 LKFS in one channel, 0.00 in two."""
    mono = SINE[:, None].astype(np.float32)
    assert survey.loudness(mono, RATE) == pytest.approx(-3.01, abs=0.05)
    assert survey.loudness(np.repeat(mono, 2, axis=1), RATE) == pytest.approx(0.0, abs=0.05)


def test_a_clip_shorter_than_the_gate_has_a_loudness_all_the_same():
    short = SINE[: RATE // 10, None].astype(np.float32)
    assert survey.loudness(short, RATE) == pytest.approx(-3.01, abs=0.3)


def test_digital_silence_has_neither_loudness_nor_peak(tmp_path):
    found = facts(tmp_path / "a.wav", np.zeros(RATE))
    assert found.silent
    assert (found.loudness, found.peak, found.silence) == (None, None, None)


def test_the_format_is_that_of_the_file(tmp_path):
    found = facts(tmp_path / "a.flac", np.stack([SINE, -SINE], 1), subtype="PCM_24")
    assert (found.container, found.encoding, found.bits) == ("FLAC", "PCM_24", 24)
    assert (found.sample_rate, found.channels, found.seconds) == (RATE, 2, 2.0)
    assert facts(tmp_path / "a.ogg", SINE).bits is None


def test_the_peak_is_the_largest_sample_of_any_channel(tmp_path):
    found = facts(tmp_path / "a.wav", np.stack([0.1 * SINE, 0.5 * SINE], 1))
    assert found.peak == pytest.approx(-6.02, abs=0.01)


def test_a_sine_at_full_scale_is_not_clipped_and_one_beyond_it_is(tmp_path):
    low = np.sin(2 * np.pi * 100 * TIME)
    assert facts(tmp_path / "a.wav", 0.9999 * low).clipped == 0
    beyond = facts(tmp_path / "b.wav", np.clip(1.5 * low, -1, 1)).clipped
    assert beyond == pytest.approx(len(low) * (1 - 2 * np.arcsin(1 / 1.5) / np.pi), rel=0.02)


@pytest.mark.parametrize("decibels", [40, 20, 10])
def test_the_estimate_of_noise_is_near_where_there_are_pauses(decibels):
    voice = np.where(np.arange(len(NOISE)) % 16_000 < 8_000, NOISE, 0.0)
    hiss = 10 ** (-decibels / 20) * np.roll(NOISE, 999)
    power = audio.frame_power((0.1 * (voice + hiss)).astype(np.float32))
    assert survey.signal_to_noise(power) == pytest.approx(decibels, abs=2.5)


def test_the_share_of_silence_is_that_of_the_pauses():
    voice = np.where(np.arange(len(NOISE)) < 16_000, NOISE, 0.001 * NOISE)
    power = audio.frame_power((0.1 * voice).astype(np.float32))
    assert survey.silence(power) == pytest.approx(0.75, abs=0.02)


def test_the_same_sound_is_found_in_another_format_and_one_other_sample_is_not(tmp_path):
    samples = (20_000 * SINE).astype(np.int16)
    other = samples.copy()
    other[-1] += 1
    found = {
        "wav": facts(tmp_path / "a.wav", samples),
        "other": facts(tmp_path / "b.wav", other),
        "flac": facts(tmp_path / "c.flac", samples),
        "rate": facts(tmp_path / "d.wav", samples, rate=44_100),
    }
    assert survey.identical(found) == [["flac", "wav"]]


def test_what_is_unlike_most_files_stands_out(tmp_path):
    usual = facts(tmp_path / "a.wav", 0.1 * SINE)
    odd = dataclasses.replace
    found = {f"clip-{k}": odd(usual, seconds=2 + 0.1 * (k % 3)) for k in range(30)} | {
        "rate": odd(usual, sample_rate=8_000),
        "stereo": odd(usual, channels=2),
        "format": odd(usual, container="FLAC"),
        "long": odd(usual, seconds=9.0),
        "silent": odd(usual, silent=True),
        "clipped": odd(usual, clipped=12),
    }
    assert dict(survey.oddities(found)) == {
        "rate": "is 8000 Hz, most are 48000 Hz",
        "stereo": "is stereo, most are mono",
        "format": "is FLAC PCM_16, most are WAV PCM_16",
        "long": "lasts 9.0 s, most about 2.1 s",
        "silent": "is silent",
        "clipped": "is clipped: 12 samples at full scale",
    }
