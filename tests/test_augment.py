"""Augmentation changes what it says, as far as it says, and nothing when switched off."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from conftest import OFF

from ser_tf import augment
from ser_tf.config import (
    HOP_LENGTH,
    N_FRAMES,
    N_MELS,
    N_SAMPLES,
    SAMPLE_RATE,
    AugmentConfig,
)
from ser_tf.frontend import LogMelSpectrogram

BATCH = 24


def only(**changes) -> AugmentConfig:
    return dataclasses.replace(OFF, **changes)


def key(number: int, seed: int = 0) -> tf.Tensor:
    return tf.constant([seed, number], tf.int32)


def noise(batch: int = BATCH, samples: int = N_SAMPLES, level: float = 0.01) -> np.ndarray:
    values = np.random.default_rng(0).standard_normal((batch, samples))
    return (level * values).astype("float32")


def burst(samples: int = N_SAMPLES) -> np.ndarray:
    """A 1 kHz tone that lasts 2 s in the middle of silence: float32 ``(BATCH, samples)``."""
    time = (np.arange(samples) - samples / 2) / SAMPLE_RATE
    tone = 0.5 * np.sin(2 * np.pi * 1000 * time) * (np.abs(time) < 1)
    return np.tile(tone.astype("float32"), (BATCH, 1))


@pytest.fixture
def small_bank(monkeypatch: pytest.MonkeyPatch) -> int:
    """Number of masks in a bank that is quick to draw."""
    monkeypatch.setattr(augment, "MASK_BANK", 300)
    return 300


def spectrogram(level: float = 0.01, margin: int = 0) -> np.ndarray:
    """Of white noise: float32 ``(BATCH, 224 + 2 * margin, 64)``."""
    samples = N_SAMPLES + 2 * margin * HOP_LENGTH
    return LogMelSpectrogram(floor_db=-100.0)(noise(samples=samples, level=level)).numpy()


def total_db(log_mel: np.ndarray) -> np.ndarray:
    """Power of each spectrogram over all frames and frequencies, dB."""
    power = 10 ** (np.asarray(log_mel, np.float64) / 10) * np.gradient(augment.MEL_CENTRES)
    return 10 * np.log10(power.sum(axis=(1, 2)))


def added_db(changed: np.ndarray, original: np.ndarray) -> np.ndarray:
    """Power of what was added to each spectrogram, dB."""
    changed, original = (np.asarray(part, np.float64) for part in (changed, original))
    difference = 10 ** (changed / 10) - 10 ** (original / 10)
    return total_db(10 * np.log10(np.maximum(difference, 1e-13)))


def test_speed_moves_pitch_and_duration_by_one_factor():
    config = only(speed=0.1)
    played = augment.play(burst(augment.source_samples(config))[0], config).numpy()
    assert played.shape == (augment.SPEEDS, N_SAMPLES)
    spectrum = np.abs(np.fft.rfft(played))
    pitch = np.fft.rfftfreq(N_SAMPLES, 1 / SAMPLE_RATE)[spectrum.argmax(axis=1)] / 1000
    np.testing.assert_allclose(pitch, [0.9, 0.95, 1.0, 1.05, 1.1], atol=1e-3)
    loud = np.abs(played) > 0.05
    ends = N_SAMPLES - loud[:, ::-1].argmax(axis=1)
    duration = (ends - loud.argmax(axis=1)) / (2 * SAMPLE_RATE)
    np.testing.assert_allclose(pitch * duration, 1, atol=2e-3)


@pytest.mark.parametrize("speed", [0.0, 0.06, 0.3])
def test_the_fastest_speed_finds_enough_samples(speed):
    config = only(speed=speed, shift=0.2)
    ramp = np.arange(augment.source_samples(config), dtype="float32")
    steps = np.diff(augment.play(ramp, config).numpy(), axis=1)
    np.testing.assert_allclose(steps.min(), 1 - speed, atol=0.02)


def test_a_recording_at_its_own_speed_is_unchanged():
    config = only(speed=0.06)
    samples = augment.source_samples(config)
    waveform = noise(samples=samples)[0]
    margin = (samples - N_SAMPLES) // 2
    played = augment.play(waveform, config)[augment.SPEEDS // 2]
    np.testing.assert_allclose(played, waveform[margin : margin + N_SAMPLES], atol=1e-4)


def test_a_stretch_changes_duration_and_leaves_pitch():
    log_mel = LogMelSpectrogram()(burst()).numpy()
    stretched = augment.change_tempo(log_mel, key(0), only(stretch=0.2)).numpy()
    tone = log_mel[0, N_FRAMES // 2].argmax()
    loud = stretched[:, :, tone] > -20
    assert (stretched.argmax(axis=2)[loud] == tone).all()
    rate = (log_mel[0, :, tone] > -20).sum() / loud.sum(axis=1)
    assert 0.8 - 0.02 <= rate.min() < 0.92
    assert 1.08 < rate.max() <= 1.2 + 0.02


def test_a_shift_moves_the_window_as_far_as_asked_for():
    config = only(shift=0.32)
    margin = augment.shift_frames(config)
    assert margin == 20
    ramp = np.arange(N_FRAMES + 2 * margin, dtype="float32")[None, :, None]
    frames = np.broadcast_to(ramp, (256, N_FRAMES + 2 * margin, 2))
    starts = augment.change_tempo(frames, key(0), config).numpy()[:, 0, 0] - margin
    assert -20 <= starts.min() <= -17
    assert 17 <= starts.max() <= 20


def test_a_switched_off_stretch_and_shift_change_nothing():
    log_mel = spectrogram()
    np.testing.assert_allclose(augment.change_tempo(log_mel, key(0), OFF), log_mel, atol=1e-4)


def test_a_switched_off_channel_changes_nothing():
    log_mel = spectrogram()
    np.testing.assert_array_equal(augment.change_channel(log_mel, key(0), OFF), log_mel)


def test_gain_has_the_standard_deviation_asked_for():
    log_mel = spectrogram()
    changed = [augment.change_channel(log_mel, key(k), only(gain_db=3.0)) for k in range(10)]
    gains = np.concatenate([(part - log_mel).numpy().reshape(BATCH, -1) for part in changed])
    assert np.ptp(gains, axis=1).max() < 1e-3
    assert gains[:, 0].std() == pytest.approx(3.0, rel=0.15)
    assert abs(gains[:, 0].mean()) < 0.6


def test_noise_ratios_lie_in_their_range_and_are_as_frequent_as_asked_for():
    log_mel = spectrogram()
    config = only(noise_probability=0.3, noise_snr_db=(5.0, 20.0))
    changed = [augment.change_channel(log_mel, key(k), config).numpy() for k in range(10)]
    noisy = np.array([np.abs(part - log_mel).max(axis=(1, 2)) > 0.01 for part in changed])
    assert noisy.mean() == pytest.approx(0.3, abs=0.1)
    ratios = np.array([total_db(log_mel) - added_db(part, log_mel) for part in changed])[noisy]
    assert 4.9 <= ratios.min() < 7
    assert 17 < ratios.max() <= 20.1


@pytest.fixture
def steady_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "BABBLE_SHARE", 0.0)


def test_steady_noise_is_anything_between_white_and_brown(steady_only):
    silence = np.full((BATCH, N_FRAMES, N_MELS), -60.0, "float32")
    silence[:, :, 30] = 0.0  # something for the ratio to refer to
    config = only(noise_probability=1.0, noise_snr_db=(0.0, 0.0))
    changed = augment.change_channel(silence, key(0), config).numpy()
    power = (10 ** (changed / 10)).mean(axis=1)
    low, high = (
        np.abs(augment.MEL_CENTRES - 500).argmin(),
        np.abs(augment.MEL_CENTRES - 4000).argmin(),
    )
    exponents = np.log2(power[:, low] / power[:, high]) / 3  # three octaves
    assert -0.2 <= exponents.min() < 0.6
    assert 1.4 < exponents.max() <= 2.2


def test_steady_noise_flickers_as_noise_in_a_waveform_does(steady_only):
    """Where a band holds one FFT bin as where it holds many."""
    heard = spectrogram().std(axis=1).mean(axis=0)
    silence = np.full((BATCH, N_FRAMES, N_MELS), -60.0, "float32")
    silence[:, :, 63] = 0.0
    config = only(noise_probability=1.0, noise_snr_db=(0.0, 0.0))
    drawn = augment.change_channel(silence, key(0), config).numpy().std(axis=1).mean(axis=0)
    np.testing.assert_allclose(drawn[5:55], heard[5:55], rtol=0.35)


def test_babble_is_the_other_voices_of_the_batch(monkeypatch):
    monkeypatch.setattr(augment, "BABBLE_SHARE", 1.0)
    tones = np.full((BATCH, N_FRAMES, N_MELS), -90.0, "float32")
    for k in range(BATCH):
        tones[k, :, k] = -20.0
    config = only(noise_probability=1.0, noise_snr_db=(10.0, 10.0))
    changed = augment.change_channel(tones, key(0), config).numpy()
    loud = (changed > -60).all(axis=1)
    assert (loud.sum(axis=1) == 1 + augment.BABBLE_VOICES).all()
    assert loud[np.arange(BATCH), np.arange(BATCH)].all()


def test_an_echo_leaves_a_tail_and_the_level():
    clap = np.full((BATCH, N_FRAMES, N_MELS), -100.0, "float32")
    clap[:, 50:53] = -10.0
    changed = augment.change_channel(clap, key(0), only(echo_probability=1.0)).numpy()
    np.testing.assert_allclose(total_db(changed), total_db(clap), atol=0.05)
    assert (changed[:, :50] < -90).all(), "heard before the clap"
    tail = changed[:, 55:65, 30]
    drop = -np.diff(tail, axis=1) * SAMPLE_RATE / HOP_LENGTH  # dB a second
    np.testing.assert_allclose(drop, drop[:, :1].repeat(9, axis=1), rtol=0.02)
    seconds = 60 / drop[:, 0]
    assert 0.19 < seconds.min() < 0.35
    assert 0.6 < seconds.max() < 0.81


def test_a_narrow_channel_keeps_the_middle_of_the_band():
    log_mel = spectrogram()
    changed = augment.change_channel(log_mel, key(0), only(narrow_probability=1.0)).numpy()
    gone = (changed - log_mel < -50).all(axis=1)
    kept = (np.abs(changed - log_mel) < 0.01).all(axis=1)
    assert (gone | kept).all()
    assert kept[:, (augment.MEL_CENTRES > 400) & (augment.MEL_CENTRES < 3000)].all()
    assert len({tuple(row) for row in gone}) > BATCH // 2, "all got one band"
    assert gone[:, -1].mean() > 0.8


def test_the_equaliser_bends_the_spectrum_smoothly():
    log_mel = spectrogram()
    response = augment.change_channel(log_mel, key(0), only(equaliser_db=2.0)).numpy() - log_mel
    assert np.ptp(response, axis=1).max() < 1e-3, "changes from frame to frame"
    assert 1.0 < response.std() < 2.5
    assert np.abs(np.diff(response[:, :, augment.MEL_CENTRES > 500], axis=2)).max() < 1.5


def test_masks_are_drawn_by_tensorflow_io(small_bank, monkeypatch):
    import tensorflow_io as tfio

    asked = []
    for name in ("time_mask", "freq_mask"):
        original = getattr(tfio.audio, name)

        def spy(spectrogram, param, original=original, name=name):
            asked.append(name)
            return original(spectrogram, param=param)

        monkeypatch.setattr(tfio.audio, name, spy)
    augment.draw_masks(only(time_masks=2, frequency_masks=1), 0)
    assert asked == ["time_mask", "time_mask", "freq_mask"]


def test_masks_are_as_wide_as_configured_and_no_wider(small_bank):
    config = only(time_masks=1, time_mask_frames=5, frequency_masks=1, frequency_mask_bands=3)
    time, frequency = (bank.numpy() for bank in augment.draw_masks(config, 0))
    assert time.shape == (small_bank, N_FRAMES)
    assert frequency.shape == (small_bank, N_MELS)
    for bank, width in ((time, 5), (frequency, 3)):
        assert set(np.unique(bank)) == {0.0, 1.0}
        assert set((bank == 0).sum(axis=1)) == set(range(width + 1))
        assert (np.abs(np.diff(bank, axis=1)).sum(axis=1) <= 2).all(), "a mask is one stretch"
        assert (bank.min(axis=0) == 0).mean() > 0.9, "some places are never hidden"


@pytest.mark.parametrize("config", [OFF, only(time_masks=1, time_mask_frames=0)])
def test_masks_without_number_or_width_hide_nothing(small_bank, config):
    assert all(bank.numpy().all() for bank in augment.draw_masks(config, 0))


def test_masks_depend_on_the_seed_alone(small_bank):
    config = only(time_masks=1, frequency_masks=1)
    first = augment.draw_masks(config, 3)
    tf.random.uniform((10,))
    again, other = augment.draw_masks(config, 3), augment.draw_masks(config, 4)
    for mine, same, different in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(mine, same)
        assert (mine.numpy() != different.numpy()).any()


def test_a_mask_hides_behind_the_spectrograms_own_mean(small_bank):
    log_mel = LogMelSpectrogram()(noise()).numpy()
    bank = augment.draw_masks(only(time_masks=1, frequency_masks=1), 0)
    masked = augment.mask(log_mel, key(0), bank).numpy()
    hidden = np.abs(masked - log_mel) > 1e-4
    assert 0.01 < hidden.mean() < 0.3
    mean = np.broadcast_to(log_mel.mean(axis=(1, 2), keepdims=True), log_mel.shape)
    np.testing.assert_allclose(masked[hidden], mean[hidden], atol=1e-3)
    assert len({tuple(row) for row in hidden.all(axis=2)}) > BATCH // 2, "all got one mask"


def test_mixup_keeps_targets_summing_to_one_and_the_larger_share_first():
    recordings = np.arange(8)
    features = np.broadcast_to(recordings[:, None, None], (8, 4, 3)).astype("float32")
    shares = []
    for k in range(20):
        mixed, targets = augment.mixup(features, tf.eye(8), key(k), 0.4)
        np.testing.assert_allclose(targets.numpy().sum(axis=1), 1, atol=1e-6)
        own = targets.numpy()[recordings, recordings]
        np.testing.assert_allclose(mixed[:, 0, 0], targets.numpy() @ recordings, atol=1e-5)
        shares.append(own)
    assert np.min(shares) >= 0.5
    assert np.min(shares) < 0.6
    assert np.max(shares) > 0.99


def test_mixup_with_a_tiny_parameter_is_finite():
    features = tf.ones((64, 2, 2))
    mixed, targets = augment.mixup(features, tf.eye(64), key(0), 1e-3)
    assert np.isfinite(mixed.numpy()).all()
    np.testing.assert_allclose(targets.numpy().sum(axis=1), 1, atol=1e-6)


def everything(log_mel: np.ndarray, seed: tf.Tensor) -> np.ndarray:
    config = AugmentConfig(noise_probability=1.0, echo_probability=0.5, narrow_probability=0.5)
    bank = augment.draw_masks(config, 0)
    cut = augment.change_tempo(log_mel, seed, config)
    changed = tf.maximum(augment.change_channel(cut, seed, config), -80)
    mixed, _ = augment.mixup(augment.mask(changed, seed, bank), tf.eye(BATCH), seed, config.mixup)
    return mixed.numpy()


def test_the_same_seed_changes_the_same_and_another_differently(small_bank):
    log_mel = spectrogram(margin=augment.shift_frames(AugmentConfig()))
    first = everything(log_mel, key(5))
    np.testing.assert_array_equal(everything(log_mel, key(5)), first)
    for other in (key(6), key(5, seed=1)):
        assert np.abs(everything(log_mel, other) - first).mean() > 0.1


def test_silence_stays_all_but_silent(small_bank):
    """The noise of a silent recording is as faint as what little a prepared one still holds."""
    frames = N_FRAMES + 2 * augment.shift_frames(AugmentConfig())
    silence = np.full((BATCH, frames, N_MELS), -100, "float32")
    assert everything(silence, key(0)).max() < -60
