"""What a model says of a recording that a visitor has given, within the page's bounds."""

import re
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, BinaryIO

import numpy as np
import streamlit as st

from edge import audio
from edge.classifier import EmotionClassifier, Prediction

SUFFIXES = ("wav", "flac", "mp3", "ogg", "opus")
LARGEST = 25  # MB of one recording
LONGEST = 15 * 60.0  # seconds of one recording
TIMELINE_FROM = 1.5  # windows; in anything shorter, the last one nearly repeats the first
COLUMNS = 800  # of the waveform picture
REMEMBERED = 20
ENVELOPE_SECONDS = 0.01
LEAST_CONFIDENCE = 50  # per cent; below that the other emotions together are likelier


@dataclass(frozen=True)
class Model:
    """A classifier and where it comes from.

    Attributes:
        key: Tells models apart, and a file from what it was before it was changed.
        name: What the page calls it.
        classifier: The loaded model.
        size: Of its file, in bytes.
        sha256: Of its file.
        released: Whether the model card is about it.
    """

    key: tuple[str, float]
    name: str
    classifier: EmotionClassifier
    size: int
    sha256: str
    released: bool


@dataclass(frozen=True)
class Heard:
    """An answer to a whole recording, or why there is none.

    Attributes:
        prediction: The answer; None where there is a problem.
        seconds: How long it took, reading the file included.
        problem: One line that starts with the file's name.
    """

    prediction: Prediction | None = None
    seconds: float = 0.0
    problem: str = ""


@dataclass(frozen=True)
class Trace:
    """A recording as a picture.

    Attributes:
        low: Lowest sample of each of up to 800 columns.
        high: Highest sample.
        seconds: Length of the recording.
        parts: Answers over time; empty for a recording not much longer than a window.
        spans: First and last second that each is drawn for: up to halfway to its neighbours.
    """

    low: np.ndarray
    high: np.ndarray
    seconds: float
    parts: list[Prediction] = field(default_factory=list)
    spans: list[tuple[float, float]] = field(default_factory=list)


def hear(classifier: EmotionClassifier, recording: BinaryIO) -> Heard:
    """Answer a recording of up to 15 minutes.

    Args:
        classifier: The model.
        recording: A binary stream that holds a complete audio file, with its name as ``name``.
    """
    name = audio.display_name(recording)

    def bounded(seconds: float) -> None:
        if seconds > LONGEST:
            raise audio.AudioError(
                f"{name}: is longer than the {LONGEST / 60:.0f} minutes that this page listens to; "
                "cut it, or ask python edge/run.py, which knows no bound"
            )

    started = time.perf_counter()
    try:
        if recording.seek(0, 2) > LARGEST * 2**20:
            raise audio.AudioError(
                f"{name}: is larger than the {LARGEST} MB that a recording may have here; cut it, "
                "or convert it to FLAC or MP3"
            )
        recording.seek(0)
        prediction = classifier.predict_file(recording, bounded)
    except audio.AudioError as error:
        return Heard(problem=str(error))
    return Heard(prediction, time.perf_counter() - started)


def trace(classifier: EmotionClassifier, recording: BinaryIO) -> Trace:
    """Go through a recording that has been answered.

    Args:
        classifier: The model.
        recording: As for :func:`hear`.
    """
    recording.seek(0)
    low, high, seconds = _envelope(recording)
    if seconds < TIMELINE_FROM * classifier.window / classifier.sample_rate:
        return Trace(low, high, seconds)
    recording.seek(0)
    parts = list(classifier.timeline(recording))
    centres = [(part.start + part.end) / 2 for part in parts]
    edges = [0.0, *((a + b) / 2 for a, b in pairwise(centres)), parts[-1].end]
    return Trace(low, high, seconds, parts, list(pairwise(edges)))


def remembered(kind: str, key: Hashable, work: Callable[[], Any]) -> Any:
    """What ``work()`` gave, which this session does once for each key.

    Args:
        kind: What is remembered; of each kind the last 20 only.
        key: Of an upload, and the model if it matters.
        work: Done where nothing is remembered.
    """
    known = st.session_state.setdefault(kind, {})
    if key not in known:
        known[key] = work()
        while len(known) > REMEMBERED:
            del known[next(iter(known))]
    return known[key]


def least_confidence() -> float:
    """A slider for the confidence, from 0 to 1, below which an answer is called uncertain."""
    per_cent = st.slider(
        "Least confidence for an answer",
        max_value=100,
        value=LEAST_CONFIDENCE,
        step=5,
        format="%d%%",
        key="least_confidence",
        help="Below it the page says that it is not sure. At 0% it always answers.",
        persist_state="page",
    )
    return per_cent / 100


def literal(text: str) -> str:
    """The text as Markdown that shows it as it is, whatever a file is called."""
    return re.sub(r"([\\`*_{}\[\]()<>#+!|~:$&])", r"\\\1", text)


def _envelope(recording: BinaryIO) -> tuple[np.ndarray, np.ndarray, float]:
    step = round(ENVELOPE_SECONDS * audio.SAMPLE_RATE)
    lows, highs, length = [], [], 0
    for block in audio.blocks(recording, 10.0):
        starts = np.arange(0, len(block), step)
        lows.append(np.minimum.reduceat(block, starts))
        highs.append(np.maximum.reduceat(block, starts))
        length += len(block)
    low, high = np.concatenate(lows), np.concatenate(highs)
    if len(low) > COLUMNS:
        starts = np.linspace(0, len(low), COLUMNS, endpoint=False).astype(int)
        low, high = np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts)
    return low, high, length / audio.SAMPLE_RATE
