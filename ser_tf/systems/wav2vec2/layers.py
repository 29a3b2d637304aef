"""The layers of wav2vec 2.0, in ``keras.ops``, each with the weights of one published module.

The attributes that hold weights are those of the published checkpoints, so that a weight's place in
a checkpoint is the name of its layer and the way of attributes to it.
"""

from collections.abc import Mapping
from typing import Any

import keras
from keras import layers, ops

Shape = tuple[int | None, ...]


@keras.saving.register_keras_serializable("ser_tf")
class ZeroMeanUnitVariance(layers.Layer):
    """Each waveform less its mean, over its deviation, as the published feature extractor does.

    Input and output: float32 ``(batch, samples)``.

    Example:
        >>> ZeroMeanUnitVariance()(np.ones((2, 400), "float32")).shape
        TensorShape([2, 400])
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)

    def call(self, waveform: Any) -> Any:
        centred = waveform - ops.mean(waveform, axis=-1, keepdims=True)
        variance = ops.mean(ops.square(centred), axis=-1, keepdims=True)
        return centred / ops.sqrt(variance + 1e-7)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


@keras.saving.register_keras_serializable("ser_tf")
class EncoderConvolution(layers.Layer):
    """One convolution of the feature encoder, normalised or not, and GELU.

    Args:
        filters: Output channels.
        kernel_size: Steps under the kernel.
        strides: Steps between outputs.
        use_bias: Whether the convolution has a bias.
        norm: ``group``: every channel over time; ``layer``: every step over channels; ``none``.

    Input: ``(batch, steps, channels)``.
    Output: ``(batch, (steps - kernel_size) // strides + 1, filters)``.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        strides: int,
        use_bias: bool = False,
        norm: str = "none",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.settings: dict[str, Any] = {
            "filters": filters,
            "kernel_size": kernel_size,
            "strides": strides,
            "use_bias": use_bias,
            "norm": norm,
        }
        self.conv = layers.Conv1D(
            filters,
            kernel_size,
            strides,
            use_bias=use_bias,
            kernel_initializer="he_normal",
            dtype=self.dtype_policy,
        )
        self.layer_norm: layers.Layer | None = None
        if norm == "group":
            self.layer_norm = layers.GroupNormalization(
                groups=filters, epsilon=1e-5, dtype=self.dtype_policy
            )
        elif norm == "layer":
            self.layer_norm = layers.LayerNormalization(epsilon=1e-5, dtype=self.dtype_policy)

    @property
    def parts(self) -> Mapping[str, layers.Layer]:
        """What holds weights, by its name in a checkpoint."""
        norm = {"layer_norm": self.layer_norm} if self.layer_norm else {}
        return {"conv": self.conv, **norm}

    def build(self, input_shape: Shape) -> None:
        self.conv.build(input_shape)
        if self.layer_norm:
            self.layer_norm.build(self.conv.compute_output_shape(input_shape))

    def call(self, inputs: Any) -> Any:
        outputs = self.conv(inputs)
        if self.layer_norm:
            outputs = self.layer_norm(outputs)
        return ops.gelu(outputs, approximate=False)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return self.conv.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.settings}


@keras.saving.register_keras_serializable("ser_tf")
class FeatureProjection(layers.Layer):
    """Normalisation over channels, a projection to the transformer's width, and dropout.

    Args:
        units: Output channels.
        epsilon: Added to the variance.
        dropout: Share dropped.

    Input: ``(batch, frames, channels)``. Output: ``(batch, frames, units)``.
    """

    def __init__(self, units: int, epsilon: float, dropout: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.settings: dict[str, Any] = {"units": units, "epsilon": epsilon, "dropout": dropout}
        self.layer_norm = layers.LayerNormalization(epsilon=epsilon, dtype=self.dtype_policy)
        self.projection = layers.Dense(units, dtype=self.dtype_policy)
        self.dropout = layers.Dropout(dropout, dtype=self.dtype_policy)

    @property
    def parts(self) -> Mapping[str, layers.Layer]:
        """What holds weights, by its name in a checkpoint."""
        return {"layer_norm": self.layer_norm, "projection": self.projection}

    def build(self, input_shape: Shape) -> None:
        self.layer_norm.build(input_shape)
        self.projection.build(input_shape)

    def call(self, inputs: Any, training: bool = False) -> Any:
        return self.dropout(self.projection(self.layer_norm(inputs)), training=training)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.settings["units"])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.settings}


@keras.saving.register_keras_serializable("ser_tf")
class TimeMasks(layers.Layer):
    """In training, rows of frames replaced by one learnt frame; SpecAugment in time.

    Rows may overlap; the published training draws them without replacement of their first frame.

    Args:
        masks: Rows a recording.
        length: Frames in a row.
        seed: Of the random places.

    Input and output: ``(batch, frames, channels)``.
    """

    def __init__(self, masks: int, length: int, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.settings: dict[str, Any] = {"masks": masks, "length": length, "seed": seed}
        self.generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape: Shape) -> None:
        self.embedding = self.add_weight(
            shape=(input_shape[-1],),
            initializer="random_uniform",
            trainable=bool(self.settings["masks"]),
            name="embedding",
        )

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not (training and self.settings["masks"]):
            return inputs
        frames, length = inputs.shape[1], self.settings["length"]
        first = keras.random.randint(
            (ops.shape(inputs)[0], self.settings["masks"], 1),
            0,
            frames - length + 1,
            seed=self.generator,
        )
        frame = ops.arange(frames, dtype="int32")
        hidden = ops.any((frame >= first) & (frame < first + length), axis=1)
        return ops.where(hidden[..., None], ops.cast(self.embedding, inputs.dtype), inputs)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.settings}


@keras.saving.register_keras_serializable("ser_tf")
class PositionalConvolution(layers.Layer):
    """A wide grouped convolution over time and GELU: what a frame's place is known by.

    One convolution a group: TensorFlow has no gradient of a grouped one on a CPU, and TensorFlow
    Lite's is slow. The published weight norm is a way to learn the kernel, and folded into it.

    Args:
        kernel_size: Frames under the kernel.
        groups: Groups of channels that do not mix.

    Input and output: ``(batch, frames, channels)``. The kernel is
    ``(kernel_size, channels / groups, channels)``.
    """

    def __init__(self, kernel_size: int, groups: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.settings: dict[str, Any] = {"kernel_size": kernel_size, "groups": groups}

    def build(self, input_shape: Shape) -> None:
        size, groups = self.settings["kernel_size"], self.settings["groups"]
        channels = input_shape[-1]
        assert channels is not None
        deviation = 2 / (size * channels) ** 0.5
        self.kernel = self.add_weight(
            shape=(size, channels // groups, channels),
            initializer=keras.initializers.RandomNormal(stddev=deviation),
            name="kernel",
        )
        self.bias = self.add_weight(shape=(channels,), initializer="zeros", name="bias")

    def call(self, inputs: Any) -> Any:
        size, groups = self.settings["kernel_size"], self.settings["groups"]
        padded = ops.pad(inputs, [[0, 0], [size // 2, size - 1 - size // 2], [0, 0]])
        pairs = zip(
            ops.split(padded, groups, axis=-1), ops.split(self.kernel, groups, axis=-1), strict=True
        )
        outputs = [ops.conv(part, kernel, padding="valid") for part, kernel in pairs]
        return ops.gelu(ops.concatenate(outputs, axis=-1) + self.bias, approximate=False)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.settings}


@keras.saving.register_keras_serializable("ser_tf")
class TransformerBlock(layers.Layer):
    """Self-attention and a feed-forward part, each added to what it was given and normalised.

    Args:
        heads: Attention heads.
        intermediate: Channels within the feed-forward part.
        norm_first: Normalise what goes into each part, instead of the sum after it.
        epsilon: Added to the variance in normalisations.
        dropout: Share dropped after each part.
        attention_dropout: Share of attention weights dropped.
        activation_dropout: Share dropped within the feed-forward part.
        layerdrop: Share of training steps that leave the block out.

    Input and output: ``(batch, frames, channels)``.

    Example:
        >>> TransformerBlock(4, 64)(np.zeros((2, 199, 32), "float32")).shape
        TensorShape([2, 199, 32])
    """

    def __init__(
        self,
        heads: int,
        intermediate: int,
        norm_first: bool = False,
        epsilon: float = 1e-5,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        activation_dropout: float = 0.0,
        layerdrop: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.settings: dict[str, Any] = {
            "heads": heads,
            "intermediate": intermediate,
            "norm_first": norm_first,
            "epsilon": epsilon,
            "dropout": dropout,
            "attention_dropout": attention_dropout,
            "activation_dropout": activation_dropout,
            "layerdrop": layerdrop,
        }
        self.generator = keras.random.SeedGenerator()
        policy = self.dtype_policy
        self.dropout = layers.Dropout(dropout, dtype=policy)
        self.attention_dropout = layers.Dropout(attention_dropout, dtype=policy)
        self.activation_dropout = layers.Dropout(activation_dropout, dtype=policy)
        self.layer_norm = layers.LayerNormalization(epsilon=epsilon, dtype=policy)
        self.final_layer_norm = layers.LayerNormalization(epsilon=epsilon, dtype=policy)

    @property
    def parts(self) -> Mapping[str, layers.Layer]:
        """What holds weights, by its name in a checkpoint."""
        return {
            "attention.q_proj": self.q_proj,
            "attention.k_proj": self.k_proj,
            "attention.v_proj": self.v_proj,
            "attention.out_proj": self.out_proj,
            "layer_norm": self.layer_norm,
            "feed_forward.intermediate_dense": self.intermediate_dense,
            "feed_forward.output_dense": self.output_dense,
            "final_layer_norm": self.final_layer_norm,
        }

    def build(self, input_shape: Shape) -> None:
        channels = input_shape[-1]
        assert channels is not None

        def dense(units: int) -> layers.Dense:
            normal = keras.initializers.RandomNormal(stddev=0.02)
            return layers.Dense(units, kernel_initializer=normal, dtype=self.dtype_policy)

        self.q_proj, self.k_proj, self.v_proj = dense(channels), dense(channels), dense(channels)
        self.out_proj, self.output_dense = dense(channels), dense(channels)
        self.intermediate_dense = dense(self.settings["intermediate"])
        for name, part in self.parts.items():
            within = name == "feed_forward.output_dense"
            part.build((*input_shape[:-1], self.settings["intermediate"] if within else channels))

    def _heads(self, inputs: Any) -> Any:
        frames, channels = inputs.shape[1:]
        heads = self.settings["heads"]
        split = ops.reshape(inputs, (-1, frames, heads, channels // heads))
        return ops.transpose(split, (0, 2, 1, 3))

    def _attention(self, inputs: Any, training: bool) -> Any:
        frames, channels = inputs.shape[1:]
        scale = (channels // self.settings["heads"]) ** -0.5
        query = self._heads(self.q_proj(inputs) * scale)
        key, value = self._heads(self.k_proj(inputs)), self._heads(self.v_proj(inputs))
        weights = ops.softmax(ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))), axis=-1)
        weights = self.attention_dropout(weights, training=training)
        attended = ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3))
        joined = self.out_proj(ops.reshape(attended, (-1, frames, channels)))
        return self.dropout(joined, training=training)

    def _feed_forward(self, inputs: Any, training: bool) -> Any:
        within = ops.gelu(self.intermediate_dense(inputs), approximate=False)
        within = self.activation_dropout(within, training=training)
        return self.dropout(self.output_dense(within), training=training)

    def call(self, inputs: Any, training: bool = False) -> Any:
        if self.settings["norm_first"]:
            middle = inputs + self._attention(self.layer_norm(inputs), training)
            outputs = middle + self._feed_forward(self.final_layer_norm(middle), training)
        else:
            middle = self.layer_norm(inputs + self._attention(inputs, training))
            outputs = self.final_layer_norm(middle + self._feed_forward(middle, training))
        if training and self.settings["layerdrop"]:
            kept = keras.random.uniform((), seed=self.generator) >= self.settings["layerdrop"]
            outputs = ops.where(kept, outputs, inputs)
        return outputs

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.settings}
