"""What learns, one function a row: standardised features to logits.

Layers that SYSTEMS leaves open (widths, dropout, what stands between) are chosen here; every
docstring says which.
"""

from collections.abc import Callable
from typing import Any, Literal

import keras
from keras import layers

from ser_tf.systems.neural.recipe import HOP_LENGTH

SEQUENCE = 59  # features a frame of D1 and D2
FRAMES_BESIDE_CLIP = 60  # features a frame of E2
CLIP = 6
WIDE = 187  # features a frame of C1
STATISTICS = 317  # of B1


def _frames(window: int) -> int:
    return 1 + window // HOP_LENGTH


def _convolution(x: Any, channels: int, width: int, dropout: float = 0.0) -> Any:
    """Convolution over time, batch normalisation, ReLU, half the frames, dropout."""
    x = layers.Conv1D(channels, width, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.MaxPooling1D(2, padding="same")(x)
    return layers.Dropout(dropout)(x) if dropout else x


def _dense(x: Any, units: int, dropout: float) -> Any:
    return layers.Dropout(dropout)(layers.Dense(units, activation="relu")(x))


def _answer(inputs: Any, x: Any, classes: int, name: str) -> keras.Model:
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name=name)


def cnn_refined(classes: int, *, window: int) -> keras.Model:
    """D3, as its project states it: three convolutions of 128, 256 and 512 channels, two dense.

    Chosen: ReLU before the normalisation, a quarter of the frames after each convolution.
    """
    inputs = keras.Input((_frames(window), SEQUENCE))
    x = inputs
    for channels in (128, 256, 512):
        x = layers.Conv1D(channels, 5, padding="same", activation="relu")(x)
        x = layers.MaxPooling1D(4, padding="same")(layers.BatchNormalization()(x))
        x = layers.Dropout(0.3)(x)
    x = _dense(_dense(layers.Flatten()(x), 256, 0.4), 128, 0.4)
    return _answer(inputs, x, classes, "cnn_refined")


def cnn_frames(classes: int, *, window: int) -> keras.Model:
    """D2's CNN. Chosen: three convolutions of 64, 128 and 256 channels, mean over time, dense."""
    inputs = keras.Input((_frames(window), SEQUENCE))
    x = inputs
    for channels in (64, 128, 256):
        x = _convolution(x, channels, 5, 0.2)
    x = _dense(layers.GlobalAveragePooling1D()(x), 128, 0.4)
    return _answer(inputs, x, classes, "cnn_frames")


def lstm(classes: int, *, window: int) -> keras.Model:
    """D2's LSTM. Chosen: two of 128 and 64 units, dense 64."""
    inputs = keras.Input((_frames(window), SEQUENCE))
    x = layers.Dropout(0.3)(layers.LSTM(128, return_sequences=True)(inputs))
    x = layers.Dropout(0.3)(layers.LSTM(64)(x))
    return _answer(inputs, _dense(x, 64, 0.3), classes, "lstm")


def cnn_lstm(classes: int, *, window: int) -> keras.Model:
    """D2's CNN + LSTM. Chosen: convolutions of 64 and 128 channels, LSTM 128, dense 64."""
    inputs = keras.Input((_frames(window), SEQUENCE))
    x = _convolution(_convolution(inputs, 64, 5, 0.2), 128, 5, 0.2)
    x = layers.Dropout(0.3)(layers.LSTM(128)(x))
    return _answer(inputs, _dense(x, 64, 0.3), classes, "cnn_lstm")


def _frames_and_clip(window: int) -> dict[str, Any]:
    return {
        "frames": keras.Input((_frames(window), FRAMES_BESIDE_CLIP), name="frames"),
        "clip": keras.Input((CLIP,), name="clip"),
    }


def cnn_stats(classes: int, *, window: int) -> keras.Model:
    """E2's CNN. Chosen: convolutions 5 wide, mean over time before the clip values join."""
    inputs = _frames_and_clip(window)
    x = _convolution(_convolution(inputs["frames"], 128, 5, 0.4), 256, 5, 0.4)
    x = layers.GlobalAveragePooling1D()(x)
    x = _dense(layers.Concatenate()([x, inputs["clip"]]), 128, 0.5)
    return _answer(inputs, x, classes, "cnn_stats")


def cnn_rnn_stats(classes: int, *, window: int, cell: Literal["LSTM", "GRU"]) -> keras.Model:
    """E2's CNN + LSTM and CNN + GRU. Chosen: a convolution 5 wide, the last state is taken."""
    recurrent: Callable[..., Any] = getattr(layers, cell)
    inputs = _frames_and_clip(window)
    x = _convolution(inputs["frames"], 128, 5, 0.4)
    x = layers.Dropout(0.4)(recurrent(128)(x))
    x = _dense(layers.Concatenate()([x, inputs["clip"]]), 128, 0.5)
    return _answer(inputs, x, classes, f"cnn_{cell.lower()}_stats")


def cnn_bilstm_attention(classes: int, *, window: int) -> keras.Model:
    """C1. Luong's general attention (EMNLP 2015) of the last state over all of them.

    Chosen: half the frames after each convolution, dropout after each LSTM and the dense layer of
    128 units, which sees context and last state.
    """
    inputs = keras.Input((_frames(window), WIDE))
    x = _convolution(_convolution(inputs, 64, 3), 128, 3)
    for _ in range(2):
        x = layers.Bidirectional(layers.LSTM(128, return_sequences=True))(x)
        x = layers.Dropout(0.5)(x)
    last = layers.Cropping1D((x.shape[1] - 1, 0))(x)
    query = layers.Dense(x.shape[-1], use_bias=False)(last)
    context = layers.Attention()([query, x])
    x = layers.Flatten()(layers.Concatenate()([context, last]))
    x = layers.Dropout(0.5)(layers.Dense(128, activation="tanh")(x))
    return _answer(inputs, x, classes, "cnn_bilstm_attention")


def dnn(classes: int) -> keras.Model:
    """B1. Chosen: dense 256, 128 and 64 with batch normalisation and dropout."""
    inputs = keras.Input((STATISTICS,))
    x = inputs
    for units, dropout in ((256, 0.5), (128, 0.4), (64, 0.3)):
        x = layers.BatchNormalization()(layers.Dense(units, activation="relu")(x))
        x = layers.Dropout(dropout)(x)
    return _answer(inputs, x, classes, "dnn")
