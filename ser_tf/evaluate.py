"""Evaluate an exported model: ``python -m ser_tf.evaluate``.

The file is run as a user would run it, through :mod:`edge.classifier` on the recordings
themselves, so the figures hold for what is handed out and not for its Keras original.
"""

import argparse
import csv
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from edge.audio import AudioError
from edge.classifier import EmotionClassifier, ModelError
from ser_tf import metrics, plots
from ser_tf.corpora import CorpusError, load_corpus
from ser_tf.corpora.recording import Recording
from ser_tf.splits import make_split

OUTPUTS = ("metrics.json", "predictions.csv", "metrics.md", "confusion.png")

EXAMPLES = """\
examples:
  python -m ser_tf.evaluate --model RUN/export/ser_int8.tflite --data DATA --split common
  python -m ser_tf.evaluate --model RUN/export/ser_int8.tflite --data DATA --split RUN/split.json
"""


ELSEWHERE = "elsewhere"


class EvaluateError(Exception):
    """An evaluation that cannot be made; the message is the one line for the user."""


def evaluate_model(
    model: str | os.PathLike[str],
    recordings: Sequence[Recording],
    *,
    threads: int = 1,
    strict: bool = False,
) -> dict[str, Any]:
    """Run an exported file over recordings and measure its answers.

    Args:
        model: The ``.tflite`` file.
        recordings: What to run it on; a progress bar on stderr counts them.
        threads: Threads of the TFLite interpreter.
        strict: Whether a recording that cannot be read is an error. Otherwise it is left out with
            a warning on stderr.

    Returns:
        What :func:`ser_tf.metrics.measure` returns, ``"left_out"`` (recordings), and ``"model"``:
        its file name, bytes and SHA-256.

    Raises:
        EvaluateError: No recording could be used, or, if strict, one could not; or one has an
            emotion that the model does not know.
        edge.classifier.ModelError: The model cannot be used.
    """
    classifier = EmotionClassifier(model, threads=threads)
    used, probabilities = run(classifier, recordings, strict=strict)
    return figures(model, classifier.labels, recordings, used, probabilities)


def run(
    classifier: EmotionClassifier, recordings: Sequence[Recording], *, strict: bool = False
) -> tuple[list[Recording], NDArray[np.float64]]:
    """The recordings that could be used, and what the model answered: float64[n, L].

    A row of zeros is a recording answered as silence. Errors as in :func:`evaluate_model`.
    """
    foreign = [r for r in recordings if r.emotion not in classifier.labels]
    if foreign:
        raise EvaluateError(
            f"{foreign[0].path}: {foreign[0].emotion!r} is no answer of this model, which knows "
            + ", ".join(classifier.labels)
        )
    used: list[Recording] = []
    rows: list[list[float]] = []
    with tqdm(recordings, "evaluating", unit="clip", file=sys.stderr) as bar:
        for recording in bar:
            try:
                prediction = classifier.predict_file(recording.path)
            except AudioError as error:
                if strict:
                    raise EvaluateError(str(error)) from None
                tqdm.write(f"warning: {error}; left out", file=sys.stderr)
                continue
            used.append(recording)
            rows.append([prediction.probabilities.get(label, 0.0) for label in classifier.labels])
    if not used:
        raise EvaluateError(
            f"none of the {len(recordings)} test recordings could be used; nothing was measured"
        )
    if len(used) < len(recordings):
        left_out = len(recordings) - len(used)
        print(f"warning: {left_out} of {len(recordings)} recordings left out", file=sys.stderr)
    return used, np.array(rows)


def figures(
    model: str | os.PathLike[str],
    labels: Sequence[str],
    recordings: Sequence[Recording],
    used: Sequence[Recording],
    probabilities: NDArray[np.float64],
) -> dict[str, Any]:
    """What :func:`evaluate_model` returns, from answers already given."""
    content = Path(model).read_bytes()
    return {
        **metrics.measure(
            [recording.emotion for recording in used],
            probabilities,
            labels,
            speakers=[recording.speaker for recording in used],
            traits=[recording.traits for recording in used],
        ),
        "left_out": len(recordings) - len(used),
        "model": {
            "file": Path(model).name,
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        },
    }


def choose_test(recordings: Sequence[Recording], split: str) -> tuple[str, list[Recording]]:
    """The protocol's name and its test recordings.

    Args:
        recordings: The corpus.
        split: ``"common"``, ``"actors:K"``, the path of a run's ``split.json``, or ``"elsewhere"``
            for all recordings of a corpus that the model has learnt nothing from.

    Raises:
        EvaluateError: There is no such split, or the corpus lacks recordings that it names.
    """
    if split == ELSEWHERE:
        return split, list(recordings)
    if not split.endswith(".json"):
        try:
            made = make_split(list(recordings), split)
        except ValueError as error:
            raise EvaluateError(str(error)) from None
        name, test = made.name, made.test
    else:
        record = _read_split(Path(split))
        name, names = record["name"], record["test"]
        by_name = {recording.name: recording for recording in recordings}
        if missing := [name for name in names if name not in by_name]:
            raise EvaluateError(
                f"{split}: {len(missing)} of its {len(names)} test recordings are not in the "
                f"corpus, such as {missing[0]}; give the --data it was made from"
            )
        test = [by_name[name] for name in names]
    if not test:
        raise EvaluateError(
            f"split {name!r} holds nothing out to test on; use common, actors:K or elsewhere"
        )
    return name, test


def refuse_training_recordings(model: Path, test: Sequence[Recording]) -> None:
    """Refuse to test a model of a run folder on what that run has learnt from or chosen by.

    A model that stands alone cannot be asked, and passes.

    Raises:
        EvaluateError: With the number of recordings that stand on both sides.
    """
    path = model.resolve().parent.parent / "split.json"
    if not path.is_file():
        return
    record = _read_split(path)
    for part, deed in (("train", "trained on"), ("validation", "used for choosing the model")):
        seen = set(record[part])
        if both := [recording.name for recording in test if recording.name in seen]:
            raise EvaluateError(
                f"{model}: these {len(both)} of the {len(test)} test recordings were {deed}, such "
                f"as {both[0]}; the held-out ones are listed in --split {path}"
            )


def markdown(report: dict[str, Any]) -> str:
    """The figures as Markdown tables. Percentages carry one decimal."""
    spread = report["intervals"]
    lines = [
        f"# {report['model']['file']} on {report['corpus']['name']}, split {report['split']}",
        "",
        f"{report['count']} recordings"
        + f", {report['silent']} of them answered as silence (counted as wrong)"
        * bool(report["silent"])
        + f"; {report['left_out']} left out" * bool(report["left_out"])
        + f". Intervals: 95 %, bootstrap over {spread['units']} {spread['over']}.",
        "",
        "| figure | value | 95 % interval |",
        "|---|---:|---:|",
    ]
    for key, name in (
        ("accuracy", "accuracy"),
        ("weighted_f1", "weighted F1"),
        ("macro_f1", "macro F1"),
        ("uar", "UAR"),
        ("ece", "ECE (15 bins)"),
    ):
        low_high = spread.get(key)
        interval = "–".join(_percent(end) for end in low_high) if low_high else ""
        lines.append(f"| {name} | {_percent(report[key])} | {interval} |")
    lines += [
        "",
        "| emotion | recordings | precision | recall | F1 | accuracy |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for label, row in report["classes"].items():
        cells = (_percent(row[key]) for key in ("precision", "recall", "f1", "accuracy"))
        lines.append(f"| {label} | {row['count']} | {' | '.join(cells)} |")
    if report["slices"]:
        lines += ["", "| slice | recordings | accuracy | UAR |", "|---|---:|---:|---:|"]
    for trait, values in report["slices"].items():
        for value, row in values.items():
            shares = f"{_percent(row['accuracy'])} | {_percent(row['uar'])}"
            lines.append(f"| {trait}: {value} | {row['count']} | {shares} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    options = _parser().parse_args(arguments)
    try:
        report = _evaluate(options)
    except (CorpusError, EvaluateError, ModelError) as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    print(json.dumps(report, indent=2) if options.json else markdown(report))
    return 0


def _evaluate(options: argparse.Namespace) -> dict[str, Any]:
    classifier = EmotionClassifier(options.model, threads=options.threads)
    corpus = load_corpus(options.data, strict=options.strict, labels=classifier.labels)
    split, test = choose_test(corpus, options.split)
    refuse_training_recordings(options.model, test)
    facts: dict[str, Any] = {
        "split": split,
        "corpus": {
            "name": _corpus_name(options.data),
            "recordings": len(corpus),
            "speakers": len({recording.speaker for recording in corpus} - {""}),
            "test": len(test),
            "emotions": dict(sorted(Counter(recording.emotion for recording in corpus).items())),
        },
    }
    stem = f"{options.model.stem}-{split.replace(':', '-')}"
    out = options.out or options.model.parent / stem
    _refuse_out(out, facts, options.model)
    used, probabilities = run(classifier, test, strict=options.strict)
    report = facts | figures(options.model, classifier.labels, test, used, probabilities)
    _write(out, report, classifier.labels, used, probabilities)
    print(f"written to {out}", file=sys.stderr)
    return report


def _write(
    out: Path,
    report: dict[str, Any],
    labels: Sequence[str],
    used: Sequence[Recording],
    probabilities: NDArray[np.float64],
) -> None:
    """Write the four files beside ``out`` and swap them in when all of them are there."""
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        new = aside / "new"
        new.mkdir()
        (new / "metrics.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        (new / "metrics.md").write_text(markdown(report), encoding="utf-8")
        with (new / "predictions.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["name", "truth", "answer", *labels])
            answered = metrics.answers(probabilities, labels)
            for recording, answer, row in zip(used, answered, probabilities, strict=True):
                cells = (f"{probability:.6f}" for probability in row)
                table.writerow([recording.name, recording.emotion, answer, *cells])
        matrix = report["confusion"]
        plots.confusion_matrix(
            matrix["counts"],
            matrix["truth"],
            matrix["answer"],
            new / "confusion.png",
            title=f"{report['corpus']['name']}, split {report['split']}: "
            f"{report['count']} recordings, accuracy {report['accuracy']:.1%}",
        )
        if out.exists():
            out.rename(aside / "old")
        new.rename(out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _refuse_out(out: Path, facts: dict[str, Any], model: Path) -> None:
    """Refuse what cannot be written, or is anything but an earlier output of this evaluation."""
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
    if "metrics.json" not in held or not held <= set(OUTPUTS):
        raise EvaluateError(f"{out}: holds files that are no evaluation; give another --out")
    try:
        old = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
        before = (old["model"]["file"], old["split"], old["corpus"]["name"])
    except (ValueError, KeyError, TypeError):
        raise EvaluateError(
            f"{out / 'metrics.json'}: is no evaluation; give another --out"
        ) from None
    if before != (model.name, facts["split"], facts["corpus"]["name"]):
        was = f"{before[0]} on {before[2]}, split {before[1]}"
        raise EvaluateError(f"{out}: holds the evaluation of {was}; give another --out")


def _read_split(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {"name": str(record["name"])} | {
            part: [str(name) for name in record[part]] for part in ("train", "validation", "test")
        }
    except OSError as error:
        raise EvaluateError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError):
        raise EvaluateError(
            f"{path}: is not the split.json of a run (name, train, validation, test)"
        ) from None


def _corpus_name(data: str) -> str:
    path = Path(data)
    return path.resolve().parent.name if path.suffix == ".csv" else path.name or path.resolve().name


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _threads(text: str) -> int:
    count = int(text)
    if count < 1:
        raise ValueError
    return count


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ser_tf.evaluate",
        description="Run an exported model on the test part of a split and write its figures.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model", type=Path, required=True, metavar="FILE", help="the .tflite file"
    )
    parser.add_argument(
        "--data",
        default="synthetic",
        help="a folder, a CSV, download, or synthetic (default)",
    )
    parser.add_argument(
        "--split",
        default="common",
        help="common (default), actors:K, a run's split.json, or elsewhere: all of a new corpus",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="default: MODEL-SPLIT/ beside the model"
    )
    parser.add_argument("--threads", type=_threads, default=1, metavar="N", help="default: 1")
    parser.add_argument(
        "--strict", action="store_true", help="a recording that cannot be used is an error"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    return parser


if __name__ == "__main__":
    sys.exit(main())
