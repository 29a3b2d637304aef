"""``python -m ser_tf.train``: train a model and keep the whole run in one folder."""

import argparse
import dataclasses
import json
import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ser_tf import splits
from ser_tf.config import OPTIMIZERS, Config, ConfigError, TrainConfig, read_config, updated
from ser_tf.corpora import CorpusError, load_corpus
from ser_tf.corpora.recording import Recording
from ser_tf.corpora.relabel import relabelled
from ser_tf.emotions import EMOTIONS
from ser_tf.runs import Run, RunError
from ser_tf.systems import SYSTEMS, System, defaults_of, trainer_of

if TYPE_CHECKING:  # TensorFlow is imported where something is trained that takes it
    from ser_tf.finetune import Start

VALIDATION_SEED = 0  # runs of one split hold out the same recordings, whatever their own seeds


def link_example(run: Run, recordings: Sequence[Recording]) -> None:
    """Leave a link to a recording to try the model on: ``example`` with the recording's ending."""
    for recording in recordings[:1]:
        link = run.folder / f"example{recording.path.suffix}"
        link.unlink(missing_ok=True)
        link.symlink_to(recording.path.resolve())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ser_tf.train",
        usage="%(prog)s [--data DATA] [--model NAME] [--out RUN] [options]",
        description="Train a speech-emotion model and keep the run in one folder.",
        epilog=f"""commonest calls:
  python -m ser_tf.train --data /path/to/ravdess --out runs/mine
  python -m ser_tf.train --from export/ser.keras --data my_clips/
  python -m ser_tf.train --out runs/mine --resume
models:
{textwrap.fill(", ".join(SYSTEMS), 78, initial_indent="  ", subsequent_indent="  ")}""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data", help="RAVDESS folder, folder of label/clip.wav, CSV, synthetic, or download")
    add("--model", metavar="NAME", help="what to train, of those below (default: cnn, ours)")
    add("--from", dest="start", type=Path, metavar="MODEL", help="fine-tune this .keras model")
    add(
        "--refit", type=Path, metavar="RUN", help="as RUN was trained, over its validation part too"
    )
    add("--extra", nargs="+", metavar="DATA", help="further corpora, all of which are learnt from")
    add("--split", help="common, actors:K (fold K of five, from 0) or all")
    add("--drop", nargs="*", metavar="EMOTION", help="leave these out (default: as the model says)")
    add("--out", type=Path, metavar="RUN", help="folder of the run (default: runs/<time>)")
    add("--resume", action="store_true", help="go on with the run in --out")
    add("--config", type=Path, metavar="TOML", help="settings, as a run's config.toml has them")
    add("--weights", metavar="FROM", help="published weights of a model that starts from some")
    add("--epochs", type=int)
    add("--batch-size", type=int)
    add("--teachers", nargs="+", metavar="MODEL", help="learn from .keras models of this split too")
    add("--seed", type=int)
    add("--strategy", choices=("one", "mirrored"), help="one device, or all GPUs")
    add("--mixed-precision", action=argparse.BooleanOptionalAction, help="bfloat16 arithmetic")
    add("--watch", action="store_true", help="write the test accuracy of every epoch beside it")
    add("--cache", default="cache", metavar="DIR", help="decoded recordings (default: cache)")
    add("--strict", action="store_true", help="make every damaged recording an error")
    return parser


def _system(name: str) -> System:
    if name not in SYSTEMS:
        raise ConfigError(f"no model {name!r}; there are: {', '.join(SYSTEMS)}")
    return SYSTEMS[name]


def _settings(args: argparse.Namespace, start: "Start | None") -> Config:
    """Defaults of the model, below the settings of a file, below those of the command line."""
    config = start.config if start else Config()
    if args.refit:
        config = _refitted(Run.existing(args.refit))
    told = read_config(args.config, config) if args.config else config
    system = _system(args.model or told.model.name)
    if not start and not args.refit:
        defaults = {"drop": system.drop, "train": defaults_of(system)}
        config = updated(config, defaults, system.name)
    if args.config:
        config = read_config(args.config, config)
    named = ("data", "extra", "split", "drop")
    top = {name: getattr(args, name) for name in named if getattr(args, name) is not None}
    known = {field.name for field in dataclasses.fields(TrainConfig)}
    given = {k: v for k, v in vars(args).items() if k in known and v is not None}
    model = {"name": system.name} | ({"weights": args.weights} if args.weights else {})
    config = updated(config, {**top, "model": model, "train": given}, "command line")
    # The run's folder must mean the same from anywhere.
    extra = [_absolute(data) for data in config.extra]
    data, weights = _absolute(config.data), _absolute(config.model.weights)
    teachers = [_absolute(teacher) for teacher in config.train.teachers]
    paths = {"data": data, "extra": extra, "model": {"weights": weights}}
    paths["train"] = {"teachers": teachers}
    config = updated(config, paths, "command line")
    positive = ("epochs", "batch_size", "learning_rate")
    for name in positive:
        if getattr(config.train, name) <= 0:
            raise ConfigError(f"{name} must be above zero, not {getattr(config.train, name)}")
    if config.train.optimizer not in OPTIMIZERS:
        raise ConfigError(
            f"no optimizer {config.train.optimizer!r}; there are: {', '.join(OPTIMIZERS)}"
        )
    if config.train.teachers and (start or not system.ours):
        raise ConfigError("--teachers are for our own model, trained from nothing")
    if config.extra and not system.ours:
        raise ConfigError(f"{system.name} learns from one corpus; leave out --extra")
    return config


def _refitted(finished: Run) -> Config:
    """The settings of a finished run, with nothing held out and the temperature that it found.

    Raises:
        RunError: It is no finished run of our own model, trained from nothing, or had held nothing
            out itself.
        ConfigError: Its settings cannot be read.
    """
    config = read_config(finished.config)
    if finished.start.exists() or not _system(config.model.name).ours:
        raise RunError(f"{finished.folder}: --refit is for our own model, trained from nothing")
    if not finished.finished:
        raise RunError(f"{finished.folder}: is not finished; finish it with --resume first")
    found = json.loads(finished.metrics.read_text()).get("temperature")
    if not config.train.validation or found is None:
        raise RunError(f"{finished.folder}: held nothing out, so nothing is left to learn from")
    told = {"train": {"validation": 0.0, "temperature": found}}
    return updated(config, told, str(finished.folder))


def _absolute(data: str) -> str:
    return str(Path(data).resolve()) if data and Path(data).exists() else data


def _labels(recordings: Sequence[Recording], drop: Sequence[str]) -> tuple[str, ...]:
    """The emotions without those to be left out.

    Raises:
        ValueError: One of those does not exist, or too few are left.
    """
    there = [*EMOTIONS, *sorted({recording.emotion for recording in recordings} - set(EMOTIONS))]
    if unknown := [emotion for emotion in drop if emotion not in there]:
        raise ValueError(f"--drop: no emotion is {unknown[0]!r}; there are: {', '.join(there)}")
    labels = tuple(emotion for emotion in EMOTIONS if emotion not in drop)
    if len(labels) < 2:
        raise ValueError(f"--drop: leaves {len(labels)} emotions; a model takes two at least")
    return labels


def main(argv: Sequence[str] | None = None) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    if args.resume and not args.out:
        parser.error("--resume needs the run's folder in --out")
    if args.start and args.resume:
        parser.error("--from begins a new run; --resume goes on with one as it is")
    if args.start and args.model:
        parser.error("--from brings its own model; leave out --model")
    if args.start and not args.data:
        parser.error("--from needs the clips to learn from in --data")
    others = {"--config": args.config, "--model": args.model, "--from": args.start}
    if args.refit and (args.resume or any(others.values())):
        parser.error(
            f"--refit takes the settings of its run; leave out --resume, {', '.join(others)}"
        )
    run: Run | None = None
    try:
        if args.resume:
            run = Run.existing(args.out)
            args.config = args.config or run.config
            if run.start.exists():
                args.start = run.start
        start: Start | None = None
        if args.start:
            from ser_tf import finetune

            start = finetune.load(args.start)
        config = _settings(args, start)
        if run and config != read_config(run.config):
            raise RunError(f"{run.folder}: was started with other settings; resume it as it is")
        system = SYSTEMS[config.model.name]
        if start:
            finetune.check_settings(config, start)
            recordings = finetune.own_clips(config.data, start.origin.labels, strict=args.strict)
        else:
            recordings = load_corpus(config.data, strict=args.strict)
        labels = _labels(recordings, config.drop)
        if run:
            split = splits.read_split(run.split, recordings)
        else:
            deal = finetune.make_split_of_few if start else splits.make_split
            share = config.train.validation
            split = deal(recordings, config.split, validation=share, seed=VALIDATION_SEED)
        split = splits.without(split, config.drop)
        if config.train.teachers:
            from ser_tf import distil

            for teacher in config.train.teachers:
                distil.refuse_leaks(Path(teacher), split)
        if start:
            clips = [*split.train, *split.validation, *split.test]
            labels = finetune.labels_of(clips, start.origin.labels)
            print(finetune.summary(clips, labels, start.origin.labels), file=sys.stderr)
        known = labels if start else EMOTIONS
        extra = []
        for data in config.extra:
            further = load_corpus(data, strict=args.strict, labels=known)
            further = relabelled(further, config.relabel, known)
            extra.append([recording for recording in further if recording.emotion in labels])
        if not run:
            run = Run.create(args.out)
            names = [Path(data).name for data in config.extra]
            splits.write_split(split, run.split, dict(zip(names, extra, strict=True)))
            if start:
                start.save(run.start)
            config.write(run.config)
        with run.locked():
            print(f"run folder: {run.folder}", file=sys.stderr)
            options: dict[str, Any] = {"labels": labels, "cache": args.cache, "strict": args.strict}
            if system.ours:
                options |= {"extra": extra, "start": start}
            if args.watch:
                options["watch"] = split.test
            model = trainer_of(system).train(system, config, run, split, **options)
            link_example(run, split.test or split.train)
    except (ConfigError, CorpusError, RunError, ValueError, OSError, ImportError) as error:
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
