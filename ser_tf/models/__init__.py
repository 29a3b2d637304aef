"""The registry of model families, and the whole graph around their trained layers."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ser_tf.config import N_FRAMES, N_SAMPLES, FrontendConfig, ModelConfig
from ser_tf.frontend import (
    MeanOverSpeeds,
    Standardise,
    build_cepstrum,
    build_log_mel,
    n_features,
)
from ser_tf.models import cnn

Builder = Callable[[ModelConfig, tuple[int, int], int], keras.Model]

MODELS: dict[str, Builder] = {"cnn": cnn.build}


@keras.saving.register_keras_serializable("ser_tf")
class Temperature(keras.layers.Layer):
    """Logits over one number, so that probabilities mean what they say.

    Guo et al., 2017, https://arxiv.org/abs/1706.04599. Fitted on held-out recordings afterwards;
    training does not change it, and it is one until then.
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.temperature = self.add_weight(
            shape=(), initializer="ones", trainable=False, name="temperature"
        )

    def set_temperature(self, temperature: float) -> None:
        """Take over a fitted temperature."""
        self.temperature.assign(np.float32(temperature))

    def call(self, logits: Any) -> Any:
        return logits / self.temperature

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape


def build_features(config: FrontendConfig) -> keras.Sequential:
    """Spectrogram ``(batch, frames, n_bands)`` to standardised features, built."""
    return keras.Sequential([build_cepstrum(config), Standardise()], name="features")


def build_body(model: ModelConfig, frontend: FrontendConfig, classes: int) -> keras.Model:
    """The untrained layers of the family ``model.name``: features to logits."""
    return MODELS[model.name](model, (N_FRAMES, n_features(frontend)), classes)


def assemble(config: FrontendConfig, features: keras.Sequential, body: keras.Model) -> keras.Model:
    """The whole graph: waveform ``(batch, 57600)`` to probabilities ``(batch, classes)``.

    The body answers at each of the playing speeds; the mean of its logits is the answer.
    """
    waveform = keras.Input((N_SAMPLES,), name="waveform")
    log_mel = build_log_mel(config, speeds=config.speeds, name="log_mel")
    logits = body(features(log_mel(waveform)))
    mean = MeanOverSpeeds(len(config.speeds), name="mean_over_speeds")(logits)
    scaled = Temperature(name="temperature")(mean)
    probabilities = keras.layers.Softmax(dtype="float32", name="probabilities")(scaled)
    return keras.Model(waveform, probabilities, name="ser")


def load(path: Path) -> keras.Model:
    """Load what training wrote, waveform to probabilities.

    Raises:
        ValueError: The file is damaged or not such a model.
    """
    if not zipfile.is_zipfile(path):
        raise ValueError("it is not a whole .keras file; copy it again, or train again")
    return keras.saving.load_model(path, safe_mode=True)
