"""``python -m ser_tf.train``: train a model and keep the whole run in one folder."""

import argparse
import contextlib
import dataclasses
import json
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import scipy.optimize
import scipy.special
import tensorflow as tf
from tqdm.keras import TqdmCallback

from ser_tf import models, pipeline
from ser_tf.config import Config, ConfigError, FrontendConfig, TrainConfig, read_config, updated
from ser_tf.corpora import CorpusError, load_corpus
from ser_tf.corpora.recording import Recording
from ser_tf.emotions import EMOTIONS
from ser_tf.runs import Run, RunError
from ser_tf.splits import Split, make_split, read_split, write_split


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
    features: keras.Sequential, shards: pipeline.Shards, config: FrontendConfig
) -> None:
    """Give the ``Standardise`` layer the statistics of every feature over the shards.

    What a feature is divided by lies between the root mean square of all deviations and its own:
    ``rms ** (1 - whitening) * own ** whitening``. High coefficients carry less than low ones, and
    bringing all of them to the same deviation blows up what is mostly noise (docs/experiments.md).
    """
    log_mel = models.LogMelSpectrogram(floor_db=config.floor_db)
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
    train = config.train
    body = models.build_body(config.model, config.frontend, classes)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        decay_steps=round(steps * (1 - train.warmup)),
        warmup_target=train.learning_rate,
        warmup_steps=round(steps * train.warmup),
    )
    optimizer = keras.optimizers.AdamW(
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
        self._run.append_history({"epoch": epoch + 1, **row, "recordings_per_second": speed})
        self._run.save_state(epoch + 1, self._variables)


def train(
    config: Config,
    run: Run,
    split: Split,
    extra: Sequence[Sequence[Recording]] = (),
    *,
    cache: str,
    strict: bool = False,
) -> Path:
    """Train in a run's folder, from where its saved state stands.

    Args:
        config: All settings; already written to the folder.
        run: The folder, locked by the caller.
        split: What to learn from and what to watch; already written to the folder.
        extra: Further corpora to learn from.
        cache: Folder for decoded recordings.
        strict: Make every damaged recording an error.

    Returns:
        The trained model, waveform to probabilities.

    Raises:
        CorpusError: The corpus cannot be used.
        RunError: The saved state cannot be used.
        ValueError: Corpus and settings do not fit together.
    """
    settings = config.train
    shards = pipeline.prepare(
        split.train, EMOTIONS, cache, title="decoding training side", strict=strict
    )
    counts = pipeline.batch_counts(1 + len(extra), settings.batch_size, settings.extra_share)
    steps_per_epoch = len(shards.labels) // counts[0]
    if not steps_per_epoch:
        raise ValueError(
            f"{len(shards.labels)} training recordings do not fill one batch of"
            f" {counts[0]}; give a smaller --batch-size"
        )
    further = [
        pipeline.prepare(recordings, EMOTIONS, cache, title="decoding extra", strict=strict)
        for recordings in extra
    ]
    floor_db = config.frontend.floor_db
    corpora = [
        pipeline.spectrograms(part, config.augment, floor_db, cache) for part in (shards, *further)
    ]
    shares = class_shares([corpus.labels for corpus in corpora], counts, len(EMOTIONS))

    keras.utils.set_random_seed(settings.seed)
    keras.mixed_precision.set_global_policy("float32")
    features = models.build_features(config.frontend)
    if settings.mixed_precision:
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    strategy = tf.distribute.MirroredStrategy() if settings.strategy == "mirrored" else None
    with strategy.scope() if strategy else contextlib.nullcontext():
        body = compiled_body(config, len(EMOTIONS), steps_per_epoch * settings.epochs)
    state = [*features.variables, *body.variables, *body.optimizer.variables]
    done = 0
    if run.state.exists():
        done = run.load_state(state)
    else:
        set_statistics(features, shards, config.frontend)
    run.keep_history(done)

    validation, validation_steps = None, None
    if split.validation:
        held_out = pipeline.prepare(
            split.validation, EMOTIONS, cache, title="decoding validation", strict=strict
        )
        validation = pipeline.plain_batches(
            held_out, settings.batch_size, features, len(EMOTIONS), floor_db
        )
        validation_steps = -(-len(held_out.labels) // settings.batch_size)
    callbacks: list[keras.callbacks.Callback] = [
        Keeper(run, state, steps_per_epoch * settings.batch_size),
        keras.callbacks.TensorBoard(run.tensorboard, write_graph=False),
        # In a terminal a bar for the epoch too; a log file would grow by a line a batch.
        TqdmCallback(epochs=settings.epochs, initial=done, verbose=int(sys.stderr.isatty())),
    ]
    if settings.averaging:
        callbacks.insert(0, keras.callbacks.SwapEMAWeights())
    batches = pipeline.training_batches(
        corpora,
        settings.batch_size,
        features,
        class_weights(shares, settings.class_weight),
        config.augment,
        floor_db=floor_db,
        seed=settings.seed,
        extra_share=settings.extra_share,
        first_epoch=done,
    )
    if done < settings.epochs:
        body.fit(
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
        body.optimizer.finalize_variable_values(body.trainable_weights)
    link_example(run, split.test or split.train)
    return _finish(config, run, features, body, validation, steps_per_epoch * settings.epochs)


def _finish(
    config: Config,
    run: Run,
    features: keras.Sequential,
    body: keras.Model,
    validation: tf.data.Dataset | None,
    steps: int,
) -> Path:
    """Fit the temperature and write the whole graph in float32."""
    keras.mixed_precision.set_global_policy("float32")
    plain = models.build_body(config.model, config.frontend, len(EMOTIONS))
    plain.set_weights(body.get_weights())
    model = models.assemble(config.frontend, features, plain)
    facts: dict[str, Any] = {
        "parameters": plain.count_params(),
        "epochs": config.train.epochs,
        "steps": steps,
    }
    if validation is not None:
        batches = [(plain(x, training=False).numpy(), y.numpy()) for x, y in validation]
        logits = np.concatenate([x for x, _ in batches])
        truth = np.concatenate([y for _, y in batches]).argmax(axis=1)
        temperature = fit_temperature(logits, truth)
        model.get_layer("temperature").set_temperature(temperature)
        facts["temperature"] = temperature
        facts["validation_recordings"] = len(truth)
        facts["validation_accuracy"] = float(np.mean(logits.argmax(axis=1) == truth))
    aside = run.folder / "model.part.keras"
    model.save(aside)
    aside.replace(run.model)
    run.metrics.write_text(json.dumps(facts, indent=2) + "\n")
    return run.model


def link_example(run: Run, recordings: Sequence[Recording]) -> None:
    """Leave a link to a recording to try the model on: ``example`` with the recording's ending."""
    for recording in recordings[:1]:
        link = run.folder / f"example{recording.path.suffix}"
        link.unlink(missing_ok=True)
        link.symlink_to(recording.path.resolve())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ser_tf.train",
        description="Train a speech-emotion model and keep the run in one folder.",
        epilog="""commonest calls:
  python -m ser_tf.train --data /path/to/ravdess --out runs/mine
  python -m ser_tf.train --out runs/mine --resume""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data", help="RAVDESS folder, folder of label/clip.wav, CSV, synthetic, or download")
    add("--extra", nargs="+", metavar="DATA", help="further corpora, all of which are learnt from")
    add("--split", help="common, actors:K (fold K of five, from 0) or all")
    add("--out", type=Path, metavar="RUN", help="folder of the run (default: runs/<time>)")
    add("--resume", action="store_true", help="go on with the run in --out")
    add("--config", type=Path, metavar="TOML", help="settings, as a run's config.toml has them")
    add("--epochs", type=int)
    add("--batch-size", type=int)
    add("--seed", type=int)
    add("--strategy", choices=("one", "mirrored"), help="one device, or all GPUs")
    add("--mixed-precision", action=argparse.BooleanOptionalAction, help="bfloat16 arithmetic")
    add("--cache", default="cache", metavar="DIR", help="decoded recordings (default: cache)")
    add("--strict", action="store_true", help="make every damaged recording an error")
    return parser


def _settings(args: argparse.Namespace) -> Config:
    config = read_config(args.config) if args.config else Config()
    named = ("data", "extra", "split")
    top = {name: getattr(args, name) for name in named if getattr(args, name)}
    known = {field.name for field in dataclasses.fields(TrainConfig)}
    given = {k: v for k, v in vars(args).items() if k in known and v is not None}
    config = updated(config, {**top, "train": given}, "command line")
    # The run's folder must mean the same from anywhere.
    extra = [_absolute(data) for data in config.extra]
    config = updated(config, {"data": _absolute(config.data), "extra": extra}, "command line")
    positive = ("epochs", "batch_size", "learning_rate")
    for name in positive:
        if getattr(config.train, name) <= 0:
            raise ConfigError(f"{name} must be above zero, not {getattr(config.train, name)}")
    if config.model.name not in models.MODELS:
        raise ConfigError(f"no model {config.model.name!r}; there are: {', '.join(models.MODELS)}")
    return config


def _absolute(data: str) -> str:
    return str(Path(data).resolve()) if Path(data).exists() else data


def main(argv: Sequence[str] | None = None) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    if args.resume and not args.out:
        parser.error("--resume needs the run's folder in --out")
    run: Run | None = None
    try:
        if args.resume:
            run = Run.existing(args.out)
            args.config = args.config or run.config
        config = _settings(args)
        if run and config != read_config(run.config):
            raise RunError(f"{run.folder}: was started with other settings; resume it as it is")
        recordings = load_corpus(config.data, strict=args.strict)
        extra = [load_corpus(data, strict=args.strict) for data in config.extra]
        if run:
            split = read_split(run.split, recordings)
        else:
            split = make_split(
                recordings,
                config.split,
                validation=config.train.validation,
                seed=config.train.seed,
            )
            run = Run.create(args.out)
            names = [Path(data).name for data in config.extra]
            write_split(split, run.split, dict(zip(names, extra, strict=True)))
            config.write(run.config)
        with run.locked():
            print(f"run folder: {run.folder}", file=sys.stderr)
            model = train(config, run, split, extra, cache=args.cache, strict=args.strict)
    except (ConfigError, CorpusError, RunError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        if run and not args.resume and not run.state.exists():
            shutil.rmtree(run.folder)  # it has learnt nothing yet
        return 1
    except KeyboardInterrupt:
        where = run.folder if run else args.out
        print(f"\nstopped; go on with: --out {where} --resume", file=sys.stderr)
        return 130
    facts = json.loads(run.metrics.read_text())
    if "validation_accuracy" in facts:
        print(
            f"validation: {facts['validation_accuracy']:.1%} of"
            f" {facts['validation_recordings']} recordings"
        )
    print(f"model: {model}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
