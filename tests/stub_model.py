"""A tiny model for tests, whose answer follows from the pitch of the tone in a recording."""

import functools
from pathlib import Path

import numpy as np

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
SAMPLE_RATE = 16_000
WINDOW = 57_600


def tone_of(emotion: str) -> float:
    """Frequency (Hz) of the tone that the stub takes for ``emotion``: 500, 1000, … 4000."""
    return (EMOTIONS.index(emotion) + 1) * 500.0


def tone(emotion: str, seconds: float, rate: int = SAMPLE_RATE, level: float = 0.3) -> np.ndarray:
    """float32[seconds * rate]: a recording that the stub takes for ``emotion``."""
    time = np.arange(round(seconds * rate)) / rate
    return (level * np.sin(2 * np.pi * tone_of(emotion) * time)).astype(np.float32)


@functools.cache
def plain_model(batch: int = 1, frame: int = 480) -> bytes:
    """float32[batch, 57600] -> float32[1, 8] as the converter writes it, without metadata.

    The waveform is cut into frames of ``frame`` samples and projected on a cosine and a sine of
    each pitch; the probabilities follow from the logarithm of the energy at each.
    """
    import tensorflow as tf

    phase = 2 * np.pi * np.arange(frame)[:, None] / SAMPLE_RATE
    pitches = np.array([tone_of(emotion) for emotion in EMOTIONS])
    waves = np.concatenate([np.cos(phase * pitches), np.sin(phase * pitches)], axis=1) / frame

    class Stub(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([batch, WINDOW], tf.float32)])
        def __call__(self, waveform: tf.Tensor) -> tf.Tensor:
            frames = tf.reshape(waveform, [-1, frame])
            parts = tf.square(tf.matmul(frames, tf.constant(waves, tf.float32)))
            energy = tf.reduce_mean(parts[:, :8] + parts[:, 8:], axis=0, keepdims=True)
            return tf.nn.softmax(0.5 * tf.math.log(energy + 1e-5))

    stub = Stub()
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [stub.__call__.get_concrete_function()], stub
    )
    return converter.convert()


def model(labels: tuple[str, ...] = EMOTIONS) -> bytes:
    """The stub with metadata."""
    from export.metadata import embed

    return embed(plain_model(), labels, SAMPLE_RATE, 1, "stub", "Tells tones apart.", "Apache-2.0")


def write(folder: Path, name: str = "stub.tflite") -> Path:
    """The stub as a file in ``folder``."""
    path = folder / name
    path.write_bytes(model())
    return path


def write_swapped(folder: Path) -> Path:
    """A model that takes happy for sad and sad for happy."""
    swap = {"happy": "sad", "sad": "happy"}
    path = folder / "stub.tflite"
    path.write_bytes(model(tuple(swap.get(label, label) for label in EMOTIONS)))
    return path
