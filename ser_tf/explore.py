"""See a corpus: ``python -m ser_tf.explore`` writes a report of what it holds."""

import argparse
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pandas as pd
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from edge import audio
from ser_tf import corpus_report
from ser_tf.compiled import compile_librosa
from ser_tf.corpora import INDEX, CorpusError, Recording, labelled, listing, load_corpus
from ser_tf.corpora.listing import Problem
from ser_tf.corpus_report.study import Study
from ser_tf.corpus_report.survey import Facts, inspect
from ser_tf.descriptors import describe
from ser_tf.report import ReportError, check_folder

# Starting a process, which imports librosa and compiles parts of it, takes as long as this many
# recordings.
WORTH_A_PROCESS = 50

EXAMPLES = """\
examples:
  python -m ser_tf.explore --data /path/to/ravdess --out reports/ravdess
  python -m ser_tf.explore --data my_clips/ --out reports/mine

The folder then holds index.html, a page that needs nothing beside it, its pictures as PNG and SVG
and its tables as CSV: files.csv has a row of facts, features.csv a row of acoustic descriptors for
every recording.
"""


class ExploreError(Exception):
    """A corpus that cannot be explored. The message is one line."""


def study(data: str, jobs: int) -> Study:
    """Measure every recording of a corpus.

    Args:
        data: As :func:`ser_tf.corpora.load_corpus` takes it; any labels.
        jobs: Processes at most.

    Raises:
        CorpusError: There is no such corpus.
        ExploreError: Not one of its recordings can be read, or a process was ended.
    """
    recordings = load_corpus(data, labels=None)
    root = _root(data, recordings)
    unusable = _left_out(data, root, recordings)
    readable, facts, descriptors = [], {}, {}
    bar = tqdm(total=len(recordings), desc="measuring", unit="file", delay=2.0)
    with bar:
        for recording, measured in zip(recordings, _measured(recordings, jobs), strict=True):
            bar.update()
            if isinstance(measured, str):
                unusable.append(Problem(str(recording.path), measured))
                tqdm.write(f"warning: {recording.path}: {measured}", file=sys.stderr)
            else:
                readable.append(recording)
                facts[recording.name], descriptors[recording.name] = measured
    if not readable:
        raise ExploreError(f"{data}: none of its {len(recordings):,} recordings can be read")
    return Study(
        corpus=root.name,
        recordings=readable,
        facts=facts,
        descriptors=pd.DataFrame.from_dict(descriptors, orient="index"),
        unusable=[Problem(_below(where, data, root), why) for where, why in unusable],
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    options = _parser().parse_args(arguments)
    try:
        check_folder(options.out)
        held = study(options.data, options.jobs)
        page = corpus_report.build(held).write(options.out)
    except (CorpusError, ExploreError, ReportError) as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    print(corpus_report.summary(held))
    print(f"written to {page}", file=sys.stderr)
    return 0


def _measured(
    recordings: Sequence[Recording], jobs: int
) -> Iterator[tuple[Facts, dict[str, float]] | str]:
    """What is found of each recording, in their order."""
    paths = [recording.path for recording in recordings]
    processes = min(jobs, len(paths) // WORTH_A_PROCESS)
    if processes < 2:
        yield from map(_measure, paths)
        return
    compile_librosa()
    with ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), threadpool_limits, (1,)
    ) as executor:
        try:
            yield from executor.map(_measure, paths, chunksize=8)
        except BrokenProcessPool:
            raise ExploreError("a process was ended, perhaps for memory; try --jobs 1") from None


def _measure(path: Path) -> tuple[Facts, dict[str, float]] | str:
    """Facts and descriptors of a file, or in a few words why there are none."""
    try:
        waveform = audio.load(path)
        return inspect(path, waveform), describe(waveform)
    except audio.AudioError as error:
        return str(error).removeprefix(f"{path}: ")


def _root(data: str, recordings: Sequence[Recording]) -> Path:
    """The corpus's folder, which ``"download"`` and ``"synthetic"`` do not name."""
    path = Path(data).expanduser().resolve()
    if path.is_file():
        return path.parent
    if path.is_dir():
        return path
    return Path(os.path.commonpath([recording.path.parent for recording in recordings]))


def _left_out(data: str, root: Path, recordings: Sequence[Recording]) -> list[Problem]:
    """What :func:`load_corpus` has found in a corpus and left out, with its reasons."""
    used = {recording.path.resolve() for recording in recordings}
    table = Path(data).expanduser() if Path(data).suffix.lower() == ".csv" else root / INDEX
    if table.is_file():
        listed, problems = labelled.read_csv(table, None)
        paths = [recording.path for recording in listed]
    else:
        paths, problems = listing.audio_files(root)
    unusual = "its name does not fit the corpus, or another file has it"
    return problems + [
        Problem(str(path), listing.unreadable(path) or unusual)
        for path in paths
        if path.resolve() not in used
    ]


def _below(where: str, data: str, root: Path) -> str:
    """``where`` without the corpus's folder, as it was named or as it is."""
    for folder in (Path(data), Path(data).parent, root):
        where = where.removeprefix(f"{folder}{os.sep}")
    return where


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ser_tf.explore",
        description="Write a report of what a corpus holds: counts, files, levels, features.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data",
        default="synthetic",
        help="a folder, a CSV, download, or synthetic (default)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="a new folder, or an earlier report, which is replaced",
    )
    parser.add_argument(
        "--jobs",
        type=_at_least_one,
        default=len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        metavar="N",
        help="processes; default: one a core",
    )
    return parser


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


if __name__ == "__main__":
    sys.exit(main())
