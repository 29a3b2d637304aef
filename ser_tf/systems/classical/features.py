"""Feature sets of the classical systems: one vector a recording, by librosa.

=== ======== =========================== ====== ====================================================
set rate     heard                       values they are
=== ======== =========================== ====== ====================================================
b   22050 Hz 3 s, the middle of the      317    mean and std of 13 MFCC, 12 chroma, 128 mel bands
             voice                              (dB), centroid, bandwidth, roll-off (85 %) and zero
                                                crossings; tempo; harmonic and percussive energy
d   22050 Hz all of it                   59     mean of 40 MFCC, 12 chroma, 7 spectral contrast
e   24000 Hz all of it                   61     those of d, mean of zero crossings and of RMS
=== ======== =========================== ====== ====================================================

Frames are librosa's own: 2,048 samples, 512 apart, under a Hann window; 128 mel bands; MFCC of mel
power in dB, no more than 80 dB below its largest value. The projects behind these sets took the
first 3 s (b), and whatever rate a file has (e). Here 3 s are taken where the voice is, as the
networks do, and every file is brought to 24 kHz, half of RAVDESS's 48: a model cannot know what a
frame of another length means.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

import librosa
import numpy as np
from numpy.typing import NDArray

from edge import audio
from edge.classifier import cut

RATE_B, RATE_D, RATE_E = 22_050, 22_050, 24_000  # Hz
SECONDS_B = 3.0
FRAME = 2048  # samples
HOP = 512  # samples
ROLLOFF = 0.85
LEAST_POWER = 1e-10  # keeps logarithms finite
VERSION = 1  # raised whenever a set's values change

Waveform = NDArray[np.float32]


@dataclass(frozen=True)
class FeatureSet:
    """What a classical model hears of a recording.

    Attributes:
        name: A letter, that of the project that it comes from.
        sample_rate: Of the waveforms it takes, in Hz.
        size: Number of values.
        compute: From a waveform (float32[n], any n but 0) to float32[size].
    """

    name: str
    sample_rate: int
    size: int
    compute: Callable[[Waveform], NDArray[np.float32]]

    @property
    def version(self) -> str:
        """Differs between sets, and whenever the values for the same waveform may differ."""
        what = f"{VERSION} {self.name} {self.sample_rate} {self.size} {metadata.version('librosa')}"
        return f"{self.name}-{hashlib.blake2b(what.encode(), digest_size=6).hexdigest()}"


def middle_of_voice(waveform: Waveform, rate: int, seconds: float) -> Waveform:
    """float32[seconds * rate] around the middle of the voice, inside the waveform.

    A waveform that is shorter has zeros on both sides, as in :mod:`edge.classifier`.
    """
    window = round(seconds * rate)
    spare = len(waveform) - window
    if spare <= 0:
        return cut(waveform, spare // 2, window)
    start, end = audio.voice_span(waveform, rate)
    return cut(waveform, min(max((start + end - window) // 2, 0), spare), window)


def _set_b(waveform: Waveform) -> NDArray[np.float32]:
    heard = middle_of_voice(waveform, RATE_B, SECONDS_B)
    magnitude, mel_db = _spectra(heard, RATE_B)
    centroid = librosa.feature.spectral_centroid(S=magnitude, sr=RATE_B)
    tracks = (
        librosa.feature.mfcc(S=mel_db, n_mfcc=13),
        _chroma(magnitude, RATE_B),
        mel_db,
        centroid,
        librosa.feature.spectral_bandwidth(S=magnitude, sr=RATE_B, centroid=centroid),
        librosa.feature.spectral_rolloff(S=magnitude, sr=RATE_B, roll_percent=ROLLOFF),
        _crossings(heard),
    )
    onsets = librosa.onset.onset_strength(S=mel_db, sr=RATE_B, hop_length=HOP)
    tempo = librosa.feature.tempo(onset_envelope=onsets, sr=RATE_B, hop_length=HOP)
    parts = librosa.decompose.hpss(magnitude)  # Fitzgerald, 2010: median filtering
    energies = [10 * np.log10(max(float(np.mean(part**2)), LEAST_POWER)) for part in parts]
    moments = [moment for track in tracks for moment in (track.mean(axis=1), track.std(axis=1))]
    return np.concatenate([*moments, tempo, energies]).astype(np.float32)


def _set_d(waveform: Waveform, rate: int) -> NDArray[np.float32]:
    magnitude, mel_db = _spectra(waveform, rate)
    tracks = (
        librosa.feature.mfcc(S=mel_db, n_mfcc=40),
        _chroma(magnitude, rate),
        librosa.feature.spectral_contrast(S=magnitude, sr=rate),
    )
    return np.concatenate([track.mean(axis=1) for track in tracks]).astype(np.float32)


def _set_e(waveform: Waveform) -> NDArray[np.float32]:
    rms = librosa.feature.rms(y=waveform, frame_length=FRAME, hop_length=HOP)
    further = [_crossings(waveform).mean(), rms.mean()]
    return np.concatenate([_set_d(waveform, RATE_E), further]).astype(np.float32)


def _spectra(waveform: Waveform, rate: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Magnitudes float32[1025, frames] and mel power in dB, float32[128, frames]."""
    padded = np.pad(waveform, (0, max(0, FRAME - len(waveform))))
    magnitude = np.abs(librosa.stft(padded, n_fft=FRAME, hop_length=HOP, dtype=np.complex64))
    mel = librosa.feature.melspectrogram(S=magnitude**2, sr=rate)
    return magnitude, librosa.power_to_db(mel)


def _chroma(magnitude: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    # Speech is in tune with nothing; librosa's guess at a tuning would shift its bins at random.
    return librosa.feature.chroma_stft(S=magnitude**2, sr=rate, tuning=0.0)


def _crossings(waveform: Waveform) -> NDArray[np.float64]:
    return librosa.feature.zero_crossing_rate(waveform, frame_length=FRAME, hop_length=HOP)


FEATURE_SETS = {
    held.name: held
    for held in (
        FeatureSet("b", RATE_B, 2 * (13 + 12 + 128 + 4) + 1 + 2, _set_b),
        FeatureSet("d", RATE_D, 40 + 12 + 7, lambda waveform: _set_d(waveform, RATE_D)),
        FeatureSet("e", RATE_E, 40 + 12 + 7 + 2, _set_e),
    )
}
