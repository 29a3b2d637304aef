"""What every section of a model's report draws on, and how it writes numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ser_tf.answers import Answers
from ser_tf.bootstrap import Bootstrap


@dataclass(frozen=True)
class Material:
    """An evaluation.

    Attributes:
        figures: The contents of ``metrics.json``.
        answers: What they were made from.
        truth: str[n].
        answered: str[n].
        bootstrap: Over the speakers of the recordings.
        what: Corpus, protocol and count, which every picture and table states.
    """

    figures: Mapping[str, Any]
    answers: Answers
    truth: np.ndarray
    answered: np.ndarray
    bootstrap: Bootstrap
    what: str

    @property
    def right(self) -> np.ndarray:
        """bool[n]: whether each answer is."""
        return self.truth == self.answered


def percent(share: float | None) -> str | None:
    """A share as the percentage to write; None stays None."""
    return None if share is None else f"{100 * share:.1f}".replace("-", "−")


def points(share: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{100 * share:+.1f}".replace("-", "−") if abs(share) >= 0.0005 else "0.0"


def bounds(low_high: Sequence[float] | None) -> str | None:
    """An interval of shares in percent."""
    if low_high is None:
        return None
    between = " to " if low_high[0] < 0 else "–"
    return between.join(f"{percent(end)}" for end in low_high)


def with_interval(share: float | None, low_high: Sequence[float] | None) -> str | None:
    """A share in percent, with its interval in brackets where there is one."""
    if share is None or low_high is None:
        return percent(share)
    return f"{percent(share)} ({bounds(low_high)})"
