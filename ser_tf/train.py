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
import tensorflow as tf
from tqdm.keras import TqdmCallback

from ser_tf import finetune, fitting, models, origin, pipeline
from ser_tf.config import Config, ConfigError, TrainConfig, read_config, updated
from ser_tf.corpora import CorpusError, load_corpus
from ser_tf.corpora.recording import Recording
from ser_tf.emotions import EMOTIONS
from ser_tf.origin import Origin
from ser_tf.runs import Run, RunError
from ser_tf.splits import Split, make_split, read_split, write_split


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
    labels: Sequence[str] = EMOTIONS,
    start: finetune.Start | None = None,
    cache: str,
    strict: bool = False,
) -> Path:
    """Train in a run's folder, from where its saved state stands.

    Args:
        config: All settings; already written to the folder.
        run: The folder, locked by the caller.
        split: What to learn from and what to watch; already written to the folder.
        extra: Further corpora to learn from.
        labels: What the model shall answer with.
        start: A model to go on from, instead of from nothing.
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
        split.train, labels, cache, title="decoding training side", strict=strict
    )
    if start:
        settings = finetune.for_clips(settings, len(shards.labels))
    counts = pipeline.batch_counts(1 + len(extra), settings.batch_size, settings.extra_share)
    steps_per_epoch = len(shards.labels) // counts[0]
    if not steps_per_epoch:
        raise ValueError(
            f"{len(shards.labels)} training recordings do not fill one batch of"
            f" {counts[0]}; give a smaller --batch-size"
        )
    steps = steps_per_epoch * settings.epochs
    further = [
        pipeline.prepare(recordings, labels, cache, title="decoding extra", strict=strict)
        for recordings in extra
    ]
    floor_db = config.frontend.floor_db
    corpora = [
        pipeline.spectrograms(part, config.augment, floor_db, cache) for part in (shards, *further)
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
        network, optimizer = body, keras.optimizers.AdamW
        if start:
            start.hand_over(features, body, labels)
            network = finetune.FrozenStatistics(body, config.model.dropout)
            if not set(labels) <= set(start.origin.labels):
                optimizer = finetune.FastHeadAdamW
        fitting.compiled(network, settings, steps, optimizer)
    state = [*features.variables, *network.variables, *network.optimizer.variables]
    done = 0
    if run.state.exists():
        done = run.load_state(state)
    elif not start:
        fitting.set_statistics(features, shards, config.frontend)
    run.keep_history(done)

    held_out, validation, validation_steps = None, None, None
    if split.validation:
        held_out = pipeline.prepare(
            split.validation, labels, cache, title="decoding validation", strict=strict
        )
        validation = pipeline.plain_batches(
            held_out, settings.batch_size, features, len(labels), floor_db
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
        fitting.class_weights(shares, settings.class_weight),
        config.augment,
        floor_db=floor_db,
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
    link_example(run, split.test or split.train)
    corpora_of = origin.corpora_of(config, split.train)
    known = Origin(tuple(labels), (start.origin.corpora if start else ()) + corpora_of, config)
    return _finish(run, known, steps, features, body, held_out, start)


def _finish(
    run: Run,
    known: Origin,
    steps: int,
    features: keras.Sequential,
    body: keras.Model,
    held_out: pipeline.Shards | None,
    start: finetune.Start | None,
) -> Path:
    """Fit the temperature and write the whole graph in float32."""
    config = known.config
    keras.mixed_precision.set_global_policy("float32")
    plain = models.build_body(config.model, config.frontend, len(known.labels))
    model = models.assemble(config.frontend, features, plain)
    facts: dict[str, Any] = {
        "parameters": plain.count_params(),
        "epochs": config.train.epochs,
        "steps": steps,
    }
    least = 1
    if start:
        facts["temperature"] = start.temperature
        least = finetune.LEAST_FOR_TEMPERATURE
        start.hand_over(features, plain, known.labels)
        if held_out and set(known.labels) <= set(start.origin.labels):
            facts["validation_accuracy_before"] = _accuracy(*_logits(model, held_out))
    plain.set_weights(body.get_weights())
    if held_out:
        logits, truth = _logits(model, held_out)
        facts["validation_recordings"] = len(truth)
        facts["validation_accuracy"] = _accuracy(logits, truth)
        if len(truth) >= least:
            facts["temperature"] = fitting.fit_temperature(logits, truth)
    model.get_layer("temperature").set_temperature(facts.get("temperature", 1.0))
    origin.save(model, known, run.model)
    run.metrics.write_text(json.dumps(facts, indent=2) + "\n")
    return run.model


def _logits(model: keras.Model, shards: pipeline.Shards) -> tuple[np.ndarray, np.ndarray]:
    """What is divided by the temperature, float32 ``(recordings, classes)``, and the labels."""
    answering = keras.Model(model.input, model.get_layer("temperature").input)
    pairs = [(answering(x, training=False).numpy(), y) for x, y in pipeline.waveforms(shards, 32)]
    logits, truth = zip(*pairs, strict=True)
    return np.concatenate(logits), np.concatenate(truth)


def _accuracy(logits: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean(logits.argmax(axis=1) == truth))


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
  python -m ser_tf.train --from export/ser.keras --data my_clips/
  python -m ser_tf.train --out runs/mine --resume""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data", help="RAVDESS folder, folder of label/clip.wav, CSV, synthetic, or download")
    add("--from", dest="start", type=Path, metavar="MODEL", help="fine-tune this .keras model")
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


def _settings(args: argparse.Namespace, start: finetune.Start | None) -> Config:
    config = start.config if start else Config()
    if args.config:
        config = read_config(args.config, config)
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
    if start:
        finetune.check_settings(config, start)
    return config


def _absolute(data: str) -> str:
    return str(Path(data).resolve()) if Path(data).exists() else data


def main(argv: Sequence[str] | None = None) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    if args.resume and not args.out:
        parser.error("--resume needs the run's folder in --out")
    if args.start and args.resume:
        parser.error("--from begins a new run; --resume goes on with one as it is")
    if args.start and not args.data:
        parser.error("--from needs the clips to learn from in --data")
    run: Run | None = None
    try:
        if args.resume:
            run = Run.existing(args.out)
            args.config = args.config or run.config
            if (run.folder / finetune.START).exists():
                args.start = run.folder / finetune.START
        start = finetune.load(args.start) if args.start else None
        config = _settings(args, start)
        if run and config != read_config(run.config):
            raise RunError(f"{run.folder}: was started with other settings; resume it as it is")
        if start:
            known = start.origin.labels
            recordings = finetune.own_clips(config.data, known, strict=args.strict)
        else:
            recordings = load_corpus(config.data, strict=args.strict)
        if run:
            split = read_split(run.split, recordings)
        else:
            deal = finetune.make_split_of_few if start else make_split
            share, seed = config.train.validation, config.train.seed
            split = deal(recordings, config.split, validation=share, seed=seed)
        labels: Sequence[str] = EMOTIONS
        if start:
            clips = [*split.train, *split.validation, *split.test]
            labels = finetune.labels_of(clips, known)
            print(finetune.summary(clips, labels, known), file=sys.stderr)
        extra = [load_corpus(data, strict=args.strict, labels=labels) for data in config.extra]
        if not run:
            run = Run.create(args.out)
            names = [Path(data).name for data in config.extra]
            write_split(split, run.split, dict(zip(names, extra, strict=True)))
            if start:
                start.save(run.folder / finetune.START)
            config.write(run.config)
        with run.locked():
            print(f"run folder: {run.folder}", file=sys.stderr)
            options = {"cache": args.cache, "strict": args.strict}
            model = train(config, run, split, extra, labels=labels, start=start, **options)
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
        before = facts.get("validation_accuracy_before")
        print(
            f"validation: {facts['validation_accuracy']:.1%} of"
            f" {facts['validation_recordings']} recordings"
            + (f" ({before:.1%} before)" if before is not None else "")
        )
    print(f"model: {model}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
