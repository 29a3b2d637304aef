"""Facts about audio files: format, length, level, noise; which are alike, which stand out."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyloudnorm
import soundfile
from numpy.typing import NDArray

from edge import audio

BLOCK_SECONDS = 0.4  # of BS.1770's gate
MOST_CHANNELS = 5  # that BS.1770 has weights for
CLIP_LEVEL = 10.0 ** (-0.1 / 20.0)
CLIP_RUN = 3  # equal samples in a row
QUIET_QUANTILE, LOUD_QUANTILE = 0.10, 0.95
FAR_OUT = 3.0  # interquartile ranges (Tukey, 1977)
FAR_OUT_LEAST = 0.25  # of the median, where all are alike
ENOUGH_FOR_QUARTILES = 20
LEAST_POWER = 1e-10  # -100 dBFS, about the rounding of 16-bit samples

BITS = {
    "PCM_S8": 8,
    "PCM_U8": 8,
    "PCM_16": 16,
    "PCM_24": 24,
    "PCM_32": 32,
    "FLOAT": 32,
    "DOUBLE": 64,
}


@dataclass(frozen=True)
class Facts:
    """What is known of a file that can be read.

    Attributes:
        container: As libsndfile calls it, such as ``WAV``.
        encoding: As libsndfile calls it, such as ``PCM_16``.
        sample_rate: Hz.
        channels: Count.
        bits: Of a sample; ``None`` where the encoding has no fixed number (MP3, Vorbis, Opus).
        seconds: Length.
        loudness: Integrated loudness by ITU-R BS.1770-4, LUFS. A clip shorter than the 400 ms
            block of its gate is one block as long as itself, without a gate. ``None`` where
            nothing passes the gate at -70 LUFS.
        peak: Largest sample, dBFS; ``None`` of digital silence.
        clipped: Samples in runs of three or more equal ones at or above -0.1 dBFS.
        snr: Estimated signal-to-noise ratio, dB: the 95th percentile of the power of 25 ms frames,
            less the 10th, over the 10th or -100 dBFS, whichever is more. It takes the quietest
            tenth for noise alone, so it says too little of a clip without a pause, and nothing
            right of noise that comes and goes with the voice. ``None`` below ten frames.
        silence: Share of frames more than 35 dB below the loudest; ``None`` where there is no
            loudest one.
        silent: Whether the classifier would answer it as silence.
        sha256: Of rate, channels and decoded samples: equal for equal sound, whatever the format.
    """

    container: str
    encoding: str
    sample_rate: int
    channels: int
    bits: int | None
    seconds: float
    loudness: float | None
    peak: float | None
    clipped: int
    snr: float | None
    silence: float | None
    silent: bool
    sha256: str


def inspect(path: Path, waveform: NDArray[np.float32]) -> Facts:
    """Measure a file.

    Args:
        path: An audio file.
        waveform: What :func:`edge.audio.load` makes of it, at 16,000 Hz.

    Raises:
        edge.audio.AudioError: libsndfile cannot read it at its own rate.
    """
    quiet = audio.native_stderr_silenced if path.suffix.lower() == ".mp3" else nullcontext
    try:
        with quiet(), soundfile.SoundFile(path) as sound:
            container, encoding, rate = sound.format, sound.subtype, sound.samplerate
            # Some FLAC streams do not state their length.
            most = (len(waveform) + audio.SAMPLE_RATE) * rate // audio.SAMPLE_RATE
            samples = sound.read(most, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise audio.AudioError(f"{path}: cannot be read ({error})") from None
    digest = hashlib.sha256(f"{rate} {samples.shape[1]} ".encode())
    digest.update(samples.astype("<f4").tobytes())
    peak = float(np.abs(samples).max())
    power = audio.frame_power(waveform)
    return Facts(
        container=container,
        encoding=encoding,
        sample_rate=rate,
        channels=samples.shape[1],
        bits=BITS.get(encoding),
        seconds=len(samples) / rate,
        loudness=loudness(samples, rate),
        peak=20.0 * float(np.log10(peak)) if peak > 0 else None,
        clipped=clipped(samples),
        snr=signal_to_noise(power),
        silence=silence(power),
        silent=audio.is_silent(waveform),
        sha256=digest.hexdigest(),
    )


def loudness(samples: NDArray[np.float32], sample_rate: int) -> float | None:
    """Integrated loudness in LUFS, as :attr:`Facts.loudness` has it.

    Args:
        samples: float32[n, channels]; of more than five channels, the mean is measured.
        sample_rate: Hz.
    """
    if samples.shape[1] > MOST_CHANNELS:
        samples = samples.mean(axis=1, keepdims=True)
    seconds = len(samples) / sample_rate
    if seconds >= BLOCK_SECONDS:
        meter = _meter(sample_rate)
    else:
        meter = pyloudnorm.Meter(sample_rate, block_size=seconds)
    measured = float(meter.integrated_loudness(samples.astype(np.float64)))
    return measured if np.isfinite(measured) else None


def clipped(samples: NDArray[np.float32]) -> int:
    """How many samples stand in runs, as :attr:`Facts.clipped` has it, of all channels."""
    total = 0
    for channel in samples.T:
        changes = np.flatnonzero(np.diff(channel)) + 1
        edges = np.concatenate([[0], changes, [len(channel)]])
        lengths = np.diff(edges)
        flat = (np.abs(channel[edges[:-1]]) >= CLIP_LEVEL) & (lengths >= CLIP_RUN)
        total += int(lengths[flat].sum())
    return total


def signal_to_noise(power: NDArray[np.float64]) -> float | None:
    """The ratio in dB, as :attr:`Facts.snr` has it, from the power of frames (float64[frames])."""
    if len(power) < 10:
        return None
    noise, both = np.quantile(power, (QUIET_QUANTILE, LOUD_QUANTILE))
    signal = max(float(both - noise), LEAST_POWER)
    return 10.0 * float(np.log10(signal / max(float(noise), LEAST_POWER)))


def silence(power: NDArray[np.float64]) -> float | None:
    """The share, as :attr:`Facts.silence` has it, from the power of frames (float64[frames])."""
    if not len(power) or power.max() <= 0:
        return None
    return float(np.mean(power < power.max() * 10.0 ** (-audio.VOICE_RANGE_DB / 10.0)))


def identical(facts: Mapping[str, Facts]) -> list[list[str]]:
    """Groups of names whose files hold the same sound, sorted."""
    names: dict[str, list[str]] = defaultdict(list)
    for name, fact in facts.items():
        names[fact.sha256].append(name)
    return sorted(sorted(group) for group in names.values() if len(group) > 1)


def oddities(facts: Mapping[str, Facts]) -> list[tuple[str, str]]:
    """What stands out, each with its name: ``("a.wav", "is silent")``.

    Silence, clipping, a format or rate or number of channels other than most files have, and a
    length outside the middle half by more than three interquartile ranges and a quarter of the
    median.
    """
    odd = [(name, "is silent") for name, fact in facts.items() if fact.silent]
    odd += [
        (name, f"is clipped: {fact.clipped} samples at full scale")
        for name, fact in facts.items()
        if fact.clipped
    ]
    for kinds in (
        {name: f"{fact.sample_rate} Hz" for name, fact in facts.items()},
        {name: _channels(fact.channels) for name, fact in facts.items()},
        {name: f"{fact.container} {fact.encoding}" for name, fact in facts.items()},
    ):
        odd += _unlike_most(kinds)
    return odd + _outlying(facts)


def _unlike_most(kinds: Mapping[str, str]) -> list[tuple[str, str]]:
    if not kinds:
        return []
    usual = Counter(kinds.values()).most_common(1)[0][0]
    return [(name, f"is {kind}, most are {usual}") for name, kind in kinds.items() if kind != usual]


def _outlying(facts: Mapping[str, Facts]) -> list[tuple[str, str]]:
    if len(facts) < ENOUGH_FOR_QUARTILES:
        return []
    lengths: Sequence[float] = [fact.seconds for fact in facts.values()]
    low, median, high = np.quantile(lengths, (0.25, 0.5, 0.75))
    margin = max(FAR_OUT * (high - low), FAR_OUT_LEAST * median)
    return [
        (name, f"lasts {fact.seconds:.1f} s, most about {median:.1f} s")
        for name, fact in facts.items()
        if not low - margin <= fact.seconds <= high + margin
    ]


def _channels(count: int) -> str:
    return {1: "mono", 2: "stereo"}.get(count, f"of {count} channels")


@lru_cache
def _meter(sample_rate: int) -> pyloudnorm.Meter:
    return pyloudnorm.Meter(sample_rate, block_size=BLOCK_SECONDS)
