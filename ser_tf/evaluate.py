"""Evaluate an exported model: ``python -m ser_tf.evaluate``.

The file is run as a user would run it, through :mod:`edge.classifier` on the recordings
themselves, so the figures hold for what is handed out and not for its Keras original.

``--report`` adds a page to read (:mod:`ser_tf.model_report`), ``--against`` a second model on the
same recordings (:mod:`ser_tf.paired`). ``--unlabelled`` measures nothing: it writes the answers to
a folder of recordings that nobody has labelled (:mod:`ser_tf.unlabelled`).
"""

import argparse
import csv
import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edge.classifier import ModelError
from ser_tf import latency, metrics, model_report, paired, plots, unlabelled
from ser_tf.answers import Answers, EvaluateError, babble_pool, of_run, open_model, run
from ser_tf.conditions import gain_name
from ser_tf.corpora import CorpusError, load_corpus
from ser_tf.corpora.recording import Recording
from ser_tf.held_out import answerable, choose_test, known_labels, refuse_training_recordings
from ser_tf.outputs import replacing
from ser_tf.tables import SHOWN_THRESHOLDS, markdown

OUTPUTS = ("metrics.json", "predictions.csv", "metrics.md", "confusion.png", "coverage.png")
REPORT = "report"  # with --report, the folder of the page
DIFFERENCES = "differences.csv"  # with --against
MODERATE_GAINS = (gain_name(-10), gain_name(10))

EXAMPLES = """\
examples:
  python -m ser_tf.evaluate --model RUN/export/ser_int8.tflite --data DATA --split common
  python -m ser_tf.evaluate --model RUN/export/ser_int8.tflite --data DATA \\
    --split RUN/split.json --robust --report --against OTHER.tflite
  python -m ser_tf.evaluate --model MODEL.tflite --unlabelled FOLDER --out answers.csv
"""

SPLIT = "common"


def measured(answers: Answers) -> dict[str, Any]:
    """The figures of answers alone.

    Returns:
        What :func:`ser_tf.metrics.measure` returns, ``"left_out"`` (recordings), and
        ``"robust"`` as :func:`robust_summary` makes it, where there are answers to conditions.
    """
    truth = [recording.emotion for recording in answers.recordings]
    report = metrics.measure(
        truth,
        answers.clean,
        answers.labels,
        speakers=[recording.speaker for recording in answers.recordings],
        traits=[recording.traits for recording in answers.recordings],
        temperature=answers.temperature,
    ) | {"left_out": len(answers.left_out)}
    if answers.degraded:
        table = metrics.under_conditions(truth, answers.clean, answers.degraded, answers.labels)
        report["robust"] = robust_summary(table)
    return report


def robust_summary(table: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """A table of conditions with ``"mean_loss"`` over all of them and ``"gain_loss"``.

    The latter is the larger loss of -10 and +10 dB: what another distance to the microphone costs.
    """
    return {
        **table,
        "mean_loss": float(np.mean([row["loss"] for row in table.values()])),
        "gain_loss": max(table[gain]["loss"] for gain in MODERATE_GAINS),
    }


def figures(model: str | os.PathLike[str], answers: Answers) -> dict[str, Any]:
    """What :func:`measured` returns, and ``"model"``: its file name, bytes and SHA-256."""
    return measured(answers) | {"model": _facts_of(Path(model))}


def _facts_of(model: Path) -> dict[str, Any]:
    content = model.read_bytes()
    return {
        "file": model.name,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if wrong := _misfit(options):
        parser.error(wrong)
    try:
        if options.unlabelled:
            unusable = unlabelled.answer(
                options.model, options.unlabelled, options.out, threads=options.threads
            )
            return 1 if unusable else 0
        report = _evaluate(options)
    except (CorpusError, EvaluateError, ModelError) as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of the answers has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    print(json.dumps(report, indent=2) if options.json else markdown(report))
    return 0


def _evaluate(options: argparse.Namespace) -> dict[str, Any]:
    labels = open_model(options.model, options.threads).labels
    corpus = load_corpus(options.data, strict=options.strict, labels=known_labels(labels))
    split, test = choose_test(corpus, options.split)
    test = answerable(test, labels)
    models = [options.model, *filter(None, [options.against])]
    for model in models:
        refuse_training_recordings(model, test)
    known = facts(options.data, corpus, split, len(test))
    stem = f"{options.model.stem}-{split.replace(':', '-')}"
    out = options.out or options.model.parent / stem
    refuse_out(out, known, options.model.name)
    pool = babble_pool(corpus) if options.robust else None
    hear = partial(
        run, recordings=test, threads=options.threads, strict=options.strict, jobs=options.jobs
    )
    other = hear(options.against) if options.against else None
    answers = hear(options.model, pool=pool)
    report = known | figures(options.model, answers)
    also: list[Callable[[Path], object]] = []
    pair = None
    if other is not None:
        pair = this, other = paired.aligned(answers, other)
        report["against"] = {
            "names": paired.names(options.model, options.against),
            "model": _facts_of(options.against),
            **paired.compare(this, other),
        }
        also.append(lambda folder: paired.write_differences(this, other, folder / DIFFERENCES))
    if options.report:
        page = model_report.build(
            report,
            answers,
            latency.measure(options.model, answers.recordings),
            pair=pair,
            embed_audio=options.embed_audio,
            unchecked=[path.name for path in models if of_run(path, "split.json") is None],
        )
        also.append(lambda folder: page.write(folder / REPORT))
    write(out, report, answers, also=also)
    print(f"written to {out}", file=sys.stderr)
    return report


def facts(data: str, corpus: Sequence[Recording], split: str, test: int) -> dict[str, Any]:
    """What a report says of where its recordings come from.

    Args:
        data: The corpus as it was named.
        corpus: All of its recordings.
        split: The protocol's name.
        test: Number of recordings in its test part.
    """
    return {
        "split": split,
        "corpus": {
            "name": _corpus_name(data),
            "recordings": len(corpus),
            "speakers": len({recording.speaker for recording in corpus} - {""}),
            "test": test,
            "emotions": dict(sorted(Counter(recording.emotion for recording in corpus).items())),
        },
    }


def write(
    out: Path,
    report: dict[str, Any],
    answers: Answers,
    *,
    predictions: bool = True,
    also: Sequence[Callable[[Path], object]] = (),
) -> None:
    """Write the folder of an evaluation, complete or not at all.

    Args:
        out: The folder; what it holds is replaced.
        report: What :func:`facts` and :func:`figures` return.
        answers: What was measured.
        predictions: Whether to list every recording with its answer.
        also: Write further files into the folder that they are given.
    """
    with replacing(out) as new:
        (new / "metrics.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        (new / "metrics.md").write_text(markdown(report), encoding="utf-8")
        if predictions:
            _write_predictions(new / "predictions.csv", answers)
        title = (
            f"{report['corpus']['name']}, split {report['split']}: "
            f"{report['count']} recordings, accuracy {report['accuracy']:.1%}"
        )
        counts, truth, answer = (report["confusion"][key] for key in ("counts", "truth", "answer"))
        matrix = plots.confusion_matrix(counts, truth, answer, title=title)
        plots.save(matrix, new / "confusion.png")
        curve = plots.coverage(report["coverage"], title=title, marked=SHOWN_THRESHOLDS[1:])
        plots.save(curve, new / "coverage.png")
        for write_further in also:
            write_further(new)


def _write_predictions(path: Path, answers: Answers) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["name", "truth", "answer", *answers.labels])
        answered = metrics.answers(answers.clean, answers.labels)
        for recording, answer, row in zip(answers.recordings, answered, answers.clean, strict=True):
            cells = (f"{probability:.6f}" for probability in row)
            table.writerow([recording.name, recording.emotion, answer, *cells])


def refuse_out(out: Path, known: dict[str, Any], model: str) -> None:
    """Refuse what cannot be written, or is anything but an earlier output of this evaluation.

    Args:
        out: The folder to be written.
        known: What :func:`facts` returns.
        model: The model's file name.

    Raises:
        EvaluateError: With what stands in the way.
    """
    there = next(folder for folder in out.absolute().parents if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        why = "is a file" if there.is_file() else "may not be written to"
        raise EvaluateError(f"{out}: cannot be made, {there} {why}; give another --out")
    if not out.exists():
        return
    if not out.is_dir():
        raise EvaluateError(f"{out}: is a file; give --out a folder")
    held = {path.name for path in out.iterdir()}
    if not held:
        return
    if "metrics.json" not in held or not held <= {*OUTPUTS, REPORT, DIFFERENCES}:
        raise EvaluateError(f"{out}: holds files that are no evaluation; give another --out")
    try:
        old = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
        before = (old["model"]["file"], old["split"], old["corpus"]["name"])
    except (ValueError, KeyError, TypeError):
        raise EvaluateError(
            f"{out / 'metrics.json'}: is no evaluation; give another --out"
        ) from None
    if before != (model, known["split"], known["corpus"]["name"]):
        was = f"{before[0]} on {before[2]}, split {before[1]}"
        raise EvaluateError(f"{out}: holds the evaluation of {was}; give another --out")


def _corpus_name(data: str) -> str:
    path = Path(data)
    return path.resolve().parent.name if path.suffix == ".csv" else path.name or path.resolve().name


def at_least_one(text: str) -> int:
    """The value of an option that counts something; a ValueError makes it a usage error."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _misfit(options: argparse.Namespace) -> str | None:
    """What makes no sense together."""
    if options.unlabelled:
        measuring = ("report", "embed_audio", "against", "robust", "strict", "json")
        named = [f"--{name.replace('_', '-')}" for name in measuring if getattr(options, name)]
        named += ["--split"] * (options.split != SPLIT) + ["--jobs"] * (options.jobs != 1)
        return f"argument {named[0]}: not with --unlabelled" if named else None
    if options.embed_audio and not options.report:
        return "argument --embed-audio: only with --report"
    return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ser_tf.evaluate",
        usage="%(prog)s --model FILE [--data DATA | --unlabelled FOLDER] [options]",
        description="Run an exported model on the test part of a split and write its figures.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model", type=Path, required=True, metavar="FILE", help="the .tflite or .skops file"
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--data",
        default="synthetic",
        help="a folder, a CSV, download, or synthetic (default)",
    )
    source.add_argument(
        "--unlabelled",
        type=Path,
        metavar="FOLDER",
        help="measure nothing: answer these recordings, as CSV",
    )
    parser.add_argument(
        "--split",
        default=SPLIT,
        help="common (default), actors:K, a run's split.json, or elsewhere: all of a new corpus",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="default: MODEL-SPLIT/ beside the model; a CSV with --unlabelled (default: printed)",
    )
    parser.add_argument(
        "--robust", action="store_true", help="also under noise, echo, codecs and other levels"
    )
    parser.add_argument(
        "--report", action="store_true", help="also a page to read: DIR/report/index.html"
    )
    parser.add_argument(
        "--embed-audio", action="store_true", help="with --report: players of the worst mistakes"
    )
    parser.add_argument(
        "--against", type=Path, metavar="FILE", help="another model on the same recordings"
    )
    parser.add_argument(
        "--jobs", type=at_least_one, default=1, metavar="N", help="processes; default: 1"
    )
    parser.add_argument("--threads", type=at_least_one, default=1, metavar="N", help="default: 1")
    parser.add_argument(
        "--strict", action="store_true", help="a recording that cannot be used is an error"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    return parser


if __name__ == "__main__":
    sys.exit(main())
