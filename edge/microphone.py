"""Where live sound comes from: the microphone, or raw PCM in a pipe, through a bounded queue."""

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

if __package__:
    from . import audio
else:  # copied alone, and run as a script
    import audio  # type: ignore[no-redef]

MOST_SECONDS = 3.0  # of sound that waits; more is dropped ...
LEFT_SECONDS = 1.0  # ... down to the newest of it
AHEAD_SECONDS = 2.5  # by which sound may outrun the clock and still count as live: a full pipe, ...
CLOCK_RATIO = 1.001  # ... and a sound card whose clock runs fast, all day
READ_SECONDS = 0.1
QUIET_SECONDS = 2.0  # without a sample, after which a microphone is taken for unplugged
BUFFER_SECONDS = 0.25  # of sound that PortAudio keeps where nobody reads it
OVERRUN_SECONDS = 60.0  # from one line about sound that it could not keep to the next
RETRY_SECONDS = (1.0, 30.0)  # from one look for it to the next: first, and at most

Say = Callable[[str], None]


class SoundError(Exception):
    """Live sound cannot be had. The message is one line."""


class Stream(Protocol):
    """What raw sound is read from."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class Piece:
    """Sound for one answer.

    Attributes:
        samples: float32[n]; None where there is no microphone.
        time: When its last sample came, in seconds since 1970.
        dropped: Seconds of sound that are missing before it.
        absent: Whether that is because there was no microphone.
    """

    samples: np.ndarray | None
    time: float
    dropped: float = 0.0
    absent: bool = False


class SoundQueue:
    """Sound on its way from the thread that records it to the one that answers.

    It holds at most three seconds. Where the answers fall behind, all but the newest second is
    dropped, and the next piece says how much.
    """

    def __init__(self, sample_rate: int) -> None:
        """Make an empty queue for sound of ``sample_rate`` Hz."""
        self.problem = ""  # why the sound ended, where it should not have
        self.sample_rate = sample_rate
        self._news = threading.Condition()
        self._pieces: deque[np.ndarray] = deque()
        self._held = 0  # samples in them
        self._dropped = 0.0
        self._absent = False
        self._gone: float | None = None  # when the microphone went, as long as it is not told
        self._ended = False
        self._latest = time.time()  # when a sample last came
        self._told = 0.0  # when those taken last had come

    def put(self, samples: np.ndarray) -> None:
        """Add float32[n], the newest sound."""
        with self._news:
            self._pieces.append(samples)
            self._held += len(samples)
            self._latest = time.time()
            if self._seconds() > MOST_SECONDS:
                while self._seconds() - len(self._pieces[0]) / self.sample_rate >= LEFT_SECONDS:
                    lost = len(self._pieces.popleft())
                    self._held -= lost
                    self._dropped += lost / self.sample_rate
            self._news.notify_all()

    def take(self, size: int) -> Piece | None:
        """Wait for the next ``size`` samples; None after the end, where fewer are left."""
        with self._news:
            while not self._ended or self._held >= size:
                if self._gone is not None:
                    gone, self._gone = self._gone, None
                    return Piece(None, gone)
                if self._held >= size:
                    return self._cut(size)
                self._news.wait(0.5)  # a signal may come between the look and the waiting
            return None

    def lose(self) -> None:
        """The microphone is gone; what waited is incomplete and is dropped."""
        with self._news:
            self._pieces.clear()
            self._held = 0
            self._gone = time.time()
            self._news.notify_all()

    def regain(self, seconds: float) -> None:
        """The microphone is back after ``seconds``."""
        with self._news:
            self._dropped += seconds
            self._absent = True

    def wait_for_room(self, samples: int) -> None:
        """Return when so many more fit in without a loss."""
        room = MOST_SECONDS * self.sample_rate - samples
        with self._news:
            self._news.wait_for(lambda: self._ended or self._held <= room)

    def end(self, problem: str = "") -> None:
        """Let no more sound come; ``problem`` is a line that says why, where it is one."""
        with self._news:
            self.problem = self.problem or problem
            self._ended = True
            self._news.notify_all()

    @property
    def ended(self) -> bool:
        return self._ended

    def _seconds(self) -> float:
        return self._held / self.sample_rate

    def _cut(self, size: int) -> Piece:
        parts, missing = [], size
        while missing:
            part = self._pieces.popleft()
            if len(part) > missing:
                self._pieces.appendleft(part[missing:])
                part = part[:missing]
            parts.append(part)
            missing -= len(part)
        self._held -= size
        self._news.notify_all()
        dropped, self._dropped = self._dropped, 0.0
        absent, self._absent = self._absent, False
        self._told = max(self._told, self._latest - self._seconds())
        return Piece(np.concatenate(parts), self._told, dropped, absent)


class Pipe(threading.Thread):
    """Raw PCM from a stream: 16-bit, little-endian, mono, at the queue's sample rate.

    Sound that outruns the clock is not live, but a recording put into the pipe: that waits, where
    live sound would be dropped.
    """

    def __init__(self, sound: SoundQueue, stream: Stream) -> None:
        """Read ``stream``, whose ``read`` gives what is there and b"" at its end."""
        super().__init__(daemon=True)
        self._sound = sound
        self._stream = stream
        self._size = 2 * round(READ_SECONDS * sound.sample_rate)

    def run(self) -> None:
        half = b""  # of a sample
        began, received = time.monotonic(), 0.0
        problem = ""
        try:
            while not self._sound.ended and (content := self._stream.read(self._size)):
                content = half + content
                whole = len(content) // 2 * 2
                half = content[whole:]
                samples = np.frombuffer(content[:whole], "<i2").astype(np.float32) / 32_768
                received += len(samples) / self._sound.sample_rate
                if received > AHEAD_SECONDS + CLOCK_RATIO * (time.monotonic() - began):
                    self._sound.wait_for_room(len(samples))
                self._sound.put(samples)
        except OSError as error:
            problem = f"standard input: cannot be read ({error.strerror})"
        self._sound.end(problem)


class Microphone(threading.Thread):
    """A microphone through PortAudio, looked for again and again where it is unplugged."""

    def __init__(self, sound: SoundQueue, device: str | None, say: Say) -> None:
        """Open the microphone.

        Args:
            sound: Where its sound goes.
            device: Its number or a part of its name; None is the system's default.
            say: Takes a line about a microphone that is gone or back.

        Raises:
            SoundError: PortAudio or the microphone is missing.
            ImportError: sounddevice is not installed.
        """
        super().__init__(daemon=True)
        try:
            with audio.native_stderr_silenced():  # ALSA remarks on all that a device is not
                import sounddevice
        except OSError:  # it is there, but finds no PortAudio
            raise SoundError(
                "microphone: PortAudio is missing; sudo apt install libportaudio2"
            ) from None
        self._portaudio: Any = sounddevice
        self._sound = sound
        self._device = int(device) if device and device.isdecimal() else device
        self._say = say
        self._stream, self._rate = self._opened()

    def run(self) -> None:
        while not self._sound.ended:
            try:
                self._record()
            except self._portaudio.PortAudioError as error:
                reason = _words(error)
            else:
                reason = f"no sound for {QUIET_SECONDS:.0f} s"
            if not self._sound.ended:
                self._wait_for_it(reason)
        self._close()

    def _record(self) -> None:
        """Pass sound on until none comes, or listening ends."""
        resampler = None
        if self._rate != self._sound.sample_rate:
            import soxr

            resampler = soxr.ResampleStream(self._rate, self._sound.sample_rate, 1, dtype="float32")
        heard, told = time.monotonic(), -OVERRUN_SECONDS
        while not self._sound.ended and time.monotonic() - heard < QUIET_SECONDS:
            ready = self._stream.read_available
            if not ready:
                time.sleep(READ_SECONDS / 4)
                continue
            content, overrun = self._stream.read(ready)
            heard = time.monotonic()
            if overrun and heard - told > OVERRUN_SECONDS:
                told = heard
                self._say("microphone: some sound is lost, for the computer is too busy")
            samples = np.frombuffer(content, np.float32)
            if resampler is not None:
                samples = resampler.resample_chunk(samples)
            if len(samples):
                self._sound.put(samples.clip(-1.0, 1.0))

    def _wait_for_it(self, reason: str) -> None:
        since = time.monotonic()
        delay, most = RETRY_SECONDS
        self._say(f"microphone: gone ({reason}); looking for it every {delay:.0f} to {most:.0f} s")
        self._sound.lose()
        while not self._sound.ended:
            self._close()
            time.sleep(delay)
            delay = min(2 * delay, most)
            try:
                with audio.native_stderr_silenced():  # PortAudio looks only when it starts
                    with suppress(self._portaudio.PortAudioError):
                        self._portaudio._terminate()
                    self._portaudio._initialize()
                self._stream, self._rate = self._opened()
                if not self._sounds():
                    continue
            except (SoundError, self._portaudio.PortAudioError):
                continue
            away = time.monotonic() - since
            self._sound.regain(away)
            self._say(f"microphone: back after {away:.1f} s")
            return

    def _sounds(self) -> bool:
        """Whether a sample comes before a microphone would be taken for unplugged again."""
        began = time.monotonic()
        while time.monotonic() - began < QUIET_SECONDS and not self._sound.ended:
            if self._stream.read_available:
                return True
            time.sleep(READ_SECONDS / 4)
        return False

    def _opened(self) -> tuple[Any, int]:
        """A started stream, at 16 kHz or else at the microphone's own rate, and that rate."""
        portaudio = self._portaudio
        if self._device is None and portaudio.default.device[0] < 0:
            raise SoundError("microphone: none is there; plug one in (arecord -l lists them)")
        named = "microphone" if self._device is None else f"microphone {self._device}"
        try:
            found = portaudio.query_devices(self._device, "input")
            with audio.native_stderr_silenced():
                try:
                    return self._streaming(self._sound.sample_rate), self._sound.sample_rate
                except portaudio.PortAudioError:
                    rate = round(found["default_samplerate"])
                    return self._streaming(rate), rate
        except (portaudio.PortAudioError, ValueError) as error:
            raise SoundError(
                f"{named}: cannot be used ({_words(error)}); python -m sounddevice lists what "
                "there is, --device chooses"
            ) from None

    def _streaming(self, rate: int) -> Any:
        stream = self._portaudio.RawInputStream(
            rate, device=self._device, channels=1, dtype="float32", latency=BUFFER_SECONDS
        )
        stream.start()
        return stream

    def _close(self) -> None:
        with suppress(self._portaudio.PortAudioError):  # it may be gone already
            self._stream.abort()
            self._stream.close()


def _words(error: Exception) -> str:
    """PortAudio's own words, on one line."""
    return " ".join(str(error).split())
