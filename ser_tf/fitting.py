"""What a training run computes around its steps: weights of classes, statistics of features, the
optimiser and its schedule, the temperature.
"""

from collections.abc import Sequence

import keras
import numpy as np
import scipy.optimize
import scipy.special
import tensorflow as tf

from ser_tf import decoding, models, pipeline
from ser_tf.config import Config, FrontendConfig, TrainConfig
from ser_tf.frontend import build_log_mel
from ser_tf.optimizer import ConvolutionMuon


def class_weights(shares: np.ndarray, exponent: float) -> np.ndarray:
    """Weights against class imbalance: ``(1 / (classes * share)) ** exponent``, one on average.

    Args:
        shares: Share of each class in what is learnt from, float ``(classes,)``, sum 1; a class
            that does not occur gets weight 1.
        exponent: 0 leaves all alike, 1 is scikit-learn's ``class_weight="balanced"``.

    Returns:
        float64 ``(classes,)``.
    """
    present = shares > 0
    weights = np.ones(len(shares))
    weights[present] = (1 / (len(shares) * shares[present])) ** exponent
    return weights / np.sum(shares * weights)


def class_shares(corpora: Sequence[np.ndarray], counts: Sequence[int], classes: int) -> np.ndarray:
    """Share of each class in batches that hold ``counts`` recordings of the corpora.

    Args:
        corpora: Labels of each corpus, int ``(recordings,)``.
        counts: Recordings of each in a batch.
        classes: How many there are.
    """
    of_each = [np.bincount(labels, minlength=classes) / len(labels) for labels in corpora]
    return np.average(of_each, axis=0, weights=counts)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature that makes held-out recordings most likely.

    Args:
        logits: float ``(recordings, classes)``.
        labels: int ``(recordings,)``.
    """

    def negative_log_likelihood(log_temperature: float) -> float:
        scaled = scipy.special.log_softmax(logits / np.exp(log_temperature), axis=1)
        return -float(np.mean(scaled[np.arange(len(labels)), labels]))

    found = scipy.optimize.minimize_scalar(
        negative_log_likelihood, bounds=(np.log(0.1), np.log(10.0)), method="bounded"
    )
    return float(np.exp(found.x))


def set_statistics(
    features: keras.Sequential, shards: decoding.Shards, config: FrontendConfig
) -> None:
    """Give the ``Standardise`` layer the statistics of every feature over the shards.

    What a feature is divided by lies between the root mean square of all deviations and its own:
    ``rms ** (1 - whitening) * own ** whitening``. High coefficients carry less than low ones, and
    bringing all of them to the same deviation blows up what is mostly noise (docs/experiments.md).
    """
    log_mel = build_log_mel(config)
    cepstrum, standardise = features.layers

    @tf.function
    def moments(waveform: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        values = tf.cast(cepstrum(log_mel(waveform)), tf.float64)
        return tf.reduce_sum(values, (0, 1)), tf.reduce_sum(tf.square(values), (0, 1))

    total = square = 0.0
    frames = 0
    for waveform, _ in pipeline.waveforms(shards, 32):
        added, added_square = moments(waveform)
        total, square = total + added.numpy(), square + added_square.numpy()
        frames += waveform.shape[0] * models.N_FRAMES
    mean = total / frames
    variance = np.maximum(square / frames - mean**2, 0)
    share = config.whitening
    scale = np.sqrt(variance**share * variance.mean() ** (1 - share))
    standardise.set_statistics(mean, scale)


def compiled_body(config: Config, classes: int, steps: int) -> keras.Model:
    """The trained layers with loss, optimiser and schedule, ready for ``fit``."""
    body = models.build_body(config.model, config.frontend, classes)
    return compiled(body, config.train, steps)


def compiled(
    body: keras.Model,
    train: TrainConfig,
    steps: int,
    optimizer_class: type[keras.optimizers.Optimizer] | None = None,
) -> keras.Model:
    """``body`` with loss, optimiser and schedule.

    Args:
        body: What is trained.
        train: How.
        steps: How long the schedule is.
        optimizer_class: Instead of the one that ``train.optimizer`` names.
    """
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        decay_steps=round(steps * (1 - train.warmup)),
        warmup_target=train.learning_rate,
        warmup_steps=round(steps * train.warmup),
    )
    named = ConvolutionMuon if train.optimizer == "muon" else keras.optimizers.AdamW
    optimizer = (optimizer_class or named)(
        schedule,
        weight_decay=train.weight_decay,
        use_ema=train.averaging > 0,
        ema_momentum=1 - 1 / max(2.0, train.averaging * steps),
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    body.compile(
        optimizer=optimizer,
        loss=keras.losses.CategoricalCrossentropy(True, train.label_smoothing),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        # XLA is slower than the plain kernels on processors, and compiles for a minute.
        jit_compile=bool(tf.config.list_physical_devices("GPU")),
    )
    body.optimizer.build(body.trainable_variables)
    return body
