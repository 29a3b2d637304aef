"""wav2vec 2.0 in two halves: what is frozen, and what is fine-tuned.

Layers are named as the modules of the published checkpoint.
"""

import keras
from keras import layers

from ser_tf.systems.wav2vec2.architecture import Architecture
from ser_tf.systems.wav2vec2.layers import (
    EncoderConvolution,
    FeatureProjection,
    PositionalConvolution,
    TimeMasks,
    TransformerBlock,
    ZeroMeanUnitVariance,
)


def build_features(architecture: Architecture, samples: int) -> keras.Model:
    """The feature encoder: waveform ``(batch, samples)`` to ``(batch, frames, channels)``.

    In base a frame of 512 channels every 20 ms. It is not trained.
    """
    waveform = keras.Input((samples,), name="waveform")
    x = ZeroMeanUnitVariance(name="normalised")(waveform)
    x = layers.Reshape((samples, 1), name="channel")(x)
    shape = zip(
        architecture.conv_dim, architecture.conv_kernel, architecture.conv_stride, strict=True
    )
    for number, (filters, kernel, stride) in enumerate(shape):
        norm = architecture.feat_extract_norm
        x = EncoderConvolution(
            filters,
            kernel,
            stride,
            use_bias=architecture.conv_bias,
            norm=norm if norm == "layer" or number == 0 else "none",
            name=f"feature_extractor.conv_layers.{number}",
        )(x)
    model = keras.Model(waveform, x, name="feature_encoder")
    model.trainable = False
    return model


def build_body(architecture: Architecture, frames: int, classes: int) -> keras.Model:
    """The transformer and its head: features ``(batch, frames, channels)`` to logits.

    The head is that of ``Wav2Vec2ForSequenceClassification``; it takes the mean over time before
    the projection instead of after it, which is the same.
    """
    hidden = architecture.hidden_size
    features = keras.Input((frames, architecture.conv_dim[-1]), name="features")
    x = FeatureProjection(
        hidden,
        architecture.layer_norm_eps,
        architecture.feat_proj_dropout,
        name="feature_projection",
    )(features)
    x = TimeMasks(
        architecture.masks(frames), architecture.mask_time_length, name="masked_spec_embed"
    )(x)
    place = PositionalConvolution(
        architecture.num_conv_pos_embeddings,
        architecture.num_conv_pos_embedding_groups,
        name="encoder.pos_conv_embed.conv",
    )(x)
    x = layers.Add(name="placed")([x, place])
    norm = layers.LayerNormalization(epsilon=architecture.layer_norm_eps, name="encoder.layer_norm")
    norm_first = architecture.do_stable_layer_norm
    if not norm_first:
        x = norm(x)
    x = layers.Dropout(architecture.hidden_dropout, name="encoder.dropout")(x)
    for number in range(architecture.num_hidden_layers):
        x = TransformerBlock(
            architecture.num_attention_heads,
            architecture.intermediate_size,
            norm_first=norm_first,
            epsilon=architecture.layer_norm_eps,
            dropout=architecture.hidden_dropout,
            attention_dropout=architecture.attention_dropout,
            activation_dropout=architecture.activation_dropout,
            layerdrop=architecture.layerdrop,
            name=f"encoder.layers.{number}",
        )(x)
    if norm_first:
        x = norm(x)
    x = layers.GlobalAveragePooling1D(name="pooled")(x)
    x = layers.Dense(architecture.classifier_proj_size, name="projector")(x)
    logits = layers.Dense(classes, dtype="float32", name="classifier")(x)
    return keras.Model(features, logits, name="wav2vec2")
