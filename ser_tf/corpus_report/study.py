"""What was measured of a corpus, in the shape that tables and pictures are made from."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ser_tf.corpora.listing import Problem
from ser_tf.corpora.recording import Recording
from ser_tf.corpus_report.survey import Facts
from ser_tf.emotions import EMOTIONS

NOT_SAID = "(not said)"
MOST_VALUES = 8  # of a trait that is counted; more are names or remarks
MOST_PARTS = 3  # that a histogram is stacked from
MEASURES = {
    "seconds": "length, s",
    "loudness": "loudness, LUFS",
    "peak": "peak, dBFS",
    "snr": "SNR (estimate), dB",
    "silence": "silence, share",
}


@dataclass
class Study:
    """What was measured of a corpus.

    Attributes:
        corpus: Its name.
        recordings: Those that can be read.
        facts: By name.
        descriptors: A row for each name in the order of ``recordings``.
        unusable: What cannot be read or does not belong, files named below the corpus.
    """

    corpus: str
    recordings: Sequence[Recording]
    facts: dict[str, Facts]
    descriptors: pd.DataFrame
    unusable: list[Problem]

    @cached_property
    def table(self) -> pd.DataFrame:
        """Labels (``emotion``, ``speaker``), traits and facts of each recording, by name."""
        rows = {
            recording.name: {
                **{trait: recording.traits.get(trait, NOT_SAID) for trait in self.all_traits},
                **asdict(self.facts[recording.name]),
                "emotion": recording.emotion,
                "speaker": recording.speaker or NOT_SAID,
            }
            for recording in self.recordings
        }
        return pd.DataFrame.from_dict(rows, orient="index")

    @cached_property
    def all_traits(self) -> list[str]:
        """Every trait that some recording has, other than what a fact or label is called."""
        taken = {field.name for field in fields(Facts)} | {"name", "emotion", "speaker"}
        found = dict.fromkeys(t for recording in self.recordings for t in recording.traits)
        return [trait for trait in found if trait not in taken]

    @cached_property
    def traits(self) -> list[str]:
        """The traits that have two to eight values."""
        counts = self.table[self.all_traits].nunique()
        return [trait for trait in self.all_traits if 2 <= counts[trait] <= MOST_VALUES]

    @property
    def parting(self) -> list[str]:
        """Those of them that have two or three values."""
        return [trait for trait in self.traits if len(self.values(trait)) <= MOST_PARTS]

    @cached_property
    def emotions(self) -> list[str]:
        """In the order of the project's own, others after them."""
        held = {recording.emotion for recording in self.recordings}
        return [e for e in EMOTIONS if e in held] + sorted(held - set(EMOTIONS))

    @cached_property
    def speakers(self) -> list[str]:
        """Sorted; empty where the corpus does not say."""
        return sorted({recording.speaker for recording in self.recordings} - {""})

    def values(self, trait: str) -> list[str]:
        """The values of a label or trait, in the order they are shown in."""
        held = set(self.table[trait])
        known = self.emotions if trait == "emotion" else sorted(held - {NOT_SAID})
        return [*known, NOT_SAID] if NOT_SAID in held else list(known)

    def by(self, trait: str, values: pd.Series) -> dict[str, NDArray[np.float64]]:
        """``values`` (by name) apart by the values of a label or trait: float64[n] each."""
        held = values.astype(float)
        return {value: held[self.table[trait] == value].to_numpy() for value in self.values(trait)}

    @property
    def title(self) -> str:
        """What a picture shows."""
        return f"{self.corpus}, all {len(self.recordings):,} recordings"


def short(cell: object) -> object:
    """A cell of a long table: floats to six significant digits."""
    return float(f"{cell:.6g}") if isinstance(cell, float) else cell
