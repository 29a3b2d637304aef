"""Keras layers for values of a whole clip: loudness, level, silence, tempo, energies."""

from typing import Any

import keras
import librosa
import numpy as np
import pyloudnorm
import scipy.signal
from keras import ops

from edge.audio import VOICE_RANGE_DB
from ser_tf.systems.neural.recipe import HOP_LENGTH
from ser_tf.systems.neural.spectra import BINS, FRAME_LENGTH, Descriptor, decibels

BLOCK_FRAMES = 17  # frames in a loudness block: 395 ms at 22,050 Hz, where BS.1770 asks for 400
BLOCK_HOP = 4  # frames between blocks: 93 ms, where BS.1770 asks for 100
LOUDNESS_OFFSET = -0.691  # LUFS of a mean square of one
ABSOLUTE_GATE = -70.0  # LUFS
RELATIVE_GATE = -10.0  # LU below the loudness of what passes the absolute gate
DIGITAL_SILENCE = 1e-10  # mean square below which a frame holds no sound at all
TEMPO_MEAN = 120.0  # beats a minute that are likeliest, as in librosa.feature.tempo
TEMPO_HIGHEST = 320.0
LEAST_CORRELATION = 1e-12  # of an onset strength that never rises
SMOOTHING = 31  # frames, or bins, over which harmonic and percussive sound is smooth, as in librosa


@keras.saving.register_keras_serializable("ser_tf")
class Loudness(Descriptor):
    """Integrated loudness by ITU-R BS.1770-4, in LUFS.

    The K-weighting is applied to the power spectrum: what the two filters of annex 1 (their
    coefficients by pyloudnorm) let through at each frequency. Blocks are means over frames, gated
    at -70 LUFS and then 10 LU below what is left.

    Input: power spectrum ``(batch, frames, 1025)``. Output: ``(batch, 1)``, at least -70.
    """

    def call(self, power: Any) -> Any:
        square = ops.sum(power * self._weights(), axis=-1, keepdims=True)
        blocks = ops.average_pool(square, BLOCK_FRAMES, BLOCK_HOP, data_format="channels_last")
        level = LOUDNESS_OFFSET + decibels(blocks)
        passed = ops.cast(level > ABSOLUTE_GATE, "float32")
        gate = self._mean_level(blocks, passed) + RELATIVE_GATE
        passed *= ops.cast(level > gate, "float32")
        return ops.maximum(self._mean_level(blocks, passed)[:, 0], ABSOLUTE_GATE)

    def _mean_level(self, blocks: Any, passed: Any) -> Any:
        count = ops.maximum(ops.sum(passed, axis=1, keepdims=True), 1.0)
        mean = ops.sum(blocks * passed, axis=1, keepdims=True) / count
        return LOUDNESS_OFFSET + decibels(mean)

    def _weights(self) -> np.ndarray:
        """What each bin of a frame's power spectrum adds to its weighted mean square."""
        frequencies = np.linspace(0, np.pi, BINS)
        gain = np.ones(BINS)
        for filtering in (
            pyloudnorm.IIRfilter(4.0, 1 / np.sqrt(2), 1500.0, self.sample_rate, "high_shelf"),
            pyloudnorm.IIRfilter(0.0, 0.5, 38.0, self.sample_rate, "high_pass"),
        ):
            _, response = scipy.signal.freqz(filtering.b, filtering.a, worN=frequencies)
            gain *= np.abs(response) ** 2
        return (gain * _mean_square_weights()).astype("float32")


def _mean_square_weights() -> np.ndarray:
    """What each bin of a Hann-windowed frame's power adds to its mean square (Parseval)."""
    window_power = np.sum(scipy.signal.get_window("hann", FRAME_LENGTH) ** 2)
    both_sides = np.full(BINS, 2.0)
    both_sides[[0, -1]] = 1.0
    return both_sides / (FRAME_LENGTH * window_power)


@keras.saving.register_keras_serializable("ser_tf")
class VoiceValues(Descriptor):
    """Duration, level, peak, signal-to-noise ratio and share of silence of a window.

    A frame belongs to the voice where its power lies within 35 dB of the loudest frame's. Duration:
    seconds from the first such frame to the last. Level: root mean square of the window, dB re full
    scale; peak likewise. Signal-to-noise: mean power of the voice's frames over that of the others
    that are not digital silence, dB; 100 where there are none. Silence: share of the frames that
    are not of the voice.

    Input: waveform ``(batch, samples)`` and frame powers ``(batch, frames, 1)``.
    Output: ``(batch, 5)``.
    """

    def call(self, waveform: Any, frame_power: Any) -> Any:
        power = frame_power[:, :, 0]
        frames = power.shape[1]
        threshold = ops.max(power, axis=1, keepdims=True) * 10 ** (-VOICE_RANGE_DB / 10)
        voice = ops.cast(power >= ops.maximum(threshold, DIGITAL_SILENCE), "float32")
        number = np.arange(1, frames + 1, dtype="float32")
        last = ops.max(voice * number, axis=1, keepdims=True)
        first = frames + 1 - ops.max(voice * number[::-1], axis=1, keepdims=True)
        duration = ops.maximum(last - first + 1, 0.0) * (HOP_LENGTH / self.sample_rate)
        level = decibels(ops.mean(ops.square(waveform), axis=1, keepdims=True))
        peak = decibels(ops.square(ops.max(ops.abs(waveform), axis=1, keepdims=True)))
        other = (1 - voice) * ops.cast(power >= DIGITAL_SILENCE, "float32")
        signal, noise = (decibels(_mean_where(power, where)) for where in (voice, other))
        ratio = ops.minimum(signal - noise, 100.0)
        silence = 1 - ops.mean(voice, axis=1, keepdims=True)
        return ops.concatenate([duration, level, peak, ratio, silence], axis=-1)


def _mean_where(values: Any, chosen: Any) -> Any:
    count = ops.maximum(ops.sum(chosen, axis=1, keepdims=True), 1.0)
    return ops.sum(values * chosen, axis=1, keepdims=True) / count


@keras.saving.register_keras_serializable("ser_tf")
class Tempo(Descriptor):
    """Beats a minute: the likeliest lag of the autocorrelation of the onset strength.

    Onset strength, prior and choice are those of ``librosa.feature.tempo``; but where librosa takes
    the mean of autocorrelations over windows of 8 s, this takes the one of the whole clip.

    Input: mel spectrogram ``(batch, frames, bands)`` in dB. Output: ``(batch, 1)``.
    """

    def call(self, level: Any) -> Any:
        rise = ops.mean(ops.maximum(level[:, 1:] - level[:, :-1], 0.0), axis=-1)
        lags = rise.shape[1]
        later = ops.extract_sequences(ops.pad(rise, [[0, 0], [0, lags - 1]]), lags, 1)
        correlation = ops.matmul(later, rise[:, :, None])[:, :, 0]
        correlation /= ops.maximum(correlation[:, :1], LEAST_CORRELATION)
        beats = librosa.tempo_frequencies(lags, sr=self.sample_rate, hop_length=HOP_LENGTH)
        with np.errstate(divide="ignore"):
            prior = -0.5 * np.log2(beats / TEMPO_MEAN) ** 2
        prior[beats >= TEMPO_HIGHEST] = -1e9
        score = ops.log(1 + 1e6 * correlation) + prior.astype("float32")
        beats[0] = 0.0  # lag zero is never chosen, and has no finite tempo
        # The argmax of Keras takes care of negative zero by bits, which TFLite has not.
        _, best = ops.top_k(score, 1)
        return ops.take(beats.astype("float32"), best)


@keras.saving.register_keras_serializable("ser_tf")
class HarmonicPercussive(Descriptor):
    """Level of the harmonic and of the percussive part of a clip, dB.

    Fitzgerald's separation (DAFx 2010) as in ``librosa.effects.hpss``, soft masks of power two over
    31 frames and 31 bins, but with moving means where he takes moving medians: medians over 31
    neighbours of every bin would outweigh all else in the graph.

    Input: power spectrum ``(batch, frames, 1025)``. Output: ``(batch, 2)``.
    """

    def call(self, power: Any) -> Any:
        magnitude = ops.sqrt(power)
        harmonic = _moving_mean(magnitude)
        across = _moving_mean(ops.transpose(magnitude, (0, 2, 1)))
        percussive = ops.transpose(across, (0, 2, 1))
        squares = ops.square(harmonic), ops.square(percussive)
        total = ops.maximum(squares[0] + squares[1], 1e-20)
        weights = _mean_square_weights().astype("float32")
        parts = [
            ops.mean(ops.sum(power * ops.square(square / total) * weights, axis=-1), axis=1)
            for square in squares
        ]
        return decibels(ops.stack(parts, axis=-1))


def _moving_mean(values: Any) -> Any:
    return ops.average_pool(values, SMOOTHING, 1, padding="same", data_format="channels_last")
