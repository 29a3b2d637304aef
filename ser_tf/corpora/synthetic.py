"""A small generated corpus: eight different ways of speaking, by formant-synthesised voices.

It stands in where there is no corpus, so that the whole path can be run and tested. It imitates
what acted emotions are known for (pitch, range, rate, loudness, brightness, breath, tremor;
Scherer, 2003, https://doi.org/10.1016/S0167-6393(02)00084-5), crudely: figures on it say nothing
about people.

A voice is a source and a filter (Klatt, 1980, https://doi.org/10.1121/1.383940): glottal pulses
and aspiration noise, shaped by the resonances of a vowel, syllable by syllable.
"""

import csv
import hashlib
import math
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile
from scipy import signal
from tqdm import tqdm

from ser_tf.corpora.listing import CorpusError

SAMPLE_RATE = 16_000
SPEAKERS = 6
CLIPS = 6  # of each emotion, by each speaker


@dataclass(frozen=True)
class Manner:
    """How an emotion speaks.

    Attributes:
        pitch: Fundamental frequency, as a multiple of the speaker's own.
        range: Standard deviation of the pitch from syllable to syllable, semitones.
        slope: Pitch at the end against the start of the clip, semitones.
        bend: Rise (or fall) of the pitch within a syllable, semitones.
        rate: Syllables per second.
        level: Loudness, dB against the speaker's own.
        tilt: Cut-off of the low-pass that dulls the glottal pulses, Hz.
        breath: Aspiration noise against voice, as an amplitude ratio.
        tremor: Depth of a 7 Hz wavering of pitch and loudness, semitones.
        jitter: Standard deviation of the length of a glottal period, as a share of it.
        attack: Time a syllable takes to reach its full loudness, seconds.
        mouth: Formant frequencies, as a multiple of the speaker's own (a smile shortens the tract).
    """

    pitch: float
    range: float
    slope: float
    bend: float
    rate: float
    level: float
    tilt: float
    breath: float
    tremor: float
    jitter: float
    attack: float
    mouth: float


MANNERS = {
    "neutral": Manner(1.00, 1.2, -2, 0, 4.2, 0, 2000, 0.05, 0.0, 0.005, 0.03, 1.00),
    "calm": Manner(0.95, 0.7, -1, 0, 3.2, -5, 1300, 0.12, 0.0, 0.004, 0.08, 1.00),
    "happy": Manner(1.45, 3.5, 1, 2, 5.2, 4, 3000, 0.06, 0.0, 0.006, 0.03, 1.06),
    "sad": Manner(0.85, 0.8, -4, -1, 2.3, -11, 700, 0.35, 0.5, 0.010, 0.09, 0.96),
    "angry": Manner(1.25, 3.0, -4, -2, 5.0, 9, 5000, 0.05, 0.0, 0.030, 0.01, 1.00),
    "fearful": Manner(1.70, 1.5, 1, 0, 5.9, -2, 1800, 0.35, 1.2, 0.015, 0.03, 1.02),
    "disgust": Manner(0.70, 2.0, -4, -4, 2.8, 1, 2500, 0.10, 0.0, 0.080, 0.05, 0.88),
    "surprised": Manner(1.30, 2.0, 9, 5, 3.9, 3, 2600, 0.12, 0.0, 0.006, 0.02, 1.03),
}

# How far a clip strays from its emotion's manner: standard deviations, of the logarithm where the
# value is a ratio, else in the value's own unit.
STRAY_RATIO = {
    "pitch": 0.05,
    "range": 0.2,
    "rate": 0.07,
    "tilt": 0.12,
    "breath": 0.2,
    "attack": 0.2,
}
STRAY = {"slope": 0.7, "bend": 0.5, "level": 1.5, "tremor": 0.1}

# Formants of five vowels, Hz, and their bandwidths. The first three are the means of men of
# Peterson and Barney (1952, https://doi.org/10.1121/1.1906875).
VOWELS = (
    (730, 1090, 2440, 3400),
    (530, 1840, 2480, 3500),
    (270, 2290, 3010, 3600),
    (570, 840, 2410, 3300),
    (300, 870, 2240, 3300),
)
BANDWIDTHS = (80, 100, 140, 200)
TREMOR_RATE = 7.0
SPEECH_SECONDS = (1.4, 2.4)
SILENCE_SECONDS = (0.05, 0.3)


@dataclass(frozen=True)
class Voice:
    """A speaker, and the place where they were recorded.

    Attributes:
        pitch: Fundamental frequency at rest, Hz.
        mouth: Formant frequencies, as a multiple of an average man's.
        level: Loudness of the recordings, dB.
        noise: Background noise, dB against full scale.
    """

    pitch: float
    mouth: float
    level: float
    noise: float


def cached(below: Path) -> Path:
    """Gives the generated corpus, making it where it is not there yet, and says aloud what it is.

    The folder's name carries a hash of this file and of the counts, so a corpus made by an older
    version is never taken for this one.

    Args:
        below: The folder under which the corpus is kept.

    Returns:
        The folder that holds ``index.csv``.

    Raises:
        CorpusError: It cannot be written.
    """
    recipe = Path(__file__).read_bytes() + f"{SPEAKERS} {CLIPS}".encode()
    folder = below / f"synthetic-{hashlib.sha256(recipe).hexdigest()[:12]}"
    if not folder.is_dir():
        generate(folder, SPEAKERS, CLIPS)
    rule = "#" * 88
    print(
        f"{rule}\n"
        f"# GENERATED CORPUS: {len(MANNERS) * SPEAKERS * CLIPS} clips of synthetic voices, "
        "not recordings of people.\n"
        "# Figures on it show that the program works; they mean NOTHING about people.\n"
        "# For the real thing: --data download (RAVDESS, 430 MB), or --data PATH.\n"
        f"{rule}",
        file=sys.stderr,
    )
    return folder


def generate(folder: Path, speakers: int = SPEAKERS, clips: int = CLIPS, seed: int = 0) -> None:
    """Writes a corpus of 16-bit WAV files at 16 kHz, each 1.5 to 3 s, and its ``index.csv``.

    The same arguments give the same samples. The folder appears complete or not at all.

    Args:
        folder: Where to; left as it is if another process has made it meanwhile.
        speakers: How many voices.
        clips: How many clips of each emotion by each voice.
        seed: Another number gives other voices.

    Raises:
        CorpusError: The folder cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            _write(aside, speakers, clips, seed)
            aside.chmod(0o755)
            try:
                aside.rename(folder)
            except OSError:
                if not folder.is_dir():
                    raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        why = error.strerror or error
        raise CorpusError(f"{folder}: the generated corpus cannot be written ({why})") from None


def synthesize(manner: Manner, voice: Voice, rng: np.random.Generator) -> np.ndarray:
    """Speaks a few random syllables.

    Args:
        manner: How.
        voice: Who.
        rng: Decides on the syllables and on everything that varies.

    Returns:
        float32[n] in [-1, 1] at :data:`SAMPLE_RATE`, 1.5 to 3 s.
    """
    count = max(2, round(rng.uniform(*SPEECH_SECONDS) * manner.rate))
    weights = rng.uniform(0.75, 1.25, count)
    speech = min(max(count / manner.rate, SPEECH_SECONDS[0]), SPEECH_SECONDS[1])
    bounds = np.round(np.cumsum(np.r_[0, weights / weights.sum()]) * speech * SAMPLE_RATE)
    bounds = bounds.astype(int)
    n = int(bounds[-1])
    time = np.arange(n) / SAMPLE_RATE
    waver = np.sin(2 * np.pi * (TREMOR_RATE * time + rng.uniform()))
    source = _glottis(_pitch(manner, voice, bounds, rng, waver), manner.jitter, rng)
    source = signal.lfilter(*signal.butter(1, manner.tilt, fs=SAMPLE_RATE), source)
    source /= np.sqrt(np.mean(source**2)) + 1e-9
    breath = signal.lfilter([1, -0.9], [1], rng.standard_normal(n))
    source += manner.breath * breath
    spoken = np.zeros(n)
    for start, end in pairwise(bounds):
        formants = np.array(VOWELS[rng.integers(len(VOWELS))]) * voice.mouth * manner.mouth
        sound = _vowel(source[start:end], formants * rng.normal(1, 0.03, len(formants)))
        spoken[start:end] = sound * _swell(end - start, manner.attack) * rng.uniform(0.7, 1)
    spoken *= 1 + 0.25 * manner.tremor * waver
    gain = 10 ** ((voice.level + manner.level - 26) / 20)
    spoken *= gain / (np.sqrt(np.mean(spoken**2)) + 1e-9)
    before, after = (int(rng.uniform(*SILENCE_SECONDS) * SAMPLE_RATE) for _ in range(2))
    clip = np.pad(np.tanh(spoken), (before, after))
    hiss = signal.lfilter([1], [1, -0.9], rng.standard_normal(len(clip)))
    clip += hiss / np.std(hiss) * 10 ** (voice.noise / 20)
    return np.clip(clip, -1, 1).astype(np.float32)


def _write(folder: Path, speakers: int, clips: int, seed: int) -> None:
    tasks = []
    for speaker in range(speakers):
        rng = np.random.default_rng([seed, speaker])
        high = speaker % 2  # low and high voices take turns
        voice = Voice(
            pitch=(115, 175)[high] * math.exp(rng.normal(0, 0.08)),
            mouth=(1.0, 1.12)[high] * math.exp(rng.normal(0, 0.03)),
            level=rng.uniform(-2, 2),
            noise=rng.uniform(-66, -58),
        )
        for number, emotion in enumerate(MANNERS):
            for clip in range(clips):
                path = f"{emotion}/voice-{speaker + 1}_{clip + 1}.wav"
                tasks.append((path, emotion, speaker, voice, (seed, speaker, number, clip)))
    for emotion in MANNERS:
        (folder / emotion).mkdir()

    def speak(task: tuple[str, str, int, Voice, tuple[int, ...]]) -> None:
        path, emotion, _, voice, seeds = task
        rng = np.random.default_rng(seeds)
        clip = synthesize(_stray(MANNERS[emotion], rng), voice, rng)
        soundfile.write(str(folder / path), clip, SAMPLE_RATE, subtype="PCM_16")

    with ThreadPoolExecutor(max_workers=2) as pool:
        done = pool.map(speak, tasks)
        list(tqdm(done, "generating voices", total=len(tasks), unit="clip", delay=2.0))
    with (folder / "index.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(("path", "emotion", "speaker"))
        table.writerows((task[0], task[1], f"voice-{task[2] + 1}") for task in tasks)


def _stray(manner: Manner, rng: np.random.Generator) -> Manner:
    values = {}
    for field in fields(Manner):
        value = getattr(manner, field.name)
        value *= math.exp(rng.normal(0, STRAY_RATIO.get(field.name, 0.0)))
        values[field.name] = value + rng.normal(0, STRAY.get(field.name, 0.0))
    return Manner(**values)


def _pitch(
    manner: Manner,
    voice: Voice,
    bounds: np.ndarray,
    rng: np.random.Generator,
    waver: np.ndarray,
) -> np.ndarray:
    count = len(bounds) - 1
    middles = rng.normal(0, manner.range, count)
    middles += manner.slope * (np.linspace(0, 1, count) ** 2 - 0.5)
    knots = np.ravel(np.column_stack((bounds[:-1], bounds[1:] - 1)))
    semitones = np.ravel(np.column_stack((middles - manner.bend / 2, middles + manner.bend / 2)))
    contour = np.interp(np.arange(bounds[-1]), knots, semitones) + manner.tremor * waver
    return voice.pitch * manner.pitch * 2 ** (contour / 12)


def _glottis(pitch: np.ndarray, jitter: float, rng: np.random.Generator) -> np.ndarray:
    """The derivative of Rosenberg's glottal flow (1971, https://doi.org/10.1121/1.1912389)."""
    cycles = np.cumsum(pitch / SAMPLE_RATE)
    periods = np.exp(rng.normal(0, jitter, int(cycles[-1]) + 2))
    cycles = np.interp(cycles, np.r_[0, np.cumsum(periods)], np.arange(len(periods) + 1))
    phase = cycles % 1
    opening, closing = 0.4, 0.16
    rising = 0.5 * (1 - np.cos(np.pi * np.minimum(phase / opening, 1)))
    falling = np.cos(np.pi / 2 * np.clip((phase - opening) / closing, 0, 1))
    return np.diff(rising * falling, prepend=0.0)


def _vowel(source: np.ndarray, formants: np.ndarray) -> np.ndarray:
    """Klatt's cascade of digital resonators, each with a gain of 1 at 0 Hz."""
    radius = np.exp(-np.pi * np.array(BANDWIDTHS) / SAMPLE_RATE)
    angle = 2 * np.pi * np.minimum(formants, 0.47 * SAMPLE_RATE) / SAMPLE_RATE
    sections = np.zeros((len(formants), 6))
    sections[:, 3] = 1
    sections[:, 4] = -2 * radius * np.cos(angle)
    sections[:, 5] = radius**2
    sections[:, 0] = sections[:, 3:].sum(axis=1)
    return signal.sosfilt(sections, source)


def _swell(length: int, attack: float) -> np.ndarray:
    rise = min(int(attack * SAMPLE_RATE), length // 2)
    fall = min(int(0.05 * SAMPLE_RATE), length // 3)
    envelope = np.ones(length)
    envelope[:rise] = np.sin(np.pi / 2 * np.arange(rise) / max(rise, 1)) ** 2
    envelope[length - fall :] *= np.cos(np.pi / 2 * np.arange(fall) / max(fall, 1)) ** 2
    return envelope
