"""Recordings of something like a voice, for tests."""

from pathlib import Path

import numpy as np
import soundfile

from ser_tf.config import SAMPLE_RATE
from ser_tf.corpora import Recording
from ser_tf.emotions import EMOTIONS


def voice(seconds: float = 1.0, rate: int = SAMPLE_RATE, pitch: float = 150.0) -> np.ndarray:
    """Harmonics up to 3.4 kHz over faint noise, as ``float64 (samples,)``."""
    time = np.arange(round(seconds * rate)) / rate
    harmonics = np.arange(pitch, 3400, pitch)
    phase = 2 * np.pi * np.outer(time, harmonics) + harmonics
    return np.sin(phase).sum(axis=1) * 0.3 / len(harmonics) * (1 + np.sin(2 * np.pi * 3 * time))


def saved(
    folder: Path, samples: np.ndarray, emotion: str = "happy", name: str = "clip", **kind
) -> Recording:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.wav"
    soundfile.write(path, samples, **{"samplerate": SAMPLE_RATE, **kind})
    return Recording(path, emotion, speaker="", name=name)


def three(folder: Path) -> list[Recording]:
    """Short clips of three pitches, each of an emotion of its own."""
    return [
        saved(folder, voice(0.2, pitch=100 + 20 * k), EMOTIONS[k], f"clip{k}") for k in range(3)
    ]
