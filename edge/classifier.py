"""The inference engine: one ``.tflite`` file from waveform to emotion.

It needs NumPy and a TFLite runtime (``tflite_runtime`` or ``ai_edge_litert``). What it must know
about a model, the labels and the sample rate, it reads from the model file's TFLite metadata.
"""

import importlib
import io
import os
import struct
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

if __package__:
    from . import audio
else:  # copied alone, and run as a script
    import audio  # type: ignore[no-redef]

RUNTIMES = ("ai_edge_litert", "tflite_runtime")  # the former is about twice as fast
WHOLE_SECONDS = 60  # recordings up to this long are looked at as a whole, longer ones streamed
LEAST_PROBABILITY = 1e-9  # keeps the logarithm finite

# From the schema of TFLite metadata, metadata_schema.fbs
AUDIO_PROPERTIES = 4
TENSOR_AXIS_LABELS = 2


class ModelError(Exception):
    """A model cannot be used. The message is one line that starts with the file's name."""


@dataclass(frozen=True)
class Prediction:
    """One answer.

    Attributes:
        emotion: The likeliest label; None for silence.
        confidence: Its probability; 0 for silence.
        probabilities: Of all labels, in the model's order; empty for silence.
        start: First second of the recording that the answer speaks for.
        end: Last second of it.
    """

    emotion: str | None
    confidence: float
    probabilities: dict[str, float] = field(default_factory=dict)
    start: float = 0.0
    end: float = 0.0

    @property
    def silent(self) -> bool:
        return self.emotion is None

    def uncertain(self, min_confidence: float) -> bool:
        """Whether an emotion was heard, but with less than ``min_confidence``, from 0 to 1."""
        return not self.silent and self.confidence < min_confidence


class EmotionClassifier:
    """A loaded model.

    Example:
        >>> classifier = EmotionClassifier("ser.tflite")
        >>> classifier.predict_file("clip.wav").emotion
        'happy'

    Attributes:
        labels: The emotions, in the order of the probabilities.
        sample_rate: Of the waveforms the model takes, in Hz.
        window: Their length in samples.
    """

    labels: tuple[str, ...]
    sample_rate: int
    window: int

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        threads: int = 1,
        runtime: str | None = None,
    ) -> None:
        """Load ``model``.

        Args:
            model: A ``.tflite`` file; by default that of :func:`default_model`.
            threads: How many the runtime may use.
            runtime: ``ai_edge_litert`` or ``tflite_runtime``; by default the first one installed.

        Raises:
            ModelError: The file is missing, truncated, not a TFLite model, or not one of ours.
        """
        path = default_model() if model is None else model
        name = os.fspath(path)
        content = _read_model(name)
        self.labels, self.sample_rate = _read_metadata(name, content)
        interpreter_class = _interpreter_class(name, runtime)
        try:
            with audio.native_stderr_silenced():  # the runtimes announce their delegates
                self._interpreter = interpreter_class(model_content=content, num_threads=threads)
                self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ModelError(f"{name}: does not run on this TFLite runtime ({reason})") from None
        self._input, self.window = _only_tensor(
            name, "input", self._interpreter.get_input_details()
        )
        self._output, answers = _only_tensor(name, "output", self._interpreter.get_output_details())
        if answers != len(self.labels):
            raise ModelError(
                f"{name}: gives {answers} probabilities for {len(self.labels)} labels; export it "
                "again"
            )
        self._lock = threading.Lock()

    def probabilities(self, window_waveform: np.ndarray) -> np.ndarray:
        """Run the model once.

        Args:
            window_waveform: float32[window] within [-1, 1].

        Returns:
            float32[labels], sum 1.
        """
        if window_waveform.shape != (self.window,):
            raise ValueError(f"expected {self.window} samples, got {window_waveform.shape}")
        with self._lock:  # an interpreter is one set of buffers
            waveform = window_waveform[np.newaxis].astype(np.float32, copy=False)
            self._interpreter.set_tensor(self._input, waveform)
            self._interpreter.invoke()
            return self._interpreter.get_tensor(self._output)[0]

    def predict(self, waveform: np.ndarray) -> Prediction:
        """Give one answer for a whole waveform.

        Args:
            waveform: float32[n] at ``sample_rate``.
        """
        windows: list[np.ndarray] = []
        if not audio.is_silent(waveform, self.sample_rate):
            span = audio.voice_span(waveform, self.sample_rate)
            starts = window_starts(len(waveform), span, self.window)
            windows = [cut(waveform, start, self.window) for start in starts]
        return self._prediction(self._pooled(windows), 0, len(waveform))

    def predict_file(
        self, source: audio.Source, heard: Callable[[float], None] | None = None
    ) -> Prediction:
        """Give one answer for a recording of any length, in bounded memory.

        A recording of up to 60 s is answered as :meth:`predict` does: its windows lie on the voice,
        from the first loud frame to the last. Over a longer one they slide from end to end while
        it is read; silent ones are left out, and faint ones weigh little, for they hold little
        energy.

        Args:
            source: A file's path, or a binary stream that holds a complete audio file.
            heard: Called with the seconds heard so far after each window of a longer recording.

        Raises:
            audio.AudioError: The recording cannot be read.
        """
        pieces = self._pieces(source)
        first = list(islice(pieces, WHOLE_SECONDS * self.sample_rate // (self.window // 2) + 1))
        if sum(map(len, first)) <= WHOLE_SECONDS * self.sample_rate:
            return self.predict(np.concatenate(first))
        length = 0

        def voiced() -> Iterator[np.ndarray]:
            nonlocal length
            for _, length, window in sliding_windows(chain(first, pieces), self.window):
                if not audio.is_silent(window, self.sample_rate):
                    yield window
                if heard is not None:
                    heard(length / self.sample_rate)

        probabilities = self._pooled(voiced())
        return self._prediction(probabilities, 0, length)

    def timeline(self, source: audio.Source) -> Iterator[Prediction]:
        """Answer a recording window by window while it is read, in bounded memory.

        Args:
            source: As for :meth:`predict_file`.

        Yields:
            An answer for every window, half a window apart; the last one ends with the recording.

        Raises:
            audio.AudioError: As for :meth:`predict_file`, where the trouble is met.
        """
        for start, end, window in sliding_windows(self._pieces(source), self.window):
            voiced = [] if audio.is_silent(window, self.sample_rate) else [window]
            yield self._prediction(self._pooled(voiced), start, end)

    def _pieces(self, source: audio.Source) -> Iterator[np.ndarray]:
        return audio.blocks(source, (self.window // 2) / self.sample_rate, self.sample_rate)

    def _pooled(self, windows: Iterable[np.ndarray]) -> np.ndarray | None:
        """Softmax of the mean log-probabilities, each window weighted by its energy.

        None where there is no window.
        """
        weighted, weights = np.zeros(len(self.labels)), 0.0
        for window in windows:
            energy = float(window.var(dtype=np.float64))
            probabilities = self.probabilities(window).astype(np.float64)
            weighted += energy * np.log(np.maximum(probabilities, LEAST_PROBABILITY))
            weights += energy
        if not weights:
            return None
        logits = weighted / weights
        powers = np.exp(logits - logits.max())
        return powers / powers.sum()

    def _prediction(self, probabilities: np.ndarray | None, start: int, end: int) -> Prediction:
        """An answer for the samples from ``start`` to ``end``; None is silence."""
        seconds = start / self.sample_rate, end / self.sample_rate
        if probabilities is None:
            return Prediction(None, 0.0, {}, *seconds)
        best = int(probabilities.argmax())
        named = dict(zip(self.labels, probabilities.tolist(), strict=True))
        return Prediction(self.labels[best], named[self.labels[best]], named, *seconds)


def window_starts(length: int, span: tuple[int, int], window: int) -> list[int]:
    """First samples of the windows that cover a voice.

    Args:
        length: Samples of the waveform.
        span: First sample of the voice and the one after its last.
        window: Samples of a window.

    Returns:
        Where the voice fits into a window, one: centred on the voice, but inside the waveform; one
        centred on the waveform where that is shorter than a window, so that the start may be
        negative. Else windows half a window apart, the last one ending with the voice.
    """
    start, end = span
    if length <= window:
        return [(length - window) // 2]
    if end - start <= window:
        return [min(max((start + end - window) // 2, 0), length - window)]
    return [*range(start, end - window, window // 2), end - window]


def cut(waveform: np.ndarray, start: int, window: int) -> np.ndarray:
    """``window`` samples of ``waveform`` from ``start`` on, zeros where it does not reach."""
    inside = waveform[max(start, 0) : max(start + window, 0)]
    if len(inside) == window:
        return inside
    padded = np.zeros(window, np.float32)
    offset = max(-start, 0)
    padded[offset : offset + len(inside)] = inside
    return padded


def sliding_windows(
    pieces: Iterable[np.ndarray], window: int
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Cut a stream into windows half a window apart.

    Args:
        pieces: Consecutive float32 pieces of a waveform, of any lengths.
        window: Samples of a window.

    Yields:
        First sample, the one after the last, and float32[window]. The last window ends with the
        waveform; the only one of a waveform shorter than a window is zero-padded on both sides.
    """
    hop = window // 2
    held = np.empty(0, np.float32)  # from `start` on, and not yet answered
    last = held
    start = 0
    for piece in pieces:
        held = np.concatenate([held, piece])
        while len(held) >= window:
            last, held = held[:window], held[hop:]
            yield start, start + window, last
            start += hop
    if not len(last):
        yield 0, len(held), cut(held, (len(held) - window) // 2, window)
    elif len(held) > window - hop:
        end = start + len(held)
        rest = np.concatenate([last[:hop], held])
        yield end - window, end, rest[-window:]


def default_model() -> Path:
    """``ser.tflite`` beside this file, or else the released one in the project's ``export/``."""
    here = Path(__file__).resolve().parent
    for path in (here / "ser.tflite", here.parent / "export" / "ser.tflite"):
        if path.is_file():
            return path
    raise ModelError(
        f"ser.tflite: is not in {here}; copy a model there, name one with --model, or train one "
        "with: make train"
    )


def _read_model(name: str) -> bytes:
    """The bytes of a TFLite model file."""
    try:
        with Path(name).open("rb") as file:
            content = file.read(8)
            if content[4:8] == b"TFL3":
                content += file.read()
    except FileNotFoundError:
        raise ModelError(f"{name}: does not exist; check the name") from None
    except IsADirectoryError:
        raise ModelError(f"{name}: is a folder, not a model; name a .tflite file") from None
    except PermissionError:
        raise ModelError(f"{name}: may not be read (no permission); try chmod +r") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ModelError(f"{name}: cannot be read ({reason})") from None
    if not content:
        raise ModelError(f"{name}: is empty (0 bytes); copy it again")
    if content[4:8] != b"TFL3":
        raise ModelError(f"{name}: is not a TFLite model; name a .tflite file")
    return content


def _read_metadata(name: str, content: bytes) -> tuple[tuple[str, ...], int]:
    """Labels and sample rate (Hz) of a model, from its TFLite metadata.

    The labels lie in a ZIP archive at the end of the file, so a truncated model is found out here
    and never reaches the runtime, which would read beyond it.
    """
    archive_end = content[-22:]
    whole = archive_end[:4] == b"PK\x05\x06" and len(content) == 22 + sum(
        struct.unpack("<12x2I2x", archive_end)
    )
    if not whole:
        raise ModelError(
            f"{name}: has no labels at its end, so it is cut short or made elsewhere; copy it "
            "again, or use one written by python -m export.convert"
        )
    try:
        subgraph = _Table.root(_metadata_buffer(content)).tables(3)[0]
        properties = subgraph.tables(2)[0].table(3)
        if properties.integer(0, "B") != AUDIO_PROPERTIES:
            raise LookupError("its input is not audio")
        sound = properties.table(1)
        sample_rate, channels = sound.integer(0, "I"), sound.integer(1, "I")
        files = subgraph.tables(3)[0].tables(6)
        labels_file = next(file for file in files if file.integer(2, "b") == TENSOR_AXIS_LABELS)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            labels = archive.read(labels_file.text(0)).decode().splitlines()
    except (struct.error, LookupError, StopIteration, ValueError, zipfile.BadZipFile) as error:
        raise ModelError(
            f"{name}: has unusable metadata ({error}); use a file written by "
            "python -m export.convert"
        ) from None
    if channels != 1 or sample_rate < 1_000:
        raise ModelError(f"{name}: takes {channels} channels at {sample_rate} Hz, not mono sound")
    return tuple(labels), sample_rate


def _metadata_buffer(content: bytes) -> bytes:
    """The model's buffer that holds a ``ModelMetadata``; numbers as in TensorFlow's schema.fbs."""
    model = _Table.root(content)
    for entry in model.tables(6):
        if entry.text(0) == "TFLITE_METADATA":
            return model.tables(4)[entry.integer(1, "I")].vector(0)
    raise LookupError("it holds no TFLITE_METADATA")


@dataclass(frozen=True)
class _Table:
    """A table of a flatbuffer, whose fields are numbered as its schema lists them.

    See https://flatbuffers.dev/internals.
    """

    data: bytes
    position: int

    @classmethod
    def root(cls, data: bytes) -> "_Table":
        return cls(data, _unpack("I", data, 0))

    def integer(self, number: int, kind: str) -> int:
        """A scalar field of a :mod:`struct` kind; 0, every schema's default here, if left out."""
        position = self._field(number)
        return _unpack(kind, self.data, position) if position else 0

    def table(self, number: int) -> "_Table":
        return _Table(self.data, self._target(number))

    def tables(self, number: int) -> list["_Table"]:
        start = self._target(number)
        count = _unpack("I", self.data, start)
        places = range(start + 4, start + 4 + 4 * count, 4)
        return [_Table(self.data, place + _unpack("I", self.data, place)) for place in places]

    def vector(self, number: int) -> bytes:
        """A field of bytes or a string."""
        start = self._target(number)
        return self.data[start + 4 : start + 4 + _unpack("I", self.data, start)]

    def text(self, number: int) -> str:
        return self.vector(number).decode()

    def _field(self, number: int) -> int:
        """Where a field stands, or 0 where it is left out."""
        layout = self.position - _unpack("i", self.data, self.position)
        if 4 + 2 * number >= _unpack("H", self.data, layout):
            return 0
        offset = _unpack("H", self.data, layout + 4 + 2 * number)
        return self.position + offset if offset else 0

    def _target(self, number: int) -> int:
        position = self._field(number)
        if not position:
            raise LookupError(f"field {number} is missing")
        return position + _unpack("I", self.data, position)


def _unpack(kind: str, data: bytes, position: int) -> int:
    return struct.unpack_from(f"<{kind}", data, position)[0]


def _interpreter_class(name: str, runtime: str | None) -> Any:
    for package in (runtime,) if runtime else RUNTIMES:
        try:
            return importlib.import_module(f"{package}.interpreter").Interpreter
        except ImportError:
            continue
    raise ModelError(
        f"{name}: needs {runtime or ' or '.join(RUNTIMES)} to run; pip install -r "
        "edge/requirements.txt"
    )


def _only_tensor(name: str, side: str, details: list[dict[str, Any]]) -> tuple[int, int]:
    """Index and length of the model's only input or output, float32[1, length]."""
    kinds = [np.dtype(tensor["dtype"]).name for tensor in details]
    shapes = [tensor["shape"].tolist() for tensor in details]
    if kinds != ["float32"] or len(shapes[0]) != 2 or shapes[0][0] != 1:
        found = ", ".join(f"{kind}{shape}" for kind, shape in zip(kinds, shapes, strict=True))
        raise ModelError(f"{name}: its {side} is {found} where float32[1, n] belongs")
    return details[0]["index"], shapes[0][1]
