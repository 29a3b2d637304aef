"""Corpora that say their labels: folders of ``label/clip.wav``, and CSV tables."""

import csv
import stat
from collections.abc import Sequence
from pathlib import Path

from ser_tf.corpora import ravdess
from ser_tf.corpora.listing import CorpusError, Problem
from ser_tf.corpora.recording import Recording

ALIASES = {
    "anger": "angry",
    "fear": "fearful",
    "happiness": "happy",
    "joy": "happy",
    "sadness": "sad",
    "disgusted": "disgust",
    "surprise": "surprised",
    "calmness": "calm",
}


def label_of(text: str, labels: Sequence[str] | None) -> str | None:
    """Finds the label that a folder or a cell means.

    Args:
        text: As written by whoever made the corpus; case and plain aliases ("fear") do not matter.
        labels: The labels to choose from; ``None`` takes the text as it is.

    Returns:
        The label, or ``None`` where it is not among ``labels``.

    Examples:
        >>> label_of("Fear", ("sad", "fearful"))
        'fearful'
    """
    text = text.strip()
    if labels is None:
        return text or None
    known = {label.lower(): label for label in labels}
    return known.get(text.lower()) or known.get(ALIASES.get(text.lower(), ""))


def read_folder(
    folder: Path, files: Sequence[Path], labels: Sequence[str] | None
) -> tuple[list[Recording], list[Problem]]:
    """Turns ``label/clip.wav`` or ``label/speaker/clip.wav`` into recordings.

    The speaker is the folder below the label; without one, the actor of a RAVDESS file name; else
    unknown (empty).

    Args:
        folder: The corpus.
        files: Audio files below it.
        labels: The labels that are known; ``None`` makes every folder name a label.

    Returns:
        The recordings, named by their path below ``folder``, and the files without a known label.

    Raises:
        CorpusError: Not one file lies in a folder that is a label.
    """
    recordings: list[Recording] = []
    problems: list[Problem] = []
    for path in files:
        below = path.relative_to(folder)
        if len(below.parts) == 1:
            why = "stands in no label folder (wanted: label/clip.wav)"
            problems.append(Problem(str(path), why))
            continue
        label = label_of(below.parts[0], labels)
        if label is None:
            problems.append(Problem(str(path), _unknown(below.parts[0], labels)))
            continue
        speaker = "/".join(below.parts[1:-1]) or _actor_in(path.stem)
        recordings.append(Recording(path, label, speaker, below.with_suffix("").as_posix()))
    if files and not recordings:
        tops = sorted({path.relative_to(folder).parts[0] for path in files})
        found = ", ".join(tops[:3]) + (", …" if len(tops) > 3 else "")
        raise CorpusError(
            f"{folder}: no folder in it is named after a label, nor a file as in RAVDESS "
            f"(found: {found}; labels: {', '.join(labels or ['any'])}); "
            "sort the clips into label/clip.wav, or list them in index.csv (path,emotion,speaker)"
        )
    return recordings, problems


def read_csv(table: Path, labels: Sequence[str] | None) -> tuple[list[Recording], list[Problem]]:
    """Turns a table of ``path,emotion,speaker`` into recordings.

    Paths are relative to the table. The speaker may be left out; further columns become traits.

    Args:
        table: A CSV file in UTF-8 with a header.
        labels: The labels that are known; ``None`` takes any.

    Returns:
        The recordings, named by their path below the table's folder, and the rows that cannot be
        used.

    Raises:
        CorpusError: The table cannot be read, or lacks the columns ``path`` and ``emotion``.
    """
    recordings: list[Recording] = []
    problems: list[Problem] = []
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, restkey="", restval="")
            columns = [(column or "").strip().lower() for column in reader.fieldnames or []]
            reader.fieldnames = columns
            missing = [column for column in ("path", "emotion") if column not in columns]
            if missing:
                raise CorpusError(
                    f"{table}: has no column {' and no column '.join(missing)} "
                    f"(found: {', '.join(columns) or 'nothing'}); its first line should be "
                    "path,emotion,speaker"
                )
            for row in reader:
                row.pop("", None)
                cells = {column: cell.strip() for column, cell in row.items()}
                where = f"{table}, row {reader.line_num}"
                recording = _read_row(table, where, cells, labels)
                if isinstance(recording, Problem):
                    problems.append(recording)
                else:
                    recordings.append(recording)
    except UnicodeDecodeError:
        raise CorpusError(f"{table}: is not UTF-8 text; save the table as CSV in UTF-8") from None
    except csv.Error as error:
        raise CorpusError(f"{table}: is not a CSV table ({error})") from None
    except OSError as error:
        raise CorpusError(f"{table}: cannot be read ({error.strerror})") from None
    return recordings, problems


def _read_row(
    table: Path, where: str, cells: dict[str, str], labels: Sequence[str] | None
) -> Recording | Problem:
    written, emotion = cells["path"], cells["emotion"]
    if not written:
        return Problem(where, "names no file in its column path")
    label = label_of(emotion, labels)
    if label is None:
        return Problem(f"{where}: {written}", _unknown(emotion, labels))
    path = table.parent / written
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return Problem(f"{where}: {written}", "is not a file")
    except FileNotFoundError:
        return Problem(f"{where}: {written}", f"does not exist (looked for {path})")
    except (OSError, ValueError) as error:
        return Problem(f"{where}: {written}", f"cannot be opened ({error})")
    below = path.relative_to(table.parent) if path.is_relative_to(table.parent) else path
    traits = {
        column: cell
        for column, cell in cells.items()
        if cell and column not in ("path", "emotion", "speaker")
    }
    speaker = cells.get("speaker", "")
    return Recording(path, label, speaker, below.with_suffix("").as_posix(), traits)


def _unknown(text: str, labels: Sequence[str] | None) -> str:
    if not text:
        return "has no label"
    return f"unknown label '{text}' (known: {', '.join(labels or ())})"


def _actor_in(stem: str) -> str:
    try:
        return ravdess.speaker_of(ravdess.parse_name(stem).actor)
    except ValueError:
        return ""
