"""RAVDESS: everything known about a recording stands in its file name.

Seven two-digit fields, such as ``03-01-06-01-02-01-12``: modality, vocal channel, emotion,
intensity, statement, repetition, actor (Livingstone and Russo, 2018,
https://doi.org/10.1371/journal.pone.0196391; actors with odd numbers are male).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ser_tf.corpora.listing import Problem
from ser_tf.corpora.recording import Recording
from ser_tf.emotions import RAVDESS_CODES

AUDIO_ONLY = "03"
CHANNELS = {"01": "speech", "02": "song"}
INTENSITIES = {"01": "normal", "02": "strong"}
STATEMENTS = {"01": "kids", "02": "dogs"}  # "Kids are talking / Dogs are sitting by the door"
REPETITIONS = {"01": "1", "02": "2"}
ACTORS = 24

_NAME = re.compile(r"\d{2}(-\d{2}){6}")
_ACTOR_FOLDER = re.compile(r"actor_(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Facts:
    """What a RAVDESS file name says.

    Attributes:
        emotion: One of :data:`ser_tf.emotions.EMOTIONS`.
        actor: 1 to 24.
        traits: ``channel``, ``gender``, ``intensity``, ``statement``, ``repetition``.
    """

    emotion: str
    actor: int
    traits: dict[str, str]


def speaker_of(actor: int) -> str:
    """Names the speaker of an actor's number: ``actor-07``."""
    return f"actor-{actor:02d}"


def parse_name(stem: str) -> Facts:
    """Reads a RAVDESS file name.

    Args:
        stem: The file name without its ending, such as ``03-01-06-01-02-01-12``.

    Returns:
        What it says.

    Raises:
        ValueError: The name is not that of an audio-only RAVDESS recording; the message says why.
    """
    fields = stem.split("-")
    if len(fields) != 7:
        raise ValueError(
            f"its name has {len(fields)} field{'s' if len(fields) > 1 else ''} where RAVDESS has 7 "
            "(such as 03-01-06-01-02-01-12)"
        )
    if not _NAME.fullmatch(stem):
        raise ValueError("its name holds a field that is not two digits, as RAVDESS has them")
    modality, channel, emotion, intensity, statement, repetition, actor = fields
    if modality != AUDIO_ONLY:
        raise ValueError(f"modality {modality} in its name is not audio-only ({AUDIO_ONLY})")
    for what, code, known in (
        ("vocal channel", channel, CHANNELS),
        ("emotion", emotion, RAVDESS_CODES),
        ("intensity", intensity, INTENSITIES),
        ("statement", statement, STATEMENTS),
        ("repetition", repetition, REPETITIONS),
    ):
        if code not in known:
            raise ValueError(f"{what} {code} in its name is none of {', '.join(known)}")
    if not 1 <= int(actor) <= ACTORS:
        raise ValueError(f"actor {actor} in its name is not between 01 and {ACTORS}")
    traits = {
        "channel": CHANNELS[channel],
        "gender": "male" if int(actor) % 2 else "female",
        "intensity": INTENSITIES[intensity],
        "statement": STATEMENTS[statement],
        "repetition": REPETITIONS[repetition],
    }
    return Facts(RAVDESS_CODES[emotion], int(actor), traits)


def looks_like_ravdess(path: Path) -> bool:
    """Whether a file has a seven-field name or stands in a folder ``Actor_NN``."""
    return bool(_NAME.fullmatch(path.stem) or _ACTOR_FOLDER.fullmatch(path.parent.name))


def read(
    files: Sequence[Path], labels: Sequence[str] | None
) -> tuple[list[Recording], list[Problem]]:
    """Turns RAVDESS files into recordings by their names alone, wherever the files lie.

    Args:
        files: Audio files.
        labels: The emotions that are wanted; ``None`` for all.

    Returns:
        The recordings, named by file stem, and the files whose names do not fit.
    """
    recordings: list[Recording] = []
    problems: list[Problem] = []
    for path in files:
        try:
            facts = parse_name(path.stem)
        except ValueError as error:
            problems.append(Problem(str(path), str(error)))
            continue
        folder = _ACTOR_FOLDER.fullmatch(path.parent.name)
        if folder and int(folder[1]) != facts.actor:
            why = f"its name says actor {facts.actor:02d}, its folder {path.parent.name}"
            problems.append(Problem(str(path), why))
        elif labels is not None and facts.emotion not in labels:
            why = f"unknown label '{facts.emotion}' (known: {', '.join(labels)})"
            problems.append(Problem(str(path), why))
        else:
            speaker = speaker_of(facts.actor)
            recordings.append(Recording(path, facts.emotion, speaker, path.stem, facts.traits))
    return recordings, problems
