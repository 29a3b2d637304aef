"""How long a model takes for an answer, measured here and now."""

import importlib.util
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import threadpoolctl
from tqdm import tqdm

from edge import audio
from edge.classifier import RUNTIMES, WHOLE_SECONDS
from ser_tf.answers import CLASSICAL_SUFFIX, open_model
from ser_tf.corpora.recording import Recording

MOST_CLIPS = 500  # an even choice of them is timed where there are more
MOST_FILES = 50
WARMING = 5  # answers before the first that counts


@dataclass(frozen=True)
class Latency:
    """Times of a warm model on one thread, from the decoded waveform to the answer.

    Attributes:
        clips: How many were timed, one after the other.
        seconds: Their median length.
        median: Milliseconds that half of the answers take at most.
        p95: Milliseconds that 95 % of them take at most.
        runtime: The package that ran the model.
        architecture: Of the processor, such as ``aarch64``.
    """

    clips: int
    seconds: float
    median: float
    p95: float
    runtime: str
    architecture: str


def measure(model: str | os.PathLike[str], recordings: Sequence[Recording]) -> Latency:
    """Time a model on recordings that can be read, with a progress bar on stderr.

    Of a recording longer than a minute, only the first one is timed.
    """
    classifier = open_model(model, threads=1)
    chosen = recordings[:: -(-len(recordings) // MOST_CLIPS)]
    taken: list[float] = []
    lengths: list[float] = []
    for recording in tqdm(chosen, "timing", unit="clip", file=sys.stderr, delay=2.0):
        waveform = next(audio.blocks(recording.path, WHOLE_SECONDS, classifier.sample_rate))
        for _ in range(1 if taken else 1 + WARMING):
            start = time.perf_counter()
            classifier.predict(waveform)
            milliseconds = 1_000 * (time.perf_counter() - start)
        taken.append(milliseconds)
        lengths.append(len(waveform) / classifier.sample_rate)
    median, p95 = np.quantile(taken, (0.5, 0.95))
    return Latency(
        len(taken),
        float(np.median(lengths)),
        float(median),
        float(p95),
        _runtime(model),
        platform.machine(),
    )


def of_files(model: str | os.PathLike[str], recordings: Sequence[Recording]) -> float:
    """Milliseconds from a file to the answer, the median over recordings, warm, on one thread.

    Reading, resampling, features and model: all that somebody waits for.
    """
    classifier = open_model(model, threads=1)
    chosen = recordings[:: -(-len(recordings) // MOST_FILES)]
    taken = []
    with threadpoolctl.threadpool_limits(1):
        for _ in range(WARMING):
            classifier.predict_file(chosen[0].path)
        for recording in tqdm(chosen, "timing", unit="clip", file=sys.stderr, delay=2.0):
            start = time.perf_counter()
            classifier.predict_file(recording.path)
            taken.append(1_000 * (time.perf_counter() - start))
    return float(np.median(taken))


def _runtime(model: str | os.PathLike[str]) -> str:
    """The package that runs a model."""
    if Path(model).suffix == CLASSICAL_SUFFIX:
        return "scikit-learn"
    return next(name for name in RUNTIMES if importlib.util.find_spec(name))
