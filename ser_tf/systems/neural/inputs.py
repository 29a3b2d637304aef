"""What each row hears: waveform to features, as a Keras model of descriptors.

All take a waveform ``(batch, window)`` at 22,050 Hz.
"""

from typing import Any

import keras

from ser_tf.frontend import MFCC, Deltas
from ser_tf.systems.neural.loudness import HarmonicPercussive, Loudness, Tempo, VoiceValues
from ser_tf.systems.neural.recipe import LIBROSA_RATE
from ser_tf.systems.neural.spectra import (
    Chroma,
    FramePower,
    MeanAndDeviation,
    MelDecibels,
    PowerSpectrum,
    SpectralContrast,
    SpectralShape,
    ZeroCrossings,
)


def sequence(window: int) -> keras.Model:
    """D1's features in sequence: 40 MFCC, 12 chroma, 7 contrast: ``(batch, frames, 59)``."""
    waveform = keras.Input((window,), name="waveform")
    power = PowerSpectrum(LIBROSA_RATE)(waveform)
    parts = [MFCC(40)(MelDecibels(LIBROSA_RATE)(power)), *_tones(power)]
    return keras.Model(waveform, keras.layers.Concatenate()(parts), name="sequence")


def sequence_and_clip(window: int) -> keras.Model:
    """E2's features.

    Returns:
        ``frames``, ``(batch, frames, 60)``: 40 MFCC, 12 chroma, zero crossings, 7 contrast.
        ``clip``, ``(batch, 6)``: loudness, duration, level, peak, signal-to-noise, silence.
    """
    waveform = keras.Input((window,), name="waveform")
    power = PowerSpectrum(LIBROSA_RATE)(waveform)
    chroma, contrast = _tones(power)
    mfcc = MFCC(40)(MelDecibels(LIBROSA_RATE)(power))
    frames = [mfcc, chroma, ZeroCrossings(LIBROSA_RATE)(waveform), contrast]
    frame_power = FramePower(LIBROSA_RATE)(waveform)
    clip = [Loudness(LIBROSA_RATE)(power), VoiceValues(LIBROSA_RATE)(waveform, frame_power)]
    outputs = {
        "frames": keras.layers.Concatenate(name="frames")(frames),
        "clip": keras.layers.Concatenate(name="clip")(clip),
    }
    return keras.Model(waveform, outputs, name="sequence_and_clip")


def wide_sequence(window: int) -> keras.Model:
    """C1's features, ``(batch, frames, 187)``.

    13 MFCC, their Δ and ΔΔ, 12 chroma, 128 mel bands in dB, zero crossings, 7 contrast.
    """
    waveform = keras.Input((window,), name="waveform")
    power = PowerSpectrum(LIBROSA_RATE)(waveform)
    mel = MelDecibels(LIBROSA_RATE)(power)
    chroma, contrast = _tones(power)
    crossings = ZeroCrossings(LIBROSA_RATE)(waveform)
    parts = [Deltas()(MFCC(13)(mel)), chroma, mel, crossings, contrast]
    return keras.Model(waveform, keras.layers.Concatenate()(parts), name="wide_sequence")


def clip_statistics(window: int) -> keras.Model:
    """B1's features, ``(batch, 317)``.

    Means and deviations of 13 MFCC, 12 chroma, 128 mel bands in dB, centroid, bandwidth, roll-off
    and zero crossings; tempo; harmonic and percussive level.
    """
    waveform = keras.Input((window,), name="waveform")
    power = PowerSpectrum(LIBROSA_RATE)(waveform)
    mel = MelDecibels(LIBROSA_RATE)(power)
    shape = SpectralShape(LIBROSA_RATE)(power)
    crossings = ZeroCrossings(LIBROSA_RATE)(waveform)
    frames = [MFCC(13)(mel), Chroma(LIBROSA_RATE)(power), mel, shape, crossings]
    statistics = MeanAndDeviation()(keras.layers.Concatenate()(frames))
    values = [Tempo(LIBROSA_RATE)(mel), HarmonicPercussive(LIBROSA_RATE)(power)]
    outputs = keras.layers.Concatenate()([statistics, *values])
    return keras.Model(waveform, outputs, name="clip_statistics")


def _tones(power: Any) -> tuple[Any, Any]:
    return Chroma(LIBROSA_RATE)(power), SpectralContrast(LIBROSA_RATE)(power)
