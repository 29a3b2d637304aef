"""Who is trained on and who is tested on: the common random split, and folds by speaker."""

import json
import math
import os
import random
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sklearn.model_selection import train_test_split

from ser_tf.corpora.ravdess import speaker_of
from ser_tf.corpora.recording import Recording

TEST_SHARE = 0.2
PROTOCOL_SEED = 42  # the test parts are the same whatever seed a training run has
FOLDS = 5

# The subject-wise five folds of the literature: the actors held out in each.
RAVDESS_FOLDS = tuple(
    frozenset(map(speaker_of, actors))
    for actors in (
        (2, 5, 14, 15, 16),
        (3, 6, 7, 13, 18),
        (10, 11, 12, 19, 20),
        (8, 17, 21, 23, 24),
        (1, 4, 9, 22),
    )
)
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """A corpus dealt into parts that share no recording; each part is sorted by name.

    Attributes:
        name: How it was made: ``common``, ``actors:0`` … ``actors:4``, ``all``.
        train: What a model learns from.
        validation: What epochs and thresholds are chosen on; cut from the training side.
        test: What is looked at once, and reported.
    """

    name: str
    train: list[Recording]
    validation: list[Recording]
    test: list[Recording]


def make_split(
    recordings: Sequence[Recording], spec: str, *, validation: float = 0.1, seed: int = 42
) -> Split:
    """Deals recordings into a training, a validation and a test part.

    ``common`` is the random stratified 80/20 split that others report on: the same voices stand
    on both sides. ``actors:K`` holds out the speakers of fold K, for RAVDESS the subject-wise five
    folds of the literature. ``all`` tests on nothing.

    Args:
        recordings: The corpus, no name twice.
        spec: ``common``, ``actors:0`` … ``actors:4``, or ``all``.
        validation: The share of the training side that is set aside, in [0, 1): of its recordings,
            stratified by emotion, or for ``actors`` of its speakers, as many men as women where
            the corpus tells.
        seed: Decides what is set aside for validation. The test part does not depend on it.

    Returns:
        The split.

    Raises:
        ValueError: An unknown ``spec``, or a corpus too small for it. One line.
    """
    if not 0 <= validation < 1:
        raise ValueError(f"validation share {validation}: must be at least 0 and below 1")
    ordered = sorted(recordings, key=lambda recording: recording.name)
    kind, colon, fold = spec.partition(":")
    if spec == "all":
        train, kept = _cut_stratified(ordered, validation, seed, spec)
        return Split(spec, train, kept, [])
    if spec == "common":
        rest, test = _cut_stratified(ordered, TEST_SHARE, PROTOCOL_SEED, spec)
        train, kept = _cut_stratified(rest, validation, seed, spec)
        return Split(spec, train, kept, test)
    if kind == "actors" and colon and fold.isdecimal():
        held_out = _fold(ordered, int(fold), spec)
        rest, test = _cut_speakers(ordered, held_out)
        train, kept = _cut_speakers(rest, _choose_speakers(rest, validation, seed, spec))
        return Split(f"actors:{int(fold)}", train, kept, test)
    known = f"actors:0 … actors:{FOLDS - 1}"
    raise ValueError(f"split '{spec}': is none of common, {known}, all")


def without(split: Split, emotions: Collection[str]) -> Split:
    """The same split without the recordings of some emotions, in none of its parts.

    Dealt first and filtered then, so that the recordings that are left stand where they stand for
    a model of all emotions.
    """
    parts = (
        [recording for recording in getattr(split, part) if recording.emotion not in emotions]
        for part in PARTS
    )
    return Split(split.name, *parts)


def write_split(
    split: Split, path: Path, extra: Mapping[str, Sequence[Recording]] | None = None
) -> None:
    """Writes a split as JSON: its name, and the names of the recordings of each part.

    Args:
        split: The split.
        path: The file to write; it appears complete or not at all.
        extra: Further corpora by name, all of which are learnt from; for the record only.
    """
    content: dict[str, object] = {"name": split.name}
    for part in PARTS:
        content[part] = [recording.name for recording in getattr(split, part)]
    if extra:
        content["extra"] = {
            name: [recording.name for recording in corpus] for name, corpus in extra.items()
        }
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    aside.replace(path)


def read_split(path: Path, recordings: Iterable[Recording]) -> Split:
    """Reads what :func:`write_split` wrote, for the same corpus.

    Args:
        path: The JSON file.
        recordings: The corpus. Recordings that the file does not name are left out.

    Returns:
        The split.

    Raises:
        ValueError: The file cannot be read, is not a split, names a recording in two parts, or one
            that the corpus lacks. One line.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError:
        raise ValueError(f"{path}: is not a split file (not JSON)") from None
    if not isinstance(content, dict) or not isinstance(content.get("name"), str):
        raise ValueError(f"{path}: is not a split file (no name)")
    by_name = {recording.name: recording for recording in recordings}
    parts: dict[str, list[Recording]] = {}
    named: set[str] = set()
    missing: list[str] = []
    for part in PARTS:
        names = content.get(part)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"{path}: is not a split file (no list of names under '{part}')")
        for name in names:
            if name in named:
                raise ValueError(f"{path}: names the recording {name} twice")
            named.add(name)
        missing += [name for name in names if name not in by_name]
        parts[part] = [by_name[name] for name in names if name in by_name]
    if missing:
        raise ValueError(
            f"{path}: {len(missing):,} of its {len(named):,} recordings are not in the corpus, "
            f"such as {missing[0]}; give the corpus that the split was made from"
        )
    return Split(content["name"], parts["train"], parts["validation"], parts["test"])


def _cut_stratified(
    recordings: list[Recording], share: float, seed: int, spec: str
) -> tuple[list[Recording], list[Recording]]:
    if share == 0:
        return recordings, []
    counts = Counter(recording.emotion for recording in recordings)
    aside = math.ceil(share * len(recordings))
    rarest = min(counts, key=counts.__getitem__, default="")
    if (
        not counts
        or counts[rarest] < 2
        or not len(counts) <= aside <= len(recordings) - len(counts)
    ):
        fewest = f", of '{rarest}' only {counts[rarest]}" if counts else ""
        raise ValueError(
            f"split '{spec}': {len(recordings)} recordings of {len(counts)} emotions{fewest}, are "
            f"too few to set {aside} aside with every emotion on both sides; add recordings"
        )
    kept, cut = train_test_split(
        recordings,
        test_size=share,
        stratify=[recording.emotion for recording in recordings],
        random_state=seed,
    )
    return _sorted(kept), _sorted(cut)


def _fold(recordings: list[Recording], number: int, spec: str) -> frozenset[str]:
    unknown = [recording for recording in recordings if not recording.speaker]
    if unknown:
        raise ValueError(
            f"split '{spec}': the speaker of {len(unknown):,} recordings is not known, such as "
            f"{unknown[0].name}; name speakers as label/speaker/clip.wav or in a column speaker"
        )
    speakers = sorted({recording.speaker for recording in recordings})
    if frozenset(speakers) <= frozenset().union(*RAVDESS_FOLDS):
        folds: Sequence[frozenset[str]] = RAVDESS_FOLDS
    else:
        random.Random(PROTOCOL_SEED).shuffle(speakers)
        count = min(FOLDS, len(speakers))
        folds = [frozenset(speakers[first::count]) for first in range(count)]
    if number >= len(folds):
        raise ValueError(f"split '{spec}': this corpus has folds 0 to {len(folds) - 1}")
    held_out = folds[number] & frozenset(speakers)
    if not held_out or held_out == frozenset(speakers):
        where = "no speaker" if not held_out else "every speaker"
        raise ValueError(f"split '{spec}': {where} of this corpus is in fold {number}")
    return held_out


def _choose_speakers(
    recordings: list[Recording], share: float, seed: int, spec: str
) -> frozenset[str]:
    genders = {recording.speaker: recording.traits.get("gender", "") for recording in recordings}
    if share == 0:
        return frozenset()
    if len(genders) < 2:
        raise ValueError(
            f"split '{spec}': one speaker is left beside the test part, so none can be set aside "
            "for validation; it takes recordings of at least three speakers"
        )
    count = min(max(1, round(share * len(genders))), len(genders) - 1)
    shuffled = sorted(genders)
    random.Random(seed).shuffle(shuffled)
    dealt: Counter[str] = Counter()
    turns = {}
    for speaker in shuffled:
        turns[speaker] = dealt[genders[speaker]]
        dealt[genders[speaker]] += 1
    return frozenset(sorted(shuffled, key=turns.__getitem__)[:count])


def _cut_speakers(
    recordings: list[Recording], speakers: frozenset[str]
) -> tuple[list[Recording], list[Recording]]:
    kept = [recording for recording in recordings if recording.speaker not in speakers]
    return kept, [recording for recording in recordings if recording.speaker in speakers]


def _sorted(recordings: Iterable[Recording]) -> list[Recording]:
    return sorted(recordings, key=lambda recording: recording.name)
