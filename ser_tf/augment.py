"""What may be changed in a recording without changing its emotion, in graph and in batches.

Every function draws from stateless generators keyed by ``seed`` (int32 ``(2,)``), one key a batch,
so that a resumed run sees what an uninterrupted one would have seen.
"""

import numpy as np
import tensorflow as tf

from ser_tf.config import N_FRAMES, N_MELS, N_SAMPLES, SAMPLE_RATE, AugmentConfig

EQUALISER_KNOTS = 9  # points on a logarithmic frequency axis between which the response is smooth
MASK_BANK = 4096  # SpecAugment masks drawn before training; each recording picks one at random


def source_samples(config: AugmentConfig) -> int:
    """Samples that :func:`change_speed` needs to give a full window at the highest speed.

    As many on both sides: at its own speed a waveform is read on its samples, not between them.
    """
    return N_SAMPLES + 2 * (int(np.ceil(N_SAMPLES * config.speed / 2)) + 1)


def change_speed(waveform: tf.Tensor, seed: tf.Tensor, config: AugmentConfig) -> tf.Tensor:
    """Play the middle of each waveform faster or slower: tempo, pitch and formants move together.

    Linear interpolation between samples: hundreds of times as fast here as
    ``tfio.audio.resample``, and the slight loss of treble is itself a change worth learning to
    ignore.

    Args:
        waveform: float32 ``(batch, source_samples(config))``.
        seed: int32 ``(2,)``.
        config: ``speed`` is the largest relative change.

    Returns:
        float32 ``(batch, 57600)``.
    """
    speed = 1 + _uniform(seed, 0, -config.speed, config.speed, _count(waveform))
    return _played(waveform, speed)


# XLA makes one loop of a dozen passes over memory, a tenth of the time. The draw stays outside, for
# its generators give other numbers.
@tf.function(jit_compile=True)
def _played(waveform: tf.Tensor, speed: tf.Tensor) -> tf.Tensor:
    length = tf.cast(tf.shape(waveform)[1], tf.float32)
    offsets = tf.range(N_SAMPLES, dtype=tf.float32) - (N_SAMPLES - 1) / 2
    position = (length - 1) / 2 + speed[:, None] * offsets
    position = tf.clip_by_value(position, 0.0, length - 2)
    before = tf.floor(position)
    share = position - before
    index = tf.cast(before, tf.int32)
    left = tf.gather(waveform, index, batch_dims=1)
    right = tf.gather(waveform, index + 1, batch_dims=1)
    return left + share * (right - left)


def change_channel(waveform: tf.Tensor, seed: tf.Tensor, config: AugmentConfig) -> tf.Tensor:
    """Send each waveform through another microphone: gain, frequency response, noise.

    One pass through the frequency domain does all three. The response is drawn in dB at
    logarithmically spaced frequencies and interpolated. The noise has a power spectrum of
    ``1 / f**a`` with a between 0 (white) and 2 (brown).

    Args:
        waveform: float32 ``(batch, 57600)``.
        seed: int32 ``(2,)``.
        config: ``gain_db``, ``equaliser_db``, ``noise_probability``, ``noise_snr_db``.

    Returns:
        float32 ``(batch, 57600)``, clipped to [-1, 1] as a converter would.
    """
    # Bins are laid on the knots once; per recording only a small matrix product is left.
    frequencies = np.fft.rfftfreq(N_SAMPLES, 1 / SAMPLE_RATE)
    octaves = np.log2(np.maximum(frequencies, 50) / 50) / np.log2(SAMPLE_RATE / 2 / 50)
    knots = np.linspace(0, 1, EQUALISER_KNOTS)
    hats = np.maximum(0, 1 - np.abs(octaves[None] - knots[:, None]) * (EQUALISER_KNOTS - 1))
    slope = np.log(np.maximum(frequencies, 50) / 1000).astype("float32")

    batch = tf.shape(waveform)[0]
    spectrum = tf.signal.rfft(waveform)
    response_db = config.equaliser_db * _normal(seed, 1, (batch, EQUALISER_KNOTS))
    response_db += config.gain_db * _normal(seed, 2, (batch, 1))
    response = tf.exp(tf.matmul(response_db, hats.astype("float32")) * (np.log(10) / 20))
    spectrum *= tf.cast(response, tf.complex64)

    noisy = tf.where(_uniform(seed, 6, 0.0, 1.0, (batch,)) < config.noise_probability)
    count = tf.shape(noisy)[0]
    colour = _uniform(seed, 3, 0.0, 1.0, (count, 1))
    magnitude = tf.exp(-colour * slope)
    phases = 2 * np.pi * _uniform(seed, 4, 0.0, 1.0, (count, N_SAMPLES // 2 + 1))
    snr_db = _uniform(seed, 5, *config.noise_snr_db, (count,))
    signal_power = tf.reduce_sum(tf.square(tf.abs(tf.gather_nd(spectrum, noisy))), axis=1)
    noise_power = tf.reduce_sum(tf.square(magnitude), axis=1)
    level = tf.sqrt(signal_power / noise_power) * tf.pow(10.0, -snr_db / 20)
    amplitude = magnitude * level[:, None]
    noise = tf.complex(amplitude * tf.cos(phases), amplitude * tf.sin(phases))
    spectrum = tf.tensor_scatter_nd_add(spectrum, noisy, noise)
    return tf.clip_by_value(tf.signal.irfft(spectrum, [N_SAMPLES]), -1.0, 1.0)


def change_tempo(log_mel: tf.Tensor, seed: tf.Tensor, config: AugmentConfig) -> tf.Tensor:
    """Stretch each spectrogram in time about its middle; pitch and formants stay.

    Args:
        log_mel: float32 ``(batch, frames, bands)``.
        seed: int32 ``(2,)``.
        config: ``stretch`` is the largest relative change.

    Returns:
        As ``log_mel``; beyond its ends the outermost frames go on.
    """
    rate = 1 + _uniform(seed, 7, -config.stretch, config.stretch, _count(log_mel))
    middle = (N_FRAMES - 1) / 2
    position = middle + rate[:, None] * (tf.range(N_FRAMES, dtype=tf.float32) - middle)
    position = tf.clip_by_value(position, 0.0, N_FRAMES - 1.0)
    before = tf.minimum(tf.floor(position), N_FRAMES - 2.0)
    share = (position - before)[..., None]
    index = tf.cast(before, tf.int32)
    left = tf.gather(log_mel, index, batch_dims=1)
    right = tf.gather(log_mel, index + 1, batch_dims=1)
    return left + share * (right - left)


def draw_masks(config: AugmentConfig, seed: int) -> tuple[tf.Tensor, tf.Tensor]:
    """A bank of SpecAugment masks by tensorflow-io.

    Its mask functions draw from a stateful generator, which neither runs in parallel in a fixed
    order nor can be set back to where a killed run stood. So they draw a bank once, from ``seed``,
    and :func:`mask` picks from it.

    Returns:
        float32 ``(4096, 224)`` and ``(4096, 64)``: 0 where a frame or a band is hidden, else 1.
    """
    import tensorflow_io as tfio

    generator = np.random.default_rng([seed, MASK_BANK])

    # A width drawn by tensorflow-io stays below ``param``.
    @tf.function
    def draw() -> tuple[tf.Tensor, tf.Tensor]:
        time, frequency = tf.ones((N_FRAMES, 1)), tf.ones((1, N_MELS))
        for _ in range(config.time_masks):
            time = tfio.audio.time_mask(time, param=config.time_mask_frames + 1)
        for _ in range(config.frequency_masks):
            frequency = tfio.audio.freq_mask(frequency, param=config.frequency_mask_bands + 1)
        return time[:, 0], frequency[0]

    tf.random.set_seed(int(generator.integers(2**31)))
    drawn = [draw() for _ in range(MASK_BANK)]
    return tf.stack([time for time, _ in drawn]), tf.stack([frequency for _, frequency in drawn])


def mask(log_mel: tf.Tensor, seed: tf.Tensor, bank: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
    """Hide stretches of time and frequency behind each spectrogram's own mean (SpecAugment).

    Park et al., 2019, https://arxiv.org/abs/1904.08779.

    Args:
        log_mel: float32 ``(batch, 224, 64)``.
        seed: int32 ``(2,)``.
        bank: What :func:`draw_masks` gave.
    """
    time, frequency = bank
    choice = tf.cast(_uniform(seed, 8, 0.0, float(MASK_BANK), (tf.shape(log_mel)[0], 2)), tf.int32)
    shown = tf.gather(time, choice[:, 0])[:, :, None] * tf.gather(frequency, choice[:, 1])[:, None]
    mean = tf.reduce_mean(log_mel, axis=(1, 2), keepdims=True)
    return mean + (log_mel - mean) * shown


def mixup(
    features: tf.Tensor, targets: tf.Tensor, seed: tf.Tensor, alpha: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Blend each recording of a batch with another one, and their labels alike.

    Zhang et al., 2018, https://arxiv.org/abs/1710.09412.

    Args:
        features: float32 ``(batch, frames, features)``.
        targets: float32 ``(batch, classes)``.
        seed: int32 ``(2,)``.
        alpha: Parameter of the symmetric beta distribution of the share.
    """
    draws = tf.random.stateless_gamma((tf.shape(features)[0], 2), tf.random.fold_in(seed, 9), alpha)
    share = draws[:, 0] / tf.maximum(tf.reduce_sum(draws, axis=1), 1e-12)
    share = tf.maximum(share, 1 - share)
    partner_features, partner_targets = tf.roll(features, 1, axis=0), tf.roll(targets, 1, axis=0)
    across = share[:, None, None]
    return (
        across * features + (1 - across) * partner_features,
        share[:, None] * targets + (1 - share[:, None]) * partner_targets,
    )


def _count(batch: tf.Tensor) -> tuple[tf.Tensor]:
    return (tf.shape(batch)[0],)


def _uniform(
    seed: tf.Tensor, stream: int, low: float, high: float, shape: tuple[int | tf.Tensor, ...]
) -> tf.Tensor:
    return tf.random.stateless_uniform(shape, tf.random.fold_in(seed, stream), low, high)


def _normal(seed: tf.Tensor, stream: int, shape: tuple[int | tf.Tensor, ...]) -> tf.Tensor:
    return tf.random.stateless_normal(shape, tf.random.fold_in(seed, stream))
