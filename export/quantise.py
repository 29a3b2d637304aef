"""An 8-bit body behind a float front end.

TensorFlow's own converter quantises a whole graph, power spectrum included, whose dynamic range is
then gone, and writes operator versions that tflite-runtime 2.14 refuses. ai-edge-quantizer goes by
the names of operations, so the trained layers alone can be chosen.
"""

import contextlib
import io
import warnings
from collections.abc import Iterable

import numpy as np
from ai_edge_quantizer import algorithm_manager, qtyping, quantizer

# Pooling over time and the answer itself stay in float: they are a fiftieth of the weights, and
# eight bits would leave probabilities in steps.
FLOAT_LAYERS = ("pooling", "logits")
# The first convolution keeps its activations in float, its weights in 8 bits: coefficients differ
# too much in range to share one scale. That takes away a fifth of the whole difference to float32.
FIRST_LAYER = "stem"
WEIGHTED = (
    qtyping.TFLOperationName.CONV_2D,
    qtyping.TFLOperationName.DEPTHWISE_CONV_2D,
    qtyping.TFLOperationName.FULLY_CONNECTED,
)


def quantise_body(model: bytes, body: str, windows: Iterable[np.ndarray], signature: str) -> bytes:
    """Quantise the operations of one part of a float32 ``.tflite`` model to int8.

    Args:
        model: The float32 model.
        body: Name of the Keras model whose operations become int8: 8-bit weights a channel, 8-bit
            activations.
        windows: Representative waveforms, float32 ``(samples,)``, from the training side.
        signature: Name of the model's signature, whose only input is called ``waveform``.

    Returns:
        The quantised model, input and output still float32.
    """
    scope = rf"/{body}(_\d+)?/"
    float_layers = "|".join(FLOAT_LAYERS)
    every, convolution = qtyping.TFLOperationName.ALL_SUPPORTED, qtyping.TFLOperationName.CONV_2D
    recipe = quantizer.Quantizer(bytearray(model))
    recipe.add_static_config(
        regex=rf"{scope}(?!({float_layers})(_\d+)?/)",
        operation_name=every,
        activation_num_bits=8,
        weight_num_bits=8,
    )
    # The name of an operation also names what is fused into it, so the layer may stand last.
    first = rf"{scope}.*{FIRST_LAYER}"
    recipe.update_quantization_recipe(
        regex=first,
        operation_name=every,
        algorithm_key=algorithm_manager.AlgorithmName.NO_QUANTIZE,
    )
    recipe.add_weight_only_config(regex=first, operation_name=convolution, num_bits=8)
    samples = [{"waveform": np.ascontiguousarray(window[np.newaxis])} for window in windows]
    # It prints a line an operation, and warns that calibrating takes memory.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
        statistics = recipe.calibrate({signature: samples})
        return bytes(recipe.quantize(statistics).quantized_model)


def quantise_weights(model: bytes, body: str) -> bytes:
    """Keep the weights of convolutions and dense layers in 8 bits; all is computed in float.

    Args:
        model: A float32 ``.tflite`` model.
        body: Name of the Keras model whose weights they are. What is computed from a waveform
            before it keeps its constants, and so does a layer that the converter has fused with
            the standardisation of features: its weights differ too much in range.

    Raises:
        ValueError: It has no such weights, or some that cannot be quantised.
    """
    recipe = quantizer.Quantizer(bytearray(model))
    scope = rf"^(?!.*/standardise).*/{body}(_\d+)?/"
    for operation in WEIGHTED:
        recipe.add_weight_only_config(regex=scope, operation_name=operation, num_bits=8)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
        return bytes(recipe.quantize().quantized_model)
