"""What a model says of recordings that nobody has labelled, as a table."""

import csv
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from edge import audio
from ser_tf.answers import EvaluateError, Model, open_model
from ser_tf.corpora.listing import audio_files, report
from ser_tf.metrics import SILENCE

FIRST_COLUMNS = ("file", "start", "end", "emotion", "confidence")
LAST_COLUMN = "error"


def answer(model: Path, folder: Path, out: Path | None, *, threads: int = 1) -> int:
    """Write a CSV of the answers to all recordings below a folder; a progress bar on stderr.

    A row has the file's path below the folder, the first and last second that the answer speaks
    for, the emotion (or ``silence``), its confidence, the probabilities of all labels in the
    model's order, and, in place of all these, what is wrong with a file that cannot be used.

    Args:
        model: The ``.tflite`` or ``.skops`` file.
        folder: Searched with all below it for the endings of :data:`edge.audio.AUDIO_SUFFIXES`.
        out: The CSV, which appears complete or not at all; None prints it row by row.
        threads: Threads of the TFLite interpreter.

    Returns:
        How many files and folders could not be used.

    Raises:
        EvaluateError: There is no such folder, it holds no recordings, or ``out`` is something
            other than an earlier table of this kind.
        edge.classifier.ModelError: The model cannot be used.
    """
    if out is not None:
        _refuse(out)
    classifier = open_model(model, threads)
    if not folder.is_dir():
        why = f"is a file; for one: python edge/run.py {folder}" if folder.exists() else ""
        raise EvaluateError(f"{folder}: {why or 'does not exist; check the name'}")
    files, unlisted = audio_files(folder)
    report(unlisted)
    if not files:
        suffixes = " ".join(audio.AUDIO_SUFFIXES)
        raise EvaluateError(f"{folder}: holds no recordings; searched for {suffixes}")
    with _table(out) as table:
        damaged = _write(table, classifier, folder, files)
    if damaged:
        print(
            f"warning: {damaged} of {len(files)} files could not be used; "
            f"the column {LAST_COLUMN} says why",
            file=sys.stderr,
        )
    return damaged + len(unlisted)


def _write(table: TextIO, classifier: Model, folder: Path, files: Sequence[Path]) -> int:
    """Write the rows; returns how many files could not be used."""
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow([*FIRST_COLUMNS, *classifier.labels, LAST_COLUMN])
    blank = [""] * (len(FIRST_COLUMNS) - 1 + len(classifier.labels))
    damaged = 0
    for path in tqdm(files, "answering", unit="clip", file=sys.stderr):
        name = _printable(path.relative_to(folder).as_posix())
        try:
            said = classifier.predict_file(path)
        except audio.AudioError as error:
            why = _printable(str(error).removeprefix(f"{path}: "))
            rows.writerow([name, *blank, why])
            damaged += 1
            continue
        shares = [said.confidence, *(said.probabilities.get(k, "") for k in classifier.labels)]
        cells = [share if share == "" else f"{share:.6f}" for share in shares]
        span = [f"{said.start:.3f}", f"{said.end:.3f}"]
        rows.writerow([name, *span, said.emotion or SILENCE, *cells, ""])
    return damaged


@contextmanager
def _table(out: Path | None) -> Iterator[TextIO]:
    """Where the rows go: a file that takes the place of ``out`` in the end, or standard output."""
    if out is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with aside.open("w", encoding="utf-8", newline="") as file:
            yield file
        aside.replace(out)
    finally:
        aside.unlink(missing_ok=True)


def _refuse(out: Path) -> None:
    """Refuse what cannot be written, or is anything but an earlier table of answers."""
    there = next(folder for folder in out.absolute().parents if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        why = "may not be written to" if there.is_dir() else "is a file"
        raise EvaluateError(f"{out}: cannot be made, {there} {why}; give another --out")
    if out.is_dir():
        raise EvaluateError(f"{out}: is a folder; give --out the name of a CSV file")
    if out.exists():
        begin = (",".join(FIRST_COLUMNS) + ",").encode()
        with out.open("rb") as file:
            if file.read(len(begin)) not in (b"", begin):
                raise EvaluateError(f"{out}: is no table of answers; give another --out")


def _printable(name: str) -> str:
    """A file's name with bytes that are in no known encoding spelt out."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
