"""The answers to many recordings, as files to take home."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass

from edge.classifier import Prediction

SILENCE = "silence"
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # what a spreadsheet may take for one


@dataclass(frozen=True)
class Row:
    """What came of one file: an answer, or one line of what is wrong with it."""

    file: str
    prediction: Prediction | None = None
    problem: str = ""


def as_csv(rows: Sequence[Row], labels: Sequence[str]) -> bytes:
    """The table that ``python -m ser_tf.evaluate --unlabelled`` writes.

    A text that a spreadsheet could take for a formula gets an apostrophe before it.

    Args:
        rows: The answers.
        labels: Of the model, in its order.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    names = [_cell(label) for label in labels]
    table.writerow(["file", "start", "end", "emotion", "confidence", *names, "error"])
    for row in rows:
        said = row.prediction
        if said is None:
            blank = [""] * (4 + len(labels))
            table.writerow([_cell(row.file), *blank, _cell(row.problem)])
            continue
        shares = [said.confidence, *(said.probabilities.get(label, "") for label in labels)]
        cells = [share if share == "" else f"{share:.6f}" for share in shares]
        span = [f"{said.start:.3f}", f"{said.end:.3f}"]
        emotion = _cell(said.emotion or SILENCE)
        table.writerow([_cell(row.file), *span, emotion, *cells, ""])
    return text.getvalue().encode()


def as_json(rows: Sequence[Row], least: float) -> bytes:
    """A list of what ``python edge/run.py --json`` prints for each file.

    Args:
        rows: The answers; of a file without one, its name and the error.
        least: Confidence, from 0 to 1, below which an answer is uncertain.
    """
    return json.dumps([_object(row, least) for row in rows], indent=1).encode()


def _object(row: Row, least: float) -> dict[str, object]:
    said = row.prediction
    if said is None:
        return {"file": row.file, "error": row.problem}
    uncertain = said.uncertain(least)
    return {
        "file": row.file,
        "emotion": None if uncertain else said.emotion,
        "confidence": round(said.confidence, 6),
        "silence": said.silent,
        "uncertain": uncertain,
        "start": round(said.start, 3),
        "end": round(said.end, 3),
        "probabilities": {label: round(share, 6) for label, share in said.probabilities.items()},
    }


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text
