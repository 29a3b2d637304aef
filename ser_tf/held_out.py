"""Which recordings a model is tested on: those of a split, and none that it has learnt from."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ser_tf.answers import EvaluateError, of_run
from ser_tf.corpora.recording import Recording
from ser_tf.emotions import EMOTIONS
from ser_tf.splits import make_split

ELSEWHERE = "elsewhere"  # the split of a corpus that a model has learnt nothing from


def choose_test(recordings: Sequence[Recording], split: str) -> tuple[str, list[Recording]]:
    """The protocol's name and its test recordings.

    Args:
        recordings: The corpus.
        split: ``"common"``, ``"actors:K"``, the path of a run's ``split.json``, or ``"elsewhere"``
            for all recordings of a corpus that the model has learnt nothing from.

    Raises:
        EvaluateError: There is no such split, or the corpus lacks recordings that it names.
    """
    if split == ELSEWHERE:
        return split, list(recordings)
    if not split.endswith(".json"):
        try:
            made = make_split(list(recordings), split)
        except ValueError as error:
            raise EvaluateError(str(error)) from None
        name, test = made.name, made.test
    else:
        record = read_split(Path(split))
        name, names = record["name"], record["test"]
        by_name = {recording.name: recording for recording in recordings}
        if missing := [name for name in names if name not in by_name]:
            raise EvaluateError(
                f"{split}: {len(missing)} of its {len(names)} test recordings are not in the "
                f"corpus, such as {missing[0]}; give the --data it was made from"
            )
        test = [by_name[name] for name in names]
    if not test:
        raise EvaluateError(
            f"split {name!r} holds nothing out to test on; use common, actors:K or elsewhere"
        )
    return name, test


def known_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """The labels of a model, and all emotions: the corpus is dealt into parts with all of them."""
    return (*labels, *(emotion for emotion in EMOTIONS if emotion not in labels))


def answerable(test: Sequence[Recording], labels: Sequence[str]) -> list[Recording]:
    """The recordings whose emotion a model knows; a line on stderr counts the others.

    Raises:
        EvaluateError: There are none.
    """
    chosen = [recording for recording in test if recording.emotion in labels]
    if others := sorted({recording.emotion for recording in test} - set(labels)):
        if not chosen:
            raise EvaluateError(
                f"no test recording has an emotion that this model knows: {', '.join(labels)}"
            )
        print(
            f"{len(test) - len(chosen)} of {len(test)} test recordings left out: the model does "
            f"not know {', '.join(others)}",
            file=sys.stderr,
        )
    return chosen


def refuse_training_recordings(model: Path, test: Sequence[Recording]) -> None:
    """Refuse to test a model on what its run has learnt from or chosen by.

    The run's ``split.json`` is looked for beside the model and in the run folder above it. A model
    that stands alone cannot be asked, and passes.

    Raises:
        EvaluateError: With the number of recordings that stand on both sides.
    """
    path = of_run(model, "split.json")
    if path is None:
        return
    record = read_split(path)
    for part, deed in (
        ("train", "trained on"),
        ("extra", "trained on"),
        ("validation", "used for choosing the model"),
    ):
        seen = set(record[part])
        if both := [recording.name for recording in test if recording.name in seen]:
            raise EvaluateError(
                f"{model}: these {len(both)} of the {len(test)} test recordings were {deed}, such "
                f"as {both[0]}; the held-out ones are listed in --split {path}"
            )


def read_split(path: Path) -> dict[str, Any]:
    """The name of a run's split, and the names of its recordings by part.

    The parts are ``"train"``, ``"validation"``, ``"test"``, and ``"extra"``: all of the further
    corpora that were learnt from. Unlike :func:`ser_tf.splits.read_split` it asks for no corpus,
    for the one that a model learnt from need not be at hand.

    Raises:
        EvaluateError: The file cannot be read or is no split.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        extra = [name for names in record.get("extra", {}).values() for name in names]
        parts = {part: record[part] for part in ("train", "validation", "test")} | {"extra": extra}
        return {"name": str(record["name"])} | {
            part: [str(name) for name in names] for part, names in parts.items()
        }
    except OSError as error:
        raise EvaluateError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise EvaluateError(
            f"{path}: is not the split.json of a run (name, train, validation, test)"
        ) from None
