"""``edge/run.py`` against the same job done by librosa and Keras: time, memory, bytes, in one run.

Cold is a new process that answers one recording. Warm is a process that has loaded its model: a
file in, an answer out. The sides take turns, warm a round of all recordings each, and begin in
another order each time, so that whatever else the machine does hits all of them; ratios are medians
of the ratios within a turn. See ``benchmarks/librosa_keras.py`` for the other side.

Example:
    python benchmarks/edge.py --page docs/edge.md /path/to/recordings
"""

import argparse
import importlib.util
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import soundfile
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import cold
from edge.audio import AUDIO_SUFFIXES
from edge.classifier import RUNTIMES, default_model

HERE = Path(__file__).resolve().parent
START, END = "<!-- figures: edge -->", "<!-- end -->"  # where the table stands in a page
SETTLING = 0.5  # seconds before a turn, in which the threads of the side before go to sleep
WARMING = 3  # answers before the first that counts
BARS = {"warm": 15, "cold": 20, "memory": 10}  # least ratios, against one thread


@dataclass
class Side:
    """One way to do the job, and what was measured of it; times in seconds, memory in MB."""

    name: str
    once: list[str]  # a command that answers the recording named after it
    loaded: list[str]  # a command of benchmarks/warm.py
    model_bytes: int
    cold: list[float] = field(default_factory=list)
    cold_memory: list[float] = field(default_factory=list)
    warm: list[float] = field(default_factory=list)
    warm_memory: float = 0.0


def sides(folder: Path) -> list[Side]:
    """The edge command on one thread and on two, and librosa with Keras (made in ``folder``)."""
    released = default_model()
    warm = [sys.executable, str(HERE / "warm.py")]
    keras = [sys.executable, str(HERE / "librosa_keras.py"), str(folder)]
    subprocess.run([*keras, "--make"], check=True)
    edge = [
        Side(
            f"edge, {threads} thread{'s' if threads > 1 else ''}",
            [sys.executable, str(cold.COMMAND), "--threads", str(threads)],
            [*warm, "edge", str(released), "--threads", str(threads)],
            released.stat().st_size,
        )
        for threads in (1, 2)
    ]
    size = sum(path.stat().st_size for path in folder.iterdir())
    return [*edge, Side("librosa + Keras", keras, [*warm, "librosa-keras", str(folder)], size)]


def measure_cold(contenders: Sequence[Side], recordings: Sequence[Path], runs: int) -> None:
    """Answer ``runs`` recordings in new processes of each side; one more, before, is not counted.

    Raises:
        subprocess.CalledProcessError: A side failed; what it said is on standard error.
    """
    for run in tqdm(range(-1, runs), "cold", unit="run"):
        recording = str(recordings[run % len(recordings)])
        for side in _turned(contenders, run):
            seconds, megabytes = cold.measure([*side.once, recording])
            if run >= 0:  # the first reads the libraries from the disk
                side.cold.append(seconds)
                side.cold_memory.append(megabytes)


def measure_warm(contenders: Sequence[Side], recordings: Sequence[Path], rounds: int) -> None:
    """Answer all recordings ``rounds`` times by each side, one side after the other.

    A turn is a whole round: what a side has in the processor's caches it keeps for its next
    recording, as where it works alone.

    Raises:
        subprocess.CalledProcessError: A side failed; what it said is on standard error.
    """
    workers = {side.name: _Worker(side.loaded) for side in contenders}
    for side in contenders:
        workers[side.name].seconds(recordings[:WARMING])
    for turn in tqdm(range(rounds), "warm", unit="round"):
        for side in _turned(contenders, turn):
            time.sleep(SETTLING)
            side.warm += workers[side.name].seconds(recordings)
    for side in contenders:
        side.warm_memory = workers[side.name].end()


def _turned(contenders: Sequence[Side], turn: int) -> list[Side]:
    first = turn % len(contenders)
    return [*contenders[first:], *contenders[:first]]


class _Worker:
    """A process of benchmarks/warm.py."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdin
        assert self._process.stdout
        self._asks, self._answers = self._process.stdin, self._process.stdout

    def seconds(self, recordings: Sequence[Path]) -> list[float]:
        """That each answer took."""
        self._asks.writelines(f"{recording}\n" for recording in recordings)
        self._asks.flush()
        answers = [self._answers.readline() for _ in recordings]
        if not all(answers):
            raise subprocess.CalledProcessError(self._process.wait(), self._command)
        return [float(answer) for answer in answers]

    def end(self) -> float:
        """Peak memory, MB."""
        self._asks.close()
        self._answers.close()
        return cold.ended(self._process)


def ratios(of: Side, to: Side) -> dict[str, float]:
    """How many times as much ``of`` takes as ``to``: medians over turns."""

    def median(over: Sequence[float], under: Sequence[float]) -> float:
        return statistics.median(a / b for a, b in zip(over, under, strict=True))

    return {
        "cold": median(of.cold, to.cold),
        "warm": median(of.warm, to.warm),
        "memory": median(of.cold_memory, to.cold_memory),
        "memory, warm": of.warm_memory / to.warm_memory,
        "bytes": of.model_bytes / to.model_bytes,
    }


def table(contenders: Sequence[Side], seconds: Sequence[float]) -> str:
    """Markdown; ``seconds`` are the lengths of the recordings, as often as they were answered."""
    *edge, other = contenders
    against = [ratios(other, side) for side in edge]

    def row(title: str, cells: Sequence[str], ratio: str | None = None) -> str:
        times = [f"{figures[ratio]:.1f} ×" for figures in against] if ratio else [""] * len(edge)
        return f"| {' | '.join([title, *cells, *times])} |"

    def each(values: Sequence[Sequence[float]], form: str, scale: float = 1.0) -> list[str]:
        return [
            f"{statistics.median(part) * scale:{form}} / {_p95(part) * scale:{form}}"
            for part in values
        ]

    pace = [[t / s for t, s in zip(side.warm, seconds, strict=True)] for side in contenders]
    titles = [side.name for side in contenders]
    titles += [f"{other.name} takes, against {side.name.split(', ')[1]}" for side in edge]
    lines = [
        f"| | {' | '.join(titles)} |",
        f"|---|{'---:|' * len(titles)}",
        row(
            "cold: new process to answer, s, median / p95",
            each([s.cold for s in contenders], ".2f"),
            "cold",
        ),
        row(
            "warm: file to answer, ms, median / p95",
            each([s.warm for s in contenders], ".1f", 1e3),
            "warm",
        ),
        row("warm: share of real time, median / p95", each(pace, ".4f")),
        row(
            "cold: peak memory, MB, median / p95",
            each([s.cold_memory for s in contenders], ".0f"),
            "memory",
        ),
        row(
            "warm: peak memory, MB",
            [f"{side.warm_memory:.0f}" for side in contenders],
            "memory, warm",
        ),
        row("model, bytes", [f"{side.model_bytes:,}" for side in contenders], "bytes"),
    ]
    return "\n".join(lines)


def verdict(contenders: Sequence[Side]) -> str:
    """One line on whether each of ``BARS`` is reached on one thread."""
    figures = ratios(contenders[-1], contenders[0])
    said = [
        f"{name} {figures[name]:.1f} × ({'at least' if figures[name] >= bar else 'NOT'} {bar})"
        for name, bar in BARS.items()
    ]
    return f"Against one thread: {', '.join(said)}."


def _p95(values: Sequence[float]) -> float:
    """The 95th percentile, nearest rank."""
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


def _recordings(names: Sequence[Path], most: int) -> list[Path]:
    """An even choice of those named and those in folders named."""
    found: list[Path] = []
    for name in names:
        inside = sorted(name.rglob("*")) if name.is_dir() else [name]
        found += [path for path in inside if path.suffix.lower() in AUDIO_SUFFIXES]
        if not name.exists() or not inside:
            raise ValueError(f"{name}: holds no recordings; name an audio file or a folder of them")
    return found[:: -(-len(found) // most)]


def _filled(page: Path, report: str) -> str:
    """The page's text with the report between its marks."""
    try:
        text = page.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{page}: cannot be read ({error.strerror}); check the name") from None
    if START not in text or END not in text.split(START)[1]:
        raise ValueError(f"{page}: has no place for the table; write {START} and {END} into it")
    before, after = text.split(START)
    return f"{before}{START}\n{report}\n{END}{after.split(END, 1)[1]}"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="benchmarks/edge.py",
        description="Time edge/run.py against librosa and Keras, side by side.",
        epilog="example: python benchmarks/edge.py --page docs/edge.md /path/to/recordings",
    )
    add = parser.add_argument
    add("recordings", nargs="+", type=Path, metavar="FILE", help="audio files and folders")
    add("--clips", type=int, default=20, metavar="N", help="recordings, at most (default: 20)")
    add("--rounds", type=int, default=5, metavar="N", help="warm answers to each (default: 5)")
    add("--runs", type=int, default=10, metavar="N", help="cold processes a side (default: 10)")
    add("--cores", type=int, default=2, metavar="N", help="for all together (default: 2)")
    add("--page", type=Path, metavar="FILE", help="write the table into this page, too")
    options = parser.parse_args()
    for name in ("clips", "rounds", "runs", "cores"):
        if getattr(options, name) < 1:
            parser.error(f"argument --{name}: must be at least 1")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    try:
        recordings = _recordings(options.recordings, options.clips)
        if options.page:
            _filled(options.page, "")  # complains now rather than after the measurement
        with tempfile.TemporaryDirectory() as folder:
            contenders = sides(Path(folder))
            measure_cold(contenders, recordings, options.runs)
            measure_warm(contenders, recordings, options.rounds)
        runtime = next(name for name in RUNTIMES if importlib.util.find_spec(name))
        lengths = [soundfile.info(path).duration for path in recordings]
        report = (
            f"{len(recordings)} recordings of {statistics.median(lengths):.1f} s (median), each"
            f" answered {options.rounds} times warm; {options.runs} cold processes a side;"
            f" {options.cores} cores, {platform.machine()}, {runtime}.\n\n"
            f"{table(contenders, lengths * options.rounds)}\n\n{verdict(contenders)}"
        )
        if options.page:
            options.page.write_text(_filled(options.page, report), encoding="utf-8")
    except (subprocess.CalledProcessError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
