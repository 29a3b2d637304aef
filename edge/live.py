"""Live sound: one answer a second, smoothed, with silence and other sounds told apart from voice.

microphone or pipe -> SoundQueue -> Listener -> lines, broker, webhook
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol

import numpy as np

if __package__:
    from . import audio, broker, microphone, publish, voice
    from .classifier import LEAST_PROBABILITY, EmotionClassifier, Prediction, cut
else:  # copied alone, and run as a script
    import audio  # type: ignore[no-redef]
    import broker  # type: ignore[no-redef]
    import microphone  # type: ignore[no-redef]
    import publish  # type: ignore[no-redef]
    import voice  # type: ignore[no-redef]
    from classifier import (  # type: ignore[no-redef]
        LEAST_PROBABILITY,
        EmotionClassifier,
        Prediction,
        cut,
    )

MIN_CONFIDENCE = 0.5  # answers below are uncertain where nothing else is asked for
HOP_SECONDS = 1.0  # from one answer to the next
HALF_LIFE = 1.0  # seconds in which what was heard loses half its weight
PAUSE_SECONDS = 0.5  # without voice, after which a new utterance begins
FIRST_VOICE = 0.25  # seconds of voice in a hop from which somebody speaks, ...
LEAST_VOICE = 0.1  # ... and below which nobody does any more
ENOUGH_VOICE = 0.5  # seconds of it in a window before an emotion is named
MARGIN = 0.1  # by which another emotion must lead to take the place of the one named
LINGER = 0.05  # below the least confidence down to which an emotion named stays named

SILENCE, NO_VOICE, UNCERTAIN = "silence", "no voice", "uncertain"
NO_MICROPHONE = "no microphone"
STATES = (UNCERTAIN, NO_VOICE, SILENCE, NO_MICROPHONE)  # beside the emotions


class Detector(Protocol):
    """What judges which chunks of a stream hold voice."""

    def hear(self, piece: np.ndarray) -> list[bool]: ...

    def forget(self) -> None: ...


@dataclass(frozen=True)
class Answer:
    """What the last second held.

    Attributes:
        state: An emotion, or one of ``STATES``.
        prediction: The smoothed probabilities; where ``state`` is uncertain, what it leans to.
            ``start`` and ``end`` are seconds since the first sound, also those that were dropped.
        voice: Seconds of voice in the last second.
        dropped: Seconds of sound that were lost since the answer before.
        time: When the sound ended, in seconds since 1970.
    """

    state: str
    prediction: Prediction
    voice: float = 0.0
    dropped: float = 0.0
    time: float = 0.0

    def fields(self, top: int | None = None) -> dict[str, Any]:
        """For a program to read; the keys that answers about files have mean the same.

        Args:
            top: How many probabilities, the likeliest first; None is all.
        """
        heard = self.prediction
        ranked = sorted(heard.probabilities.items(), key=lambda item: -item[1])[:top]
        return {
            "time": publish.iso(self.time),
            "state": self.state,
            "emotion": None if self.state in STATES else heard.emotion,
            "confidence": round(heard.confidence, 6),
            "silence": self.state == SILENCE,
            "uncertain": self.state == UNCERTAIN,
            "voice": round(self.voice, 3),
            "start": round(heard.start, 3),
            "end": round(heard.end, 3),
            "dropped": round(self.dropped, 3),
            "probabilities": {emotion: round(share, 6) for emotion, share in ranked},
        }

    def line(self, top: int | None = None) -> str:
        """For a person to read: ``14:03:07  angry 87.1%``."""
        clock = time.strftime("%H:%M:%S", time.localtime(self.time))
        probabilities = self.prediction.probabilities
        if self.state == UNCERTAIN or self.state not in STATES:
            ranked = sorted(probabilities.items(), key=lambda item: -item[1])[: top or 1]
            if self.state != UNCERTAIN:  # the one named stands first, though another may lead
                ranked.sort(key=lambda item: item[0] != self.state)
            if not top or top == 1:
                named = self.prediction.emotion or ""
                ranked = [(named, probabilities[named])]
            text = ", ".join(f"{emotion} {share:.1%}" for emotion, share in ranked)
            if self.state == UNCERTAIN:
                text = f"uncertain (most likely {text})"
        else:
            text = self.state
        lost = f"  ({self.dropped:.1f} s of sound lost)" if self.dropped else ""
        return f"{clock}  {text}{lost}"


class Listener:
    """Answers a stream second by second.

    Voice is looked for in chunks of 32 ms. The model's window is centred on the utterance as far as
    it has been heard, with the sound before it on the left and nothing on the right. That is a
    little better while the voice sets in than a window that ends now, and much better after it has
    ended (docs/live.md). Of an utterance longer than the window its end is taken.

    Smoothing is the mean of the windows' log-probabilities, as for files; but a window weighs by
    the seconds of voice in it, and loses half its weight every second. By energy, as within a
    recording, a shout would outweigh the soft words after it for longer than they last.

    Against flicker, the emotion named gives way only to one that leads by 0.1, and the state
    "uncertain" returns only 0.05 below the least confidence.
    """

    def __init__(
        self,
        model: EmotionClassifier,
        detector: Detector,
        min_confidence: float = MIN_CONFIDENCE,
    ) -> None:
        """Listen with ``model``, which takes 16,000 Hz.

        Args:
            model: Asked once for every second that holds voice.
            detector: Judges chunks of 512 samples.
            min_confidence: Emotions less probable, from 0 to 1, are called uncertain.
        """
        self._model = model
        self._detector = detector
        self._min_confidence = min_confidence
        self._held = np.empty(0, np.float32)  # the last window and hop
        self._heard = 0  # samples, with those held the last ones
        self._lost = 0.0  # seconds
        self._chunks = 0
        self._voiced: list[int] = []  # where voiced chunks end, counted as _heard is
        self._onset = 0  # of the utterance
        self._speaking = False
        self._named: str | None = None
        self._weighted = np.zeros(len(model.labels))
        self._weight = 0.0

    @property
    def hop(self) -> int:
        """Samples from one answer to the next."""
        return round(HOP_SECONDS * self._model.sample_rate)

    def hear(self, piece: np.ndarray, dropped: float = 0.0, when: float = 0.0) -> Answer:
        """Answer the next hop.

        Args:
            piece: float32[hop].
            dropped: Seconds of sound that are missing before it.
            when: It ended, in seconds since 1970.
        """
        if dropped:
            self._lost += dropped
            self._detector.forget()
        self._hold(piece)
        kept = 0.5 ** (len(piece) / self._model.sample_rate / HALF_LIFE)
        self._weighted *= kept
        self._weight *= kept
        spoken = self._seconds(self._heard - len(piece))
        self._speaking = spoken >= (LEAST_VOICE if self._speaking else FIRST_VOICE)
        silent = audio.is_silent(piece, self._model.sample_rate)
        if silent or not self._speaking:
            self._named = None
            state = SILENCE if silent else NO_VOICE
            prediction = Prediction(None, 0.0, {}, *self._span(self._heard - len(piece)))
        else:
            state, prediction = self._ask()
        return Answer(state, prediction, spoken, dropped, when)

    def gone(self, when: float) -> Answer:
        """The answer where there is no microphone."""
        self._named, self._speaking = None, False
        prediction = Prediction(None, 0.0, {}, *self._span(self._heard))
        return Answer(NO_MICROPHONE, prediction, time=when)

    def _hold(self, piece: np.ndarray) -> None:
        for spoken in self._detector.hear(piece):
            self._chunks += 1
            if spoken:
                end = self._chunks * voice.CHUNK
                pause = end - voice.CHUNK - (self._voiced[-1] if self._voiced else -self.hop)
                if pause >= PAUSE_SECONDS * self._model.sample_rate:
                    self._onset = end - voice.CHUNK
                self._voiced.append(end)
        self._heard += len(piece)
        self._held = np.concatenate([self._held, piece])[-(self._model.window + len(piece)) :]
        earliest = self._heard - len(self._held)
        self._voiced = [end for end in self._voiced if end > earliest]

    def _seconds(self, since: int) -> float:
        """Seconds of voice after the sample ``since``."""
        return sum(end > since for end in self._voiced) * voice.CHUNK_SECONDS

    def _span(self, start: int) -> tuple[float, float]:
        """From the sample ``start`` until now, in seconds since the first sound."""
        rate = self._model.sample_rate
        return start / rate + self._lost, self._heard / rate + self._lost

    def _ask(self) -> tuple[str, Prediction]:
        window = self._model.window
        end = self._voiced[-1]
        start = max(self._onset, end - window)
        first = (start + end - window) // 2 - (self._heard - len(self._held))
        answers = self._model.probabilities(cut(self._held, first, window)).astype(np.float64)
        spoken = self._seconds(start)
        self._weighted += spoken * np.log(np.maximum(answers, LEAST_PROBABILITY))
        self._weight += spoken
        logits = self._weighted / self._weight
        powers = np.exp(logits - logits.max())
        named = dict(zip(self._model.labels, (powers / powers.sum()).tolist(), strict=True))
        best = max(named, key=lambda label: named[label])
        if self._named is not None and named[best] < named[self._named] + MARGIN:
            best = self._named
        least = self._min_confidence - (LINGER if best == self._named else 0.0)
        sure = named[best] >= least and spoken >= ENOUGH_VOICE
        self._named = best if sure else None
        prediction = Prediction(best, named[best], named, *self._span(start))
        return best if sure else UNCERTAIN, prediction


def run(
    options: argparse.Namespace, model: EmotionClassifier, stream: microphone.Stream | None
) -> int:
    """Listen until the sound ends or the process is told to.

    Args:
        options: Of the command line.
        model: What answers.
        stream: Raw sound; None is the microphone.

    Returns:
        Exit status: 0, or 1 where listening cannot begin.
    """
    try:
        if model.sample_rate != voice.SAMPLE_RATE:
            raise microphone.SoundError(f"the model takes {model.sample_rate} Hz, not 16000 Hz")
        sound = microphone.SoundQueue(model.sample_rate)
        source = (
            microphone.Microphone(sound, options.device, say)
            if stream is None
            else microphone.Pipe(sound, stream)
        )
        publishers = _publishers(options, model)
        detector = voice.VoiceDetector()
    except ImportError as error:
        say(
            f"{error.name}: is missing, and live sound needs it; pip install -r "
            "edge/requirements-live.txt"
        )
        return 1
    except (microphone.SoundError, publish.AddressError) as error:
        say(str(error))
        return 1
    least = MIN_CONFIDENCE if options.min_confidence is None else options.min_confidence
    listener = Listener(model, detector, least)
    with _ended_by_signals(sound.end):
        source.start()
        for publisher in publishers:
            publisher.start()
        try:
            _answer(options, listener, sound, publishers)
        except BrokenPipeError:  # the reader has gone away
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        finally:
            sound.end()
            source.join(1.0)
            for publisher in publishers:
                publisher.close()
    if sound.problem:
        say(sound.problem)
    return 1 if sound.problem else 0


def _answer(
    options: argparse.Namespace,
    listener: Listener,
    sound: microphone.SoundQueue,
    publishers: list[publish.Publisher],
) -> None:
    """Turn sound into lines and messages until it ends."""
    before = None
    dropped = 0.0  # since the last line
    while (piece := sound.take(listener.hop)) is not None:
        if piece.samples is None:
            answer = listener.gone(piece.time)
        else:
            if piece.dropped and not piece.absent:
                say(f"fell behind: {piece.dropped:.1f} s of sound dropped")
            answer = listener.hear(piece.samples, piece.dropped, piece.time)
        dropped += answer.dropped
        if options.on_change and answer.state == before:
            continue
        answer = Answer(answer.state, answer.prediction, answer.voice, dropped, answer.time)
        before, dropped = answer.state, 0.0
        fields = answer.fields(options.top)
        text = json.dumps(fields) if options.json else answer.line(options.top)
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
        for publisher in publishers:
            publisher.put(answer.time, fields)


def _publishers(options: argparse.Namespace, model: EmotionClassifier) -> list[publish.Publisher]:
    outlets: list[publish.Outlet] = []
    if options.mqtt:
        states = (*model.labels, *STATES)
        outlets.append(broker.Broker(options.mqtt, states))
    if options.webhook:
        outlets.append(publish.Webhook(options.webhook))
    return [publish.Publisher(outlet, say) for outlet in outlets]


@contextmanager
def _ended_by_signals(end: Callable[[], None]) -> Iterator[None]:
    """SIGTERM and SIGINT call ``end``, once; a second one ends the process as ever."""

    def told(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        end()

    before = {number: signal.signal(number, told) for number in (signal.SIGTERM, signal.SIGINT)}
    if hasattr(signal, "SIGPIPE"):  # else a broker that goes away would end the process
        before[signal.SIGPIPE] = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def say(text: str) -> None:
    """One line on standard error."""
    with audio.STDERR_LOCK:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
