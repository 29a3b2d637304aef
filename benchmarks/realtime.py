"""Live sound at real speed: how late the answers are, and what they cost.

Recordings, with pauses between them, are written into a pipe to ``edge/run.py -`` as a microphone
would, a tenth of a second at a time. The latency of an answer is the time from the moment at which
the last sample it speaks for was written until its line is read.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import cycle, pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from edge import audio  # noqa: E402

RUN = ROOT / "edge" / "run.py"
BLOCK = audio.SAMPLE_RATE // 10  # samples written at a time
PAUSE_SECONDS = 1.5  # between recordings
NOISE = 1e-3  # of a quiet room, -60 dBFS
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")

EXAMPLES = """\
examples:
  python benchmarks/realtime.py --data /path/to/ravdess --minutes 10
  python benchmarks/realtime.py --data clips/ --minutes 0.5 --json
"""


class Player(threading.Thread):
    """Writes recordings into a pipe at real speed, and remembers when and where voices begin."""

    def __init__(self, files: list[Path], seconds: float, pipe: IO[bytes]) -> None:
        super().__init__(daemon=True)
        self.written: list[float] = []  # when each block had been
        self.onsets: list[float] = []  # seconds of sound at which the recordings' voices begin
        self._files = files
        self._count = round(seconds * audio.SAMPLE_RATE / BLOCK)
        self._pipe = pipe

    def run(self) -> None:
        blocks = self._blocks()
        began = time.monotonic()
        try:
            for number in range(self._count):
                content = next(blocks)
                time.sleep(
                    max(0.0, began + (number + 1) * BLOCK / audio.SAMPLE_RATE - time.monotonic())
                )
                self._pipe.write(content)
                self._pipe.flush()
                self.written.append(time.monotonic())
            self._pipe.close()
        except BrokenPipeError:
            pass  # the command has ended, and says itself why

    def _blocks(self) -> Iterator[bytes]:
        """16-bit PCM of the recordings in turn, without end."""
        generator = np.random.default_rng(0)
        held, played = np.empty(0, np.float32), 0
        for file in cycle(self._files):
            waveform = audio.load(file)
            self.onsets.append((played + audio.voice_span(waveform)[0]) / audio.SAMPLE_RATE)
            pause = np.zeros(round(PAUSE_SECONDS * audio.SAMPLE_RATE), np.float32)
            sound = np.concatenate([waveform, pause])
            sound += NOISE * generator.standard_normal(len(sound), np.float32)
            played += len(sound)
            held = np.concatenate([held, sound])
            while len(held) >= BLOCK:
                yield (held[:BLOCK].clip(-1.0, 1.0) * 32_767).astype("<i2").tobytes()
                held = held[BLOCK:]


def measure(files: list[Path], seconds: float, model: str | None = None) -> dict[str, Any]:
    """Play ``files`` in turn for so many seconds.

    Returns:
        answers (count), states (answers by kind), latency (milliseconds: median, p95, p99, max),
        first_named (seconds from the onset of a voice to the line that first names an emotion:
        median, p95), voices (how many were heard of those that were played whole), cpu (seconds of
        processor time a second, after the start), memory (megabytes: after the first tenth of the
        time, at its end, most), dropped (seconds).
    """
    command = [sys.executable, str(RUN), "-", "--json", *(["--model", model] if model else [])]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    player = Player(files, seconds, process.stdin)
    player.start()
    answers, latencies, costs = [], [], []
    with tqdm(total=round(seconds), unit="s", desc="playing", leave=False) as progress:
        for line in process.stdout:
            now = time.monotonic()
            answers.append(json.loads(line))
            block = round(answers[-1]["end"] * audio.SAMPLE_RATE) // BLOCK - 1
            latencies.append(now - player.written[min(block, len(player.written) - 1)])
            costs.append((now, *_cost(process.pid)))
            progress.update(round(answers[-1]["end"]) - progress.n)
    if process.wait() or len(costs) < 2:
        raise RuntimeError(f"{RUN} ended with status {process.returncode}")
    settled = costs[len(costs) // 10 :]
    waits = _waits(player.onsets, answers)
    named = [wait for wait in waits if wait is not None]
    states = Counter("emotion" if answer["emotion"] else answer["state"] for answer in answers)
    memory = [megabytes for _, _, megabytes in settled]
    return {
        "answers": len(answers),
        "states": dict(states.most_common()),
        "latency": _percentiles(1000 * np.array(latencies), (50, 95, 99, 100)),
        "first_named": _percentiles(np.array(named), (50, 95)),
        "voices": [len(named), len(waits)],
        "cpu": (settled[-1][1] - settled[0][1]) / (settled[-1][0] - settled[0][0]),
        "memory": {"start": memory[0], "end": memory[-1], "max": max(memory)},
        "dropped": sum(answer["dropped"] for answer in answers),
    }


def table(figures: dict[str, Any]) -> str:
    """The figures of :func:`measure` as Markdown."""
    latency, first, memory = figures["latency"], figures["first_named"], figures["memory"]
    states = ", ".join(f"{count} {state}" for state, count in figures["states"].items())
    heard, played = figures["voices"]
    rows = {
        "answers, one a second": f"{figures['answers']} ({states})",
        "latency, end of the sound to its line, ms": ", ".join(
            f"{name} {value:.0f}" for name, value in latency.items()
        ),
        "onset of a voice to the first line that names an emotion, s": ", ".join(
            f"{name} {value:.1f}" for name, value in first.items()
        ),
        "voices for which one was named": f"{heard} of {played}",
        "processor": f"{figures['cpu']:.1%} of one core",
        "memory (RSS), MB": ", ".join(f"{name} {value:.1f}" for name, value in memory.items()),
        "sound dropped": f"{figures['dropped']:.1f} s",
    }
    body = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"| | |\n| --- | --- |\n{body}"


def _waits(onsets: list[float], answers: list[dict[str, Any]]) -> list[float | None]:
    """For every voice that was played whole: seconds until an emotion was named, if it was."""
    waits: list[float | None] = []
    for onset, following in pairwise(onsets):
        if following > answers[-1]["end"]:
            break
        named = [
            answer["end"] - onset
            for answer in answers
            if answer["emotion"] and onset < answer["end"] <= following
        ]
        waits.append(named[0] if named else None)
    return waits


def _percentiles(values: np.ndarray, ranks: tuple[int, ...]) -> dict[str, float]:
    names = {50: "median", 100: "max"}
    return {
        names.get(rank, f"p{rank}"): float(np.percentile(values, rank)) if len(values) else np.nan
        for rank in ranks
    }


def _cost(pid: int) -> tuple[float, float]:
    """Processor time in seconds and resident memory in megabytes of a process; see proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return (int(fields[11]) + int(fields[12])) / TICK, pages * PAGE / 1e6


def main(arguments: list[str] | None = None) -> int:
    """Measure as the command line says; the answer is the exit status."""
    parser = argparse.ArgumentParser(
        prog="python benchmarks/realtime.py",
        description="Play recordings to edge/run.py at real speed; measure lateness and cost.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", required=True, type=Path, help="folder of recordings")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="of their order (default: 0)")
    parser.add_argument("--model", metavar="FILE", help="model (default: the released one)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    if not Path("/proc/self/statm").exists():
        parser.error("processor time and memory are read from /proc, which is not here")

    files = sorted(
        path for path in options.data.rglob("*") if path.suffix.lower() in audio.AUDIO_SUFFIXES
    )
    if not files:
        print(f"{options.data}: holds no recordings", file=sys.stderr)
        return 1
    order = np.random.default_rng(options.seed).permutation(len(files))
    try:
        figures = measure([files[i] for i in order], 60 * options.minutes, options.model)
    except (RuntimeError, audio.AudioError) as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(figures))
        return 0
    load = os.getloadavg()[1]
    print(f"{options.minutes:g} minutes of recordings below {options.data.name}/ at real speed")
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f}\n")
    print(table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
