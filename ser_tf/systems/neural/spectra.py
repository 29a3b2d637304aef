"""Keras layers from a waveform to the frame features of librosa, in built-in TFLite operations.

All of them start from one power spectrum: Hann-windowed frames of 2,048 samples, 512 apart, the
first centred on the first sample, silence beyond the ends; librosa's defaults. Shapes: ``samples``
become ``frames = 1 + samples // 512``.
"""

import itertools
from typing import Any, Literal

import keras
import librosa
import numpy as np
import scipy.signal
from keras import ops

from ser_tf.systems.neural.recipe import HOP_LENGTH

FRAME_LENGTH = 2048  # samples in one FFT: 93 ms at 22,050 Hz
BINS = FRAME_LENGTH // 2 + 1
LEAST_POWER = 1e-10  # below counts as this, as in librosa.power_to_db
LEAST_MAGNITUDE = 1e-4  # sum over a frame's bins below which it is silent; 16-bit noise has 0.2
TOP_DB = 80.0  # what lies further below a clip's maximum is raised to it, as in librosa.power_to_db
ROLL_OFF = 0.85  # share of the magnitude below the roll-off frequency
CONTRAST_BANDS = 6  # above 200 Hz, each an octave; one more lies below
CONTRAST_LOWEST = 200.0  # Hz
CONTRAST_QUANTILE = 0.02  # of a band's bins that make its peak, and its valley
LEAST_AMPLITUDE = 1e-10  # below has no sign, as in librosa.zero_crossings


class Descriptor(keras.layers.Layer):
    """A layer without weights that always computes in float32.

    Args:
        sample_rate: Of the waveform, Hz.
    """

    def __init__(self, sample_rate: int, **kwargs: Any) -> None:
        # The range of a power spectrum exceeds what half precision holds.
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.sample_rate = sample_rate

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "sample_rate": self.sample_rate}


def decibels(power: Any) -> Any:
    """``10 log10`` of a power, at least -100."""
    return ops.log(ops.maximum(power, LEAST_POWER)) * np.float32(10 / np.log(10))


def _at_most_below_top(level: Any) -> Any:
    """Levels ``(batch, frames, values)`` raised to 80 dB below the highest of each clip."""
    return ops.maximum(level, ops.max(level, axis=(1, 2), keepdims=True) - TOP_DB)


@keras.saving.register_keras_serializable("ser_tf")
class PowerSpectrum(Descriptor):
    """``abs(librosa.stft(waveform)) ** 2``.

    Input: ``(batch, samples)``. Output: ``(batch, frames, 1025)``.

    Example:
        >>> PowerSpectrum(22050)(np.zeros((2, 110250), "float32")).shape
        TensorShape([2, 216, 1025])
    """

    def call(self, waveform: Any) -> Any:
        hann = scipy.signal.get_window("hann", FRAME_LENGTH).astype("float32")
        padded = ops.pad(waveform, [[0, 0], [FRAME_LENGTH // 2, FRAME_LENGTH // 2]])
        frames = ops.extract_sequences(padded, FRAME_LENGTH, HOP_LENGTH)
        real, imaginary = ops.rfft(frames * hann)
        return ops.square(real) + ops.square(imaginary)


@keras.saving.register_keras_serializable("ser_tf")
class MelDecibels(Descriptor):
    """``librosa.power_to_db(librosa.feature.melspectrogram(...))``.

    Args:
        sample_rate: Hz.
        n_mels: Mel bands.
        reference: What is 0 dB: ``one``, or the ``maximum`` of the clip.

    Input: power spectrum ``(batch, frames, 1025)``. Output: ``(batch, frames, n_mels)`` in dB.
    """

    def __init__(
        self,
        sample_rate: int,
        n_mels: int = 128,
        reference: Literal["one", "maximum"] = "one",
        **kwargs: Any,
    ) -> None:
        super().__init__(sample_rate, **kwargs)
        self.n_mels = n_mels
        self.reference = reference

    def call(self, power: Any) -> Any:
        mel = librosa.filters.mel(sr=self.sample_rate, n_fft=FRAME_LENGTH, n_mels=self.n_mels)
        level = _at_most_below_top(decibels(ops.matmul(power, mel.T.astype("float32"))))
        if self.reference == "maximum":
            level -= ops.max(level, axis=(1, 2), keepdims=True)
        return level

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "n_mels": self.n_mels, "reference": self.reference}


@keras.saving.register_keras_serializable("ser_tf")
class Chroma(Descriptor):
    """``librosa.feature.chroma_stft(tuning=0)``: the twelve semitones, the strongest of a frame 1.

    librosa estimates the tuning of each clip unless told; here A4 is 440 Hz. Digital silence has no
    chroma, where librosa brings what resampling leaves there to one.

    Input: power spectrum ``(batch, frames, 1025)``. Output: ``(batch, frames, 12)``.
    """

    def call(self, power: Any) -> Any:
        bank = librosa.filters.chroma(sr=self.sample_rate, n_fft=FRAME_LENGTH, tuning=0.0)
        energy = ops.matmul(power, bank.T.astype("float32"))
        return energy / ops.maximum(ops.max(energy, axis=-1, keepdims=True), LEAST_POWER)


@keras.saving.register_keras_serializable("ser_tf")
class SpectralContrast(Descriptor):
    """``librosa.feature.spectral_contrast``: peak against valley of seven bands, dB.

    Input: power spectrum ``(batch, frames, 1025)``. Output: ``(batch, frames, 7)``.
    """

    def call(self, power: Any) -> Any:
        magnitude = ops.sqrt(power)
        peaks, valleys = [], []
        for start, end, count in self._bands():
            band = magnitude[:, :, start:end]
            peaks.append(ops.mean(ops.top_k(band, count)[0], axis=-1))
            valleys.append(-ops.mean(ops.top_k(-band, count)[0], axis=-1))
        peak, valley = (decibels(ops.stack(values, axis=-1)) for values in (peaks, valleys))
        return _at_most_below_top(peak) - _at_most_below_top(valley)

    def _bands(self) -> list[tuple[int, int, int]]:
        """First bin, the one after the last, and bins in the quantile, as librosa reckons them."""
        frequencies = librosa.fft_frequencies(sr=self.sample_rate, n_fft=FRAME_LENGTH)
        edges = [0.0, *(CONTRAST_LOWEST * 2.0 ** np.arange(CONTRAST_BANDS + 1))]
        bands = []
        for k, (low, high) in enumerate(itertools.pairwise(edges)):
            inside = np.flatnonzero((frequencies >= low) & (frequencies <= high))
            start = inside[0] - (k > 0)
            end = BINS if k == CONTRAST_BANDS else inside[-1] + 1
            count = max(1, round(CONTRAST_QUANTILE * (end - start)))
            bands.append((int(start), int(end - (k < CONTRAST_BANDS)), count))
        return bands


@keras.saving.register_keras_serializable("ser_tf")
class SpectralShape(Descriptor):
    """Spectral centroid, bandwidth and roll-off (85 %) as librosa reckons them, in Hz.

    Digital silence has zero of each.

    Input: power spectrum ``(batch, frames, 1025)``. Output: ``(batch, frames, 3)``.
    """

    def call(self, power: Any) -> Any:
        magnitude = ops.sqrt(power)
        frequencies = librosa.fft_frequencies(sr=self.sample_rate, n_fft=FRAME_LENGTH)
        frequencies = frequencies.astype("float32")
        total = ops.sum(magnitude, axis=-1, keepdims=True)
        share = magnitude / ops.maximum(total, LEAST_MAGNITUDE)
        centroid = ops.sum(share * frequencies, axis=-1, keepdims=True)
        deviation = ops.square(frequencies - centroid)
        bandwidth = ops.sqrt(ops.sum(share * deviation, axis=-1, keepdims=True))
        below = ops.cast(ops.cumsum(magnitude, axis=-1) < ROLL_OFF * total, "float32")
        roll_off = ops.sum(below, axis=-1, keepdims=True) * np.float32(frequencies[1])
        roll_off *= ops.cast(total >= LEAST_MAGNITUDE, "float32")
        return ops.concatenate([centroid, bandwidth, roll_off], axis=-1)


def _sum_over_frames(values: Any) -> Any:
    """Sum of the samples ``(batch, samples)`` in each frame: ``(batch, frames, 1)``."""
    blocks_in_frame = FRAME_LENGTH // HOP_LENGTH
    frames = 1 + values.shape[1] // HOP_LENGTH
    length = (frames - 1) * HOP_LENGTH + FRAME_LENGTH
    before = FRAME_LENGTH // 2
    after = length - before - values.shape[1]
    padded = ops.pad(values, [[0, 0], [before, max(after, 0)]])[:, :length]
    blocks = ops.sum(ops.reshape(padded, (-1, length // HOP_LENGTH, HOP_LENGTH)), axis=-1)
    shifted = [blocks[:, k : k + frames] for k in range(blocks_in_frame)]
    return ops.expand_dims(sum(shifted[1:], start=shifted[0]), axis=-1)


@keras.saving.register_keras_serializable("ser_tf")
class FramePower(Descriptor):
    """Mean square of each frame, ``librosa.feature.rms(...) ** 2``.

    Input: ``(batch, samples)``. Output: ``(batch, frames, 1)``.
    """

    def call(self, waveform: Any) -> Any:
        return _sum_over_frames(ops.square(waveform)) / FRAME_LENGTH


@keras.saving.register_keras_serializable("ser_tf")
class ZeroCrossings(Descriptor):
    """Share of the samples of each frame that differ in sign from the one before.

    ``librosa.feature.zero_crossing_rate``, but for the first sample of a frame, which librosa never
    counts.

    Input: ``(batch, samples)``. Output: ``(batch, frames, 1)``.
    """

    def call(self, waveform: Any) -> Any:
        negative = ops.cast(waveform < -LEAST_AMPLITUDE, "float32")
        crossings = ops.abs(negative[:, 1:] - negative[:, :-1])
        return _sum_over_frames(ops.pad(crossings, [[0, 0], [1, 0]])) / FRAME_LENGTH


@keras.saving.register_keras_serializable("ser_tf")
class MeanAndDeviation(keras.layers.Layer):
    """Mean and standard deviation over the frames of a clip.

    Input: ``(batch, frames, features)``. Output: ``(batch, 2 * features)``, first all means.
    """

    def call(self, features: Any) -> Any:
        mean = ops.mean(features, axis=1)
        variance = ops.mean(ops.square(features - mean[:, None]), axis=1)
        return ops.concatenate([mean, ops.sqrt(variance)], axis=-1)
