"""Augmentation changes what it says, as far as it says, and nothing when switched off."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from conftest import OFF

from ser_tf import augment
from ser_tf.config import N_FRAMES, N_MELS, N_SAMPLES, SAMPLE_RATE, AugmentConfig
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


def rms_db(waveform: np.ndarray) -> np.ndarray:
    return 10 * np.log10(np.mean(np.square(waveform, dtype=np.float64), axis=1))


@pytest.fixture
def small_bank(monkeypatch: pytest.MonkeyPatch) -> int:
    """Number of masks in a bank that is quick to draw."""
    monkeypatch.setattr(augment, "MASK_BANK", 300)
    return 300


def test_speed_moves_pitch_and_duration_by_one_factor():
    config = only(speed=0.1)
    played = augment.change_speed(burst(augment.source_samples(config)), key(0), config).numpy()
    assert played.shape == (BATCH, N_SAMPLES)
    spectrum = np.abs(np.fft.rfft(played))
    pitch = np.fft.rfftfreq(N_SAMPLES, 1 / SAMPLE_RATE)[spectrum.argmax(axis=1)] / 1000
    loud = np.abs(played) > 0.05
    ends = N_SAMPLES - loud[:, ::-1].argmax(axis=1)
    duration = (ends - loud.argmax(axis=1)) / (2 * SAMPLE_RATE)
    np.testing.assert_allclose(pitch * duration, 1, atol=2e-3)
    assert 0.9 <= pitch.min() < 0.95
    assert 1.05 < pitch.max() <= 1.1


@pytest.mark.parametrize("speed", [0.0, 0.06, 0.3])
def test_the_fastest_speed_finds_enough_samples(speed):
    config = only(speed=speed)
    ramp = np.arange(augment.source_samples(config), dtype="float32")[None].repeat(256, axis=0)
    steps = np.diff(augment.change_speed(ramp, key(0), config).numpy(), axis=1)
    assert steps.min() > 1 - speed - 0.02, "the last sample was repeated"


def test_a_switched_off_speed_changes_nothing():
    samples = augment.source_samples(OFF)
    waveform = noise(samples=samples)
    margin = (samples - N_SAMPLES) // 2
    played = augment.change_speed(waveform, key(0), OFF)
    np.testing.assert_allclose(played, waveform[:, margin : margin + N_SAMPLES], atol=1e-6)


def test_a_stretch_changes_duration_and_leaves_pitch():
    log_mel = LogMelSpectrogram()(burst()).numpy()
    stretched = augment.change_tempo(log_mel, key(0), only(stretch=0.2)).numpy()
    tone = log_mel[0, N_FRAMES // 2].argmax()
    loud = stretched[:, :, tone] > -20
    assert (stretched.argmax(axis=2)[loud] == tone).all()
    rate = (log_mel[0, :, tone] > -20).sum() / loud.sum(axis=1)
    assert 0.8 - 0.02 <= rate.min() < 0.92
    assert 1.08 < rate.max() <= 1.2 + 0.02


def test_a_switched_off_stretch_changes_nothing():
    log_mel = LogMelSpectrogram()(noise()).numpy()
    np.testing.assert_allclose(augment.change_tempo(log_mel, key(0), OFF), log_mel, atol=1e-4)


def test_a_switched_off_channel_changes_nothing():
    waveform = np.clip(noise(level=0.5), -1, 1)
    np.testing.assert_allclose(augment.change_channel(waveform, key(0), OFF), waveform, atol=1e-4)


def test_gain_has_the_standard_deviation_asked_for():
    waveform = noise()
    gains = np.concatenate(
        [
            rms_db(augment.change_channel(waveform, key(k), only(gain_db=3.0)).numpy())
            for k in range(10)
        ]
    ) - np.tile(rms_db(waveform), 10)
    assert gains.std() == pytest.approx(3.0, rel=0.15)
    assert abs(gains.mean()) < 0.6


def test_noise_has_the_ratio_asked_for():
    waveform = noise(level=0.05)
    config = only(noise_probability=1.0, noise_snr_db=(15.0, 15.0))
    added = augment.change_channel(waveform, key(0), config).numpy() - waveform
    np.testing.assert_allclose(rms_db(waveform) - rms_db(added), 15.0, atol=0.1)


def test_noise_ratios_lie_in_their_range_and_are_as_frequent_as_asked_for():
    waveform = noise(level=0.02)
    config = only(noise_probability=0.3, noise_snr_db=(10.0, 30.0))
    added = np.concatenate(
        [augment.change_channel(waveform, key(k), config).numpy() - waveform for k in range(10)]
    )
    noisy = np.abs(added).max(axis=1) > 1e-5
    assert noisy.mean() == pytest.approx(0.3, abs=0.1)
    ratios = np.tile(rms_db(waveform), 10)[noisy] - rms_db(added[noisy])
    assert 9.9 <= ratios.min() < 14
    assert 26 < ratios.max() <= 30.1


def test_noise_is_anything_between_white_and_brown():
    waveform = noise(level=0.02)
    config = only(noise_probability=1.0, noise_snr_db=(20.0, 20.0))
    added = augment.change_channel(waveform, key(0), config).numpy() - waveform
    power = np.abs(np.fft.rfft(added)) ** 2
    frequencies = np.fft.rfftfreq(N_SAMPLES, 1 / SAMPLE_RATE)
    bands = [
        power[:, (frequencies > f) & (frequencies < 1.1 * f)].mean(axis=1) for f in (500, 4000)
    ]
    exponents = np.log2(bands[0] / bands[1]) / 3  # three octaves
    assert -0.1 <= exponents.min() < 0.5
    assert 1.5 < exponents.max() <= 2.1


def test_the_equaliser_bends_the_spectrum_smoothly():
    waveform = noise(level=0.02)
    changed = augment.change_channel(waveform, key(0), only(equaliser_db=2.0)).numpy()
    response = np.fft.rfft(changed)[:, 360:-1] / np.fft.rfft(waveform)[:, 360:-1]  # from 100 Hz
    assert np.abs(np.angle(response)).max() < 0.01
    decibels = 20 * np.log10(np.abs(response))
    assert 1.0 < decibels.std() < 2.5
    assert np.abs(np.diff(decibels, axis=1)).max() < 0.2


def test_what_gets_too_loud_is_clipped_as_by_a_converter():
    loud = augment.change_channel(noise(level=0.5), key(0), only(gain_db=20.0)).numpy()
    assert np.abs(loud).max() == 1.0


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


def everything(waveform: np.ndarray, seed: tf.Tensor) -> np.ndarray:
    config = AugmentConfig(noise_probability=1.0)
    bank = augment.draw_masks(config, 0)
    changed = augment.change_channel(augment.change_speed(waveform, seed, config), seed, config)
    log_mel = augment.change_tempo(LogMelSpectrogram()(changed), seed, config)
    mixed, _ = augment.mixup(augment.mask(log_mel, seed, bank), tf.eye(BATCH), seed, config.mixup)
    return mixed.numpy()


def test_the_same_seed_changes_the_same_and_another_differently(small_bank):
    waveform = noise(samples=augment.source_samples(AugmentConfig()))
    first = everything(waveform, key(5))
    np.testing.assert_array_equal(everything(waveform, key(5)), first)
    for other in (key(6), key(5, seed=1)):
        assert np.abs(everything(waveform, other) - first).mean() > 0.1


def test_silence_stays_silence(small_bank):
    silence = np.zeros((BATCH, augment.source_samples(AugmentConfig())), "float32")
    np.testing.assert_allclose(everything(silence, key(0)), -80, rtol=1e-5)
