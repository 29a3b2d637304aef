"""The project's own model: a residual Conv1D network with attention pooling."""

from typing import Any

import keras
from keras import layers, ops

from ser_tf.config import ModelConfig


@keras.saving.register_keras_serializable("ser_tf")
class ConvNorm(layers.Layer):
    """Conv1D and batch normalisation, folded into one convolution outside training.

    Folding at inference keeps the exported graph at one operation, which is what quantisation
    wants: the converter by itself does not fold across the reshapes a Conv1D becomes.

    Args:
        filters: Output channels.
        kernel_size: Frames under the kernel.
        strides: Frames between outputs.
        gamma: Initial scale of the normalisation; ``zeros`` starts a residual branch as nothing.

    Input: ``(batch, frames, channels)``. Output: ``(batch, ceil(frames / strides), filters)``.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        strides: int = 1,
        gamma: str = "ones",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.gamma = gamma
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.convolution = layers.Conv1D(
            filters,
            kernel_size,
            strides,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            dtype=self.dtype_policy,
        )
        self.normalisation = layers.BatchNormalization(
            momentum=0.98, gamma_initializer=gamma, dtype=self.dtype_policy
        )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.convolution.build(input_shape)
        self.normalisation.build(self.convolution.compute_output_shape(input_shape))

    def call(self, inputs: Any, training: bool = False) -> Any:
        norm = self.normalisation
        if training:
            outputs = self.convolution(inputs)
            if keras.backend.backend() == "tensorflow":
                return _fused_normalisation(outputs, norm)
            return norm(outputs, training=True)
        scale = norm.gamma / ops.sqrt(norm.moving_variance + norm.epsilon)
        kernel = ops.cast(self.convolution.kernel * scale, self.compute_dtype)
        bias = ops.cast(norm.beta - norm.moving_mean * scale, self.compute_dtype)
        return ops.conv(inputs, kernel, self.strides, padding="same") + bias

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return self.convolution.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "gamma": self.gamma,
        }


def _fused_normalisation(inputs: Any, norm: layers.BatchNormalization) -> Any:
    """What ``norm`` does in training, as one TensorFlow operation.

    Keras builds it of a dozen over three-dimensional input, with a pass over memory for each.
    """
    import tensorflow as tf

    outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
        tf.expand_dims(inputs, 1), norm.gamma, norm.beta, epsilon=norm.epsilon, is_training=True
    )
    for moving, batch in ((norm.moving_mean, mean), (norm.moving_variance, variance)):
        moving.assign(moving * norm.momentum + batch * (1 - norm.momentum))
    return tf.squeeze(outputs, 1)


@keras.saving.register_keras_serializable("ser_tf")
class StatisticsPooling(layers.Layer):
    """Frames to one vector: attention-weighted mean, mean and maximum, side by side.

    The attention weight of a frame is the softmax over time of a learned projection to one value.

    Input: ``(batch, frames, channels)``. Output: ``(batch, 3 * channels)``.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.score = layers.Conv1D(1, 1, name="score", dtype=self.dtype_policy)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.score.build(input_shape)

    def call(self, inputs: Any) -> Any:
        weights = ops.softmax(self.score(inputs), axis=1)
        attended = ops.sum(inputs * weights, axis=1)
        return ops.concatenate([attended, ops.mean(inputs, axis=1), ops.max(inputs, axis=1)], -1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], 3 * (input_shape[-1] or 0))


def build(config: ModelConfig, input_shape: tuple[int, int], classes: int) -> keras.Model:
    """The untrained network, from ``(frames, features)`` to ``classes`` logits.

    A stem convolution and residual blocks of two convolutions, each of which halves the frame rate,
    then statistics over time. 0.76 million parameters as configured by default.
    """
    inputs = keras.Input(input_shape, name="features")
    x = layers.SpatialDropout1D(config.channel_dropout, name="input_dropout")(inputs)
    x = layers.ReLU()(ConvNorm(config.stem, 5, 2, name="stem")(x))
    for number, channels in enumerate(config.blocks, start=1):
        name = f"block{number}"
        y = layers.ReLU()(ConvNorm(channels, 5, 2, name=f"{name}_a")(x))
        y = ConvNorm(channels, 3, gamma="zeros", name=f"{name}_b")(y)
        shortcut = ConvNorm(channels, 1, name=f"{name}_shortcut")(layers.MaxPooling1D(2)(x))
        x = layers.ReLU()(layers.Add()([y, shortcut]))
        x = layers.SpatialDropout1D(config.channel_dropout)(x)
    x = StatisticsPooling(name="pooling")(x)
    x = layers.Dropout(config.dropout)(x)
    outputs = layers.Dense(classes, dtype="float32", name="logits")(x)
    return keras.Model(inputs, outputs, name=config.name)
