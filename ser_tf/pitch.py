"""Keras layers from narrow spectral bins to the salience of fundamental frequencies and a track.

Mel bands do not tell the harmonics of a low voice apart, so that a model which sees them alone
hears how loud and how bright a voice is, but hardly its melody.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from ser_tf.config import N_HARMONIC_BINS, PITCH_FRAME_LENGTH, SAMPLE_RATE

F0_MIN = 65.0  # Hz
F0_PER_OCTAVE = 16
N_F0 = 54  # up to 646 Hz
F0 = F0_MIN * 2 ** (np.arange(N_F0) / F0_PER_OCTAVE)
HARMONIC_DECAY = 0.85  # weight of a harmonic against that of the one below it

N_TRACK = 2  # values of a pitch track
TRACK_MIDDLE = 200.0  # Hz
TRACK_SHARPNESS = 0.4  # logarithm of how much more one counts that is more salient by one

# A layer that standardises features keeps half of how much they vary against one another, so these
# bring them to about the spread of the coefficients.
SALIENCE_SCALE = 2.0
TRACK_SCALE = 20.0  # an octave


@keras.saving.register_keras_serializable("ser_tf")
class PitchSalience(keras.layers.Layer):
    """How much each fundamental frequency stands out in a frame, on a logarithmic scale.

    The levels of its harmonics above those halfway between them, summed, as a constant matrix
    product: subharmonic summation (Hermes, 1988, https://doi.org/10.1121/1.396427) with the
    valleys subtracted, as in SWIPE (Camacho and Harris, 2008, https://doi.org/10.1121/1.2951592),
    so that neither level nor a smooth frequency response matters. Harmonics up to 1,500 Hz, each
    weighing 0.85 of the one below, over the square root of all their weights: over the weights
    themselves three times a fundamental would stand out as it does, over nothing half of it. What
    is below zero is zero.

    Input: float32 ``(batch, frames, 96)``, bins of 15.6 Hz in dB. Output: float32
    ``(batch, frames, 54)``, twice that, from 65 to 646 Hz in sixteenths of an octave.

    Example:
        >>> PitchSalience()(np.zeros((2, 224, 96), "float32")).shape
        TensorShape([2, 224, 54])
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self._comb = SALIENCE_SCALE * _comb()

    def call(self, bins: Any) -> Any:
        return ops.relu(ops.matmul(bins, self._comb))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], N_F0)


@keras.saving.register_keras_serializable("ser_tf")
class PitchTrack(keras.layers.Layer):
    """Salience to the pitch of a frame and how much it stands out.

    The pitch is the mean of all fundamentals, the salient ones weighing more, as a softmax; the
    other value is the largest salience. Where there is no voice, the pitch means nothing and the
    other value is small.

    Input: What :class:`PitchSalience` gives, ``(batch, frames, 54)``. Output: ``(batch, frames,
    2)``: twentieths of an octave above 200 Hz, and the salience.

    Example:
        >>> PitchTrack()(np.zeros((2, 224, 54), "float32")).shape
        TensorShape([2, 224, 2])
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        octaves = np.log2(F0 / TRACK_MIDDLE)[:, None]
        self._places = (TRACK_SCALE * octaves).astype("float32")

    def call(self, salience: Any) -> Any:
        shares = ops.softmax(salience * (TRACK_SHARPNESS / SALIENCE_SCALE), axis=-1)
        pitch = ops.matmul(shares, self._places)
        return ops.concatenate([pitch, ops.max(salience, axis=-1, keepdims=True)], axis=-1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], N_TRACK)


def _comb() -> np.ndarray:
    """What each bin adds to each fundamental, float32 ``(96, 54)``."""
    bins = np.arange(N_HARMONIC_BINS)
    harmonics = np.arange(1, N_HARMONIC_BINS)
    comb = np.zeros((N_HARMONIC_BINS, N_F0))
    for column, f0 in enumerate(F0 * PITCH_FRAME_LENGTH / SAMPLE_RATE):
        inside = harmonics[(harmonics + 0.5) * f0 <= bins[-1]]
        weights = HARMONIC_DECAY ** (inside - 1)
        for beside, share in ((0.0, 1.0), (-0.5, -0.5), (0.5, -0.5)):
            places = (inside + beside) * f0
            hats = np.maximum(0, 1 - np.abs(bins[:, None] - places))  # linear between bins
            comb[:, column] += hats @ (share * weights / np.sqrt(weights.sum()))
    return comb.astype("float32")
