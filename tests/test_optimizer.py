"""Convolutions take Muon's steps, everything else AdamW's."""

import keras
import numpy as np
import pytest

from ser_tf import fitting
from ser_tf.config import Config, TrainConfig
from ser_tf.optimizer import ConvolutionMuon

RATE = 0.01


def step(shape: tuple[int, ...], optimizer: keras.optimizers.Optimizer) -> np.ndarray:
    """What one step for a gradient of chance takes from a variable of ones."""
    variable = keras.Variable(np.ones(shape, "float32"))
    gradient = np.random.default_rng(0).standard_normal(shape).astype("float32")
    optimizer.build([variable])
    optimizer.apply([keras.ops.convert_to_tensor(gradient)])
    return 1 - np.asarray(variable)


@pytest.mark.parametrize("shape", [(5, 32, 24), (3, 8, 48), (1, 16, 16)])
def test_a_step_moves_every_direction_of_a_kernel_alike(shape):
    moved = step(shape, ConvolutionMuon(RATE, weight_decay=0.0)).reshape(-1, shape[-1])
    gains = np.linalg.svd(moved, compute_uv=False) / (RATE * 0.2 * max(moved.shape) ** 0.5)
    assert gains.min() > 0.3, "five iterations bring singular values to about one"
    assert gains.max() < 1.4


def test_a_step_of_muon_is_as_long_as_one_of_adamw():
    muon, adamw = ConvolutionMuon(RATE, weight_decay=0.0), keras.optimizers.AdamW(RATE)
    lengths = [np.sqrt(np.mean(step((5, 32, 24), each) ** 2)) for each in (muon, adamw)]
    assert 0.1 < lengths[0] / lengths[1] < 0.4


@pytest.mark.parametrize("shape", [(24,), (24, 8), (1, 24, 1)])
def test_all_but_kernels_is_moved_by_adamw(shape):
    ours = step(shape, ConvolutionMuon(RATE, weight_decay=0.0))
    theirs = step(shape, keras.optimizers.AdamW(RATE, weight_decay=0.0))
    np.testing.assert_allclose(ours, theirs, rtol=1e-3)


def test_weights_of_both_kinds_shrink_alike_and_biases_do_not():
    train = TrainConfig(optimizer="muon", weight_decay=0.5, warmup=0.0, averaging=0.0)
    layers = [keras.Input((8, 4)), keras.layers.Conv1D(6, 3), keras.layers.Flatten()]
    body = keras.Sequential([*layers, keras.layers.Dense(2)])
    for layer in body.layers:
        layer.set_weights([np.ones_like(weight) for weight in layer.get_weights()])
    fitting.compiled(body, train, 10)
    body.optimizer.apply([keras.ops.zeros_like(v) for v in body.trainable_variables])
    shrunk = {v.path.split("/")[-1]: 1 - np.asarray(v).ravel()[0] for v in body.weights}
    kernels = [1 - np.asarray(v).ravel()[0] for v in body.weights if v.name == "kernel"]
    np.testing.assert_allclose(kernels, 0.5 * train.learning_rate, rtol=1e-3)
    assert shrunk["bias"] == 0


def test_the_settings_name_the_optimiser():
    for name, kind in (("muon", ConvolutionMuon), ("adamw", keras.optimizers.AdamW)):
        config = Config(train=TrainConfig(optimizer=name))
        assert type(fitting.compiled_body(config, 8, 10).optimizer) is kind
