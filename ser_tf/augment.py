"""What may be changed in a recording without changing its emotion, in graph and in batches.

Playing speed is changed once, at a few rates, when spectrograms are prepared. All else happens anew
every epoch on power spectrograms, where a microphone, a room, noise and a narrow channel are
sums and products of a few thousand numbers a clip.

Every function draws from stateless generators keyed by ``seed`` (int32 ``(2,)``), one key a batch,
so that a resumed run sees what an uninterrupted one would have seen.
"""

import librosa
import numpy as np
import tensorflow as tf

from ser_tf.config import (
    F_MAX,
    F_MIN,
    FRAME_LENGTH,
    HOP_LENGTH,
    N_FRAMES,
    N_HARMONIC_BINS,
    N_MELS,
    N_SAMPLES,
    PITCH_FRAME_LENGTH,
    SAMPLE_RATE,
    AugmentConfig,
)

SPEEDS = 5  # rates a recording is prepared at, evenly from the slowest to the fastest
EQUALISER_KNOTS = 9  # points on a logarithmic frequency axis between which the response is smooth
BABBLE_SHARE = 0.3  # of noisy recordings, those in which the noise is other people talking
BABBLE_VOICES = 3
MASK_BANK = 4096  # SpecAugment masks drawn before training; each recording picks one at random
NARROW_DB = -60.0  # what is left outside a narrow channel

# Centre of each mel band, and of the narrow bins that may stand behind them, Hz.
MEL_CENTRES = librosa.mel_frequencies(N_MELS + 2, fmin=F_MIN, fmax=F_MAX)[1:-1].astype("float32")
BIN_CENTRES = np.arange(N_HARMONIC_BINS, dtype="float32") * SAMPLE_RATE / PITCH_FRAME_LENGTH
CENTRES = np.concatenate([MEL_CENTRES, BIN_CENTRES])


def speeds(config: AugmentConfig) -> np.ndarray:
    """The rates at which recordings are prepared, float32 ``(speeds,)``; one alone is 1."""
    if not config.speed:
        return np.ones(1, "float32")
    return np.linspace(1 - config.speed, 1 + config.speed, SPEEDS, dtype="float32")


def shift_frames(config: AugmentConfig) -> int:
    """Frames that a prepared spectrogram reaches beyond the window on either side."""
    return round(config.shift * SAMPLE_RATE / HOP_LENGTH)


def source_samples(config: AugmentConfig) -> int:
    """Samples that :func:`play` needs to give a shifted window at the highest speed.

    As many on both sides: at its own speed a waveform is read on its samples, not between them.
    """
    window = _window_samples(config)
    return window + 2 * (int(np.ceil(window * config.speed / 2)) + 1)


def play(waveform: tf.Tensor, config: AugmentConfig) -> tf.Tensor:
    """Play the middle of a waveform at every speed: tempo, pitch and formants move together.

    Linear interpolation between samples: the slight loss of treble is itself a change worth
    learning to ignore.

    Args:
        waveform: float32 ``(source_samples(config),)``.
        config: ``speed`` is the largest relative change.

    Returns:
        float32 ``(speeds, samples)``: a window with :func:`shift_frames` on either side.
    """
    length = source_samples(config)
    samples = _window_samples(config)
    offsets = np.arange(samples) - (samples - 1) / 2
    position = (length - 1) / 2 + speeds(config)[:, None].astype(np.float64) * offsets
    position = np.clip(position, 0, length - 2)
    before = np.floor(position).astype(np.int32)
    share = (position - before).astype(np.float32)
    left, right = tf.gather(waveform, before), tf.gather(waveform, before + 1)
    return left + share * (right - left)


def change_channel(log_mel: tf.Tensor, seed: tf.Tensor, config: AugmentConfig) -> tf.Tensor:
    """Send each spectrogram through another room, microphone and line.

    Level and frequency response, drawn in dB at logarithmically spaced frequencies; the tail of a
    room, an exponential decay of power; noise, steady with a power spectrum of ``1 / f**a`` (a from
    0, white, to 2, brown) or other recordings of the batch, babble; a narrow band, as of a
    telephone or a codec. Signal-to-noise ratios are ratios of the power summed over bands.

    Args:
        log_mel: float32 ``(batch, frames, bands)``, dB: mel bands, and any bins behind them.
        seed: int32 ``(2,)``.
        config: The probabilities and ranges.

    Returns:
        As ``log_mel``; without a floor.
    """
    batch = tf.shape(log_mel)[0]
    count = (batch, 1, 1)
    centres = CENTRES[: log_mel.shape[-1]]
    octaves = np.log2(np.maximum(centres, 50) / 50) / np.log2(SAMPLE_RATE / 2 / 50)
    knots = np.linspace(0, 1, EQUALISER_KNOTS)
    hats = np.maximum(0, 1 - np.abs(octaves[None] - knots[:, None]) * (EQUALISER_KNOTS - 1))
    response = config.equaliser_db * _normal(seed, 1, (batch, 1, EQUALISER_KNOTS))
    response = tf.matmul(response, hats[None].astype("float32"))
    decibels = log_mel + response + config.gain_db * _normal(seed, 2, count)
    if not (config.noise_probability or config.echo_probability or config.narrow_probability):
        return decibels
    power = tf.exp(decibels * np.float32(np.log(10) / 10))

    if config.echo_probability:
        power = _with_echo(power, seed, config)
    if config.noise_probability:
        noisy = _uniform(seed, 6, 0.0, 1.0, count) < config.noise_probability
        colour = 2 * _uniform(seed, 3, 0.0, 1.0, count)
        steady = tf.exp(-colour * np.log(np.maximum(centres, F_MIN) / 1000))
        steady *= _flicker(seed, batch)[..., : len(centres)]
        babble = tf.add_n([_neighbour(power, 1 + 2 * k) for k in range(BABBLE_VOICES)])
        talking = _uniform(seed, 4, 0.0, 1.0, count) < BABBLE_SHARE
        noise = tf.where(talking, babble, steady)
        snr_db = _uniform(seed, 5, *config.noise_snr_db, count)
        wanted = _total(power) * tf.exp(-snr_db * np.float32(np.log(10) / 10))
        noise *= wanted / tf.maximum(_total(noise), 1e-12)
        power += tf.where(noisy, noise, 0.0)
    decibels = tf.math.log(tf.maximum(power, 1e-13)) * np.float32(10 / np.log(10))
    if config.narrow_probability:
        narrow = _uniform(seed, 10, 0.0, 1.0, count) < config.narrow_probability
        low = _uniform(seed, 11, 0.0, 400.0, count)
        high = 3000 * tf.exp(_uniform(seed, 12, 0.0, float(np.log(8000 / 3000)), count))
        outside = narrow & ((low > centres) | (high < centres))
        decibels += tf.where(outside, NARROW_DB, 0.0)
    return decibels


def _with_echo(power: tf.Tensor, seed: tf.Tensor, config: AugmentConfig) -> tf.Tensor:
    """Power with a room's tail behind it, for some of the batch; the level stays."""
    batch = tf.shape(power)[0]
    echoing = tf.where(_uniform(seed, 13, 0.0, 1.0, (batch,)) < config.echo_probability)
    count = (tf.shape(echoing)[0], 1, 1)
    dry = tf.gather_nd(power, echoing)
    reverberation = _uniform(seed, 14, 0.2, 0.8, count)  # RT60, s
    direct_db = _uniform(seed, 15, -3.0, 12.0, count)  # direct to reverberant power
    decay = np.float32(np.log(1e6) * HOP_LENGTH / SAMPLE_RATE) / reverberation  # a frame
    frames = np.arange(power.shape[1])
    lag = (frames[:, None] - frames[None]).astype("float32")
    tail = tf.where(lag > 0, tf.exp(-decay * np.maximum(lag, 0)), 0.0)
    tail *= (tf.exp(decay) - 1) * tf.exp(-direct_db * np.float32(np.log(10) / 10))
    heard = dry + tf.matmul(tail, dry)
    heard *= _total(dry) / tf.maximum(_total(heard), 1e-12)
    return tf.tensor_scatter_nd_update(power, echoing, heard)


def _flicker(seed: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
    """How the power of steady noise varies from frame to frame: float32 ``(batch, frames, bands)``.

    A band of few FFT bins varies more, a single bin most. Drawn from a table at random places.
    """
    offset = _uniform(seed, 16, 0.0, float(len(_TEXTURE) - N_FRAMES), (batch, 1))
    rows = tf.cast(offset, tf.int32) + tf.range(N_FRAMES)
    return tf.gather(_TEXTURE, rows)


def _texture(rows: int = 4096) -> np.ndarray:
    width = np.diff(librosa.mel_frequencies(N_MELS + 2, fmin=F_MIN, fmax=F_MAX))[:-1]
    bins = np.maximum(1.0, width * FRAME_LENGTH / SAMPLE_RATE)
    bins = np.concatenate([bins, np.ones(N_HARMONIC_BINS)])
    generator = np.random.default_rng(0)
    return (generator.gamma(bins, size=(rows, len(bins))) / bins).astype("float32")


_TEXTURE = _texture()


def _total(power: tf.Tensor) -> tf.Tensor:
    # Mel bands are normalised by their width, so the sum over frequency weighs them by it.
    width = np.gradient(MEL_CENTRES).astype("float32")
    return tf.reduce_sum(power[..., :N_MELS] * width, axis=(1, 2), keepdims=True)


def change_tempo(log_mel: tf.Tensor, seed: tf.Tensor, config: AugmentConfig) -> tf.Tensor:
    """Cut a window at a random place, stretched in time about its middle; pitch and formants stay.

    Args:
        log_mel: float32 ``(batch, 224 + 2 * shift_frames(config), bands)``.
        seed: int32 ``(2,)``.
        config: ``stretch`` is the largest relative change of tempo, ``shift`` the largest shift.

    Returns:
        float32 ``(batch, 224, bands)``; beyond the ends the outermost frames go on.
    """
    count = (tf.shape(log_mel)[0], 1)
    margin = shift_frames(config)
    rate = 1 + _uniform(seed, 7, -config.stretch, config.stretch, count)
    shift = tf.round(_uniform(seed, 17, float(-margin), float(margin), count))
    middle = (N_FRAMES - 1) / 2
    position = margin + shift + middle + rate * (tf.range(N_FRAMES, dtype=tf.float32) - middle)
    last = N_FRAMES - 1.0 + 2 * margin
    position = tf.clip_by_value(position, 0.0, last)
    before = tf.minimum(tf.floor(position), last - 1)
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
        log_mel: float32 ``(batch, 224, bands)``. Bins behind the 64 mel bands are hidden by the
            masks over time alone.
        seed: int32 ``(2,)``.
        bank: What :func:`draw_masks` gave.
    """
    time, frequency = bank
    choice = tf.cast(_uniform(seed, 8, 0.0, float(MASK_BANK), (tf.shape(log_mel)[0], 2)), tf.int32)
    frequency = tf.pad(frequency, [[0, 0], [0, log_mel.shape[-1] - N_MELS]], constant_values=1.0)
    shown = tf.gather(time, choice[:, 0])[:, :, None] * tf.gather(frequency, choice[:, 1])[:, None]
    mean = tf.reduce_mean(log_mel[..., :N_MELS], axis=(1, 2), keepdims=True)
    return mean + (log_mel - mean) * shown


def mixup(
    log_mel: tf.Tensor, targets: tf.Tensor, seed: tf.Tensor, alpha: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Blend each recording of a batch with another one, and their labels alike.

    Zhang et al., 2018, https://arxiv.org/abs/1710.09412.

    Args:
        log_mel: float32 ``(batch, frames, bands)``.
        targets: float32 ``(batch, classes)``.
        seed: int32 ``(2,)``.
        alpha: Parameter of the symmetric beta distribution of the share.
    """
    draws = tf.random.stateless_gamma((tf.shape(log_mel)[0], 2), tf.random.fold_in(seed, 9), alpha)
    share = draws[:, 0] / tf.maximum(tf.reduce_sum(draws, axis=1), 1e-12)
    share = tf.maximum(share, 1 - share)
    partner, partner_targets = _neighbour(log_mel, 1), _neighbour(targets, 1)
    across = share[:, None, None]
    return (
        across * log_mel + (1 - across) * partner,
        share[:, None] * targets + (1 - share[:, None]) * partner_targets,
    )


def _neighbour(batch: tf.Tensor, places: int) -> tf.Tensor:
    """For each recording the one so many places before it, as ``tf.roll``, which is slow, gives."""
    places = places % tf.shape(batch)[0]
    return tf.concat([batch[-places:], batch[:-places]], axis=0)


def _window_samples(config: AugmentConfig) -> int:
    return N_SAMPLES + 2 * shift_frames(config) * HOP_LENGTH


def _uniform(
    seed: tf.Tensor, stream: int, low: float, high: float, shape: tuple[int | tf.Tensor, ...]
) -> tf.Tensor:
    return tf.random.stateless_uniform(shape, tf.random.fold_in(seed, stream), low, high)


def _normal(seed: tf.Tensor, stream: int, shape: tuple[int | tf.Tensor, ...]) -> tf.Tensor:
    return tf.random.stateless_normal(shape, tf.random.fold_in(seed, stream))
