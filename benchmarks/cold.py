"""What a cold ``edge/run.py`` costs: wall time and peak memory of fresh processes.

Example:
    python benchmarks/cold.py --runs 10 clip.wav
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

COMMAND = Path(__file__).resolve().parent.parent / "edge" / "run.py"


def edge_command(recording: str, model: str | None = None) -> list[str]:
    """``edge/run.py`` on one recording, in this interpreter."""
    return [sys.executable, str(COMMAND), *(["--model", model] if model else []), recording]


def measure(command: Sequence[str]) -> tuple[float, float]:
    """Run a command in a fresh process.

    Returns:
        Wall time in seconds and peak resident memory in MB (10^6 bytes).

    Raises:
        subprocess.CalledProcessError: The command failed; what it said is on standard error.
    """
    start = time.perf_counter()
    megabytes = ended(subprocess.Popen(command, stdout=subprocess.DEVNULL))
    return time.perf_counter() - start, megabytes


def ended(process: subprocess.Popen) -> float:
    """Wait for a process; its peak resident memory in MB.

    Raises:
        subprocess.CalledProcessError: It failed.
    """
    _, status, usage = os.wait4(process.pid, 0)  # tells the memory of this very process
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    unit = 1 if sys.platform == "darwin" else 1024  # bytes
    return usage.ru_maxrss * unit / 1e6


def summary(values: list[float]) -> dict[str, float]:
    """Median, 95th percentile (nearest rank) and maximum."""
    ordered = sorted(values)
    return {
        "median": statistics.median(ordered),
        "p95": ordered[math.ceil(0.95 * len(ordered)) - 1],
        "max": ordered[-1],
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Time cold runs of edge/run.py, and their peak memory.",
        epilog="example: python benchmarks/cold.py --runs 10 clip.wav",
    )
    parser.add_argument("recordings", nargs="+", metavar="FILE", help="one process each, each run")
    parser.add_argument("--model", metavar="FILE", help="model (default: that of edge/run.py)")
    parser.add_argument("--runs", type=int, default=10, metavar="N", help="default: 10")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    if options.runs < 1:
        parser.error("argument --runs: must be at least 1")

    try:
        measure(
            edge_command(options.recordings[0], options.model)
        )  # reads the libraries from the disk
        measures = [
            measure(edge_command(recording, options.model))
            for _ in range(options.runs)
            for recording in options.recordings
        ]
    except subprocess.CalledProcessError as error:
        return error.returncode
    figures = {
        "wall time, s": summary([seconds for seconds, _ in measures]),
        "peak RSS, MB": summary([megabytes for _, megabytes in measures]),
    }
    if options.json:
        print(json.dumps({"processes": len(measures), **figures}))
        return 0
    print(f"{len(measures)} processes".ljust(14) + "   median      p95      max")
    for name, figure in figures.items():
        print(name.ljust(14) + "".join(f"{value:9.3f}" for value in figure.values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
