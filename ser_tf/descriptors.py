"""Acoustic descriptors of a recording: one number each, by librosa from one shared spectrogram.

Their names begin with their family: ``mfcc_03_mean``, ``pitch_median_hz``.

========= =========================================================================================
family    descriptors
========= =========================================================================================
mfcc      ``mfcc_00`` … ``mfcc_39``, mean and std: 40 MFCC of 128 mel bands in dB
delta     ``delta_00`` … ``delta_12``, mean and std: their change from frame to frame, the first 13
delta2    ``delta2_00`` … ``delta2_12``, mean and std: the change of that
mel       ``mel_000`` … ``mel_127``, mean and std: power in 128 mel bands, dB
chroma    ``chroma_00`` … ``chroma_11``, mean and std: the twelve pitch classes from C
contrast  ``contrast_0`` … ``contrast_6``, mean and std: peaks against valleys in seven bands, dB
centroid  ``centroid_mean``, ``centroid_std``: where the spectrum's middle lies, Hz
bandwidth ``bandwidth_mean``, ``bandwidth_std``: how wide it is about that, Hz
rolloff   ``rolloff_mean``, ``rolloff_std``: what 85 % of it lies below, Hz
zcr       ``zcr_mean``, ``zcr_std``: zero crossings, a share of the samples
rms       ``rms_mean``, ``rms_std``: root mean square, of full scale
tempo     ``tempo_bpm``: the beat that suits the onsets best, beats a minute
hpss      ``hpss_harmonic_db``, ``hpss_percussive_db``: power of the two parts of the spectrum, dB;
          ``hpss_harmonic_share``: the former's share of both
pitch     ``pitch_median_hz``; ``pitch_std``, ``pitch_range`` (5th to 95th percentile) in semitones;
          ``pitch_slope``, semitones a second; ``pitch_voiced``, the share of frames with a pitch
========= =========================================================================================

Means and standard deviations are over the frames. A descriptor that a recording does not have (the
pitch where nothing is voiced) is NaN.
"""

import librosa
import numpy as np
from numpy.typing import NDArray

from edge.audio import SAMPLE_RATE

FRAME = 1024  # samples, 64 ms
HOP = 256  # samples, 16 ms
N_MELS = 128
N_MFCC = 40
N_DELTA = 13

FAMILIES = {
    "mfcc": "MFCC",
    "delta": "MFCC Δ",
    "delta2": "MFCC ΔΔ",
    "mel": "mel spectrum",
    "chroma": "chroma",
    "contrast": "spectral contrast",
    "centroid": "spectral centroid",
    "bandwidth": "spectral bandwidth",
    "rolloff": "roll-off",
    "zcr": "zero crossings",
    "rms": "RMS",
    "tempo": "tempo",
    "hpss": "harmonic and percussive energy",
    "pitch": "pitch contour",
}

# Medians over the spans of librosa's own 31 frames and 31 bins (0.72 s, 334 Hz), but of every
# second frame: on all of them this alone would take longer than all else together.
HPSS_STRIDE = 2
HPSS_KERNEL = (23, 21)  # frames, bins

PITCH_RANGE = (60.0, 800.0)  # Hz
VOICED_SIMILARITY = 0.6  # of a period to the next one, at most 1
VOICED_RANGE_DB = 35.0  # below the loudest frame

LEAST_POWER = 1e-10  # keeps logarithms finite


def family(name: str) -> str:
    """The family of a descriptor, a key of :data:`FAMILIES`.

    Examples:
        >>> family("mfcc_03_mean")
        'mfcc'
    """
    return name.partition("_")[0]


def describe(waveform: NDArray[np.float32]) -> dict[str, float]:
    """The descriptors of a recording, as the table above has them.

    Args:
        waveform: float32[n], mono, at 16,000 Hz, of any length but 0.

    Returns:
        By name, always the same names in the same order.

    Raises:
        ValueError: It is empty.
    """
    if not len(waveform):
        raise ValueError("an empty waveform has no descriptors")
    magnitude, mel_db, mfcc = spectra(waveform)
    return {
        **_moments("mfcc", mfcc),
        **_moments("delta", librosa.feature.delta(mfcc[:N_DELTA], mode="nearest")),
        **_moments("delta2", librosa.feature.delta(mfcc[:N_DELTA], order=2, mode="nearest")),
        **_moments("mel", mel_db),
        **_moments(
            "chroma", librosa.feature.chroma_stft(S=magnitude**2, sr=SAMPLE_RATE, tuning=0.0)
        ),
        **_moments("contrast", librosa.feature.spectral_contrast(S=magnitude, sr=SAMPLE_RATE)),
        **_shape(magnitude),
        **_level(waveform),
        **_tempo(mel_db),
        **_parts(magnitude[:, ::HPSS_STRIDE]),
        **_pitch(waveform),
    }


def spectra(
    waveform: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """The spectrogram that descriptors share, and what comes of it.

    Args:
        waveform: float32[n], mono, at 16,000 Hz.

    Returns:
        Magnitudes float32[513, frames], mel power in dB float32[128, frames] (no more than 80 dB
        below its own largest value) and MFCC float32[40, frames]; 64 ms frames, 16 ms apart.
    """
    padded = np.pad(waveform, (0, max(0, FRAME - len(waveform))))
    magnitude = np.abs(librosa.stft(padded, n_fft=FRAME, hop_length=HOP, dtype=np.complex64))
    mel = librosa.feature.melspectrogram(S=magnitude**2, sr=SAMPLE_RATE, n_mels=N_MELS)
    mel_db = librosa.power_to_db(mel)
    return magnitude, mel_db, librosa.feature.mfcc(S=mel_db, n_mfcc=N_MFCC)


def pitch_contour(waveform: NDArray[np.float32]) -> NDArray[np.float64]:
    """The fundamental frequency of each frame by YIN.

    de Cheveigné and Kawahara, 2002, https://doi.org/10.1121/1.1458024. YIN finds a period in
    anything. A frame counts as voiced where the signal half a frame long resembles itself one
    period on (normalised cross-correlation; Talkin, 1995) and is within 35 dB of the loudest.

    Args:
        waveform: float32[n], mono, at 16,000 Hz.

    Returns:
        float64[1 + n // 256] in Hz, NaN where there is no voice.
    """
    low, high = PITCH_RANGE
    frequency = librosa.yin(
        waveform, fmin=low, fmax=high, sr=SAMPLE_RATE, frame_length=FRAME, hop_length=HOP
    )
    padded = np.pad(waveform.astype(np.float64), FRAME // 2)
    starts = np.arange(len(frequency))[:, None] * HOP + np.arange(FRAME // 2)
    period = np.rint(SAMPLE_RATE / frequency).astype(int)[:, None]
    now, then = padded[starts], padded[starts + period]
    energy, energy_then = (now**2).sum(axis=1), (then**2).sum(axis=1)
    similarity = (now * then).sum(axis=1) / np.sqrt(np.maximum(energy * energy_then, 1e-20))
    loud = energy > energy.max() * 10.0 ** (-VOICED_RANGE_DB / 10.0)
    return np.where(loud & (similarity >= VOICED_SIMILARITY), frequency, np.nan)


def _moments(name: str, rows: NDArray[np.floating]) -> dict[str, float]:
    """Mean and std over frames of ``rows`` (float[rows, frames])."""
    width = len(str(len(rows) - 1))
    means, deviations = rows.mean(axis=1), rows.std(axis=1)
    return {
        f"{name}_{k:0{width}d}_{moment}": float(values[k])
        for moment, values in (("mean", means), ("std", deviations))
        for k in range(len(rows))
    }


def _track(name: str, values: NDArray[np.floating]) -> dict[str, float]:
    """Mean and std over frames of ``values`` (float[1, frames])."""
    return {f"{name}_mean": float(values.mean()), f"{name}_std": float(values.std())}


def _shape(magnitude: NDArray[np.floating]) -> dict[str, float]:
    centroid = librosa.feature.spectral_centroid(S=magnitude, sr=SAMPLE_RATE)
    bandwidth = librosa.feature.spectral_bandwidth(S=magnitude, sr=SAMPLE_RATE, centroid=centroid)
    rolloff = librosa.feature.spectral_rolloff(S=magnitude, sr=SAMPLE_RATE, roll_percent=0.85)
    return {
        **_track("centroid", centroid),
        **_track("bandwidth", bandwidth),
        **_track("rolloff", rolloff),
    }


def _level(waveform: NDArray[np.float32]) -> dict[str, float]:
    crossings = librosa.feature.zero_crossing_rate(waveform, frame_length=FRAME, hop_length=HOP)
    rms = librosa.feature.rms(y=waveform, frame_length=FRAME, hop_length=HOP)
    return {**_track("zcr", crossings), **_track("rms", rms)}


def _tempo(mel_db: NDArray[np.floating]) -> dict[str, float]:
    onsets = librosa.onset.onset_strength(S=mel_db, sr=SAMPLE_RATE)
    tempo = librosa.feature.tempo(onset_envelope=onsets, sr=SAMPLE_RATE, hop_length=HOP)
    return {"tempo_bpm": float(tempo[0])}


def _parts(magnitude: NDArray[np.floating]) -> dict[str, float]:
    """Of the parts that last and those that strike (Fitzgerald, 2010, median filtering)."""
    harmonic, percussive = (
        float(np.mean(part**2))
        for part in librosa.decompose.hpss(magnitude, kernel_size=HPSS_KERNEL)
    )
    return {
        "hpss_harmonic_db": 10.0 * np.log10(max(harmonic, LEAST_POWER)),
        "hpss_percussive_db": 10.0 * np.log10(max(percussive, LEAST_POWER)),
        "hpss_harmonic_share": harmonic / max(harmonic + percussive, LEAST_POWER),
    }


def _pitch(waveform: NDArray[np.float32]) -> dict[str, float]:
    contour = pitch_contour(waveform)
    voiced = np.flatnonzero(np.isfinite(contour))
    stated = dict.fromkeys(("median_hz", "std", "range", "slope"), float("nan"))
    if len(voiced):
        median = float(np.median(contour[voiced]))
        semitones = 12.0 * np.log2(contour[voiced] / median)
        low, high = np.percentile(semitones, (5, 95))
        stated["median_hz"] = median
        stated["std"] = float(semitones.std())
        stated["range"] = float(high - low)
    if len(voiced) > 1:
        stated["slope"] = float(np.polyfit(voiced * HOP / SAMPLE_RATE, semitones, 1)[0])
    stated["voiced"] = len(voiced) / len(contour)
    return {f"pitch_{name}": value for name, value in stated.items()}
