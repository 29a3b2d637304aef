"""Emotions that a corpus calls by another name than the one they are learnt under."""

import dataclasses
from collections.abc import Collection, Sequence

from ser_tf.corpora.recording import Recording


def relabelled(
    recordings: Sequence[Recording], pairs: Sequence[str], labels: Collection[str]
) -> list[Recording]:
    """The recordings, with some of their emotions under another name.

    Args:
        recordings: Of any corpus.
        pairs: ``theirs=ours`` each: what the corpus says, and what is learnt.
        labels: The emotions that there are.

    Raises:
        ValueError: A pair is none, or names an emotion that does not exist.
    """
    renamed = {}
    for pair in pairs:
        theirs, equals, ours = pair.partition("=")
        if not equals or not {theirs, ours} <= {*labels}:
            known = ", ".join(labels)
            raise ValueError(f"relabel: {pair!r} is not THEIRS=OURS with two of {known}")
        renamed[theirs] = ours
    return [
        dataclasses.replace(recording, emotion=renamed.get(recording.emotion, recording.emotion))
        for recording in recordings
    ]
