"""Training of a Keras row: cached features, a network over them, and what becomes of it."""

import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from tqdm.keras import TqdmCallback

from ser_tf import fitting, origin
from ser_tf.config import Config, TrainConfig
from ser_tf.corpora.recording import Recording
from ser_tf.frontend import Standardise
from ser_tf.origin import Origin
from ser_tf.runs import Run
from ser_tf.splits import Split
from ser_tf.systems.neural.material import ONLY, Material, material
from ser_tf.systems.neural.recipe import Recipe, recipe_of
from ser_tf.systems.neural.standardise import StandardiseCells
from ser_tf.systems.neural.watcher import Watcher, measure

if TYPE_CHECKING:
    from ser_tf.systems import System

LEAST_DEVIATION = 1e-3  # a feature that deviates less is constant, and is not divided


class Batches(keras.utils.PyDataset):
    """Training batches, in an order of their own for every epoch.

    Args:
        data: What is learnt from.
        classes: How many.
        settings: ``batch_size`` and ``seed``.
    """

    def __init__(self, data: Material, classes: int, settings: TrainConfig) -> None:
        super().__init__()
        self._data = data
        self._one_hot = np.eye(classes, dtype="float32")[data.labels]
        self._settings = settings
        self.shuffle(0)

    def __len__(self) -> int:
        return -(-len(self._order) // self._settings.batch_size)

    def __getitem__(self, index: int) -> tuple[Any, np.ndarray]:
        size = self._settings.batch_size
        chosen = self._order[index * size : (index + 1) * size]
        return self._data.inputs(chosen), self._one_hot[chosen]

    def shuffle(self, epoch: int) -> None:
        """Take the order of an epoch. Keras's own signs of an epoch also come when it peeks."""
        generator = np.random.default_rng([self._settings.seed, epoch])
        self._order = generator.permutation(len(self._one_hot))


def standardisers(recipe: Recipe, data: Material) -> dict[str, keras.layers.Layer]:
    """A layer for each tensor of features, with the statistics of the training part."""
    if recipe.standardise == "none":
        return {}
    found = {}
    for name, values in data.features.items():
        cells = recipe.standardise == "cell" or values.ndim == 2
        layer = (StandardiseCells if cells else Standardise)(name=f"standardise_{name}")
        layer.build((None, *values.shape[1:]))
        axes = 0 if cells else tuple(range(values.ndim - 1))
        deviation = values.std(axis=axes, dtype=np.float64)
        deviation[deviation < LEAST_DEVIATION] = 1.0
        layer.set_statistics(values.mean(axis=axes, dtype=np.float64), deviation)
        found[name] = layer
    return found


def _standardised(x: Any, layers: dict[str, keras.layers.Layer]) -> Any:
    if not layers:
        return x
    if isinstance(x, dict):
        return {name: layers[name](value) for name, value in x.items()}
    (layer,) = layers.values()
    return layer(x)


def train(
    system: "System",
    config: Config,
    run: Run,
    split: Split,
    *,
    labels: Sequence[str],
    cache: str,
    strict: bool = False,
    watch: Sequence[Recording] = (),
) -> Path:
    """Train a Keras row; see :class:`ser_tf.systems.Trainer`."""
    began = time.perf_counter()
    recipe = recipe_of(system.name, config.model.weights, cache)
    settings = config.train
    keras.utils.set_random_seed(settings.seed)
    keras.mixed_precision.set_global_policy("float32")
    features = recipe.features()

    def of(recordings: Sequence[Recording], title: str, copies: int | None = None) -> Material:
        options: dict[str, Any] = {"title": title, "strict": strict, "copies": copies}
        return material(recordings, labels, recipe, features, cache, **options)

    training = of(split.train, "features, training")
    if recipe.copies:
        training = training.joined(of(split.train, "features, changed copies", settings.seed))
    validation = of(split.validation, "features, validation") if split.validation else None
    watched = of(watch, "features, watched") if watch else None

    layers = standardisers(recipe, training)
    if settings.mixed_precision:
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    body = recipe.body(len(labels))
    network = _network(recipe, training, layers, body)
    _compile(network, settings)
    watcher = Watcher(run, recipe, body, validation, watched)
    watcher.set_model(network)
    done = run.load_state(watcher.state) if run.state.exists() else 0
    run.keep_history(done)
    ready = time.perf_counter() - began
    if done < settings.epochs and not watcher.out_of_patience:
        shares = fitting.class_shares([training.labels], [1], len(labels))
        weights = fitting.class_weights(shares, settings.class_weight)
        batches = Batches(training, len(labels), settings)
        dealer = keras.callbacks.LambdaCallback(lambda epoch, logs: batches.shuffle(epoch))
        network.fit(
            batches,
            epochs=settings.epochs,
            initial_epoch=done,
            class_weight=dict(enumerate(weights.tolist())),
            shuffle=False,
            callbacks=[dealer, watcher, _bar(settings.epochs, done)],
            verbose=0,
        )
    watcher.restore_best()
    if settings.mixed_precision:
        keras.mixed_precision.set_global_policy("float32")
        plain = recipe.body(len(labels))
        plain.set_weights(body.get_weights())
        body = plain
    model = _assembled(recipe, features, layers, body)
    named = dataclasses.replace(config, model=dataclasses.replace(config.model, name=system.name))
    known = Origin(tuple(labels), origin.corpora_of(config, split.train), named)
    origin.save(model, known, run.model)
    facts = {
        "parameters": features.count_params() + body.count_params(),
        "epochs": watcher.epochs,
        "best_epoch": watcher.best_epoch,
        "seconds": round(ready + run.seconds(), 1),
        "recordings": len(split.train),
    }
    if validation:
        facts |= {"validation_recordings": len(validation.labels)}
        facts |= {f"validation_{k}": v for k, v in measure(network, validation).items()}
    run.metrics.write_text(json.dumps(facts, indent=2) + "\n")
    return run.model


def _network(
    recipe: Recipe, data: Material, layers: dict[str, keras.layers.Layer], body: keras.Model
) -> keras.Model:
    """What learns: features as they are kept to float32 logits."""
    given = {name: keras.Input(v.shape[1:], name=name) for name, v in data.features.items()}
    inputs = given.get(ONLY, given)
    x = recipe.online()(inputs) if recipe.online else inputs
    logits = body(_standardised(x, layers))
    return keras.Model(inputs, keras.layers.Activation("linear", dtype="float32")(logits))


def _compile(network: keras.Model, settings: TrainConfig) -> None:
    network.compile(
        optimizer=keras.optimizers.Adam(settings.learning_rate),
        loss=keras.losses.CategoricalCrossentropy(True, settings.label_smoothing),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        jit_compile=False,
    )
    network.optimizer.build(network.trainable_variables)


def _assembled(
    recipe: Recipe,
    features: keras.Model,
    layers: dict[str, keras.layers.Layer],
    body: keras.Model,
) -> keras.Model:
    """The whole graph: waveform ``(batch, window)`` to probabilities ``(batch, classes)``."""
    waveform = keras.Input((recipe.window,), name="waveform")
    logits = body(_standardised(features(waveform), layers))
    probabilities = keras.layers.Softmax(dtype="float32", name="probabilities")(logits)
    return keras.Model(waveform, probabilities, name="ser")


def _bar(epochs: int, done: int) -> keras.callbacks.Callback:
    # In a terminal a bar for the epoch too; a log file would grow by a line a batch.
    return TqdmCallback(epochs=epochs, initial=done, verbose=int(sys.stderr.isatty()))
