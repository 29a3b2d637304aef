"""A1: a spectrogram drawn as a picture in the graph, for networks that know photographs."""

import contextlib
import sys
from typing import Any

import keras
import matplotlib
import numpy as np
from keras import layers, ops

from ser_tf.systems.neural.recipe import LIBROSA_RATE
from ser_tf.systems.neural.spectra import TOP_DB, MelDecibels, PowerSpectrum

FLIPPED = 0.5  # share of pictures that are flipped, time backwards
ROTATION = 15 / 360  # of a turn, at most
MOVED = 0.1  # of the picture's width and height, at most
ZOOM = 0.1
JITTER = 0.1  # of brightness, contrast, saturation

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406])  # of red, green, blue, from 0 to 1
IMAGENET_DEVIATION = np.array([0.229, 0.224, 0.225])


@keras.saving.register_keras_serializable("ser_tf")
class Viridis(layers.Layer):
    """A spectrogram in the colours of viridis, low frequencies below, time to the right.

    From -80 dB, dark, to 0 dB, light. Resized bilinearly to a square.

    Args:
        size: Side of the picture, pixels.

    Input: ``(batch, frames, bands)`` in dB below the maximum. Output: ``(batch, size, size, 3)``,
    whole numbers from 0 to 255, float32.
    """

    def __init__(self, size: int, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.size = size

    def call(self, level: Any) -> Any:
        colours = matplotlib.colormaps["viridis"](np.arange(256))[:, :3]
        shade = ops.clip(level * (255 / TOP_DB) + 255, 0.0, 255.0)
        upright = ops.flip(ops.transpose(shade, (0, 2, 1)), axis=1)
        picture = ops.take(
            np.round(colours * 255).astype("float32"), ops.cast(ops.round(upright), "int32"), axis=0
        )
        resized = ops.image.resize(
            picture, (self.size, self.size), "bilinear", data_format="channels_last"
        )
        return ops.round(resized)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "size": self.size}


def viridis(window: int, size: int) -> keras.Model:
    """Waveform ``(batch, window)`` at 22,050 Hz to pictures ``(batch, size, size, 3)``."""
    waveform = keras.Input((window,), name="waveform")
    power = PowerSpectrum(LIBROSA_RATE)(waveform)
    level = MelDecibels(LIBROSA_RATE, reference="maximum")(power)
    return keras.Model(waveform, Viridis(size)(level), name="viridis")


def changes(size: int) -> keras.Model:
    """Random changes of pictures ``(batch, size, size, 3)`` from 0 to 255."""
    picture = keras.Input((size, size, 3))
    steps = [
        layers.RandomFlip("horizontal"),
        layers.RandomRotation(ROTATION, fill_mode="constant"),
        layers.RandomTranslation(MOVED, MOVED, fill_mode="constant"),
        layers.RandomZoom(ZOOM, fill_mode="constant"),
        layers.RandomBrightness(JITTER, value_range=(0, 255)),
        layers.RandomContrast(JITTER, value_range=(0, 255)),
        layers.RandomSaturation((0.5 - JITTER / 2, 0.5 + JITTER / 2), value_range=(0, 255)),
        layers.ReLU(max_value=255.0),
    ]
    x = picture
    for step in steps:
        x = step(x)
    return keras.Model(picture, x, name="changes")


def efficientnet(classes: int, *, variant: str, size: int, weights: str = "") -> keras.Model:
    """EfficientNet with a new head of ``classes`` logits.

    ImageNet's weights come from keras.applications, which keeps them in ``~/.keras/models``; where
    they are neither there nor can be fetched, the weights are random, and a notice says so.

    Args:
        classes: How many.
        variant: ``B2`` or ``B3``.
        size: Side of the pictures, pixels.
        weights: A file of weights without the head, ``none`` for random ones, or ``""``.

    Raises:
        ValueError: The file cannot be used.
    """
    build = getattr(keras.applications, f"EfficientNet{variant}")
    options = {"include_top": False, "input_shape": (size, size, 3), "pooling": "avg"}
    picture = keras.Input((size, size, 3))
    x = picture
    if weights == "none":
        base = build(weights=None, **options)
    elif weights:
        try:
            base = build(weights=weights, **options)
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"{weights}: holds no weights of EfficientNet-{variant} without its head ({reason})"
            ) from None
        # Which keras.applications does inside the network, but only for what it fetches itself.
        spread = 1 / np.sqrt(IMAGENET_DEVIATION)
        x = layers.Rescaling(spread.tolist(), (255 * IMAGENET_MEAN * (1 - spread)).tolist())(x)
    else:
        try:
            with contextlib.redirect_stdout(sys.stderr):  # Keras announces what it fetches
                base = build(weights="imagenet", **options)
        except Exception as error:  # Keras wraps whatever the network says
            print(_notice(variant, error), file=sys.stderr)
            base = build(weights=None, **options)
    x = layers.Dropout(0.3)(base(x))
    logits = layers.Dense(classes, name="logits")(x)
    return keras.Model(picture, logits, name=f"efficientnet_{variant.lower()}")


def _notice(variant: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:120]
    return (
        f"EfficientNet-{variant}: ImageNet weights cannot be fetched ({reason}); it starts from "
        f"random weights. Name efficientnet{variant.lower()}_notop.h5 by --weights for them."
    )
