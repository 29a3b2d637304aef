"""One run of the comparison: trained, converted and evaluated, each by the command that does it.

Every step is a process of its own, as a person would start it by hand, and is passed over where its
result is there. So a run folder that was made by hand counts, a stopped comparison goes on where it
was, and one row's failure is nobody else's.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ser_tf.config import ConfigError, read_config
from ser_tf.runs import Run
from ser_tf.systems import System

TEST = "test"  # in a run's folder: what evaluation wrote
EXPORTED = ("ser_int8.tflite", "ser_weights8.tflite", "ser_float32.tflite")  # the first is meant
LOGS = "logs"


class RowError(Exception):
    """A row that cannot be finished; the message is one line."""


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        system: What is trained.
        split: ``common`` or ``actors:K``.
        folder: Of the run.
        options: Of :mod:`ser_tf.train`, where the run is begun.
        cache: Of :mod:`ser_tf.train`.
    """

    system: System
    split: str
    folder: Path
    options: tuple[str, ...]
    cache: str

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def run(self) -> Run:
        return Run(self.folder)

    @property
    def model(self) -> Path | None:
        """The file that is evaluated: the exported one, or a ``.skops`` model."""
        run = self.run
        if run.finished is None:
            return None
        if run.finished == run.classical:
            return run.classical
        found = (self.folder / "export" / name for name in EXPORTED)
        return next((path for path in found if path.is_file()), None)

    @property
    def evaluated(self) -> bool:
        """Whether the figures of that very file are there."""
        metrics = self.folder / TEST / "metrics.json"
        if self.model is None or not metrics.is_file():
            return False
        report = json.loads(metrics.read_text(encoding="utf-8"))
        return report["model"]["sha256"] == sha256(self.model)

    def check(self) -> None:
        """Refuse a folder that holds another run than the job's.

        Raises:
            RowError: It was trained with another model or split.
        """
        run = self.run
        if not run.config.is_file():
            raise RowError(f"{self.folder}: exists, but holds no run; move it away")
        try:
            model = read_config(run.config).model.name
            split = json.loads(run.split.read_text(encoding="utf-8"))["name"]
        except (ConfigError, OSError, ValueError, KeyError) as error:
            raise RowError(f"{self.folder}: cannot be used ({error})") from None
        if (model, split) != (self.system.name, self.split):
            raise RowError(
                f"{self.folder}: holds {model} on split {split}, not {self.system.name} on "
                f"{self.split}; move it away"
            )


class Commands:
    """Runs the project's commands for jobs, and can be stopped.

    Args:
        logs: Folder for what they say, a file a job.
        echo: Whether that is shown on stderr, too.
    """

    def __init__(self, logs: Path, *, echo: bool) -> None:
        self._logs = logs
        self._echo = echo
        self._live: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def __call__(self, job: Job, module: str, *options: object) -> None:
        """Run ``python -m module`` to its end.

        Raises:
            RowError: It failed; with the last line that it wrote.
        """
        self._logs.mkdir(parents=True, exist_ok=True)
        log = self._logs / f"{job.name}.log"
        command = [sys.executable, "-m", module, *map(str, options)]
        said = b""
        with log.open("ab") as file:
            file.write(f"$ {' '.join(command[1:])}\n".encode())
            file.flush()
            with self._lock:
                if self._stopped:
                    raise RowError(f"{job.name}: stopped")
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.PIPE,
                    start_new_session=True,  # Ctrl-C is passed on, once
                )
                self._live.add(process)
            assert process.stderr is not None
            while piece := process.stderr.read1():  # type: ignore[attr-defined]
                said = (said + piece)[-4096:]
                file.write(piece)
                file.flush()
                if self._echo:
                    sys.stderr.write(piece.decode(errors="replace"))
                    sys.stderr.flush()
            status = process.wait()
            with self._lock:
                self._live.discard(process)
        if status:
            why = _last_line(said) or f"{module} ended with {status}"
            raise RowError(f"{why} (log: {log})")

    def stop(self) -> None:
        """Interrupt what runs, as Ctrl-C does, and let nothing else begin."""
        with self._lock:
            self._stopped = True
            for process in self._live:
                if process.poll() is None:
                    process.send_signal(signal.SIGINT)


def do(job: Job, data: str, commands: Callable[..., None], say: Callable[[str], None]) -> None:
    """Bring a job as far as figures of its exported file on the test part.

    Args:
        job: What to do.
        data: The corpus.
        commands: A :class:`Commands`.
        say: Told what begins.

    Raises:
        RowError: A step failed, or the folder is something else's.
    """
    if job.folder.exists():
        job.check()
    if job.run.finished is None:
        say("training")
        always = ["--out", job.folder, "--cache", job.cache, "--watch"]
        begun = ["--resume"] if job.folder.exists() else ["--data", data, *job.options]
        commands(job, "ser_tf.train", *always, *begun)
    if job.model is None:
        say("converting")
        commands(job, "export.convert", job.folder)
    if not job.evaluated:
        say("evaluating")
        asked = ["--model", job.model, "--data", data, "--split", job.run.split]
        commands(job, "ser_tf.evaluate", *asked, "--out", job.folder / TEST)


def sha256(path: Path) -> str:
    """Of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, text: str) -> None:
    """Write a text file that appears complete or not at all."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)


def _last_line(said: bytes) -> str:
    lines = [line.strip() for line in said.decode(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "")
