"""Train every system on the same split and set them side by side: ``python -m ser_tf.compare``.

Every row is trained by :mod:`ser_tf.train`, exported by :mod:`export.convert` and evaluated by
:mod:`ser_tf.evaluate`; the test part is looked at once, when the row is finished. What is there
already is not made again, so the same command goes on after it was stopped.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from edge.classifier import ModelError
from ser_tf import evaluate, latency, leaderboard
from ser_tf.answers import EvaluateError
from ser_tf.corpora import CorpusError, load_corpus
from ser_tf.corpora.recording import Recording
from ser_tf.leaderboard.rows import LATENCY, row
from ser_tf.leaderboard.work import LOGS, Commands, Job, RowError, do, sha256, write_whole
from ser_tf.splits import FOLDS, make_split, read_split
from ser_tf.systems import SYSTEMS, System

SPLITS = ("common", "actors")
ROOT = Path(__file__).resolve().parent.parent
# What our own model is trained with on a split; the others have one set of settings.
SETTINGS = {"common": "export/familiar.toml", "actors": "export/strangers.toml"}

EXAMPLES = """\
examples:
  python -m ser_tf.compare --data DATA --out runs/leaderboard
  python -m ser_tf.compare --data DATA --out runs/leaderboard --split actors --models cnn svm dnn
  python -m ser_tf.compare --data DATA --out runs/leaderboard --epochs 2 --models lstm  (a trial)
"""


def jobs_of(system: System, options: argparse.Namespace) -> list[Job]:
    """The runs of a system on the split: one, or one a fold."""
    epochs = dict(options.epochs)
    count = epochs.get(system.name, epochs.get(""))
    chosen: list[str] = ["--model", system.name]
    if system.ours:
        chosen += ["--config", str(ROOT / SETTINGS[options.split])]
        chosen += ["--extra", *options.extra] if options.extra else []
    if count and not system.classical:
        chosen += ["--epochs", str(count)]
    folder = options.out / options.split

    def job(name: str, split: str) -> Job:
        told = ("--split", split, *chosen)
        return Job(system, split, folder / name, told, options.cache)

    if options.split == "common":
        return [job(system.name, "common")]
    return [job(f"{system.name}-{fold}", f"actors:{fold}") for fold in range(FOLDS)]


def run(options: argparse.Namespace, command: str) -> dict[str, str]:
    """Finish all that is asked for, and write the board of all that is finished.

    Args:
        options: Of the command line.
        command: The command line itself, to be written on the board.

    Returns:
        Why rows failed, in one line, by name of the run.

    Raises:
        CorpusError: The corpus cannot be used.
        EvaluateError: It cannot be split, or the folder of a run holds something unreadable.
    """
    corpus = load_corpus(options.data)
    split = "common" if options.split == "common" else "actors:0"
    try:
        test = make_split(corpus, split).test
    except ValueError as error:
        raise EvaluateError(str(error)) from None
    facts = evaluate.facts(options.data, corpus, options.split, len(test))["corpus"]
    by_name = {recording.name: recording for recording in corpus}
    folder = options.out / options.split
    folder.mkdir(parents=True, exist_ok=True)
    all_jobs = {name: jobs_of(system, options) for name, system in SYSTEMS.items()}
    asked = [job for name in options.models for job in all_jobs[name]]
    failed: dict[str, str] = {}

    def show() -> list[Path]:
        known = []
        for name, system in SYSTEMS.items():
            why = " ".join(failed[job.name] for job in all_jobs[name] if job.name in failed)
            known.append(row(system, all_jobs[name], by_name, why or system.needs))
        return leaderboard.write(leaderboard.board(options.split, facts, command, known), folder)

    commands = Commands(folder / LOGS, echo=options.jobs == 1)
    with ThreadPoolExecutor(options.jobs) as executor:
        try:
            waiting = {
                executor.submit(_do, job, n, len(asked), options.data, commands): job
                for n, job in enumerate(asked, 1)
            }
            for done in as_completed(waiting):
                gone = done.exception()
                if isinstance(gone, RowError):
                    failed[waiting[done].name] = str(gone)
                    print(f"{waiting[done].name}: failed: {gone}", file=sys.stderr)
                elif gone is not None:
                    raise gone
        except BaseException:
            commands.stop()
            executor.shutdown(cancel_futures=True)
            raise
    for job in [job for jobs in all_jobs.values() for job in jobs if job.evaluated]:
        try:
            _time(job, by_name, anew=options.time)
        except (ModelError, ValueError, OSError) as error:
            print(f"{job.name}: its latency cannot be measured: {error}", file=sys.stderr)
    for path in show():
        print(f"written: {path}", file=sys.stderr)
    return failed


def _do(job: Job, number: int, count: int, data: str, commands: Commands) -> None:
    def say(what: str) -> None:
        print(f"[{number}/{count}] {job.name}: {what}", file=sys.stderr)

    do(job, data, commands, say)


def _time(job: Job, recordings: dict[str, Recording], *, anew: bool) -> None:
    """Measure how long a clip takes, unless it is known of this very file."""
    assert job.model is not None
    path, content = job.folder / LATENCY, sha256(job.model)
    if not anew and path.is_file() and json.loads(path.read_text())["sha256"] == content:
        return
    print(f"{job.name}: timing", file=sys.stderr)
    test = read_split(job.run.split, recordings.values()).test
    milliseconds = latency.of_files(job.model, test)
    write_whole(path, json.dumps({"sha256": content, "milliseconds": milliseconds}) + "\n")


def _epochs(text: str) -> tuple[str, int]:
    """``N`` or ``NAME=N``: the name, empty for all, and the number."""
    name, _, number = text.rpartition("=")
    if name and name not in SYSTEMS:
        raise argparse.ArgumentTypeError(f"no model is called {name!r}")
    return name, evaluate.at_least_one(number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ser_tf.compare",
        description="Train every system on the same split and set them side by side.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data", default="synthetic", help="as for ser_tf.train (default: synthetic)")
    add("--split", choices=SPLITS, default="common", help="default: common; actors: five folds")
    add(
        "--models",
        nargs="+",
        choices=SYSTEMS,
        metavar="NAME",
        default=[name for name, system in SYSTEMS.items() if not system.needs],
        help="default: all that a plain installation can train",
    )
    add(
        "--out",
        type=Path,
        default=Path("runs/leaderboard"),
        metavar="DIR",
        help="gets SPLIT/leaderboard.* and the runs, SPLIT/NAME (default: runs/leaderboard)",
    )
    add("--extra", nargs="+", default=[], metavar="DATA", help="further corpora for cnn, ours")
    add(
        "--epochs",
        nargs="+",
        type=_epochs,
        default=[],
        metavar="[NAME=]N",
        help="epochs of all networks, or of one, instead of their own",
    )
    add("--jobs", type=evaluate.at_least_one, default=1, metavar="N", help="runs at a time")
    add("--time", action="store_true", help="measure all latencies anew, on an idle machine")
    add("--cache", default="cache", metavar="DIR", help="decoded recordings (default: cache)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    options = _parser().parse_args(arguments)
    given: Sequence[Any] = sys.argv[1:] if arguments is None else arguments
    try:
        failed = run(options, shlex.join(["python", "-m", "ser_tf.compare", *given]))
    except (CorpusError, EvaluateError) as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on", file=sys.stderr)
        return 130
    print((options.out / options.split / f"{leaderboard.NAME}.md").read_text(encoding="utf-8"))
    for name, why in failed.items():
        print(f"{name}: failed: {why}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
