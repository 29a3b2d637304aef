"""Changed copies of recordings, as C1 learns from: one change of each kind at once."""

import librosa
import numpy as np

NOISE = 0.035  # standard deviation of the noise at most, as a share of the clip's peak
STRETCH = 0.2  # change of tempo at most
SHIFT_SECONDS = 2.0  # at most, either way; what leaves at one end comes back at the other
SEMITONES = 1.0  # change of pitch at most


def changed(waveform: np.ndarray, sample_rate: int, generator: np.random.Generator) -> np.ndarray:
    """A copy with another tempo and pitch, moved, and with white noise.

    Args:
        waveform: float32 ``(samples,)``.
        sample_rate: Hz.
        generator: Decides how far each change goes.

    Returns:
        float32 ``(samples,)``: what a stretch makes longer is cut about the middle.
    """
    length = len(waveform)
    rate = generator.uniform(1 - STRETCH, 1 + STRETCH)
    steps = generator.uniform(-SEMITONES, SEMITONES)
    # One resampling changes pitch and tempo together; the stretch takes back what is too much.
    ratio = 2 ** (steps / 12)
    stretched = librosa.effects.time_stretch(waveform, rate=rate / ratio)
    played = librosa.resample(
        stretched, orig_sr=sample_rate * ratio, target_sr=sample_rate, res_type="soxr_mq"
    )
    spare = len(played) - length
    copy = played[max(spare // 2, 0) :][:length]
    missing = length - len(copy)
    copy = np.pad(copy, (missing // 2, missing - missing // 2))
    shift = generator.uniform(-SHIFT_SECONDS, SHIFT_SECONDS)
    copy = np.roll(copy, round(shift * sample_rate))
    noise = generator.standard_normal(length, dtype=np.float32)
    level = NOISE * generator.uniform() * np.abs(waveform).max()
    return (copy + level * noise).astype(np.float32)
