"""``python -m export.protocols``: the models behind the published figures, and these figures.

``collect`` takes from finished runs what their figures rest on: the model, who it learnt from, and
how. ``score`` makes the figures again from that and the corpus alone, one folder a run, and pools
the folds of unheard actors: ``actors`` over all their recordings, ``actors-speech`` over speech.
"""

import argparse
import shutil
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from edge.classifier import ModelError
from ser_tf import evaluate
from ser_tf.answers import Answers, EvaluateError, babble_pool, run
from ser_tf.corpora import CorpusError, Recording, load_corpus
from ser_tf.corpora.ravdess import parse_name
from ser_tf.folds import joined, pooled
from ser_tf.held_out import choose_test, read_split, refuse_training_recordings
from ser_tf.splits import FOLDS

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / "export" / "protocols"
METRICS = ROOT / "export" / "metrics"

FOLD_NAMES = tuple(f"actors-{fold}" for fold in range(FOLDS))
NAMES = ("common", *FOLD_NAMES)
POOLED = ("actors", "actors-speech")
MODEL = "ser_int8.tflite"
KEPT = (f"export/{MODEL}", "split.json", "training.json", "config.toml")  # of a run's folder
POOLED_MODEL = f"{MODEL} of each fold"

EXAMPLES = """\
examples:
  python -m export.protocols collect runs
  python -m export.protocols score --data DATA --robust --jobs 4
"""


def collect(runs: Path, out: Path) -> list[str]:
    """Copy what the figures of runs rest on.

    Args:
        runs: A folder of run folders; those called as in :data:`NAMES` are taken.
        out: Gets a folder for each, with the last parts of the names in :data:`KEPT`. Paths to
            corpora in the settings are cut down to the corpus's name, those to teachers to their
            run and file.

    Returns:
        The names of the runs taken.

    Raises:
        EvaluateError: There is no such run, one lacks a file or has another split than it is
            called after, or ``out`` holds something else. Nothing has been copied then.
    """
    names = _present(runs, "runs")
    for name in names:
        for part in KEPT:
            if not (runs / name / part).is_file():
                raise EvaluateError(
                    f"{runs / name / part}: is missing; finish the run, then: "
                    f"python -m export.convert {runs / name}"
                )
        _check_split(runs / name / "split.json", name)
        _refuse_foreign(out / name)
    settings = {name: _without_paths(runs / name / "config.toml") for name in names}
    for name in names:
        with evaluate.replacing(out / name) as new:
            for part in KEPT:
                shutil.copyfile(runs / name / part, new / Path(part).name)
            (new / "config.toml").write_text(tomli_w.dumps(settings[name]), encoding="utf-8")
    return names


def score(data: str, models: Path, out: Path, *, robust: bool, jobs: int) -> dict[str, Any]:
    """Evaluate the collected models, each on the test part of its own split, and pool the folds.

    Every recording is run once a model; the pooled figures are of the same answers. Recordings
    are listed with their answers only where all of them are called as those of RAVDESS.

    Args:
        data: The corpus, as for :func:`ser_tf.corpora.load_corpus`.
        models: What :func:`collect` wrote.
        out: Gets a folder of figures for each model, as :mod:`ser_tf.evaluate` writes them, and
            for each pooled protocol.
        robust: Whether to run the conditions too.
        jobs: Processes that share the recordings.

    Returns:
        The reports by name, as in the ``metrics.json`` of each.

    Raises:
        EvaluateError: As in :mod:`ser_tf.evaluate`. What can be known before is found before
            anything is run or written.
        CorpusError: There is no such corpus.
        ModelError: A model cannot be used.
    """
    names = _present(models, "collected models")
    for name in names:
        _check_split(models / name / "split.json", name)
    corpus = load_corpus(data)
    tests: dict[str, list[Recording]] = {}
    known: dict[str, dict[str, Any]] = {}
    for name in names:
        split, tests[name] = choose_test(corpus, str(models / name / "split.json"))
        refuse_training_recordings(models / name / MODEL, tests[name])
        known[name] = evaluate.facts(data, corpus, split, len(tests[name]))
        evaluate.refuse_out(out / name, known[name], MODEL)
    folds = [name for name in FOLD_NAMES if name in names]
    held_out = {
        "actors": [recording for name in folds for recording in tests[name]],
        "actors-speech": [r for name in folds for r in tests[name] if _is_speech(r)],
    }
    for name, test in held_out.items():
        known[name] = evaluate.facts(data, corpus, name, len(test))
        if test:
            evaluate.refuse_out(out / name, known[name], POOLED_MODEL)

    pool = babble_pool(corpus) if robust else None
    reports: dict[str, dict[str, Any]] = {}
    answers: dict[str, Answers] = {}
    for name in names:
        print(f"{name}:", file=sys.stderr)
        model = models / name / MODEL
        answers[name] = run(model, tests[name], pool=pool, jobs=jobs)
        reports[name] = known[name] | evaluate.figures(model, answers[name])
        listed = all(_is_of_ravdess(recording) for recording in answers[name].recordings)
        evaluate.write(out / name, reports[name], answers[name], predictions=listed)
    for name, test in held_out.items():
        if not test:
            continue
        parts = {fold: answers[fold] for fold in folds}
        if name == "actors-speech":
            parts = {fold: part.only(_is_speech) for fold, part in parts.items()}
        each = {fold: evaluate.figures(models / fold / MODEL, part) for fold, part in parts.items()}
        together = joined(list(parts.values()))
        reports[name] = known[name] | pooled(together, each, POOLED_MODEL)
        evaluate.write(out / name, reports[name], together, predictions=False)
    return reports


def table(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """The reports of :func:`score` as one Markdown table, a row a protocol."""
    lines = [
        "| protocol | recordings | accuracy (95 %) | weighted F1 | macro F1 | UAR | ECE "
        "| robust: mean loss | ±10 dB |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, report in reports.items():
        interval = report["intervals"]["accuracy"]
        spread = " ({:.1f}–{:.1f})".format(*(100 * end for end in interval)) if interval else ""
        shares = (report[key] for key in ("weighted_f1", "macro_f1", "uar", "ece"))
        robust = report.get("robust")
        losses = [robust[key] for key in ("mean_loss", "gain_loss")] if robust else [None, None]
        cells = [
            name,
            str(report["count"]),
            f"{_percent(report['accuracy'])}{spread}",
            *(_percent(share) for share in (*shares, *losses)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    options = _parser().parse_args(arguments)
    try:
        if options.verb == "collect":
            names = collect(options.runs, options.out)
            print(f"{', '.join(names)}: copied to {options.out}")
        else:
            reports = score(
                options.data, options.models, options.out, robust=options.robust, jobs=options.jobs
            )
            print(table(reports))
    except (CorpusError, EvaluateError, ModelError) as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _present(folder: Path, what: str) -> list[str]:
    names = [name for name in NAMES if (folder / name).is_dir()]
    if not names:
        raise EvaluateError(f"{folder}: holds no {what} called {', '.join(NAMES)}")
    return names


def _check_split(path: Path, name: str) -> None:
    """Refuse a run whose split is another one than it is called after."""
    split = read_split(path)["name"]
    if split.replace(":", "-") != name:
        raise EvaluateError(f"{path}: is split {split!r}, which does not belong to {name}")


def _refuse_foreign(folder: Path) -> None:
    held = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if not held <= {Path(part).name for part in KEPT}:
        raise EvaluateError(f"{folder}: holds files that are no collected run; give another --out")


def _without_paths(path: Path) -> dict[str, Any]:
    """Settings with corpora and teachers by name: the rest of a path is one machine's matter."""
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise EvaluateError(f"{path}: cannot be read as TOML: {error}") from None
    for key in ("data", "extra"):
        value = settings.get(key)
        if isinstance(value, str):
            settings[key] = Path(value).name
        elif value is not None:
            settings[key] = [Path(corpus).name for corpus in value]
    if teachers := settings.get("train", {}).get("teachers"):
        settings["train"]["teachers"] = ["/".join(Path(path).parts[-2:]) for path in teachers]
    return settings


def _is_speech(recording: Recording) -> bool:
    return recording.traits.get("channel") == "speech"


def _is_of_ravdess(recording: Recording) -> bool:
    try:
        parse_name(recording.name)
    except ValueError:
        return False
    return True


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m export.protocols",
        description="Keep the models of the protocols, and make their figures again.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    copy = verbs.add_parser("collect", help="copy models, splits and settings of finished runs")
    copy.add_argument(
        "runs", type=Path, metavar="RUNS_DIR", help=f"holds runs called {', '.join(NAMES)}"
    )
    copy.add_argument(
        "--out", type=Path, default=MODELS, metavar="DIR", help="default: export/protocols"
    )
    figures = verbs.add_parser("score", help="evaluate the collected models and pool the folds")
    figures.add_argument("--data", required=True, help="the corpus the splits were made from")
    figures.add_argument(
        "--models", type=Path, default=MODELS, metavar="DIR", help="default: export/protocols"
    )
    figures.add_argument(
        "--out", type=Path, default=METRICS, metavar="DIR", help="default: export/metrics"
    )
    figures.add_argument(
        "--robust", action="store_true", help="also under noise, echo, codecs and other levels"
    )
    figures.add_argument(
        "--jobs", type=evaluate.at_least_one, default=1, metavar="N", help="processes; default: 1"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
