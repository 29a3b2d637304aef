"""The conditions of the ``robust`` protocol: what may befall a recording on its way to a model.

Every condition takes float32[n] at 16,000 Hz within [-1, 1] and gives the same, equally long, with
the voice where it was. What would leave that range is cut off there, as a converter does.
"""

import functools
import hashlib
import io
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import scipy.fft
import scipy.signal
import soundfile
import soxr
from numpy.typing import NDArray

from edge.audio import SAMPLE_RATE, voice_span
from edge.classifier import cut

Waveform: TypeAlias = NDArray[np.float32]
Condition: TypeAlias = Callable[[Waveform, np.random.Generator], Waveform]
Noise: TypeAlias = Callable[[int, np.random.Generator], NDArray[np.float64]]

GAINS_DB = (-20, -10, 10)
SNRS_DB = (20, 10, 5)
BABBLE_VOICES = 6  # heard at once
PINK_FLOOR = 20.0  # Hz; pink noise has as much power below it as there

REVERBERATION_SECONDS = 0.4  # RT60: until the room's answer has fallen by 60 dB
FIRST_REFLECTION_SECONDS = 0.003
ROOM_SEED = 0

TELEPHONE_RATE = 8_000  # Hz
TELEPHONE_BAND = (300, 3_400)  # Hz
CLIPPED_DB = 12

# libsndfile's compression level decides the bit rate: 12 kbit/s is the mean over RAVDESS at 16 kHz,
# container included; MP3 has a constant rate.
OPUS: dict[str, Any] = {"format": "OGG", "subtype": "OPUS", "compression_level": 0.97}
MP3: dict[str, Any] = {
    "format": "MP3",
    "subtype": "MPEG_LAYER_III",
    "compression_level": 0.947,
    "bitrate_mode": "CONSTANT",
}
LONGEST_DELAY = SAMPLE_RATE // 10  # samples; LAME delays by 1,105 and has no room to say so


def conditions(pool: Sequence[Waveform]) -> dict[str, Condition]:
    """All conditions by name, in the order of the tables.

    Args:
        pool: Recordings whose voices make the babble: float32[n] each, none of them silent. The
            recording that is degraded should not be among them.

    Returns:
        Functions of a waveform float32[n] and a random generator.

    Raises:
        ValueError: The pool is empty.
    """
    if not pool:
        raise ValueError("babble needs at least one voice")
    noises: dict[str, Noise] = {
        "white noise": _white,
        "pink noise": _pink,
        "babble": partial(_babble, pool=pool),
    }
    table: dict[str, Condition] = {gain_name(db): partial(_gain, db=db) for db in GAINS_DB}
    for name, noise in noises.items():
        for db in SNRS_DB:
            table[f"{name} at {db} dB"] = partial(_with_noise, noise=noise, snr_db=db)
    return table | {
        "room echo": _echo,
        "telephone": _telephone,
        "Opus at 12 kbit/s": partial(_compressed, codec=OPUS),
        "MP3 at 16 kbit/s": partial(_compressed, codec=MP3),
        f"clipping by {CLIPPED_DB} dB": _clipped,
    }


def gain_name(db: int) -> str:
    """What the condition of a level change is called."""
    return f"gain {db:+d} dB"


def generator(recording: str, condition: str) -> np.random.Generator:
    """The random generator of a recording under a condition, the same on every machine."""
    digest = hashlib.sha256(f"{condition}\n{recording}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def _gain(waveform: Waveform, _: np.random.Generator, *, db: float) -> Waveform:
    return _converted(waveform * 10.0 ** (db / 20.0))


def _with_noise(
    waveform: Waveform, rng: np.random.Generator, *, noise: Noise, snr_db: float
) -> Waveform:
    """Noise from end to end whose power lies ``snr_db`` below that of the voice's span."""
    start, end = voice_span(waveform)
    voice = waveform[start:end].var(dtype=np.float64)
    sound = noise(len(waveform), rng)
    power = voice / 10.0 ** (snr_db / 10.0)
    return _converted(waveform + sound * np.sqrt(power / np.mean(sound**2)))


def _white(length: int, rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.standard_normal(length)


def _pink(length: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """White noise whose power falls with 1/f."""
    size = scipy.fft.next_fast_len(length, real=True)
    spectrum = scipy.fft.rfft(rng.standard_normal(size))
    frequency = scipy.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    return scipy.fft.irfft(spectrum / np.sqrt(np.maximum(frequency, PINK_FLOOR)), size)[:length]


def _babble(
    length: int, rng: np.random.Generator, *, pool: Sequence[Waveform]
) -> NDArray[np.float64]:
    """Voices at equal power, each repeated without its pauses from a random place on."""
    babble = np.zeros(length)
    for chosen in rng.choice(len(pool), min(BABBLE_VOICES, len(pool)), replace=False):
        start, end = voice_span(pool[chosen])
        voice = pool[chosen][start:end].astype(np.float64)
        place = np.arange(length) + rng.integers(len(voice))
        babble += voice.take(place, mode="wrap") / voice.std()
    return babble


@functools.cache
def _room() -> NDArray[np.float64]:
    """Response of a small room: the direct sound, and noise of the same energy that dies away.

    The tail is Gaussian noise under an exponential, as in Polack's model of diffuse rooms; equal
    energies are what one hears at the critical distance, half a metre in a room of 30 m³.
    """
    time = np.arange(round(REVERBERATION_SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    noise = np.random.default_rng(ROOM_SEED).standard_normal(len(time))
    tail = noise * 10.0 ** (-3.0 * time / REVERBERATION_SECONDS)
    tail[time < FIRST_REFLECTION_SECONDS] = 0.0
    response = tail / np.sqrt(np.sum(tail**2))
    response[0] = 1.0
    return response


def _echo(waveform: Waveform, _: np.random.Generator) -> Waveform:
    """The waveform as heard in a room, at the level it had."""
    heard = scipy.signal.fftconvolve(waveform.astype(np.float64), _room())[: len(waveform)]
    level = heard.std()
    return _converted(heard * (waveform.std(dtype=np.float64) / level) if level else heard)


def _telephone(waveform: Waveform, _: np.random.Generator) -> Waveform:
    """300–3,400 Hz at 8 kHz, in the 8-bit logarithmic samples of G.711 (μ-law)."""
    band = scipy.signal.butter(4, TELEPHONE_BAND, btype="bandpass", fs=TELEPHONE_RATE, output="sos")
    narrow = scipy.signal.sosfilt(band, soxr.resample(waveform, SAMPLE_RATE, TELEPHONE_RATE))
    decoded = _decoded(_converted(narrow), TELEPHONE_RATE, {"format": "WAV", "subtype": "ULAW"})
    wide = soxr.resample(decoded, TELEPHONE_RATE, SAMPLE_RATE)
    return _converted(cut(wide, 0, len(waveform)))


def _compressed(waveform: Waveform, _: np.random.Generator, *, codec: dict[str, Any]) -> Waveform:
    """Through a codec and back, without the delay it adds."""
    decoded = _decoded(waveform, SAMPLE_RATE, codec)
    likeness = scipy.signal.correlate(decoded, waveform, method="fft")
    delays = scipy.signal.correlation_lags(len(decoded), len(waveform))
    near = np.abs(delays) <= LONGEST_DELAY
    delay = int(delays[near][likeness[near].argmax()])
    return _converted(cut(decoded, delay, len(waveform)))


def _clipped(waveform: Waveform, _: np.random.Generator) -> Waveform:
    """Everything above 12 dB below the peak cut off, then raised to where the peak was."""
    factor = 10.0 ** (-CLIPPED_DB / 20.0)
    limit = factor * np.abs(waveform).max()
    return _converted(waveform.clip(-limit, limit) / factor)


def _decoded(waveform: Waveform, rate: int, codec: dict[str, Any]) -> Waveform:
    """What is left of a waveform after libsndfile has written and read it, float32[m]."""
    with io.BytesIO() as file:
        soundfile.write(file, waveform, rate, **codec)
        file.seek(0)
        return soundfile.read(file, dtype="float32")[0]


def _converted(waveform: NDArray) -> Waveform:
    return waveform.clip(-1.0, 1.0).astype(np.float32)
