"""What the conditions of the ``robust`` protocol do to a recording."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
import soundfile

from edge import audio
from edge.audio import SAMPLE_RATE, voice_span
from ser_tf import conditions

PINNED = 106_440  # first draw of a generator
PITCHES = (300, 700, 1100, 1500, 1900, 2300, 2700)  # Hz; of the voices in the pool


def tone(frequency: float, seconds: float = 1.0, level: float = 0.2) -> np.ndarray:
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (level * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def with_pauses(voice: np.ndarray, seconds: float = 0.5) -> np.ndarray:
    return np.pad(voice, round(seconds * SAMPLE_RATE))


POOL = [with_pauses(tone(pitch, level=pitch / 6_000)) for pitch in PITCHES]
CONDITIONS = conditions.conditions(POOL)


def under(condition: str, waveform: np.ndarray, recording: str = "a") -> np.ndarray:
    return CONDITIONS[condition](waveform, conditions.generator(recording, condition))


def decibels(ratio: Any) -> Any:
    return 10 * np.log10(ratio)


def band_power(waveform: np.ndarray, low: float, high: float) -> float:
    """Of the sound between two frequencies, in Hz."""
    frequency, density = scipy.signal.periodogram(waveform, SAMPLE_RATE)
    return density[(frequency >= low) & (frequency < high)].sum()


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("length", [1, 2, 399, 20_001])
def test_every_condition_keeps_length_type_and_range(condition: str, length: int) -> None:
    loud = np.random.default_rng(0).uniform(-1, 1, length).astype(np.float32)
    heard = under(condition, loud)
    assert heard.shape == loud.shape
    assert heard.dtype == np.float32
    assert np.isfinite(heard).all()
    assert np.abs(heard).max() <= 1


@pytest.mark.parametrize("condition", CONDITIONS)
def test_silence_stays_silent(condition: str) -> None:
    assert audio.is_silent(under(condition, np.zeros(8_000, np.float32)))


@pytest.mark.parametrize("condition", CONDITIONS)
def test_every_condition_changes_the_recording_and_not_its_source(condition: str) -> None:
    waveform = with_pauses(tone(1_000))
    before = waveform.copy()
    assert not np.array_equal(under(condition, waveform), before)
    assert np.array_equal(waveform, before)


@pytest.mark.parametrize(("db", "factor"), [(-20, 0.1), (-10, 10**-0.5)])
def test_a_lower_level_is_the_same_sound(db: int, factor: float) -> None:
    waveform = tone(440)
    np.testing.assert_allclose(under(conditions.gain_name(db), waveform), factor * waveform, 1e-6)


def test_a_level_beyond_the_converter_is_cut_off() -> None:
    waveform = tone(440, level=0.5)
    heard = under("gain +10 dB", waveform)
    np.testing.assert_allclose(heard, (10**0.5 * waveform).clip(-1, 1), 1e-6)
    assert np.mean(np.abs(heard) == 1) > 0.3


@pytest.mark.parametrize("noise", ["white noise", "pink noise", "babble"])
@pytest.mark.parametrize("snr", conditions.SNRS_DB)
def test_noise_is_measured_against_the_voice_without_its_pauses(noise: str, snr: int) -> None:
    waveform = with_pauses(tone(1_000, 1.0, 0.05), seconds=2.0)
    added = under(f"{noise} at {snr} dB", waveform) - waveform
    start, end = voice_span(waveform)
    voice = waveform[start:end].var(dtype=np.float64)
    assert decibels(voice / np.mean(added.astype(np.float64) ** 2)) == pytest.approx(snr, abs=0.01)


@pytest.mark.parametrize(("noise", "slope"), [("white noise", 0.0), ("pink noise", -3.01)])
def test_pink_noise_falls_by_3_db_an_octave_and_white_does_not(noise: str, slope: float) -> None:
    waveform = tone(1_000, 20.0, 0.01)
    added = under(f"{noise} at 5 dB", waveform) - waveform
    octaves = np.arange(7)
    levels = [
        decibels(band_power(added, 60 * 2.0**k, 120 * 2.0**k) / (60 * 2.0**k)) for k in octaves
    ]
    assert np.polyfit(octaves, levels, 1)[0] == pytest.approx(slope, abs=0.3)


def test_babble_is_several_voices_of_the_pool_equally_loud_and_without_their_pauses() -> None:
    waveform = tone(5_000, 4.0, 0.05)
    added = under("babble at 5 dB", waveform) - waveform
    shares = [band_power(added, p - 20, p + 20) / band_power(added, 0, 8_000) for p in PITCHES]
    heard = [share for share in shares if share > 0.01]
    assert len(heard) == conditions.BABBLE_VOICES
    assert heard == pytest.approx([1 / conditions.BABBLE_VOICES] * len(heard), rel=0.1)
    assert sum(heard) > 0.95
    power = added[: 4 * SAMPLE_RATE].reshape(40, -1).var(axis=1)
    assert power.min() > 0.5 * power.max()


def test_a_pool_without_voices_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one voice"):
        conditions.conditions([])


def test_the_room_answers_for_400_ms_after_the_direct_sound() -> None:
    click = np.zeros(16_000, np.float32)
    click[1_000] = 0.5
    heard = under("room echo", click).astype(np.float64)
    assert np.abs(heard).argmax() == 1_000
    assert not heard[:1_000].round(6).any()
    tail = heard[1_001:]
    assert decibels(heard[1_000] ** 2 / np.sum(tail**2)) == pytest.approx(0, abs=0.1)
    decay = decibels(np.cumsum(tail[::-1] ** 2)[::-1][: round(0.25 * SAMPLE_RATE)])
    slope = np.polyfit(np.arange(1_000, 3_200) / SAMPLE_RATE, decay[1_000:3_200], 1)[0]
    assert -60 / slope == pytest.approx(0.4, abs=0.04)


def test_a_room_does_not_change_the_level() -> None:
    waveform = with_pauses(tone(300))
    assert under("room echo", waveform).std() == pytest.approx(waveform.std(), rel=1e-3)


@pytest.mark.parametrize(
    ("frequency", "passes"), [(100, False), (500, True), (3_000, True), (5_000, False)]
)
def test_a_telephone_passes_its_band_alone(frequency: int, passes: bool) -> None:
    waveform = tone(frequency)
    kept = decibels(under("telephone", waveform).var() / waveform.var())
    assert abs(kept) < 1.5 if passes else kept < -25


def test_a_telephone_adds_the_noise_of_its_eight_bits() -> None:
    waveform = tone(1_000)
    heard = under("telephone", waveform)[4_000:12_000]
    noise = band_power(heard, 300, 3_400) - band_power(heard, 950, 1_050)
    assert 30 < decibels(band_power(heard, 950, 1_050) / noise) < 45


def test_clipping_keeps_the_peak_and_flattens_what_is_within_12_db_of_it() -> None:
    waveform = tone(440, level=0.4)
    heard = under("clipping by 12 dB", waveform)
    assert np.abs(heard).max() == pytest.approx(np.abs(waveform).max())
    limit = 10 ** (-12 / 20) * np.abs(waveform).max()
    flat = np.abs(waveform) > limit
    np.testing.assert_allclose(np.abs(heard[flat]), np.abs(waveform).max(), rtol=1e-6)
    np.testing.assert_allclose(heard[~flat], waveform[~flat] * 10 ** (12 / 20), rtol=1e-5)


def test_a_recording_is_degraded_alike_every_time_and_unlike_the_next() -> None:
    waveform = tone(1_000)
    once, again = (under("white noise at 5 dB", waveform) for _ in range(2))
    assert np.array_equal(once, again)
    assert not np.array_equal(once, under("white noise at 5 dB", waveform, "b"))


def test_noise_is_the_same_on_every_machine_and_differs_from_condition_to_condition() -> None:
    assert conditions.generator("a", "babble at 5 dB").integers(1_000_000) == PINNED
    assert conditions.generator("a", "babble at 10 dB").integers(1_000_000) != PINNED


@pytest.fixture(scope="module")
def voices(real_data: Path) -> list[np.ndarray]:
    """Real recordings, one of every sixtieth in RAVDESS."""
    paths = sorted((real_data / "ravdess").rglob("*.flac"))[::60]
    return [audio.load(path) for path in paths]


@pytest.mark.parametrize("condition", ["Opus at 12 kbit/s", "MP3 at 16 kbit/s", "room echo"])
def test_the_voice_stays_where_it_was(voices: list[np.ndarray], condition: str) -> None:
    for waveform in voices[::4]:
        likeness = scipy.signal.correlate(under(condition, waveform), waveform, method="fft")
        assert abs(likeness.argmax() - (len(waveform) - 1)) <= 1


@pytest.mark.parametrize(
    ("codec", "kilobits"), [(conditions.OPUS, 12), (conditions.MP3, 16)], ids=["Opus", "MP3"]
)
def test_a_codec_has_the_bit_rate_it_is_called_after(
    voices: list[np.ndarray], codec: dict, kilobits: int
) -> None:
    rates = []
    for waveform in voices:
        file = io.BytesIO()
        soundfile.write(file, waveform, SAMPLE_RATE, **codec)
        rates.append(8 * file.tell() / (len(waveform) / SAMPLE_RATE) / 1_000)
    assert np.mean(rates) == pytest.approx(kilobits, abs=0.5)
