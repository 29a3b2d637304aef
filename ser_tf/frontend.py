"""Keras layers from a waveform to normalised MFCC, Δ, ΔΔ and pitch.

All but the tables of constants is written in ``keras.ops``: the layers run inside ``tf.data``,
inside the exported TFLite graph (built-in ops only) and under Keras's other backends.
Shapes: ``batch`` waveforms of ``samples`` become ``frames = 1 + (samples - 512) // 256``.
"""

from collections.abc import Sequence
from typing import Any

import keras
import librosa.filters
import numpy as np
import scipy.fft
import scipy.signal
from keras import ops

from ser_tf.config import (
    F_MAX,
    F_MIN,
    FRAME_LENGTH,
    HOP_LENGTH,
    N_HARMONIC_BINS,
    N_MELS,
    PITCH_FRAME_LENGTH,
    SAMPLE_RATE,
    WINDOW_LENGTH,
    FrontendConfig,
)
from ser_tf.pitch import N_F0, N_TRACK, PitchSalience, PitchTrack

DELTA_WIDTH = 9  # frames in the regression window of Δ and ΔΔ, as in librosa

# Longer frames see the waveform at 4 kHz, where nothing below 1.6 kHz is missed.
DECIMATION = 4
DECIMATION_BLOCK = 64  # samples that are filtered together

MEL_PARTS = 4  # matrices of the filter bank


@keras.saving.register_keras_serializable("ser_tf")
class LogMelSpectrogram(keras.layers.Layer):
    """Waveform to log-mel spectrogram in dB.

    The power spectrum of Hann-windowed frames, summed into Slaney-normalised mel bands: what
    ``librosa.feature.melspectrogram(n_fft=512, win_length=400, hop_length=256, center=False)``
    gives, then ``10 log10``. Unlike ``librosa.power_to_db`` nothing is measured against the
    loudest value, so that level stays in.

    Args:
        n_mels: Mel bands.
        floor_db: Values below are raised to it, dB re one.
        speeds: Playing speeds at which the waveform is looked at, one after another. Pitch,
            formants and tempo move together about the middle of the window: spectra and frames are
            interpolated, which takes less room in an exported graph than a filter bank a speed.
        harmonic_bins: Behind the mel bands, so many bins of 15.6 Hz from the spectra of longer
            frames (64 ms) about the same middles, scaled so that white noise is as strong in both.

    Input: float32 ``(batch, samples)`` at 16 kHz. Output: float32
    ``(batch * speeds, frames, n_mels + harmonic_bins)``, the speeds of one waveform side by side.

    Example:
        >>> LogMelSpectrogram()(np.zeros((2, 57600), "float32")).shape
        TensorShape([2, 224, 64])
    """

    def __init__(
        self,
        n_mels: int = N_MELS,
        floor_db: float = -80.0,
        speeds: Sequence[float] = (1.0,),
        harmonic_bins: int = 0,
        **kwargs: Any,
    ) -> None:
        # The range of a power spectrum exceeds what half precision holds.
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.n_mels = n_mels
        self.floor_db = floor_db
        self.speeds = tuple(map(float, speeds))
        self.harmonic_bins = harmonic_bins
        margin = (FRAME_LENGTH - WINDOW_LENGTH) // 2
        hann = scipy.signal.get_window("hann", WINDOW_LENGTH)
        self._window = np.pad(hann, margin).astype("float32")
        longer = scipy.signal.get_window("hann", PITCH_FRAME_LENGTH // DECIMATION)
        # A mel band is a mean over its bins times 1 / (width of a bin in Hz).
        alike = DECIMATION * np.sum(hann**2) / np.sum(longer**2) * FRAME_LENGTH / SAMPLE_RATE
        self._longer_window = (longer * np.sqrt(alike)).astype("float32")
        self._low_pass = _low_pass()
        self._mel = _filter_bank(n_mels)

    def call(self, waveform: Any) -> Any:
        power = _power(waveform, self._window, HOP_LENGTH)
        power = self._played(power)
        parts = [ops.matmul(power[..., low : low + len(part)], part) for low, part in self._mel]
        bands = self._decibels(ops.concatenate(parts, axis=-1))
        if self.harmonic_bins:
            bins = self.harmonic_bins
            # So many that none of those kept is silenced for lying beyond what was looked at.
            reach = int(np.ceil(bins / min(*self.speeds, 1.0))) + 1
            slower = self._decimated(waveform)
            power = _power(slower, self._longer_window, HOP_LENGTH // DECIMATION)
            longer = self._played(self._decibels(power[..., :reach]))
            bands = ops.concatenate([bands, longer[..., :bins]], axis=-1)
        if self.speeds == (1.0,):
            return bands
        return _paced(bands, self.speeds)

    def _decibels(self, power: Any) -> Any:
        audible = ops.maximum(power, 10 ** (self.floor_db / 10))
        return ops.log(audible) * np.float32(10 / np.log(10))

    def _decimated(self, waveform: Any) -> Any:
        """Every fourth sample of the low-passed waveform, with the margin of the longer frames."""
        margin = (PITCH_FRAME_LENGTH - FRAME_LENGTH) // 2
        before = margin + DECIMATION_BLOCK
        after = before + -waveform.shape[1] % DECIMATION_BLOCK
        padded = ops.pad(waveform, ((0, 0), (before, after)))
        blocks = ops.reshape(padded, (-1, padded.shape[1] // DECIMATION_BLOCK, DECIMATION_BLOCK))
        filtered = ops.conv(blocks, self._low_pass, padding="valid")
        samples = ops.reshape(filtered, (-1, filtered.shape[1] * filtered.shape[2]))
        return samples[:, : (waveform.shape[1] + 2 * margin) // DECIMATION]

    def _played(self, power: Any) -> Any:
        """Spectra as of all speeds, which stand behind ``batch``."""
        if self.speeds == (1.0,):
            return power
        by_bin = ops.transpose(power, (0, 2, 1))
        played = ops.stack([_transposed(by_bin, speed) for speed in self.speeds], axis=1)
        return ops.transpose(played, (0, 1, 3, 2))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "n_mels": self.n_mels,
            "floor_db": self.floor_db,
            "speeds": list(self.speeds),
            "harmonic_bins": self.harmonic_bins,
        }


def _filter_bank(n_mels: int) -> list[tuple[int, np.ndarray]]:
    """Mel bands as matrices: the first bin that each looks at, and float32 ``(bins, bands)``.

    One matrix for all is nearly all zeros; four take a quarter of its room and half of its time.
    """
    bank = librosa.filters.mel(
        sr=SAMPLE_RATE, n_fft=FRAME_LENGTH, n_mels=n_mels, fmin=F_MIN, fmax=F_MAX
    ).T.astype("float32")
    parts = []
    for bands in np.array_split(np.arange(n_mels), MEL_PARTS):
        inside = np.flatnonzero(bank[:, bands].any(axis=1))
        low, high = (inside[0], inside[-1] + 1) if len(inside) else (0, 1)
        parts.append((int(low), bank[low:high, bands]))
    return parts


def _low_pass() -> np.ndarray:
    """A linear-phase filter of 97 taps, 70 dB down where it would fold back onto what is looked at.

    As a convolution of blocks of samples, float32 ``(3, 64, 16)``: each block's filtered samples, a
    quarter as many, from the block and its neighbours.
    """
    taps = scipy.signal.firwin(
        97, SAMPLE_RATE / 2 / DECIMATION, window=("kaiser", 7.0), fs=SAMPLE_RATE
    )
    reach = len(taps) // 2
    kernel = np.zeros((3 * DECIMATION_BLOCK, DECIMATION_BLOCK // DECIMATION))
    for column in range(kernel.shape[1]):
        middle = DECIMATION_BLOCK + DECIMATION * column
        kernel[middle - reach : middle + reach + 1, column] = taps
    return kernel.reshape(3, DECIMATION_BLOCK, -1).astype("float32")


def _power(waveform: Any, window: np.ndarray, hop: int) -> Any:
    """Power spectra ``(batch, frames, bins)`` of frames as long as a window."""
    frames = ops.extract_sequences(waveform, len(window), hop)
    real, imaginary = ops.rfft(frames * window)
    return ops.square(real) + ops.square(imaginary)


def _transposed(power: Any, speed: float) -> Any:
    """Power spectrum ``(batch, bins, frames)`` as of a sound played at a speed: pitch alone."""
    if speed == 1:
        return power
    bins = np.arange(power.shape[1])
    inside = (bins <= speed * bins[-1]).astype("float32")[:, None]  # above is silence
    return _interpolated(power, bins / speed) * inside


def _paced(log_mel: Any, speeds: Sequence[float]) -> Any:
    """Spectrograms ``(batch, speeds, frames, bands)``, each as of its speed: tempo alone.

    All in one, ``(batch * speeds, frames, bands)``: TFLite takes longer to cut one speed out than
    to interpolate them all.
    """
    _, _, frames, bands = log_mel.shape
    middle = (frames - 1) / 2
    places = [
        frames * number + np.clip(middle + speed * (np.arange(frames) - middle), 0, frames - 1)
        for number, speed in enumerate(speeds)
    ]
    rows = ops.reshape(log_mel, (-1, len(speeds) * frames, bands))
    return ops.reshape(_interpolated(rows, np.concatenate(places)), (-1, frames, bands))


def _interpolated(values: Any, places: np.ndarray) -> Any:
    """Values ``(batch, rows, columns)`` at places between rows, linearly; the outermost go on.

    Rows lie together in memory, so that taking them is fast.
    """
    last = values.shape[1] - 1
    places = np.clip(places, 0, last)
    before = np.minimum(places.astype("int32"), last - 1)
    share = (places - before).astype("float32")[:, None]
    left, right = (ops.take(values, before + k, axis=1) for k in (0, 1))
    return left + share * (right - left)


@keras.saving.register_keras_serializable("ser_tf")
class MeanOverSpeeds(keras.layers.Layer):
    """The mean of what was answered at each playing speed.

    Args:
        speeds: How many stand side by side.

    Input: ``(batch * speeds, classes)``. Output: ``(batch, classes)``.
    """

    def __init__(self, speeds: int, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.speeds = speeds

    def call(self, logits: Any) -> Any:
        return ops.mean(ops.reshape(logits, (-1, self.speeds, logits.shape[-1])), axis=1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (None, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "speeds": self.speeds}


@keras.saving.register_keras_serializable("ser_tf")
class MFCC(keras.layers.Layer):
    """Log-mel spectrogram to mel-frequency cepstral coefficients.

    An orthonormal DCT-II over the bands as a constant matrix product, equal to
    ``librosa.feature.mfcc`` on the same spectrogram; ``tf.signal.mfccs_from_log_mel_spectrograms``
    would need Flex ops in TFLite.

    Args:
        n_mfcc: Coefficients kept, from the lowest.

    Input: ``(batch, frames, n_mels)`` in dB. Output: ``(batch, frames, n_mfcc)``.

    Example:
        >>> MFCC(13)(np.zeros((2, 224, 64), "float32")).shape
        TensorShape([2, 224, 13])
    """

    def __init__(self, n_mfcc: int = N_MELS, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.n_mfcc = n_mfcc

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        n_mels = input_shape[-1]
        assert n_mels is not None
        matrix = scipy.fft.dct(np.eye(n_mels), axis=0, norm="ortho")
        self._dct = matrix[: self.n_mfcc].T.astype("float32")

    def call(self, log_mel: Any) -> Any:
        return ops.matmul(log_mel, self._dct)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.n_mfcc)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "n_mfcc": self.n_mfcc}


@keras.saving.register_keras_serializable("ser_tf")
class Deltas(keras.layers.Layer):
    """Coefficients with their first and second time derivatives beside them.

    Savitzky-Golay regression over nine frames with the edge frames repeated, equal to
    ``librosa.feature.delta(order=1 and 2, mode="nearest")``.

    Input: ``(batch, frames, coefficients)``. Output: ``(batch, frames, 3 * coefficients)``,
    first the coefficients, then Δ and ΔΔ of each in turn.

    Example:
        >>> Deltas()(np.zeros((2, 224, 13), "float32")).shape
        TensorShape([2, 224, 39])
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = input_shape[-1]
        assert channels is not None
        taps = [
            scipy.signal.savgol_coeffs(DELTA_WIDTH, polyorder=order, deriv=order, use="dot")
            for order in (1, 2)
        ]
        one_channel = np.stack(taps, axis=-1).astype("float32")[:, None, :]
        self._taps = np.repeat(one_channel, channels, axis=1)

    def call(self, coefficients: Any) -> Any:
        margin = DELTA_WIDTH // 2
        first, last = coefficients[:, :1], coefficients[:, -1:]
        padded = ops.concatenate([first] * margin + [coefficients] + [last] * margin, axis=1)
        both = ops.depthwise_conv(padded, self._taps, padding="valid")
        return ops.concatenate([coefficients, both], axis=-1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], 3 * (input_shape[-1] or 0))


@keras.saving.register_keras_serializable("ser_tf")
class Standardise(keras.layers.Layer):
    """Features less the training side's mean, over a scale.

    Mean and scale are weights that training does not change: they travel with the model. Nothing is
    taken from the clip itself, so its level stays visible.

    Input and output: ``(batch, frames, features)``.
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        shape = (input_shape[-1],)
        self.mean = self.add_weight(shape=shape, initializer="zeros", trainable=False, name="mean")
        self.scale = self.add_weight(shape=shape, initializer="ones", trainable=False, name="scale")

    def set_statistics(self, mean: np.ndarray, scale: np.ndarray) -> None:
        """Take over statistics of the training side, float ``(features,)`` each."""
        self.mean.assign(mean)
        self.scale.assign(np.maximum(scale, 1e-3))

    def call(self, features: Any) -> Any:
        return (features - self.mean) / self.scale

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape


def build_log_mel(
    config: FrontendConfig,
    *,
    headroom_db: float = 0.0,
    speeds: Sequence[float] = (1.0,),
    **kwargs: Any,
) -> LogMelSpectrogram:
    """The first half of the front end: waveform to what :func:`build_cepstrum` takes.

    Args:
        config: Its floor, and whether bins for pitch stand behind the mel bands.
        headroom_db: How far below the floor values are still told apart.
        speeds: As in :class:`LogMelSpectrogram`.
        kwargs: Of the layer, such as ``name``.
    """
    bins = N_HARMONIC_BINS if config.pitch else 0
    floor_db = config.floor_db - headroom_db
    return LogMelSpectrogram(floor_db=floor_db, speeds=speeds, harmonic_bins=bins, **kwargs)


def n_bands(config: FrontendConfig) -> int:
    """Values a frame that :func:`build_log_mel` gives."""
    return N_MELS + (N_HARMONIC_BINS if config.pitch else 0)


def build_cepstrum(config: FrontendConfig) -> keras.Model:
    """Spectrogram ``(batch, frames, n_bands)`` to features ``(batch, frames, n_features)``.

    The second half of the front end. It stands apart because everything that training changes in a
    recording is changed in the spectrogram, between the halves.
    """
    bands = keras.Input((None, n_bands(config)), name="bands")
    mfcc = MFCC(config.n_mfcc)(bands[..., :N_MELS])
    parts = []
    if config.deltas:
        parts.append(Deltas()(mfcc[..., : config.deltas]))
    if config.deltas < config.n_mfcc:
        parts.append(mfcc[..., config.deltas :])
    if config.pitch:
        salience = PitchSalience()(bands[..., N_MELS:])
        parts += [Deltas()(PitchTrack()(salience)), salience]
    return keras.Model(bands, ops.concatenate(parts, axis=-1), name="cepstrum")


def n_features(config: FrontendConfig) -> int:
    """Features a frame that :func:`build_cepstrum` gives."""
    pitch = 3 * N_TRACK + N_F0 if config.pitch else 0
    return config.n_mfcc + 2 * min(config.deltas, config.n_mfcc) + pitch
