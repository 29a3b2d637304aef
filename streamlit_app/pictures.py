"""Spectrogram and MFCC of the beginning of a recording, as charts with a time axis."""

from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO
from typing import BinaryIO

import altair as alt
import numpy as np
import pandas as pd

from edge import audio

PICTURED = 60.0  # seconds; of anything longer only the beginning is drawn
PICTURE_FRAMES = 1_200  # most columns
N_FFT, HOP, N_MELS, N_MFCC = 512, 160, 80, 20
DYNAMIC_RANGE = 80.0  # dB below the loudest point that the spectrogram shows
TICKS = (500, 1_000, 2_000, 4_000, 8_000)  # Hz
MARGIN = 58  # pixels left of every picture, so that they line up


def beginning(recording: BinaryIO) -> tuple[np.ndarray, bool]:
    """float32[n] at 16,000 Hz, of at most the first minute, and whether that is all of it."""
    recording.seek(0)
    blocks = audio.blocks(recording, PICTURED)
    return next(blocks), next(blocks, None) is None


def spectrogram(waveform: np.ndarray) -> alt.Chart:
    """Mel power spectrum in dB re its loudest point, over mel = 2595 log10(1 + f / 700 Hz).

    Args:
        waveform: float32[n] at 16,000 Hz.
    """
    import librosa

    top = float(librosa.hz_to_mel(audio.SAMPLE_RATE / 2, htk=True))
    return _image(
        _decibels(waveform),
        waveform,
        (0.0, top),
        librosa.hz_to_mel(np.array(TICKS), htk=True).tolist(),
        "format(0.7 * (pow(10, datum.value / 2595) - 1), '.1~f') + ' kHz'",
        "Mel spectrogram: power by frequency, 0 to 8 kHz, over time; bright is loud.",
    )


def mfcc(waveform: np.ndarray) -> alt.Chart:
    """The first 20 mel-frequency cepstral coefficients, each standardised over time.

    Args:
        waveform: float32[n] at 16,000 Hz.
    """
    import librosa

    coefficients = librosa.feature.mfcc(S=_decibels(waveform), n_mfcc=N_MFCC)
    spread = np.maximum(coefficients.std(axis=1, keepdims=True), 1e-6)
    standard = (coefficients - coefficients.mean(axis=1, keepdims=True)) / spread
    return _image(
        standard.clip(-3, 3),
        waveform,
        (0.0, float(N_MFCC)),
        [k + 0.5 for k in range(0, N_MFCC, 5)],
        "'MFCC ' + format(floor(datum.value), 'd')",
        "MFCC 0 to 19 over time, each against its own mean; bright is above it.",
    )


def seconds_axis(end: float, name: str = "seconds") -> alt.X:
    """The time axis that all pictures share."""
    return alt.X(
        f"{name}:Q",
        title="seconds",
        scale=alt.Scale(domain=[0, float(end)], nice=False),
        axis=alt.Axis(grid=False, tickCount=8),
    )


def _decibels(waveform: np.ndarray) -> np.ndarray:
    import librosa

    power = librosa.feature.melspectrogram(
        y=waveform,
        sr=audio.SAMPLE_RATE,
        n_fft=N_FFT,
        hop_length=max(HOP, len(waveform) // PICTURE_FRAMES),
        n_mels=N_MELS,
        htk=True,
    )
    return librosa.power_to_db(power, ref=np.max, top_db=DYNAMIC_RANGE)


def _image(
    values: np.ndarray,
    waveform: np.ndarray,
    span: tuple[float, float],
    ticks: Sequence[float],
    label: str,
    description: str,
) -> alt.Chart:
    """float[rows, frames] as a picture, the first row at the bottom."""
    from matplotlib.image import imsave

    png = BytesIO()
    imsave(png, values, cmap="magma", origin="lower", format="png")
    table = pd.DataFrame(
        {
            "seconds": [0.0],
            "end": [len(waveform) / audio.SAMPLE_RATE],
            "bottom": [span[0]],
            "top": [span[1]],
            "picture": ["data:image/png;base64," + b64encode(png.getvalue()).decode()],
        }
    )
    return (
        alt.Chart(table, description=description)
        .mark_image(aspect=False)
        .encode(
            x=seconds_axis(table["end"][0]),
            x2="end:Q",
            y=alt.Y(
                "bottom:Q",
                title=None,
                scale=alt.Scale(domain=list(span), nice=False),
                axis=alt.Axis(values=ticks, labelExpr=label, grid=False, minExtent=MARGIN),
            ),
            y2="top:Q",
            url="picture:N",
        )
        .properties(height=220)
    )
