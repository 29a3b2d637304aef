"""The network of :mod:`ser_tf.models.cnn` and its optimisers, in JAX, for one network.

Convolutions are matrix products over patches: mapped over networks, they are one batched product.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

CLASSES = 8
EPSILON = 1e-3  # of batch normalisation
MOMENTUM = 0.98
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def convolutions(model: Mapping[str, Any], features: int) -> dict[str, tuple[int, int, int, int]]:
    """Frames, channels in, channels out and stride of every convolution, by name."""
    found = {"stem": (5, features, model["stem"], 2)}
    channels = model["stem"]
    for number, wider in enumerate(model["blocks"]):
        found[f"{number}a"] = (5, channels, wider, 2)
        found[f"{number}b"] = (3, wider, wider, 1)
        found[f"{number}s"] = (1, channels, wider, 1)
        channels = wider
    return found


def initial(key: Any, model: Mapping[str, Any], features: int) -> tuple[Any, Any]:
    """Weights, and the statistics of batch normalisation."""
    weights: dict[str, Any] = {}
    statistics: dict[str, Any] = {}
    for name, (frames, before, after, _) in convolutions(model, features).items():
        key, drawn = jax.random.split(key)
        spread = np.sqrt(2 / (frames * before)) / 0.87962566  # He's, of a normal cut at two sd
        kernel = jax.random.truncated_normal(drawn, -2, 2, (frames, before, after))
        branch = name.endswith("b")  # starts as nothing
        weights[name] = {
            "kernel": spread * kernel,
            "scale": jnp.zeros(after) if branch else jnp.ones(after),
            "offset": jnp.zeros(after),
        }
        statistics[name] = {"mean": jnp.zeros(after), "variance": jnp.ones(after)}
    channels = model["blocks"][-1]
    for name, shape in (("score", (channels, 1)), ("logits", (3 * channels, CLASSES))):
        key, drawn = jax.random.split(key)
        reach = np.sqrt(6 / sum(shape))  # Glorot's
        kernel = jax.random.uniform(drawn, shape, minval=-reach, maxval=reach)
        weights[name] = {"kernel": kernel, "offset": jnp.zeros(shape[1])}
    return weights, statistics


def convolved(inputs: Any, kernel: Any, stride: int) -> Any:
    """``same`` padding, as TensorFlow has it."""
    frames, length = len(kernel), inputs.shape[1]
    after = -(-length // stride)
    spare = max((after - 1) * stride + frames - length, 0)
    padded = jnp.pad(inputs, ((0, 0), (spare // 2, spare - spare // 2), (0, 0)))
    reach = (after - 1) * stride + 1
    patches = [padded[:, frame : frame + reach : stride] for frame in range(frames)]
    matrix = kernel.reshape(-1, kernel.shape[-1]).astype(inputs.dtype)
    return jnp.concatenate(patches, axis=-1) @ matrix


def answered(
    weights: Any,
    statistics: Any,
    features: Any,
    model: Mapping[str, Any],
    drop: Mapping[str, Any] | None = None,
    key: Any = None,
) -> tuple[Any, Any]:
    """Logits ``(batch, classes)``, and in training the statistics as they are then.

    Args:
        weights: Of one network.
        statistics: Likewise.
        features: float32 ``(batch, 224, features)``, standardised; computed with in bfloat16.
        model: Its ``stem`` and ``blocks``.
        drop: Shares ``channel_dropout`` and ``dropout``; given in training alone.
        key: Of JAX, in training.
    """
    moved: dict[str, Any] = {}
    strides = {name: shape[-1] for name, shape in convolutions(model, 0).items()}
    keys = iter(jax.random.split(key, len(model["blocks"]) + 2)) if drop else iter(())

    def normalised(name: str, inputs: Any) -> Any:
        of, known = weights[name], statistics[name]
        outputs = convolved(inputs, of["kernel"], strides[name]).astype(jnp.float32)
        if drop:
            mean = jnp.mean(outputs, axis=(0, 1))
            variance = jnp.maximum(jnp.mean(outputs**2, axis=(0, 1)) - mean**2, 0)
            now = {"mean": mean, "variance": variance}
            moved[name] = {
                which: MOMENTUM * known[which] + (1 - MOMENTUM) * now[which] for which in now
            }
            known = now
        scale = of["scale"] / jnp.sqrt(known["variance"] + EPSILON)
        return (outputs * scale + of["offset"] - known["mean"] * scale).astype(jnp.bfloat16)

    def dropped(inputs: Any, share: str, shape: tuple[int, ...]) -> Any:
        if not drop:
            return inputs
        kept = jax.random.bernoulli(next(keys), 1 - drop[share], shape)
        return inputs * (kept / (1 - drop[share])).astype(inputs.dtype)

    def thinned(inputs: Any) -> Any:
        return dropped(inputs, "channel_dropout", (len(inputs), 1, inputs.shape[-1]))

    x = thinned(features.astype(jnp.bfloat16))
    x = jax.nn.relu(normalised("stem", x))
    for number in range(len(model["blocks"])):
        y = jax.nn.relu(normalised(f"{number}a", x))
        y = normalised(f"{number}b", y)
        pooled = x.reshape(len(x), -1, 2, x.shape[-1]).max(axis=2)
        x = thinned(jax.nn.relu(y + normalised(f"{number}s", pooled)))
    x = x.astype(jnp.float32)
    shares = jax.nn.softmax(x @ weights["score"]["kernel"] + weights["score"]["offset"], axis=1)
    x = jnp.concatenate([jnp.sum(x * shares, axis=1), jnp.mean(x, axis=1), jnp.max(x, axis=1)], -1)
    x = dropped(x, "dropout", x.shape)
    return x @ weights["logits"]["kernel"] + weights["logits"]["offset"], moved


def stepped(weights: Any, gradients: Any, memory: Any, step: Any, how: Any, muon: bool) -> Any:
    """Weights after a step, and the optimiser's memory: momenta, velocities, averaged weights.

    Args:
        weights: Of one network.
        gradients: Of the loss.
        memory: ``momentum``, ``velocity`` and ``average``, shaped as the weights each.
        step: Number of the step, from 0.
        how: ``learning_rate``, ``warmup``, ``weight_decay``, ``averaging`` and ``steps``.
        muon: Whether Muon moves the kernels of convolutions; AdamW moves all else.
    """
    warm = how["warmup"] * how["steps"]
    gone = jnp.clip((step - warm) / (how["steps"] - warm), 0, 1)
    share = jnp.where(step < warm, step / warm, 0.5 * (1 + jnp.cos(jnp.pi * gone)))
    rate = how["learning_rate"] * share
    unbiased = jnp.sqrt(1 - 0.999 ** (step + 1)) / (1 - 0.9 ** (step + 1))

    def moved(path: Any, old: Any, gradient: Any, momentum: Any, velocity: Any) -> Any:
        if path[-1].key == "kernel":
            old = old * (1 - rate * how["weight_decay"])
        if muon and old.ndim == 3:
            momentum = 0.95 * momentum + gradient
            direction = (gradient + 0.95 * momentum).reshape(-1, old.shape[-1])
            far = 0.2 * max(direction.shape) ** 0.5 * _orthogonal(direction)
            return old - rate * far.reshape(old.shape), momentum, velocity
        momentum = momentum + 0.1 * (gradient - momentum)
        velocity = velocity + 0.001 * (gradient**2 - velocity)
        return old - rate * unbiased * momentum / (jnp.sqrt(velocity) + 1e-7), momentum, velocity

    three = jax.tree_util.tree_map_with_path(
        moved, weights, gradients, memory["momentum"], memory["velocity"]
    )
    weights, momentum, velocity = (
        jax.tree_util.tree_map(lambda of, n=n: of[n], three, is_leaf=lambda x: isinstance(x, tuple))
        for n in range(3)
    )
    kept = 1 - 1 / jnp.maximum(2.0, how["averaging"] * how["steps"])
    kept = jnp.where(step == 0, 0.0, kept)
    average = jax.tree_util.tree_map(
        lambda old, new: kept * old + (1 - kept) * new, memory["average"], weights
    )
    return weights, {"momentum": momentum, "velocity": velocity, "average": average}


def _orthogonal(matrix: Any) -> Any:
    if matrix.shape[0] > matrix.shape[1]:
        return _orthogonal(matrix.T).T
    a, b, c = NEWTON_SCHULZ
    x = matrix / (jnp.linalg.norm(matrix) + 1e-7)
    for _ in range(5):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x
