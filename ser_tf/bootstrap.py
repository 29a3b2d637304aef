"""Intervals by bootstrap over speakers, for whatever is a ratio of two sums over recordings."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ser_tf.metrics import BOOTSTRAP_SEED, LEVEL, RESAMPLES


class Bootstrap:
    """The draws of :func:`ser_tf.metrics.intervals`, to be asked about further figures.

    Recordings of one voice succeed and fail together, so whole speakers are drawn with replacement
    (the cluster bootstrap), each draw as many as there are. A recording whose speaker is unknown
    is a unit of its own.

    Example:
        >>> Bootstrap(["ann", "ann", "bob"]).interval([1, 1, 0], [1, 1, 1])
        [0.0, 1.0]

    Attributes:
        over: ``"speakers"``, or ``"recordings"`` where no speaker is known.
        units: How many of them there are.
    """

    over: str
    units: int

    def __init__(self, speakers: Sequence[str]) -> None:
        """Draw.

        Args:
            speakers: Of each of the n recordings, ``""`` where unknown.
        """
        unit_of: dict[object, int] = {}
        unit = [unit_of.setdefault(name or n, len(unit_of)) for n, name in enumerate(speakers)]
        self.over = "speakers" if any(speakers) else "recordings"
        self.units = len(unit_of)
        self._unit = np.array(unit, int)
        rng = np.random.default_rng(BOOTSTRAP_SEED)
        self._drawn = np.empty((RESAMPLES, self.units), np.float32)
        for row in self._drawn:
            row[:] = np.bincount(rng.integers(self.units, size=self.units), minlength=self.units)

    def interval(self, part: ArrayLike, whole: ArrayLike) -> list[float] | None:
        """The 95 % percentile interval of ``sum(part) / sum(whole)``.

        Args:
            part: float[n]: what each recording adds to the numerator, such as whether it was
                answered rightly.
            whole: float[n], not negative: what it adds to the denominator, such as 1.

        Returns:
            ``[low, high]``, or None where fewer than two units count in the denominator.
        """
        upper, lower = (
            np.bincount(self._unit, np.asarray(column, float), self.units)
            for column in (part, whole)
        )
        if np.count_nonzero(lower) < 2:
            return None
        above, below = self._drawn @ upper, self._drawn @ lower
        ratio = above[below > 0] / below[below > 0]
        tail = (1 - LEVEL) / 2
        low, high = np.quantile(ratio, (tail, 1 - tail))
        return [float(low), float(high)]
