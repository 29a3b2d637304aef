"""The trainer of our own model: changed spectrograms in every epoch, averaged weights."""

import contextlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm.keras import TqdmCallback

from ser_tf import decoding, distil, finetune, fitting, models, origin, pipeline
from ser_tf.config import Config
from ser_tf.corpora.recording import Recording
from ser_tf.origin import Origin
from ser_tf.runs import Run
from ser_tf.splits import Split
from ser_tf.systems import System


class Keeper(keras.callbacks.Callback):
    """Writes history and state after every epoch."""

    def __init__(self, run: Run, variables: list[Any], recordings: int) -> None:
        super().__init__()
        self._run = run
        self._variables = variables
        self._recordings = recordings
        self._begin = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._begin = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        seconds = time.perf_counter() - self._begin
        row = {name: f"{value:.6g}" for name, value in (logs or {}).items()}
        speed = f"{self._recordings / seconds:.0f}"
        self._run.append_history(
            {
                "epoch": epoch + 1,
                **row,
                "recordings_per_second": speed,
                "seconds": f"{seconds:.2f}",
            }
        )
        self._run.save_state(epoch + 1, self._variables)


class Watched(keras.callbacks.Callback):
    """Adds ``watched_accuracy`` to what is known after every epoch; nothing is chosen by it."""

    def __init__(self, batches: tf.data.Dataset, steps: int, *, averaged: bool) -> None:
        super().__init__()
        self._batches = batches
        self._steps = steps
        self._averaged = averaged

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        swap = [keras.callbacks.SwapEMAWeights()] if self._averaged else []
        figures = self.model.evaluate(
            self._batches, steps=self._steps, callbacks=swap, verbose=0, return_dict=True
        )
        if logs is not None:
            logs["watched_accuracy"] = figures["accuracy"]


def train(
    system: System,
    config: Config,
    run: Run,
    split: Split,
    *,
    labels: Sequence[str],
    cache: str,
    strict: bool = False,
    watch: Sequence[Recording] = (),
    extra: Sequence[Sequence[Recording]] = (),
    start: finetune.Start | None = None,
) -> Path:
    """Train in a run's folder, as :class:`ser_tf.systems.Trainer` says; two arguments are its own.

    Args:
        extra: Further corpora to learn from.
        start: A model to go on from, instead of from nothing.
    """
    settings = config.train
    share_of_way = 1.0
    shards = decoding.prepare(
        split.train, labels, cache, title="decoding training side", strict=strict
    )
    if start:
        answered = logits_of(start.model, shards)
        mistakes = finetune.count_mistakes(*answered, labels, start.origin.labels)
        clips = len(shards.labels)
        if set(labels) <= set(start.origin.labels):
            share_of_way = finetune.share_of_way(mistakes, clips)
        print(f"the model gets {clips - mistakes} of {clips} clips right as it is", file=sys.stderr)
        settings = finetune.for_clips(settings, clips, mistakes)
    counts = pipeline.batch_counts(1 + len(extra), settings.batch_size, settings.extra_share)
    steps_per_epoch = len(shards.labels) // counts[0]
    if not steps_per_epoch:
        raise ValueError(
            f"{len(shards.labels)} training recordings do not fill one batch of"
            f" {counts[0]}; give a smaller --batch-size"
        )
    steps = steps_per_epoch * settings.epochs
    further = [
        decoding.prepare(recordings, labels, cache, title="decoding extra", strict=strict)
        for recordings in extra
    ]
    corpora = [
        pipeline.spectrograms(part, config.augment, config.frontend, cache)
        for part in (shards, *further)
    ]
    shares = fitting.class_shares([corpus.labels for corpus in corpora], counts, len(labels))

    keras.utils.set_random_seed(settings.seed)
    keras.mixed_precision.set_global_policy("float32")
    features = models.build_features(config.frontend)
    if settings.mixed_precision:
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    strategy = tf.distribute.MirroredStrategy() if settings.strategy == "mirrored" else None
    with strategy.scope() if strategy else contextlib.nullcontext():
        body = models.build_body(config.model, config.frontend, len(labels))
        network, optimizer = body, None
        if settings.teachers:
            teachers, learnt = distil.load_teachers(settings.teachers, config, labels)
            features.set_weights(learnt.get_weights())
            network = distil.Taught(body, teachers, settings.teaching, settings.seed)
        if start:
            start.hand_over(features, body, labels)
            network = finetune.FrozenStatistics(body, config.model.dropout)
            if not set(labels) <= set(start.origin.labels):
                optimizer = finetune.FastHeadAdamW
        fitting.compiled(network, settings, steps, optimizer)
    watched = None
    if watch:
        shown = decoding.prepare(watch, labels, cache, title="decoding watched", strict=strict)
        batches = pipeline.plain_batches(
            shown, settings.batch_size, features, len(labels), config.frontend, cache
        )
        steps_a_look = -(-len(shown.labels) // settings.batch_size)
        watched = Watched(batches, steps_a_look, averaged=settings.averaging > 0)
    state = [*features.variables, *network.variables, *network.optimizer.variables]
    done = 0
    if run.state.exists():
        done = run.load_state(state)
    elif not start and not settings.teachers:
        fitting.set_statistics(features, shards, config.frontend)
    run.keep_history(done)

    held_out, validation, validation_steps = None, None, None
    if split.validation:
        held_out = decoding.prepare(
            split.validation, labels, cache, title="decoding validation", strict=strict
        )
        validation = pipeline.plain_batches(
            held_out, settings.batch_size, features, len(labels), config.frontend, cache
        )
        validation_steps = -(-len(held_out.labels) // settings.batch_size)
    callbacks: list[keras.callbacks.Callback] = [
        Keeper(run, state, steps_per_epoch * settings.batch_size),
        keras.callbacks.TensorBoard(run.tensorboard, write_graph=False),
        # In a terminal a bar for the epoch too; a log file would grow by a line a batch.
        TqdmCallback(epochs=settings.epochs, initial=done, verbose=int(sys.stderr.isatty())),
    ]
    if watched:
        callbacks.insert(0, watched)
    if settings.averaging:
        callbacks.insert(0, keras.callbacks.SwapEMAWeights())
    batches = pipeline.training_batches(
        corpora,
        settings.batch_size,
        features,
        fitting.class_weights(shares, settings.class_weight),
        config.augment,
        config.frontend,
        seed=settings.seed,
        extra_share=settings.extra_share,
        first_epoch=done,
    )
    if done < settings.epochs:
        network.fit(
            batches,
            epochs=settings.epochs,
            initial_epoch=done,
            steps_per_epoch=steps_per_epoch,
            validation_data=validation,
            validation_steps=validation_steps,
            shuffle=False,
            callbacks=callbacks,
            verbose=0,
        )
    elif settings.averaging:
        network.optimizer.finalize_variable_values(network.trainable_weights)
    corpora_of = origin.corpora_of(config, split.train)
    known = Origin(tuple(labels), (start.origin.corpora if start else ()) + corpora_of, config)
    return _finish(run, known, steps, features, body, held_out, start, share_of_way)


def _finish(
    run: Run,
    known: Origin,
    steps: int,
    features: keras.Sequential,
    body: keras.Model,
    held_out: decoding.Shards | None,
    start: finetune.Start | None,
    share_of_way: float,
) -> Path:
    """Fit the temperature and write the whole graph in float32.

    The weights are those of ``body``, or stay behind at a share of the way from those of ``start``.
    """
    config = known.config
    keras.mixed_precision.set_global_policy("float32")
    plain = models.build_body(config.model, config.frontend, len(known.labels))
    weights = body.get_weights()
    model = models.assemble(config.frontend, features, plain)
    facts: dict[str, Any] = {
        "parameters": plain.count_params(),
        "epochs": config.train.epochs,
        "best_epoch": config.train.epochs,
        "steps": steps,
        "seconds": run.seconds(),
    }
    least = 1
    if config.train.temperature != 1.0:
        facts["temperature"] = config.train.temperature
    if start:
        facts["temperature"] = start.temperature
        least = finetune.LEAST_FOR_TEMPERATURE
        start.hand_over(features, plain, known.labels)
        if held_out and set(known.labels) <= set(start.origin.labels):
            facts["validation_accuracy_before"] = _accuracy(*logits_of(model, held_out))
        facts["share_of_way"] = share_of_way
        pairs = zip(plain.get_weights(), weights, strict=True)
        weights = [(1 - share_of_way) * old + share_of_way * new for old, new in pairs]
    plain.set_weights(weights)
    if held_out:
        logits, truth = logits_of(model, held_out)
        facts["validation_recordings"] = len(truth)
        facts["validation_accuracy"] = _accuracy(logits, truth)
        if len(truth) >= least:
            facts["temperature"] = fitting.fit_temperature(logits, truth)
    model.get_layer("temperature").set_temperature(facts.get("temperature", 1.0))
    origin.save(model, known, run.model)
    run.metrics.write_text(json.dumps(facts, indent=2) + "\n")
    return run.model


def logits_of(model: keras.Model, shards: decoding.Shards) -> tuple[np.ndarray, np.ndarray]:
    """What is divided by the temperature, float32 ``(recordings, classes)``, and the labels."""
    answering = keras.Model(model.input, model.get_layer("temperature").input)
    pairs = [(answering(x, training=False).numpy(), y) for x, y in pipeline.waveforms(shards, 32)]
    logits, truth = zip(*pairs, strict=True)
    return np.concatenate(logits), np.concatenate(truth)


def _accuracy(logits: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean(logits.argmax(axis=1) == truth))
