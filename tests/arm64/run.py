"""Whether a Raspberry Pi's kind of processor gives the answers that x86-64 gives.

A Debian root for arm64 and real aarch64 wheels of ``edge/requirements.txt`` are put into a scratch
folder, and ``edge/run.py`` answers recordings there under ``qemu-aarch64 -cpu cortex-a72``. What it
needs here is Debian's mmdebstrap, and the environment of the project.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from edge.audio import AUDIO_SUFFIXES
from edge.classifier import EmotionClassifier

ROOT = Path(__file__).resolve().parent.parent.parent
MIRROR = "http://deb.debian.org/debian"
PROCESSOR = "cortex-a72"  # of the Raspberry Pi 4
EMULATOR_SUITE = "trixie"  # QEMU 10; on bookworm's 7.2 LiteRT 2.3 crashes
PLATFORMS = (
    "manylinux2014",
    "manylinux_2_17",
    "manylinux_2_27",
    "manylinux_2_28",
    "manylinux_2_34",
)
ALLOWED = {"ser_float32.tflite": 1e-3, "ser.tflite": 0.02}  # difference of a probability

EXAMPLES = """\
examples:
  tests/arm64/run.py ../shared/data/ravdess_original
  tests/arm64/run.py --suite trixie clips/ another.mp3     LiteRT on Python 3.13
Without a recording, eight generated ones are asked about.
"""


@dataclass(frozen=True)
class Suite:
    """A Debian release: its Python, and the runtime that edge/requirements.txt gives that."""

    python: str
    runtime: str


SUITES = {
    "bookworm": Suite("3.11", "tflite_runtime"),
    "trixie": Suite("3.13", "ai_edge_litert"),
}

VERSIONS = """
import importlib.metadata, platform, sys
names = [sys.argv[1].replace("_", "-"), "numpy", "soundfile", "soxr"]
versions = [f"{name} {importlib.metadata.version(name)}" for name in names]
print(platform.machine() + ": Python " + platform.python_version(), *versions, sep=", ")
"""


class Arm64Error(Exception):
    """The comparison cannot be made. The message is one line."""


class Machine:
    """A folder that holds an arm64 system."""

    def __init__(self, suite: str, work: Path) -> None:
        """Make it, where it is not yet there.

        Args:
            suite: One of ``SUITES``.
            work: A folder for downloads; what an earlier call left there is used.

        Raises:
            Arm64Error: A package of Debian or a wheel could not be fetched.
        """
        self.suite = SUITES[suite]
        self.root = work / f"{suite}-arm64"
        self.wheels = work / f"{suite}-wheels"
        self.emulator = work / "emulator"
        if not self.emulator.is_dir():
            _unpack(self.emulator, EMULATOR_SUITE, ["qemu-user"])
        if not self.root.is_dir():
            python = (f"python{self.suite.python}-minimal", f"libpython{self.suite.python}-stdlib")
            _unpack(self.root, suite, ["base-files", "libstdc++6", *python], "--arch=arm64")
        if not self.wheels.is_dir():
            self._fetch_wheels()

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run this machine's Python, with the wheels in its path."""
        environment = {"PYTHONPATH": str(self.wheels), "PYTHONDONTWRITEBYTECODE": "1"}
        program = self.root / "usr" / "bin" / f"python{self.suite.python}"
        qemu = [str(self.emulator / "usr" / "bin" / "qemu-aarch64"), "-cpu", PROCESSOR]
        return subprocess.run(
            [*qemu, "-L", str(self.root), str(program), *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    def _fetch_wheels(self) -> None:
        platforms = [f"--platform={platform}_aarch64" for platform in PLATFORMS]
        wanted = ["--only-binary=:all:", f"--python-version={self.suite.python}", *platforms]
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", *wanted]
        requirements = _requirements(self.suite.python)
        _made_aside(self.wheels, lambda aside: [*pip, f"--target={aside}", *requirements])


def _requirements(python: str) -> list[str]:
    """The lines of edge/requirements.txt for a Python: pip takes markers for those of its own."""
    lines = (ROOT / "edge" / "requirements.txt").read_text().splitlines()
    wanted = [Requirement(line) for line in lines if line and not line.startswith("#")]
    target = {"python_version": python, "platform_machine": "aarch64"}
    return [
        f"{requirement.name}{requirement.specifier}"
        for requirement in wanted
        if requirement.marker is None or requirement.marker.evaluate(target)
    ]


def _unpack(folder: Path, suite: str, packages: Sequence[str], *options: str) -> None:
    """Have packages of Debian, and what they need, unpacked into a folder."""
    include = f"--include={','.join(packages)}"
    command = ["mmdebstrap", "--variant=extract", include, *options, suite]
    _made_aside(folder, lambda aside: [*command, str(aside), MIRROR])


def _made_aside(folder: Path, command: Callable[[Path], list[str]]) -> None:
    """Have a command fill a folder, which gets its name when it is complete."""
    aside = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    program = command(aside)
    print(f"{Path(program[0]).name}: {folder.name}", file=sys.stderr)
    try:
        made = subprocess.run(program, capture_output=True, text=True)
    except FileNotFoundError:
        raise Arm64Error(f"{program[0]}: is not installed; apt install {program[0]}") from None
    if made.returncode:
        reason = (made.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Arm64Error(f"{folder.name}: {Path(program[0]).name} failed: {reason}")
    aside.rename(folder)


def answers_there(machine: Machine, model: Path, recordings: Sequence[Path]) -> list[dict]:
    """What ``edge/run.py --json`` prints on the machine, one answer a recording."""
    command = [str(ROOT / "edge" / "run.py"), "--json", "--model", str(model)]
    ran = machine.python(*command, *map(str, recordings))
    if ran.returncode:
        reason = (ran.stderr.strip().splitlines() or [f"status {ran.returncode}"])[-1]
        raise Arm64Error(f"edge/run.py on arm64 failed: {reason}")
    return [json.loads(line) for line in ran.stdout.splitlines()]


def compare(machine: Machine, model: Path, recordings: Sequence[Path]) -> tuple[list[str], bool]:
    """Answer the recordings there and here, by the same runtime.

    Returns:
        Lines of a table, and whether every answer is as near as ``ALLOWED`` says.
    """
    here = EmotionClassifier(model, runtime=machine.suite.runtime)
    rows, worst, alike = [], 0.0, 0
    for recording, there in zip(recordings, answers_there(machine, model, recordings), strict=True):
        expected = here.predict_file(recording)
        difference = max(
            (abs(p - there["probabilities"][e]) for e, p in expected.probabilities.items()),
            default=0.0,
        )
        same = there["emotion"] == expected.emotion
        worst, alike = max(worst, difference), alike + same
        answers = f"{_shown(expected.emotion, expected.confidence)}  "
        answers += f"{_shown(there['emotion'], there['confidence'])}  {difference:.6f}"
        rows.append(f"  {recording.name:28.28}  {answers}{'' if same else '  other emotion'}")
    allowed = ALLOWED[model.name]
    good = alike == len(rows) and worst <= allowed
    summary = f"{model.name}: {'as' if good else 'NOT as'} on x86-64: {alike} of {len(rows)}"
    summary += f" emotions, largest difference of a probability {worst:.6f}, {allowed:g} allowed"
    head = f"  {'recording':28}  {'x86-64':17}  {'arm64':17}  difference"
    return [summary, head, *rows, ""], good


def _shown(emotion: str | None, confidence: float) -> str:
    return f"{emotion or 'silence':9} {confidence:.4f}".ljust(17)


def _recordings(names: Sequence[Path], scratch: Path) -> list[Path]:
    if not names:
        from ser_tf.corpora import synthetic

        synthetic.generate(scratch, speakers=1, clips=1)
        names = [scratch]
    found: list[Path] = []
    for name in names:
        inside = sorted(name.rglob("*")) if name.is_dir() else [name.resolve()]
        found += [path for path in inside if path.suffix.lower() in AUDIO_SUFFIXES]
        if not name.exists() or not inside:
            raise Arm64Error(f"{name}: holds no recordings; name an audio file or a folder of them")
    return [path.resolve() for path in found]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="tests/arm64/run.py",
        description="Compare the answers on an emulated arm64 processor with those on this one.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recordings", nargs="*", type=Path, metavar="FILE", help="audio or folder")
    parser.add_argument("--suite", choices=list(SUITES), default="bookworm", help="of Debian")
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="keep downloads here for the next time"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        try:
            recordings = _recordings(options.recordings, Path(scratch, "generated"))
            work = (options.work or Path(scratch)).resolve()
            work.mkdir(parents=True, exist_ok=True)
            machine = Machine(options.suite, work)
            versions = machine.python("-c", VERSIONS, machine.suite.runtime)
            if versions.returncode:
                raise Arm64Error(f"Python on arm64 failed: {versions.stderr.splitlines()[-1]}")
            print(f"Debian {options.suite}, {PROCESSOR} emulated; {versions.stdout}")
            compared = []
            for model in ALLOWED:
                lines, good = compare(machine, ROOT / "export" / model, recordings)
                print("\n".join(lines), flush=True)
                compared.append(good)
        except Arm64Error as error:
            print(error, file=sys.stderr)
            return 1
    return 0 if all(compared) else 1


if __name__ == "__main__":
    sys.exit(main())
