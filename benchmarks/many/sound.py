"""Spectrograms, what training changes in them, and features, in JAX.

As :mod:`ser_tf.frontend`, :mod:`ser_tf.pitch` and :mod:`ser_tf.augment` have them, of one network's
batch; ``learn.py`` maps them over networks. ``Tables`` are the arrays of ``tables.npz``.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Tables = Mapping[str, np.ndarray]

RATE = 16_000
FRAMES, HOP = 224, 256
MARGIN = 19  # frames on either side of the window, for the shift
WIDE = FRAMES + 2 * MARGIN
SPEEDS = np.linspace(0.94, 1.06, 5)
AVERAGED = (0, 2, 4)  # of these, those whose answers are averaged
MELS = 64
FLOOR_DB, LEAST_DB = -80.0, -100.0
DB = float(np.log(10) / 10)  # natural logarithm of a power ratio of one dB
KNOTS = 9
MASKS = 2  # at most


def product(a: Any, b: Any) -> Any:
    """A matrix product in float32 proper: levels in dB do not bear tf32."""
    return jnp.matmul(a, b, precision="highest")


def decibels(power: Any) -> Any:
    """Power in dB, down to 20 dB below the floor."""
    return jnp.log(jnp.maximum(power, 10 ** (LEAST_DB / 10))) / DB


def spectra(windows: Any, tables: Tables) -> Any:
    """Windows ``(batch, samples)`` at every speed: float16 ``(batch, speeds, 262, 160)``, dB."""
    samples, length = WIDE * HOP + HOP, windows.shape[1]
    offsets = np.arange(samples) - (samples - 1) / 2
    played = []
    for speed in SPEEDS:
        places = np.clip((length - 1) / 2 + speed * offsets, 0, length - 2)
        before = np.floor(places).astype(np.int32)
        share = (places - before).astype(np.float32)
        sound = windows[:, before] * (1 - share) + windows[:, before + 1] * share
        mel = decibels(product(_power(sound, tables["window"], HOP), tables["mel"]))
        slower = _decimated(sound, tables["low_pass"], samples + 2 * HOP)
        bins = len(tables["comb"])
        longer = decibels(_power(slower, tables["longer_window"], HOP // 4)[..., :bins])
        played.append(jnp.concatenate([mel, longer], axis=-1))
    return jnp.stack(played, axis=1).astype(jnp.float16)


def _power(sound: Any, window: np.ndarray, hop: int) -> Any:
    samples = np.arange(WIDE)[:, None] * hop + np.arange(len(window))
    return jnp.square(jnp.abs(jnp.fft.rfft(sound[:, samples] * window)))


def _decimated(sound: Any, low_pass: np.ndarray, samples: int) -> Any:
    """Every fourth sample of the low-passed sound, with ``HOP`` samples of silence around it."""
    taps, block, _ = low_pass.shape
    before = HOP + block
    padded = jnp.pad(sound, ((0, 0), (before, before + -sound.shape[1] % block)))
    blocks = padded.reshape(len(sound), -1, block)
    count = blocks.shape[1] - taps + 1
    filtered = sum(product(blocks[:, tap : tap + count], low_pass[tap]) for tap in range(taps))
    return jnp.reshape(filtered, (len(sound), -1))[:, : samples // 4]


def features(bands: Any, tables: Tables, front: Mapping[str, Any]) -> Any:
    """What the network takes, ``(…, 224, features)``, of bands in dB; not yet standardised.

    Args:
        bands: ``(…, 224, 160)``, or 64 without pitch.
        tables: Of the front end.
        front: Settings ``deltas`` and ``pitch``.
    """
    mfcc = product(bands[..., :MELS], tables["dct"])
    few = front["deltas"]
    found = [_with_deltas(mfcc[..., :few], tables["taps"]), mfcc[..., few:]]
    if front["pitch"]:
        salience = jax.nn.relu(product(bands[..., MELS:], tables["comb"]))
        track = product(jax.nn.softmax(0.2 * salience), tables["places"])
        track = jnp.concatenate([track, salience.max(-1, keepdims=True)], axis=-1)
        found += [_with_deltas(track, tables["taps"]), salience]
    return jnp.concatenate(found, axis=-1)


def _with_deltas(values: Any, taps: np.ndarray) -> Any:
    margin = taps.shape[1] // 2
    around = [(0, 0)] * (values.ndim - 2) + [(margin, margin), (0, 0)]
    padded = jnp.pad(values, around, mode="edge")
    frames = values.shape[-2]
    deltas = [
        sum(padded[..., n : n + frames, :] * float(tap) for n, tap in enumerate(row))
        for row in taps
    ]
    return jnp.concatenate([values, *deltas], axis=-1)


def total(power: Any, tables: Tables) -> Any:
    """The power of a recording, ``(…, 1, 1)``: mel bands weighed by their width."""
    weighed = power[..., :MELS] * tables["mel_widths"]
    return jnp.sum(weighed, axis=(-2, -1), keepdims=True)


def narrowed(bands: Any, low: Any, high: Any, whether: Any, tables: Tables) -> Any:
    """Bands outside ``low`` to ``high`` Hz brought 60 dB down."""
    centres = tables["centres"][: bands.shape[-1]]
    outside = (low > centres) | (high < centres)
    return bands + jnp.where(whether & outside, -60.0, 0.0)


def steady_noise(colour: Any, texture: Any, tables: Tables) -> Any:
    """Power of noise whose spectrum falls with the power ``colour`` of the frequency."""
    centres = np.maximum(tables["centres"][: texture.shape[-1]], 20.0)
    return jnp.exp(-colour * np.log(centres / 1000)) * texture


def with_noise(power: Any, noise: Any, snr_db: Any, whether: Any, tables: Tables) -> Any:
    """Power with noise at a signal-to-noise ratio in dB, where ``whether`` says so."""
    wanted = total(power, tables) * jnp.exp(-snr_db * DB)
    scaled = noise * wanted / jnp.maximum(total(noise, tables), 1e-12)
    return power + jnp.where(whether, scaled, 0.0)


def changed(
    prepared: Any, chosen: Any, speed: Any, targets: Any, key: Any, how: Any, tables: Tables
) -> tuple[Any, Any]:
    """A batch as one epoch hears it, and its labels.

    Args:
        prepared: What :func:`spectra` gave, of all recordings; the bands that are looked at.
        chosen: Numbers of the recordings, ``(batch,)``.
        speed: Numbers of their speeds, ``(batch,)``.
        targets: One-hot labels, ``(batch, classes)``.
        key: Of JAX.
        how: Settings of the augmentation, as scalars.
        tables: Of the front end.

    Returns:
        Bands ``(batch, 224, bands)`` in dB, and labels.
    """
    keys = iter(jax.random.split(key, 32))
    count, bands = len(chosen), prepared.shape[-1]
    one = (count, 1, 1)

    def uniform(low: Any, high: Any, shape: tuple[int, ...] = one) -> Any:
        return low + (high - low) * jax.random.uniform(next(keys), shape)

    middle = (FRAMES - 1) / 2
    rate = 1 + uniform(-how["stretch"], how["stretch"], (count, 1))
    shift = jnp.round(uniform(-MARGIN, MARGIN, (count, 1)))
    places = MARGIN + shift + middle + rate * (np.arange(FRAMES) - middle)
    places = jnp.clip(places, 0, WIDE - 1)
    before = jnp.minimum(places.astype(jnp.int32), WIDE - 2)
    share = (places - before)[..., None]
    left, right = (
        prepared[chosen[:, None], speed[:, None], before + n].astype(jnp.float32) for n in (0, 1)
    )
    level = left + share * (right - left)

    centres = tables["centres"][:bands]
    octaves = np.log2(np.maximum(centres, 50) / 50) / np.log2(RATE / 2 / 50)
    knots = np.linspace(0, 1, KNOTS)[:, None]
    hats = np.maximum(0, 1 - np.abs(octaves - knots) * (KNOTS - 1)).astype("float32")
    response = how["equaliser_db"] * jax.random.normal(next(keys), (count, 1, KNOTS))
    level += product(response, hats) + how["gain_db"] * jax.random.normal(next(keys), one)

    power = _with_echo(jnp.exp(level * DB), uniform, how["echo_probability"], tables)
    rows = uniform(0, len(tables["texture"]) - FRAMES, (count, 1)).astype(jnp.int32)
    texture = jnp.asarray(tables["texture"][:, :bands])[rows + np.arange(FRAMES)]
    steady = steady_noise(uniform(0, 2), texture, tables)
    babble = sum(jnp.roll(power, places, axis=0) for places in (1, 3, 5))
    noise = jnp.where(uniform(0, 1) < 0.3, babble, steady)
    snr_db = uniform(how["noise_low_db"], how["noise_high_db"])
    power = with_noise(power, noise, snr_db, uniform(0, 1) < how["noise_probability"], tables)
    level = jnp.log(jnp.maximum(power, 1e-13)) / DB
    low, high = uniform(0, 400), 3000 * jnp.exp(uniform(0, float(np.log(8 / 3))))
    level = narrowed(level, low, high, uniform(0, 1) < how["narrow_probability"], tables)
    level = _masked(jnp.maximum(level, FLOOR_DB), uniform, how)

    share = jax.random.beta(next(keys), how["mixup"], how["mixup"], (count,))
    share = jnp.maximum(share, 1 - share)
    level, targets = (
        jnp.einsum("b,b...->b...", share, x)
        + jnp.einsum("b,b...->b...", 1 - share, jnp.roll(x, 1, axis=0))
        for x in (level, targets)
    )
    return level, targets


def _with_echo(power: Any, uniform: Any, probability: Any, tables: Tables) -> Any:
    reverberation, direct_db = uniform(0.2, 0.8), uniform(-3, 12)
    decay = np.log(1e6) * HOP / RATE / reverberation
    lag = (np.arange(FRAMES)[:, None] - np.arange(FRAMES)).astype("float32")
    tail = jnp.where(lag > 0, jnp.exp(-decay * np.maximum(lag, 0)), 0.0)
    tail *= (jnp.exp(decay) - 1) * jnp.exp(-direct_db * DB)
    heard = power + jnp.matmul(tail, power)
    heard *= total(power, tables) / jnp.maximum(total(heard, tables), 1e-12)
    return jnp.where(uniform(0, 1) < probability, heard, power)


def _masked(level: Any, uniform: Any, how: Any) -> Any:
    count, frames, bands = level.shape

    def shown(length: int, masks: Any, widest: Any) -> Iterator[Any]:
        for number in range(MASKS):
            width = jnp.floor(uniform(0, widest + 1, (count, 1))) * (number < masks)
            start = jnp.floor(uniform(0, 1, (count, 1)) * (length - width))
            place = np.arange(length)
            yield (place < start) | (place >= start + width)

    time = shown(frames, how["time_masks"], how["time_mask_frames"])
    frequency = shown(MELS, how["frequency_masks"], how["frequency_mask_bands"])
    seen = jnp.ones((count, frames, bands))
    for kept in time:
        seen *= kept[:, :, None]
    for kept in frequency:
        seen *= jnp.pad(kept, ((0, 0), (0, bands - MELS)), constant_values=True)[:, None]
    mean = jnp.mean(level[..., :MELS], axis=(1, 2), keepdims=True)
    return mean + (level - mean) * seen
