"""What a Keras row of the comparison is made of. Importing this does not import TensorFlow."""

import dataclasses
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import keras
    import numpy as np

LIBROSA_RATE = 22_050  # Hz; what librosa resamples to unless told otherwise, as the projects were
HOP_LENGTH = 512  # samples between frames: 23 ms
TRAIN_SETTINGS = (
    *("epochs", "batch_size", "learning_rate", "label_smoothing", "class_weight"),
    "mixed_precision",
)


@dataclass(frozen=True)
class Recipe:
    """How one row is built and trained.

    The saved model is waveform ``(batch, window)`` → ``features`` → standardisation → ``body`` →
    softmax. Features are computed once for every recording, and kept on disk; what learns from
    them is the body alone.

    Attributes:
        sample_rate: Of the waveform, Hz.
        window: Samples that the model hears at once.
        features: Builds waveform ``(batch, window)`` → one float32 tensor, or a dictionary of named
            ones. Not trained; built-in TFLite operations only. Features are kept under its name,
            shapes and weights.
        body: Builds features (one tensor or a dictionary, as above) → logits ``(batch, classes)``
            for a number of classes. Layers with ``trainable=False`` stay as they are.
        standardise: What has a mean and a deviation of its own, taken over the training part: each
            ``cell`` of a feature (frame and coefficient), each ``coefficient`` (the last axis), or
            ``none``. They are weights of the saved model.
        cached: Type that features are kept in. ``uint8`` only for those that are whole numbers from
            0 to 255.
        copies: Makes a changed copy of a training window: float32 ``(window,)``, sample rate and a
            generator to float32 ``(window,)``. One copy a recording is learnt from beside it.
        online: Builds random changes of features, in training alone: the same structure in and out.
        epochs: At most.
        batch_size: Recordings a step.
        learning_rate: Of Adam.
        label_smoothing: Share of a label given to all classes alike.
        class_weight: Exponent on inverse class frequency: 0 none, 1 full.
        best: What is watched on the validation part: the epoch with the least ``loss``, or the
            highest ``accuracy`` or ``weighted_f1``, is kept.
        patience: Epochs without a better one after which training ends; None trains all epochs.
        plateau: Epochs without a better one after which the learning rate falls; None never.
        plateau_factor: What the rate is then multiplied by.
        mixed_precision: Compute the body in bfloat16 with float32 weights.
    """

    sample_rate: int
    window: int
    features: "Callable[[], keras.Model]"
    body: "Callable[[int], keras.Model]"
    standardise: Literal["cell", "coefficient", "none"] = "coefficient"
    cached: Literal["float32", "uint8"] = "float32"
    copies: "Callable[[np.ndarray, int, np.random.Generator], np.ndarray] | None" = None
    online: "Callable[[], keras.Model] | None" = None
    epochs: int = 100
    batch_size: int = 32
    learning_rate: float = 1e-3
    label_smoothing: float = 0.0
    class_weight: float = 0.0
    best: Literal["loss", "accuracy", "weighted_f1"] = "loss"
    patience: int | None = 15
    plateau: int | None = 5
    plateau_factor: float = 0.5
    mixed_precision: bool = False


@dataclass(frozen=True)
class Later:
    """A function of this package that is imported when it is called.

    Attributes:
        module: Within this package.
        function: Its name.
        options: Keyword arguments.
    """

    module: str
    function: str
    options: tuple[tuple[str, Any], ...] = ()

    def __call__(self, *args: Any) -> Any:
        found = importlib.import_module(f"ser_tf.systems.neural.{self.module}")
        return getattr(found, self.function)(*args, **dict(self.options))


def _later(module: str, function: str, **options: Any) -> Later:
    return Later(module, function, tuple(options.items()))


def _window(frames: int) -> int:
    """Samples that give a number of frames, where the first is centred on the first sample."""
    return (frames - 1) * HOP_LENGTH


_D2_WINDOW, _E2_WINDOW = _window(176), _window(200)  # 4.1 s, 4.6 s
_D2 = {
    "sample_rate": LIBROSA_RATE,
    "window": _D2_WINDOW,
    "features": _later("inputs", "sequence", window=_D2_WINDOW),
}
_E2 = {
    "sample_rate": LIBROSA_RATE,
    "window": _E2_WINDOW,
    "features": _later("inputs", "sequence_and_clip", window=_E2_WINDOW),
    "patience": 15,
    "plateau": 5,
}


def _rnn_stats(cell: str) -> Later:
    return _later("bodies", "cnn_rnn_stats", window=_E2_WINDOW, cell=cell)


_A1 = {
    "sample_rate": LIBROSA_RATE,
    "window": 4 * LIBROSA_RATE,
    "standardise": "none",
    "cached": "uint8",
    "batch_size": 16,
    "learning_rate": 5e-5,
    "label_smoothing": 0.05,
    "class_weight": 1.0,
    "patience": None,
    "plateau": 3,
}
_RECIPES: dict[str, dict[str, Any]] = {
    "cnn_refined": {
        **_D2,
        "body": _later("bodies", "cnn_refined", window=_D2_WINDOW),
        "epochs": 80,
        "class_weight": 1.0,
        "patience": 12,
        "plateau": 5,
    },
    "cnn_frames": {**_D2, "body": _later("bodies", "cnn_frames", window=_D2_WINDOW), "epochs": 80},
    "lstm": {**_D2, "body": _later("bodies", "lstm", window=_D2_WINDOW), "epochs": 80},
    "cnn_lstm": {**_D2, "body": _later("bodies", "cnn_lstm", window=_D2_WINDOW), "epochs": 80},
    "cnn_stats": {**_E2, "body": _later("bodies", "cnn_stats", window=_E2_WINDOW)},
    "cnn_lstm_stats": {
        **_E2,
        "body": _rnn_stats("LSTM"),
    },
    "cnn_gru_stats": {
        **_E2,
        "body": _rnn_stats("GRU"),
    },
    "cnn_bilstm_attention": {
        "sample_rate": LIBROSA_RATE,
        "window": 5 * LIBROSA_RATE,
        "features": _later("inputs", "wide_sequence", window=5 * LIBROSA_RATE),
        "body": _later("bodies", "cnn_bilstm_attention", window=5 * LIBROSA_RATE),
        "standardise": "cell",
        "copies": _later("copies", "changed"),
        "batch_size": 8,
        "learning_rate": 1e-4,
        "patience": 10,
        "plateau": None,
    },
    "dnn": {
        "sample_rate": LIBROSA_RATE,
        "window": 3 * LIBROSA_RATE,
        "features": _later("inputs", "clip_statistics", window=3 * LIBROSA_RATE),
        "body": _later("bodies", "dnn"),
        "epochs": 200,
        "patience": 25,
        "plateau": 8,
    },
    "efficientnet_b2": {
        **_A1,
        "epochs": 2,
        "features": _later("pictures", "viridis", window=4 * LIBROSA_RATE, size=260),
        "body": _later("pictures", "efficientnet", variant="B2", size=260),
        "online": _later("pictures", "changes", size=260),
    },
    "efficientnet_b3": {
        **_A1,
        "epochs": 1,
        "features": _later("pictures", "viridis", window=4 * LIBROSA_RATE, size=300),
        "body": _later("pictures", "efficientnet", variant="B3", size=300),
        "online": _later("pictures", "changes", size=300),
    },
}


def recipe_of(name: str, weights: str = "", cache: str = "cache") -> Recipe:
    """The recipe of a Keras row.

    Args:
        name: Of the registry of :mod:`ser_tf.systems`.
        weights: Published weights to start from instead of the row's own, where it has any: of
            wav2vec2 as its package says, of EfficientNet a ``.h5`` file; ``none`` is random.
        cache: Folder below which fetched weights are kept.

    Raises:
        KeyError: No Keras row of the earlier systems has that name.
        ValueError: The row starts from no published weights, but some are given.
    """
    if name == "wav2vec2":
        return importlib.import_module("ser_tf.systems.wav2vec2").recipe(weights, cache)
    recipe = Recipe(**_RECIPES[name])
    if not weights:
        return recipe
    if not name.startswith("efficientnet"):
        raise ValueError(f"{name} starts from no published weights; leave out --weights")
    assert isinstance(recipe.body, Later)
    options = (*recipe.body.options, ("weights", weights))
    return dataclasses.replace(recipe, body=dataclasses.replace(recipe.body, options=options))


def defaults(name: str) -> dict[str, Any]:
    """A row's settings that a user may override: fields of :class:`ser_tf.config.TrainConfig`."""
    recipe = recipe_of(name)
    return {setting: getattr(recipe, setting) for setting in TRAIN_SETTINGS}
