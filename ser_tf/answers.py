"""Run an exported model over recordings, as they are and under the conditions of ``robust``."""

import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import soxr
from numpy.typing import NDArray
from tqdm import tqdm

from edge import audio
from edge.classifier import EmotionClassifier, Prediction
from ser_tf.conditions import Waveform, conditions, generator
from ser_tf.corpora.recording import Recording

BABBLE_POOL = 40  # recordings whose voices make the babble
BABBLE_SEED = 0
CLASSICAL_SUFFIX = ".skops"


class EvaluateError(Exception):
    """An evaluation that cannot be made; the message is the one line for the user."""


class Model(Protocol):
    """What answers: a ``.tflite`` file through the engine that it is handed out with, or a
    ``.skops`` file.

    Attributes:
        labels: The emotions, in the order of the probabilities.
        sample_rate: Of the waveforms it takes, in Hz.
    """

    labels: tuple[str, ...]
    sample_rate: int

    def predict(self, waveform: np.ndarray) -> Prediction:
        """Answer a waveform, float32[n] at ``sample_rate``."""

    def predict_file(self, source: audio.Source) -> Prediction:
        """Answer a recording; an unreadable one is an :class:`edge.audio.AudioError`."""


def open_model(path: str | os.PathLike[str], threads: int = 1) -> Model:
    """Open a trained model of either kind.

    Args:
        path: A ``.tflite`` or ``.skops`` file.
        threads: Of a TFLite interpreter.

    Raises:
        edge.classifier.ModelError: It is neither, or cannot be used.
    """
    if Path(path).suffix != CLASSICAL_SUFFIX:
        return EmotionClassifier(path, threads=threads)
    from ser_tf.systems.classical import Classifier  # scikit-learn, where it is what answers

    return Classifier(path)


@dataclass(frozen=True)
class Answers:
    """What a model answered.

    Attributes:
        labels: The L labels, in column order.
        recordings: The n recordings that could be used.
        clean: float64[n, L]; a row of zeros is a recording answered as silence.
        degraded: The same under each condition; empty where none was asked for.
        left_out: The recordings that could not be used.
        temperature: What the model divides its logits by, where its run says so.
    """

    labels: tuple[str, ...]
    recordings: list[Recording]
    clean: NDArray[np.float64]
    degraded: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    left_out: list[Recording] = field(default_factory=list)
    temperature: float | None = None

    def only(self, wanted: Callable[[Recording], bool]) -> "Answers":
        """The answers to some of the recordings."""
        chosen = [n for n, recording in enumerate(self.recordings) if wanted(recording)]
        return Answers(
            self.labels,
            [self.recordings[n] for n in chosen],
            self.clean[chosen],
            {condition: rows[chosen] for condition, rows in self.degraded.items()},
            [recording for recording in self.left_out if wanted(recording)],
            self.temperature,
        )


def run(
    model: str | os.PathLike[str],
    recordings: Sequence[Recording],
    *,
    threads: int = 1,
    strict: bool = False,
    pool: Mapping[str, Waveform] | None = None,
    jobs: int = 1,
) -> Answers:
    """Run an exported file over recordings, and under all conditions if given a pool of voices.

    Args:
        model: The ``.tflite`` or ``.skops`` file.
        recordings: What to run it on; a progress bar on stderr counts them.
        threads: Threads of each TFLite interpreter.
        strict: Whether a recording that cannot be read is an error. Otherwise it is left out with
            a warning on stderr.
        pool: What :func:`babble_pool` returns; None leaves the conditions out.
        jobs: Processes that share the recordings, each with an interpreter of its own.

    Raises:
        EvaluateError: No recording could be used, or, if strict, one could not; or one has an
            emotion that the model does not know; or the ``training.json`` of its run is none.
        edge.classifier.ModelError: The model cannot be used.
    """
    listener = _Listener(model, threads, pool)
    temperature = _temperature(Path(model))
    labels = listener.classifier.labels
    if foreign := [r for r in recordings if r.emotion not in labels]:
        raise EvaluateError(
            f"{foreign[0].path}: {foreign[0].emotion!r} is no answer of this model, which knows "
            + ", ".join(labels)
        )
    used: list[Recording] = []
    left_out: list[Recording] = []
    rows: list[NDArray[np.float64]] = []
    with (
        tqdm(total=len(recordings), desc="evaluating", unit="clip", file=sys.stderr) as bar,
        closing(_heard(listener, recordings, jobs)) as heard,
    ):
        for recording, answer in zip(recordings, heard, strict=True):
            bar.update()
            if isinstance(answer, np.ndarray):
                used.append(recording)
                rows.append(answer)
                continue
            if strict:
                raise EvaluateError(answer)
            tqdm.write(f"warning: {answer}; left out", file=sys.stderr)
            left_out.append(recording)
    if not used:
        raise EvaluateError(
            f"none of the {len(recordings)} test recordings could be used; nothing was measured"
        )
    if left_out:
        print(f"warning: {len(left_out)} of {len(recordings)} recordings left out", file=sys.stderr)
    clean, *degraded = np.stack(rows, axis=1)
    named = dict(zip(listener.conditions, degraded, strict=True))
    return Answers(labels, used, clean, named, left_out, temperature)


class _Listener:
    """A classifier that hears a recording as it is and under all conditions."""

    def __init__(
        self, model: str | os.PathLike[str], threads: int, pool: Mapping[str, Waveform] | None
    ) -> None:
        self.model = model
        self.threads = threads
        self.pool = pool
        self.classifier = open_model(model, threads)
        self.conditions = list(conditions(list(pool.values()))) if pool else []

    def __call__(self, recording: Recording) -> NDArray[np.float64] | str:
        """float64[1 + conditions, L], or in one line why the recording cannot be used."""
        try:
            answers = [self.classifier.predict_file(recording.path)]
            answers += map(self.classifier.predict, self._degraded(recording))
        except audio.AudioError as error:
            return str(error)
        labels = self.classifier.labels
        return np.array([[a.probabilities.get(label, 0.0) for label in labels] for a in answers])

    def _degraded(self, recording: Recording) -> Iterator[Waveform]:
        if self.pool is None:
            return
        waveform = audio.load(recording.path)
        rate = self.classifier.sample_rate
        others = [voice for name, voice in self.pool.items() if name != recording.name]
        for condition, degrade in conditions(others).items():
            degraded = degrade(waveform, generator(recording.name, condition))
            if rate != audio.SAMPLE_RATE:
                degraded = soxr.resample(degraded, audio.SAMPLE_RATE, rate)
            yield degraded


def _heard(
    listener: _Listener, recordings: Sequence[Recording], jobs: int
) -> Generator[NDArray[np.float64] | str]:
    """What the listener says of each recording, in their order."""
    if jobs == 1:
        yield from map(listener, recordings)
        return
    with ProcessPoolExecutor(
        jobs,
        multiprocessing.get_context("spawn"),
        _start,
        (listener.model, listener.threads, listener.pool),
    ) as executor:
        yield from executor.map(_listen, recordings)


_of_this_process: _Listener


def _start(
    model: str | os.PathLike[str], threads: int, pool: Mapping[str, Waveform] | None
) -> None:
    global _of_this_process
    _of_this_process = _Listener(model, threads, pool)


def _listen(recording: Recording) -> NDArray[np.float64] | str:
    return _of_this_process(recording)


def babble_pool(recordings: Sequence[Recording]) -> dict[str, Waveform]:
    """Voices for the conditions, by name of their recording: the same 40 of a corpus every time.

    Args:
        recordings: The whole corpus, not only its test part.

    Raises:
        EvaluateError: The corpus has fewer than two recordings with a voice, so that one would
            have to be its own background.
    """
    pool: dict[str, Waveform] = {}
    ordered = sorted(recordings, key=lambda recording: recording.name)
    for index in np.random.default_rng(BABBLE_SEED).permutation(len(ordered)):
        try:
            waveform = audio.load(ordered[index].path)
        except audio.AudioError:
            continue
        if not audio.is_silent(waveform):
            pool[ordered[index].name] = waveform
        if len(pool) == BABBLE_POOL:
            break
    if len(pool) < 2:
        raise EvaluateError(
            f"only {len(pool)} of the corpus's {len(ordered)} recordings has a voice, which is too "
            "few for babble; leave out --robust, or add recordings"
        )
    return pool


def of_run(model: Path, name: str) -> Path | None:
    """A file of the run that a model comes from: beside the model, or in RUN of RUN/export/."""
    folder = model.resolve().parent
    found = (path / name for path in (folder, folder.parent))
    return next((path for path in found if path.is_file()), None)


def _temperature(model: Path) -> float | None:
    """What the model divides its logits by, where its run says so."""
    path = of_run(model, "training.json")
    if path is None:
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8")).get("temperature")
        return None if value is None else float(value)
    except (ValueError, TypeError, AttributeError):
        raise EvaluateError(
            f"{path}: is not the training.json of a run; move it away or train again"
        ) from None
